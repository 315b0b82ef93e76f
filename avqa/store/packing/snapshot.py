"""A store as `avqa pack` copies it: read without its lock, and sure not to have changed meanwhile.

Whoever may read a store may pack it, so nothing is written to it, not even a lock. Every run
takes the lock before it changes anything and writes its run file before it is done: as long as
both are what they were, so is the store.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from avqa.errors import StorageFailure, StoreError, StoreLocked
from avqa.store.checks.indexcheck import check_index
from avqa.store.checks.textcheck import check_texts
from avqa.store.commit import Store
from avqa.store.format import layout, schema
from avqa.store.format.chunks import FeatureObjects
from avqa.store.format.decoding import DamagedObject, crc32c
from avqa.store.format.frame_times import FrameTimes
from avqa.store.format.ledger import lost_rows_in, newest_only, warnings_in
from avqa.store.format.records import (
    FINISHED,
    ChunkRecord,
    FeatureRecord,
    Status,
    VideoRecord,
    removed,
)
from avqa.store.format.runs import Runs
from avqa.store.lock import read_holder
from avqa.store.places.files import StorePath


class Snapshot:
    """What a packed copy will say, and the bytes of its chunks."""

    def __init__(self, path: StorePath) -> None:
        """Read the columns and the ledger of the store directory ``path``.

        Raises:
            StoreNotFound: there is no store.
            StoreLocked: a run holds it.
            StoreError: it is a packed copy, damaged, or has no finished video.
        """
        self.path = path
        self.root = path / schema.GROUP
        self._seen = self._state()
        self.attrs = layout.read_attributes(path)
        if layout.is_packed(self.attrs):
            raise StoreError(
                f"store {str(path)!r} is a packed copy; expected a working store; copy its folder"
                " instead"
            )
        self._store = Store.open(path)
        self.features = self._store.features()
        self._objects = {feature: FeatureObjects(self.root, feature) for feature in self.features}
        self._check_parts()
        status = {feature: self._store.status(feature) for feature in self.features}
        ids = {row: name for name, row in self._store.rows().items()}
        named = np.isin(np.arange(self._store.num_rows), list(ids))
        finished = named & np.any([np.isin(s, FINISHED) for s in status.values()], axis=0)
        deleted = named & removed(status.values())
        self.rows: NDArray[np.int64] = np.flatnonzero(finished)
        """Row in this store of every row of the copy."""
        self.num_deleted = int(deleted.sum())
        self.num_unfinished = int((named & ~finished & ~deleted).sum())
        pending = np.any([s == Status.PENDING for s in status.values()], axis=0)
        self.num_partly = int((finished & pending).sum())
        """Videos of the copy with a pending feature."""
        if not len(self.rows):
            raise StoreError(
                f"store {str(path)!r} has no finished video; expected one; run `avqa extract`"
            )
        self.records = list(self._records(ids, status))
        """One per row of the copy, with the copy's row numbers and all its finished features."""

    def _state(self) -> tuple[str | None, list[dict[str, Any]]]:
        # The lock after the runs: a run that is in one of them has ended or is seen here.
        runs = Runs(self.path / "runs").all()
        holder = read_holder(self.path)
        if holder is not None and not holder.is_gone():
            raise StoreLocked(
                f"store {str(self.path)!r} is in use by run_id={holder.run_id}"
                f" host={holder.host} pid={holder.pid} heartbeat={holder.heartbeat}; expected no"
                " run; pack it when that one has ended"
            )
        return holder.run_id if holder else None, runs

    def check_unchanged(self) -> None:
        """Make sure that no run changed the store since this was made.

        Raises:
            StoreLocked: one did, or is about to.
        """
        if self._state() != self._seen:
            raise StoreLocked(
                f"store {str(self.path)!r} was changed by a run while it was packed; expected no"
                " run; nothing was published; pack it again"
            )

    def damaged(self, what: str, detail: str, again: str = "extract") -> StoreError:
        """The error for something in the store that is not as it should be.

        Raises:
            StoreLocked: because a run changed it meanwhile.
        """
        self.check_unchanged()
        return StoreError(
            f"store {str(self.path)!r}: {what}: {detail}; nothing was published; run `avqa verify"
            f" --repair` on it, then `avqa {again}`"
        )

    def _check_parts(self) -> None:
        for line in self._store.ledger.bad_lines():
            raise self.damaged("ledger", str(line))
        for file in FrameTimes(self.root).damaged_objects():
            raise self.damaged(schema.PTS, f"{file.name} cannot be read")
        ids = {row: name for name, row in self._store.rows().items()}
        for array, row, wrong in check_index(self._store):
            raise self.damaged(f"video {ids[row]!r} {array}", wrong)
        for problem in check_texts(self.path, read=True).problems:
            if problem.path is None and problem.kind != "foreign":
                raise self.damaged(problem.array, problem.detail, "questions")

    def _records(
        self, ids: dict[int, str], status: dict[str, NDArray[np.uint8]]
    ) -> Iterator[VideoRecord]:
        bases: dict[int, VideoRecord] = {}
        reports = self._store.ledger.reports()
        known: dict[tuple[int, str], FeatureRecord] = {}
        for record in newest_only(self._store.ledger.segments()):
            if ids.get(record.row) == record.video_id:
                # One record has to tell what all that were made of the video did.
                merged = {
                    "warnings": list(warnings_in(reports[record.row])),
                    "lost_rows": list(lost_rows_in(reports[record.row])),
                }
                report = record.report | {key: values for key, values in merged.items() if values}
                bases[record.row] = replace(record, features=(), pts=(), report=report)
                known |= {(record.row, of.feature): of for of in record.features}
        lost = {feature: self._store.lost_status(feature) for feature in self.features}
        length = {feature: self._store.length(feature) for feature in self.features}
        index = {name: self._store.arrays.columns[f"index/{name}"].values for name in _TIMES}
        flags = self._store.arrays.columns["index/row_flags"].values
        for number, (row, pts) in enumerate(self._images()):
            of_video = []
            for feature in self.features:
                told, is_now = known.get((row, feature)), Status(int(status[feature][row]))
                if is_now == Status.PENDING:
                    if told is not None and lost[feature][row]:
                        raise self.damaged(schema.status_name(feature), "an object of it is gone")
                    continue
                if told is None or (told.status, told.length) != (is_now, length[feature][row]):
                    what = f"video {ids[row]!r} {feature}"
                    raise self.damaged(what, f"is {is_now.name.lower()}, the ledger differs")
                of_video.append(told)
            duration, start, end = (float(values[row]) for values in index.values())
            yield replace(
                bases[row],
                row=number,
                duration=duration,
                pts=pts,
                audio_start=None if np.isnan(start) else start,
                audio_end=None if np.isnan(end) else end,
                row_flags=int(flags[row]),
                features=tuple(of_video),
            )

    def _images(self) -> Iterator[tuple[int, tuple[float, ...]]]:
        """(row, time stamps) of every row of the copy."""
        times = FrameTimes(self.root)
        for block, rows in itertools.groupby(self.rows.tolist(), lambda r: r // schema.PTS_ROWS):
            first = block * schema.PTS_ROWS
            values = times.read(slice(first, first + schema.PTS_ROWS))
            for row in rows:
                shown = np.flatnonzero(~np.isnan(values[row - first]))
                end = shown[-1] + 1 if len(shown) else 0
                yield row, tuple(values[row - first, :end].tolist())

    def columns(self) -> dict[str, NDArray[Any]]:
        """Array → values of every row of the copy, of all arrays with one value per video."""
        found = {n: c.values[self.rows] for n, c in self._store.arrays.columns.items()}
        for feature in self.features:
            # A pending feature may have kept the length that it had.
            ok = found[schema.status_name(feature)] == Status.OK
            found[schema.length_name(feature)][~ok] = 0
        return found

    @property
    def seconds(self) -> int:
        """Size of the second axis of all features."""
        return self._store.arrays.seconds

    def read_chunk(self, feature: str, row: int, number: int, record: ChunkRecord) -> bytes:
        """A chunk object of a row of the copy, compared with the ledger.

        Raises:
            StoreError: it is gone or damaged; names the video.
            StorageFailure: it cannot be read.
            StoreLocked: a run changed the store meanwhile.
        """
        what = f"video {self.records[row].video_id!r} {feature} chunk={number}"
        try:
            data = self._objects[feature].require(int(self.rows[row]), number)
        except FileNotFoundError:
            raise self.damaged(what, "no object") from None
        except DamagedObject as error:
            raise self.damaged(what, str(error)) from None
        except OSError as error:
            raise StorageFailure(
                f"store {str(self.path)!r}: {what} cannot be read: {error.strerror}; expected a"
                " readable file; check the disk or its permissions; nothing was published"
            ) from error
        if len(data) != record.n_bytes:
            raise self.damaged(what, f"{len(data)} bytes, ledger says {record.n_bytes}")
        if (
            int.from_bytes(data[-4:], "little") != record.crc32c
            or crc32c(data[:-4]) != record.crc32c
        ):
            raise self.damaged(what, f"its checksum is not {record.crc32c:08x}, as the ledger says")
        return data


_TIMES = ("duration", "audio_start", "audio_end")
