"""One feature of a store: its objects, its status and its length against the ledger.

Three witnesses: the ledger's record, the columns, the objects. None is enough by itself, and what
two of them vouch for stays: a column that contradicts the ledger is written anew from it, and a
record that is missing is made from the column and the objects. Only what the objects contradict has
to be extracted again. What the machine does not give is neither good nor bad.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import numpy as np

from avqa.faults import NOT_THERE, is_limit
from avqa.machine import num_cores
from avqa.store.checks.report import Level, Problem, Remedy, VerifyReport
from avqa.store.commit import Store
from avqa.store.format import schema
from avqa.store.format.chunks import object_sizes, row_of
from avqa.store.format.integrity import ChunkChecker
from avqa.store.format.records import FeatureRecord, RowFlag, Status
from avqa.store.format.shards import UNREAD, ShardChecker
from avqa.store.lock import LOCK, read_holder
from avqa.store.places.files import StorePath

PARTIAL_SECONDS = 3600.0
"""While a run holds the store, younger leftovers may be writes in progress."""
TOGETHER = 64
"""Rows that a thread reads one after the other: handing over each would take longer than it."""
NO_RECORD = -1


class FeatureCheck:
    """Checks one feature and adds to the report."""

    def __init__(
        self,
        store: Store,
        feature: str,
        records: dict[int, FeatureRecord],
        report: VerifyReport,
        looked_at: Callable[[], None] = lambda: None,
    ) -> None:
        """Take the newest record of every row; ``looked_at`` is called after each."""
        self._looked_at = looked_at
        self._store = store
        self._feature = feature
        self._records = records
        self._report = report
        self._ids = store.names()
        self._status = store.status(feature)
        self._length = store.length(feature)
        self._checker = ChunkChecker(store.root, feature)
        self._objects = self._checker.objects
        self._num_axes = self._objects.num_axes

    def run(self, level: Level) -> None:
        """Compare statuses and lengths, then the objects, as the level asks."""
        shards, objects = self._listed()
        self._find_lost_status()
        good, bare, others = self._sorted_out()
        for row in others:
            self._contradicted(row, objects)
        if self._store.packed:
            self._check_shards(shards, bare, level)
            return
        if level == "crc":
            self._read(good, self._check)
        else:
            sizes = self._objects.sizes(self._whole(shards)) | objects
            for row in good:
                self._compare_sizes(row, sizes)
        self._read(bare, self._vouch)
        self._find_strangers(self._objects.root / self._feature, objects, self._judge_object)
        self._find_strangers(self._objects.folder, shards, self._judge_shard)

    def _listed(self) -> tuple[dict[str, int], dict[str, int]]:
        """Sizes of the shards and of the objects of one chunk, of this part; counted."""
        root, part, shards = self._store.root, self._store.part, dict[str, int]()
        if self._objects.videos:
            height = self._objects.videos
            shards = object_sizes(
                root, self._feature, lambda name: part is None or part.has(row_of(name, height))
            )
        objects = {}
        if not self._store.packed:
            with suppress(*NOT_THERE):  # a crash may have left a store without a group for these
                objects = object_sizes(
                    self._objects.root,
                    self._feature,
                    lambda name: part is None or part.has(row_of(name)),
                )
        for found in (shards, objects):
            self._report.objects += len(found)
            self._report.n_bytes += sum(found.values())
        return shards, objects

    def _whole(self, shards: Iterable[str]) -> list[str]:
        """Those that are names of shards."""
        names = (name for name in shards if not name.endswith(".partial"))
        return [name for name in names if _is_chunk(name.split("."), self._num_axes)]

    def _add(
        self,
        kind: str,
        row: int,
        detail: str,
        path: StorePath | None = None,
        remedy: Remedy = "pending",
        record: FeatureRecord | None = None,
    ) -> None:
        name = self._ids.get(row, "")
        self._report.problems.append(
            Problem(kind, self._feature, name, row, detail, path, remedy=remedy, record=record)
        )

    def _find_lost_status(self) -> None:
        """An array whose object is gone reads as pending everywhere."""
        column = self._store.arrays.columns[schema.status_name(self._feature)]
        lost = self._store.lost_status(self._feature)
        if any(row in self._records and row in self._ids for row in np.flatnonzero(lost).tolist()):
            detail = f"{column.lost[0]} is gone; the ledger has videos of it"
            self._report.problems.append(
                Problem("index", column.name, "", -1, detail, remedy="columns")
            )

    def _sorted_out(self) -> tuple[list[int], list[int], list[int]]:
        """Rows that are ok in columns and ledger, in the columns alone, and all others."""
        rows = np.fromiter(self._ids, np.int64, len(self._ids))
        records = [self._records.get(row) for row in self._ids]
        told = np.array([NO_RECORD if r is None else r.status for r in records], np.int64)
        length = np.array([0 if r is None else r.length for r in records], np.int64)
        ok, told_ok = self._status[rows] == Status.OK, told == Status.OK
        agrees = ok & told_ok & (length == self._length[rows])
        bare = ok & ~told_ok
        others = np.sort(rows[~(agrees | bare)])
        return rows[agrees].tolist(), rows[bare].tolist(), others.tolist()

    def _contradicted(self, row: int, objects: Mapping[str, int]) -> None:
        """Tell where columns and ledger differ on a row that the columns do not call ok."""
        status, record = int(self._status[row]), self._records.get(row)
        is_same = record is not None and record.status == status
        if status == Status.PENDING or (
            is_same and record is not None and record.length == self._length[row]
        ):
            return
        if is_same and record is not None:
            told = f"is {self._length[row]}, ledger says {record.length}"
            self._add("length", row, told, remedy="columns")
            return
        detail = f"is {_named(status)}, ledger says {_told(record)}"
        rebuilt = self._without_objects(row, objects)
        if rebuilt is not None:
            self._add("ledger", row, detail, remedy="record", record=rebuilt)
        else:
            self._add("status", row, detail, remedy="columns" if record else "pending")

    def _without_objects(self, row: int, objects: Mapping[str, int]) -> FeatureRecord | None:
        """The record of a row that says of itself why there is none of its objects."""
        flags = self._store.arrays.columns["index/row_flags"].values
        of_row = [self._store.status(feature)[row] for feature in self._store.features()]
        removed = all(status == Status.DELETED for status in of_row)
        silent = self._status[row] == Status.ABSENT and not flags[row] & RowFlag.HAS_AUDIO
        known = row in self._records
        start = f"c.{row}."
        if any(name.startswith(start) for name in objects):
            return None
        if removed or (silent and not known):
            return FeatureRecord(self._feature, Status(int(self._status[row])), 0)
        return None

    def _read(self, rows: list[int], judge: Callable[[int], None]) -> None:
        first = len(self._report.problems)
        groups = [rows[start : start + TOGETHER] for start in range(0, len(rows), TOGETHER)]
        with ThreadPoolExecutor(max_workers=num_cores()) as pool:
            errors = itertools.chain.from_iterable(pool.map(_tried(judge), groups))
            for row, error in zip(rows, errors, strict=True):
                self._looked_at()
                if error is not None:
                    name = self._ids.get(row, "")
                    detail = f"{error.strerror or error}: {error.filename or 'an object'}"
                    self._report.unread.append(
                        Problem(UNREAD, self._feature, name, row, detail, remedy="none")
                    )
        self._report.problems[first:] = sorted(self._report.problems[first:], key=_row)

    def _check(self, row: int) -> None:
        wrong = self._checker.check(row, self._records[row])
        if wrong is not None:
            self._add(wrong[0], row, wrong[1])

    def _vouch(self, row: int) -> None:
        told = f"is ok, ledger says {_told(self._records.get(row))}"
        record = self._checker.vouched(row, int(self._length[row]))
        if record is None:
            self._add("status", row, f"{told}, and its objects are not whole")
        else:
            detail = f"{told}; all {len(record.chunks)} objects of it are good"
            self._add("ledger", row, detail, remedy="record", record=record)

    def _check_shards(self, objects: Mapping[str, int], bare: list[int], level: Level) -> None:
        for row in bare:
            told = f"is ok, ledger says {_told(self._records.get(row))}"
            self._add("ledger", row, told)
        # What lies where follows from the ledger alone.
        records = {row: record for row, record in self._records.items() if row in self._ids}
        checker = ShardChecker(self._store.root, self._feature)
        for wrong in checker.check(records, objects, read=level == "crc", unknown=bare):
            if wrong.kind == UNREAD:
                self._report.unread.append(
                    Problem(UNREAD, self._feature, "", -1, wrong.detail, remedy="none")
                )
            else:
                self._add(wrong.kind, wrong.row, wrong.detail)

    def _compare_sizes(self, row: int, objects: Mapping[str, int]) -> None:
        for number, chunk in enumerate(self._records[row].chunks):
            name = ".".join(["c", str(row), str(number), *["0"] * self._num_axes])
            if name not in objects:
                self._add("missing", row, f"chunk={number}: no object")
            elif objects[name] != chunk.n_bytes:
                detail = f"chunk={number}: {objects[name]} bytes, ledger says {chunk.n_bytes}"
                self._add("size", row, detail)

    def _find_strangers(
        self,
        folder: StorePath,
        objects: Iterable[str],
        judge: Callable[[int, int, StorePath], None],
    ) -> None:
        held = read_holder(self._store.path) is not None
        for name in sorted(objects):
            parts = name.split(".")
            if name.endswith(".partial"):
                if not held or self._age(folder / name) > PARTIAL_SECONDS:
                    detail = f"{name}: left by a killed writer"
                    self._add("partial", -1, detail, folder / name, "aside")
            elif not _is_chunk(parts, self._num_axes):
                self._add("foreign", -1, f"{name}: not written by avqa", remedy="none")
            else:
                judge(int(parts[1]), int(parts[2]), folder / name)

    def _age(self, path: StorePath) -> float:
        """Seconds from its last change to the last sign of life of the run, by the disk's clock."""
        try:
            return (self._store.path / LOCK).modified() - path.modified()
        except FileNotFoundError:
            return 0.0

    def _judge_object(self, row: int, chunk: int, path: StorePath) -> None:
        record = self._records.get(row)
        status = int(self._status[row]) if row in self._ids else int(Status.DELETED)
        if status == Status.PENDING:
            self._report.uncommitted += 1
        elif status != Status.OK:
            if record is not None and record.status == Status.OK:
                return  # the columns contradict the ledger, which is told already
            self._add("orphan", row, f"{path.name}: the row is {_named(status)}", path, "aside")
        elif chunk >= schema.num_chunks(self._seconds_of(row), self._store.chunk_seconds):
            self._add("orphan", row, f"{path.name}: beyond the video's end", path, "aside")

    def _judge_shard(self, block: int, chunk: int, path: StorePath) -> None:
        if block * self._objects.videos >= self._store.num_rows:
            self._add("orphan", -1, f"{path.name}: no row is in it", path, "aside")
        elif not self._objects.is_sound(block, chunk):
            self._add("crc", -1, f"shard {path.name}: its index is damaged", path, "aside")

    def _seconds_of(self, row: int) -> int:
        record = self._records.get(row)
        known = record.length if record is not None and record.status == Status.OK else 0
        return max(known, int(self._length[row]))


def _is_chunk(parts: list[str], num_axes: int) -> bool:
    numbers = parts[1:]
    # c.01.0.0 is no name that zarr would read.
    plain = all(number.isdecimal() and str(int(number)) == number for number in numbers)
    return parts[0] == "c" and plain and len(numbers) == num_axes + 2


def _tried(judge: Callable[[int], None]) -> Callable[[list[int]], list[OSError | None]]:
    def try_it(row: int) -> OSError | None:
        try:
            judge(row)
        except OSError as error:
            if is_limit(error):
                raise
            return error
        return None

    return lambda rows: [try_it(row) for row in rows]


def _row(problem: Problem) -> int:
    return problem.row


def _named(status: int) -> str:
    try:
        return Status(status).name.lower()
    except ValueError:
        return f"{status}, which is no status"


def _told(record: FeatureRecord | None) -> str:
    return record.status.name.lower() if record else "nothing"
