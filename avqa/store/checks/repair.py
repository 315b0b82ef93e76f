"""`avqa verify --repair`: what can be rebuilt is, the rest becomes pending, and nothing is lost.

In this order, so that a kill leaves a store that the next repair goes on with: metadata, texts,
what is damaged beyond use set aside, the ledger, the columns from the ledger, what is left pending.
All that is taken away is moved to ``removed/<run>/`` first.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from typing import Any

import numpy as np

from avqa.store.checks.metadata import FILE, WrongMetadata
from avqa.store.checks.removed import Removed
from avqa.store.checks.report import Problem, VerifyReport
from avqa.store.checks.textcheck import EndOfText, repair_texts
from avqa.store.commit import Store
from avqa.store.format import schema
from avqa.store.format.chunks import FeatureObjects, remove_chunks
from avqa.store.format.decoding import DamagedObject
from avqa.store.format.frame_times import FrameTimes
from avqa.store.format.ledger import BadLine, source_of
from avqa.store.format.records import (
    UNKNOWN_FILE,
    FeatureRecord,
    Fingerprint,
    RowFlag,
    Status,
    VideoRecord,
    fingerprint_from,
)
from avqa.store.format.runs import DONE, now
from avqa.store.lock import Lock
from avqa.store.places.files import StorePath, storage_errors
from avqa.store.running import told


def repair_metadata(path: StorePath, run_id: str, wrong: Sequence[WrongMetadata]) -> None:
    """Write the metadata of arrays and groups anew.

    Raises:
        StoreLocked: a run holds the store.
        StorageFailure: it cannot be written.
    """
    removed = Removed(path, run_id)
    with Lock.acquire(path, run_id), storage_errors(f"store {str(path)!r}"):
        for each in wrong:
            file = path / schema.GROUP / each.name / FILE
            removed.move(file)
            file.write(each.content)


def repair_store(
    path: StorePath,
    run_id: str,
    report: VerifyReport,
    inspect: Callable[[Store], VerifyReport],
    end_of_text: EndOfText | None,
) -> None:
    """Repair what a report tells of, and note in it what was done.

    Raises:
        StoreLocked: a run holds the store.
        StorageFailure: it cannot be written, or not be read.
    """
    removed = Removed(path, run_id)
    with Lock.acquire(path, run_id) as lock, storage_errors(f"store {str(path)!r}"):
        if repair_texts(path, lock, report.texts.problems, removed, end_of_text):
            report.pending.add(True)
        store = Store.open(path, lock)

        def ended(reason: str) -> dict[str, Any]:
            number = sum(problem.remedy != "none" for problem in report.problems)
            return {"reason": f"repaired problems={number}" if reason == DONE else reason}

        with told(store, lock, ended):
            _Repair(store, run_id, removed, report).run(inspect)
    report.repaired = True
    report.removed = removed.folder if removed.is_used else None


class _Repair:
    """The videos' part."""

    def __init__(self, store: Store, run_id: str, removed: Removed, report: VerifyReport) -> None:
        self._store = store
        self._run_id = run_id
        self._removed = removed
        self._report = report

    def run(self, inspect: Callable[[Store], VerifyReport]) -> None:
        problems = [problem for problem in self._report.problems if not problem.of_texts]
        for problem in problems:
            if problem.path is not None and problem.remedy in {"aside", "columns"}:
                self._removed.move(problem.path)
        self._keep_damaged_columns()
        known = self._mend_ledger(problems)
        self._forget_ids(problems)
        remedies = {problem.remedy for problem in problems}
        rebuild = bool(remedies & {"columns", "record"})
        recovered = self._store.recover(rebuild=rebuild, discard=self._removed.move)
        if recovered.bad:
            self._report.pending.add(False)
        if rebuild:
            # What else was found while columns were wrong cannot be trusted: look again.
            problems = [p for p in problems if p.kind in _SEEN_BY_READING or p.kind == "sample"]
            problems += [p for p in inspect(self._store).problems if not p.of_texts]
            self._add_new(problems)
        # A record that could not be rebuilt after all leaves its video to be extracted again.
        left = {(p.row, p.array) for p in problems if p.remedy in {"pending", "record"}}
        self._set_pending(left - known)
        for problem in problems:
            if problem.remedy == "aside" and problem.path is not None:
                self._removed.move(problem.path)

    def _forget_ids(self, problems: Iterable[Problem]) -> None:
        """Let the ledger say again whose a row is: rows never change hands."""
        arrays = self._store.arrays
        ids = arrays.columns[schema.VIDEO_ID]
        for problem in problems:
            if problem.array != schema.VIDEO_ID or not 0 <= problem.row < ids.rows:
                continue
            other = str(ids[problem.row])
            if other and other != problem.video_id:
                ids[problem.row] = ""
                arrays.rows.pop(other, None)

    def _add_new(self, problems: Iterable[Problem]) -> None:
        told = set(map(str, self._report.problems))
        self._report.problems += [problem for problem in problems if str(problem) not in told]

    def _keep_damaged_columns(self) -> None:
        """Their objects are replaced as the ledger has them: keep what they were."""
        for name in self._store.damaged:
            sizes = (self._store.root / name).sizes()
            for file in sorted(key for key in sizes if key != FILE):
                self._removed.keep(self._store.root / name / file)

    def _mend_ledger(self, problems: Sequence[Problem]) -> set[tuple[int, str]]:
        """Take bad lines out and add the records that columns and objects vouch for.

        Returns:
            (row, feature) pairs that have a new record.
        """
        bad = self._store.ledger.bad_lines()
        rebuilt: dict[int, list[FeatureRecord]] = {}
        for problem in problems:
            if problem.record is not None:
                rebuilt.setdefault(problem.row, []).append(problem.record)
        records = list(self._records(rebuilt, bad))
        self._store.ledger.begin_after(self._store.runs.checkpoint())
        if records:
            self._store.ledger.append(self._run_id, records)
        self._take_out(bad)  # after what is told of their files is written anew
        return {(record.row, of.feature) for record in records for of in record.features}

    def _take_out(self, bad: Sequence[BadLine]) -> None:
        numbers: dict[StorePath, set[int]] = {}
        for line in bad:
            numbers.setdefault(line.path, set()).add(line.number)
        for segment in self._store.ledger.segments():
            if segment.path not in numbers:
                continue
            lines = segment.lines()
            of_segment = numbers[segment.path]
            kept = [line for n, line in enumerate(lines, start=1) if n not in of_segment]
            if not kept:
                self._removed.move(segment.path)
            else:
                self._removed.keep(segment.path)
                segment.path.write(b"".join(line + b"\n" for line in kept))

    def _records(
        self, rebuilt: dict[int, list[FeatureRecord]], bad: Sequence[BadLine]
    ) -> Iterable[VideoRecord]:
        sources: dict[int, tuple[str, Fingerprint]] = {}
        ids: dict[int, str] = {}
        for segment in self._store.ledger.segments():
            for record in segment.plain():
                found = fingerprint_from(record["fingerprint"])
                sources[record["row"]] = record["relpath"], found
                ids[record["row"]] = record["video_id"]
        for line in bad:
            source = source_of(line.raw)
            if source is not None:
                sources[source[0]] = source[1:]
        names = {row: name for name, row in self._store.rows().items()}
        times = FrameTimes(self._store.root)
        for row, features in sorted(rebuilt.items()):
            if ids.get(row, names[row]) != names[row]:
                continue  # the column of ids is wrong: what is missing there is the ledger's
            stored = times.read(slice(row, row + 1))[0]
            pts = stored[: len(stored) - int(np.isnan(stored)[::-1].cumprod().sum())]
            relpath, fingerprint = sources.get(row, ("", UNKNOWN_FILE))
            whole = [f for f in features if f.status != Status.OK or self._timed(f, pts)]
            if whole:
                yield VideoRecord(
                    video_id=names[row],
                    row=row,
                    relpath=relpath,
                    fingerprint=fingerprint,
                    pts=tuple(pts.tolist()),
                    features=tuple(whole),
                    report={"rebuilt": True, "lost_rows": self._lost_rows(row, whole)},
                    finished_at=now(),
                    run_id=self._run_id,
                    **self._described(row),
                )

    def _lost_rows(self, row: int, features: Sequence[FeatureRecord]) -> list[int]:
        """Rows of a partial video that hold zeros, as those do whose frame was lost."""
        flags = int(self._store.arrays.columns["index/row_flags"][row])
        lost: set[int] = set()
        for feature in features if flags & RowFlag.PARTIAL else ():
            if feature.status == Status.OK:
                objects = FeatureObjects(self._store.root, feature.feature)
                values = objects.values(row, feature.length)
                if values is not None:
                    empty = ~values.reshape(feature.length, -1).any(axis=1)
                    lost.update(np.flatnonzero(empty).tolist())
        return sorted(lost)

    def _timed(self, record: FeatureRecord, pts: np.ndarray[Any, Any]) -> bool:
        """Whether the times of a video's rows are there; imported features have none."""
        return len(pts) == record.length or "imported" in self._store.recipes()[record.feature]

    def _described(self, row: int) -> dict[str, Any]:
        columns = self._store.arrays.columns
        start, end = (float(columns[f"index/audio_{edge}"][row]) for edge in ("start", "end"))
        return {
            "duration": float(columns["index/duration"][row]),
            "audio_start": None if math.isnan(start) else start,
            "audio_end": None if math.isnan(end) else end,
            "row_flags": int(columns["index/row_flags"][row]),
        }

    def _set_pending(self, bad: set[tuple[int, str]]) -> None:
        if not bad:
            return
        self._report.pending.add(False)
        self._store.set_pending(sorted(bad))
        for row, feature in sorted(bad):
            objects = FeatureObjects(self._store.root, feature)
            known, axes = self._store.arrays.seconds // self._store.chunk_seconds, objects.num_axes
            # Chunks in a shard stay in it until it is written anew, without them.
            inside = [n for n in range(known) if not objects.path(row, n).exists()]
            remove_chunks(objects.root, feature, row, 0, known, axes, self._removed.move)
            for number in inside if objects.videos else ():
                with suppress(DamagedObject):
                    data = objects.read(row, number)
                    if data is not None:
                        self._removed.save(objects.path(row, number), data)


_SEEN_BY_READING = {"crc", "not_finite", "padding"}
