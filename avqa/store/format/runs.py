"""``S/runs/<run>.json``: what each run was asked, where it stands and how it ended."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, Literal
from uuid import uuid4

from avqa.errors import StoreError
from avqa.store.format.records import Status, VideoRecord, plain_feature
from avqa.store.places.files import StorePath, store_path

RunState = Literal["running", "done", "interrupted", "refused", "failed", "damaged"]
RUNNING: Final = "running"
"""Until it ends; of a run that was killed, until the next one says `INTERRUPTED`."""
DONE: Final = "done"
INTERRUPTED: Final = "interrupted"
REFUSED: Final = "refused"
"""What was asked for cannot be done with this store."""
FAILED: Final = "failed"
"""The machine, or a defect of ours."""
DAMAGED: Final = "damaged"
"""The run's file cannot be read."""
FORMAT = 1
"""Of a run's file; those without a number have this one, too."""

_OF_BEFORE = "finished"
"""In version 0.1: every run that came to an end, whichever."""

_VIDEO = ("video_id", "relpath")
_READ = ("attempt", "host", "worker", "finished_at")
_FAILURE = (*_VIDEO, "feature", "reason", "stage", "message", *_READ)
_WARNING = (*_VIDEO, "warning", *_READ)
_KEYS = {"run_id", "state", "started", "checkpoint"}


class Runs:
    """The run files of a store."""

    def __init__(self, folder: StorePath) -> None:
        """``folder`` is ``S/runs``; it need not exist yet."""
        self._folder = store_path(folder)

    def all(self) -> list[dict[str, Any]]:
        """Every run's file, oldest first; one that cannot be read has the state damaged.

        The order is that of their numbers: several hosts' clocks give none. Files of version 0.1
        have no number; they are older.

        Raises:
            StoreError: one has a later format.
        """
        found = [_read(path) for path in self._folder.glob("*.json")]
        return sorted(found, key=lambda run: (_number(run), str(run["started"])))

    def update(self, run_id: str, /, **values: Any) -> None:
        """Set fields of a run's file, creating it."""
        path = self._folder / f"{run_id}.json"
        if path.exists():
            run = path.read_json()
        else:
            number = 1 + max(map(_number, self.all()), default=0)
            run = {"run_id": run_id, "number": number, "state": RUNNING, "started": now()}
            run |= {"checkpoint": 0, "format": FORMAT}
        path.write_json(run | values)

    def damaged(self) -> list[StorePath]:
        """Run files that cannot be read."""
        return [
            path
            for path in sorted(self._folder.glob("*.json"), key=str)
            if _read(path)["state"] == DAMAGED
        ]

    def checkpoint(self) -> int:
        """Number of the last ledger segment that is in the arrays as a whole."""
        return max((int(run["checkpoint"]) for run in self.all()), default=0)

    def newest(self, table: Literal["failures", "warnings"]) -> StorePath | None:
        """The table of the last run that had failures, or warnings."""
        found = self._folder.glob(f"*-{table}.csv")
        return max(found, key=lambda path: path.modified(), default=None)

    def write_failures(self, run_id: str, records: Sequence[VideoRecord]) -> StorePath:
        """Write ``<run>-failures.csv``: one line per failed feature of a video."""
        rows = [
            vars(record) | plain_feature(feature)
            for record in records
            for feature in record.features
            if feature.status == Status.FAILED
        ]
        return self._write_table(f"{run_id}-failures.csv", _FAILURE, rows)

    def write_warnings(self, run_id: str, records: Sequence[VideoRecord]) -> StorePath:
        """Write ``<run>-warnings.csv``: one line per warning about a video."""
        rows = [
            vars(record) | {"warning": warning} for record in records for warning in record.warnings
        ]
        return self._write_table(f"{run_id}-warnings.csv", _WARNING, rows)

    def _write_table(
        self, name: str, columns: Sequence[str], rows: Sequence[Mapping[str, Any]]
    ) -> StorePath:
        """Write a table; file names that are no UTF-8 are written with their own bytes."""
        text = io.StringIO(newline="")
        table = csv.writer(text)
        table.writerow(columns)
        table.writerows([row[column] for column in columns] for row in rows)
        path = self._folder / name
        path.write(text.getvalue().encode("utf-8", "surrogateescape"))
        return path


def new_run_id() -> str:
    """Unique, and sorted by time."""
    return f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{uuid4().hex[:6]}"


def plain(value: Any) -> dict[str, Any]:
    """A dataclass, such as a run's options or report, as JSON-able values: paths as text."""
    return {
        key: str(item) if isinstance(item, Path | StorePath) else item
        for key, item in asdict(value).items()
    }


def now() -> str:
    """The time, as run files and records write it."""
    return _text(datetime.now(UTC))


def _text(time: datetime) -> str:
    return time.isoformat(timespec="milliseconds")


def _number(run: Mapping[str, Any]) -> int:
    number = run.get("number", 0)
    return number if isinstance(number, int) else 0


def _refuse_later(path: StorePath, run: Mapping[str, Any]) -> None:
    if isinstance(found := run.get("format", FORMAT), int) and found > FORMAT:
        raise StoreError(
            f"run file {str(path)!r} has format={found}; expected {FORMAT} at most; it was written"
            " by a later version of avqa: use that one"
        )


def _state(run: Mapping[str, Any]) -> str:
    """The state of a run; those that version 0.1 calls finished are told apart by their reason."""
    if run["state"] != _OF_BEFORE:
        return str(run["state"])
    reason = str((run.get("summary") or {}).get("reason", DONE))
    if reason.startswith((DONE, "repaired")):
        return DONE
    return INTERRUPTED if reason.startswith(("stopped", "aborted")) else FAILED


def _read(path: StorePath) -> dict[str, Any]:
    try:
        run = path.read_json()
        if run.keys() >= _KEYS and type(run["checkpoint"]) is int:
            _refuse_later(path, run)
            return {**run, "state": _state(run)}
    except (ValueError, AttributeError):  # no JSON, or no object
        pass
    return {
        "run_id": path.stem,
        "state": DAMAGED,
        "started": _text(datetime.fromtimestamp(path.modified(), UTC)),
        "checkpoint": 0,
        "summary": {"reason": f"{path.name} cannot be read; remove it"},
    }
