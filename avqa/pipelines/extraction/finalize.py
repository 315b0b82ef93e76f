"""`avqa finalize`: the parts of an array job become one store.

Every step may be repeated, so that a run killed anywhere is completed by the next one: rows are
added once; a chunk object that has moved already is known by its size and checksum; records that
are in the store's ledger are left out; `partition.END` says that only the parts' removal is left.
"""

from __future__ import annotations

import contextlib
import itertools
import shlex
import signal
import sys
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from avqa.errors import PartialFailure, RecipeMismatch, Stopped, StoreError, StoreNotFound
from avqa.extract import encoders
from avqa.pipelines.extraction.array_job import (
    END,
    PARTS,
    Partition,
    Videos,
    in_words,
    read_videos,
    unfinished,
)
from avqa.pipelines.extraction.report import RunReport
from avqa.pipelines.extraction.run import check_recipes, machine
from avqa.signals import StopSignals
from avqa.store.adopting import Item, Mover
from avqa.store.collection import read_collection, videos_typed, write_collection
from avqa.store.commit import Store
from avqa.store.format import schema
from avqa.store.format.ledger import Ledger, newest_only
from avqa.store.format.recipe_diff import diff_features, require_same
from avqa.store.format.records import (
    UNKNOWN_FILE,
    Fingerprint,
    Status,
    VideoRecord,
)
from avqa.store.format.runs import DAMAGED, Runs, new_run_id, plain
from avqa.store.lock import Lock
from avqa.store.places.files import StorePath, storage_errors, store_path
from avqa.store.running import running
from avqa.telling import counting
from avqa.units import clock, size

BATCH = 2048
"""Videos that are moved before they are told of: whole shards."""
ROWS = 65_536
"""Rows that are added at a time: what is told of them is in memory until they are."""
THREADS = 8
"""Moves at a time: on network mounts each of them mostly waits."""


@dataclass
class FinalizeReport(RunReport):
    """What `avqa finalize` did; ``extracted`` counts videos that came from the parts."""

    parts: int = 0
    pending: int = 0
    """Videos with chunk objects that the parts should hold and do not."""

    def summary(self) -> str:
        """Counts, time, bytes and the reason the run ended, as one line."""
        counts = [
            f"{self.extracted} from {self.parts} parts",
            f"{self.finished_before} already there",
        ]
        if self.failed:
            counts.append(f"{self.failed} failed")
        if self.failed_before:
            counts.append(f"{self.failed_before} failed before")
        if self.pending:
            counts.append(f"{self.pending} pending")
        if self.without_audio:
            counts.append(f"{self.without_audio} without audio")
        counts += self._warned()
        return (
            f"{self.taken} {'video' if self.taken == 1 else 'videos'}: {', '.join(counts)};"
            f" {self.rows} rows, {size(self.n_bytes)} in {clock(self.wall_seconds)}; {self.reason}"
        )

    def raise_if_failed(self) -> None:
        """Turn failed and pending videos into exit code 3.

        Raises:
            PartialFailure: there are some.
        """
        if self.pending:
            raise PartialFailure(
                f"{self.pending} of {self.taken} videos are pending: chunk objects of their parts"
                " were missing or damaged; expected all; extract them again with: avqa extract"
                f" --videos {videos_typed(self.store)} --out {shlex.quote(str(self.store))}"
            )
        super().raise_if_failed()


def finalize(
    path: StorePath, say: Callable[[str], None] = lambda line: None, *, steal_lock: bool = False
) -> FinalizeReport | None:
    """Move everything that the tasks of an array job extracted into the store ``path``.

    The store's bytes are those of one extraction of all videos. None if the store is there and
    has no parts.

    Raises:
        StoreNotFound: there are neither parts nor a store.
        StoreError: tasks are not finished, or differ in what they extracted.
        StoreLocked, RecipeMismatch: the store refuses.
        StorageFailure: the disk is full or read-only.
        Stopped: a signal came; run it again.
    """
    path = store_path(path)
    end = path / PARTS / END
    videos = read_videos(path)
    if videos is None and not end.exists():
        if not Store.exists(path):
            raise StoreNotFound(
                f"no store and no parts of one at {str(path)!r}; expected what `avqa extract"
                " --partition I/N --out STORE` made; check the path"
            )
        return None
    if videos is not None and not end.exists():
        _refuse_unfinished(path, unfinished(path, videos, steal=steal_lock))
    run_id = new_run_id()
    with (
        StopSignals("run `avqa finalize` again") as signals,
        Lock.acquire(path, run_id, steal=steal_lock) as lock,
        contextlib.ExitStack() as locks,
    ):
        if videos is not None and not end.exists():
            for task in videos.tasks():
                locks.enter_context(Lock.acquire(task.folder(path), run_id, steal=steal_lock))
            report = _Merger(path, videos, lock, signals, say).run()
            end.write_json(plain(report))
        report = _read_report(end)
        with storage_errors(f"{str(path / PARTS)!r}"):
            (path / PARTS).remove_folder(last=END)  # the note that it may be removed
    return report


def _refuse_unfinished(path: StorePath, lacks: Mapping[Partition, str]) -> None:
    if lacks:
        numbers = ",".join(str(task.index) for task in lacks)
        raise StoreError(
            f"store {str(path)!r}: {len(lacks)} tasks are not finished: {in_words(lacks)};"
            f" expected all to be; run tasks {numbers} of `avqa extract --partition` again,"
            " then `avqa finalize`"
        )


def _read_report(end: StorePath) -> FinalizeReport:
    values = end.read_json()
    report = FinalizeReport(**values)
    report.store = store_path(values["store"])
    report.report_path = _path(values["report_path"])
    report.warnings_path = _path(values.get("warnings_path"))
    return report


def _path(text: str | None) -> StorePath | None:
    return store_path(text) if text else None


@dataclass
class _Tally:
    """What the parts have, added up as it is moved: records are not kept."""

    moved: NDArray[np.bool_]
    """Rows of the store that a part has anything of: ``[rows]``."""
    rows: int = 0
    n_bytes: int = 0
    failures: list[VideoRecord] = field(default_factory=list)
    warned: list[VideoRecord] = field(default_factory=list)

    def take(self, records: Sequence[VideoRecord]) -> int:
        """Count some more; how many videos are new among them."""
        before = int(self.moved.sum())
        self.moved[[record.row for record in records]] = True
        for record in records:
            self.rows += max((feature.length for feature in record.features), default=0)
            self.n_bytes += sum(c.n_bytes for f in record.features for c in f.chunks)
            if any(feature.status == Status.FAILED for feature in record.features):
                self.failures.append(record)
            if record.warnings:
                self.warned.append(record)
        return int(self.moved.sum()) - before


class _Merger:
    """One run of `finalize` on a store whose lock, and whose parts' locks, are held."""

    def __init__(
        self,
        path: StorePath,
        videos: Videos,
        lock: Lock,
        signals: StopSignals,
        say: Callable[[str], None],
    ) -> None:
        self._path = path
        self._videos = videos
        self._lock = lock
        self._signals = signals
        self._say = say
        self._report = FinalizeReport(lock.run_id, path, len(videos.relpaths), parts=videos.count)

    def run(self) -> FinalizeReport:
        """Everything but the removal of the parts."""
        started = time.monotonic()
        report = self._report
        # One of them is open at a time: there may be thousands.
        parts = [task.folder(self._path) for task in self._videos.tasks()]
        for part in parts:
            Ledger(part / "ledger").require_sound()
        recipes = _common_recipes(parts)

        def ended(reason: str) -> dict[str, Any]:
            report.reason, report.wall_seconds = reason, time.monotonic() - started
            return plain(report)

        asked = {"argv": sys.argv, "environment": machine(), "parts": len(parts)}
        create = partial(self._create, Store.open(parts[0]), recipes)
        with running(self._path, self._lock, asked, ended, create=create) as store:
            check_recipes(store, recipes)
            lacks = unfinished(self._path, self._videos, run_id=self._lock.run_id)
            _refuse_unfinished(self._path, lacks)
            _merge_collections(self._path, parts)
            self._merge(store, parts, recipes)
        return report

    def _create(self, part: Store, recipes: Mapping[str, Mapping[str, Any]]) -> Store:
        specs = [_spec(part, feature) for feature in recipes]
        return Store.create(
            self._path,
            recipes,
            specs,
            part.chunk_seconds,
            lock=self._lock,
            shard_videos=part.shard_videos,
        )

    def _merge(
        self, store: Store, parts: Sequence[StorePath], recipes: Mapping[str, Mapping[str, Any]]
    ) -> None:
        new = [feature for feature in recipes if feature not in store.features()]
        if new:
            first = Store.open(parts[0])
            specs, added = [_spec(first, f) for f in new], {f: recipes[f] for f in new}
            store.add_features(specs, added, first.shard_videos)
        known = store.rows()
        new_names = (name for name in self._videos.relpaths if name not in known)
        while names := [*itertools.islice(new_names, ROWS)]:
            store.add_rows(names)
        rows, there = store.rows(), _committed(store)
        # In two passes, so that the records of one part at a time are in memory.
        for_store = (item.record for item in self._items(parts, rows))
        outstanding = (r for r in for_store if r.row not in there.get(r.run_id, ()))
        store.set_pending(_outdated(store, outstanding))
        tally = _Tally(np.zeros(store.num_rows, bool))
        self._move(store, parts, self._items(parts, rows), there, tally)
        for part in parts:
            _copy_runs(part, store)
        self._count(store, tally, tuple(recipes))

    def _items(self, parts: Sequence[StorePath], rows: Mapping[str, int]) -> Iterator[Item]:
        for task, part in zip(self._videos.tasks(), map(Store.open, parts), strict=True):
            for made in _records(part, self._videos.names_of(task)):
                yield Item(part, made, replace(made, row=rows[made.video_id]))

    def _move(
        self,
        store: Store,
        parts: Sequence[StorePath],
        items: Iterator[Item],
        there: Mapping[str, Collection[int]],
        tally: _Tally,
    ) -> None:
        mover, total, done = Mover(store), len(self._videos.relpaths), 0
        with storage_errors(f"store {str(self._path)!r}"):
            for part in parts:
                mover.adopt(Store.open(part))
        with (
            counting(self._say, "finalize", total, "videos moved") as count,
            ThreadPoolExecutor(THREADS) as pool,
        ):
            while batch := [*itertools.islice(items, BATCH)]:
                if self._signals.received is not None:
                    raise Stopped(
                        self._signals.received,
                        f"stopped by {signal.Signals(self._signals.received).name}: {done} of"
                        f" {total} videos moved; run `avqa finalize` again",
                    )
                left = [i for i in batch if i.record.row not in there.get(i.record.run_id, ())]
                with storage_errors(f"store {str(self._path)!r}"):
                    records = [*pool.map(mover.move, left)]
                if records:
                    store.commit([record for record in records if record.features])
                new = tally.take([item.record for item in batch])
                done += new
                count.step(new)
        if mover.copied:
            self._say(
                f"copied: {mover.copied} chunks, since the rows of their shards are not those of"
                " whole shards of the store; all others were moved"
            )

    def _count(self, store: Store, tally: _Tally, features: tuple[str, ...]) -> None:
        report = self._report
        rows = store.rows()
        columns = [store.status(feature) for feature in features]
        for name in self._videos.relpaths:
            row = rows[name]
            found, moved = {Status(int(column[row])) for column in columns}, bool(tally.moved[row])
            if Status.PENDING in found:
                report.pending += 1
                self._say(f"pending: video={name}, its chunk objects were missing or damaged")
            elif Status.FAILED in found:
                report.failed += moved
                report.failed_before += not moved
            else:
                report.extracted += moved
                report.finished_before += not moved
            report.without_audio += moved and Status.ABSENT in found
        report.rows, report.n_bytes = tally.rows, tally.n_bytes
        if tally.failures:
            report.report_path = store.write_report(tally.failures)
        report.with_warnings = len({record.video_id for record in tally.warned})
        if tally.warned:
            report.warnings_path = store.write_warnings(tally.warned)


def _spec(part: Store, feature: str) -> schema.FeatureSpec:
    tap = encoders.tap_of(feature)
    dtype = cast(Any, schema.open_array(part.root, feature).dtype.name)
    return schema.FeatureSpec(feature, tap.shape, tap.dims, tap.sparse, dtype)


def _common_recipes(parts: Sequence[StorePath]) -> dict[str, dict[str, Any]]:
    """The recipes that all parts share.

    Raises:
        RecipeMismatch: two parts differ; names both.
    """
    first = Store.open(parts[0])
    for part in map(Store.open, parts[1:]):
        differing = diff_features(first.recipes(), part.recipes())
        others = sorted(first.recipes().keys() ^ part.recipes().keys())
        what = f"parts {str(first.path)!r} (first) and {str(part.path)!r} (second)"
        advice = "remove the wrong one and run its task again"
        require_same(what, differing, advice, sides=("first", "second"))
        if others:
            raise RecipeMismatch(
                f"{what}: only one has features={','.join(others)}; expected the same; {advice}"
            )
    return first.recipes()


def _records(part: Store, names: Sequence[str]) -> Iterator[VideoRecord]:
    """What a part's ledger says of its videos, without what does not count any more."""
    share, rows = set(names), part.rows()
    status = {feature: part.status(feature) for feature in part.features()}
    for record in newest_only(part.ledger.segments()):
        if record.video_id in share and rows.get(record.video_id) == record.row:
            features = [f for f in record.features if status[f.feature][record.row] == f.status]
            if features:
                yield replace(record, features=tuple(features))


def _committed(store: Store) -> dict[str, set[int]]:
    """Run → rows of all its records in a store's ledger: a run makes one of a video."""
    found: dict[str, set[int]] = {}
    for segment in store.ledger.segments():
        for record in segment.plain():
            found.setdefault(record.get("run_id", ""), set()).add(record["row"])
    return found


def _outdated(store: Store, records: Iterable[VideoRecord]) -> Iterator[tuple[int, str]]:
    """(row, feature) pairs of a store that these records replace, or whose file was another."""
    known = store.fingerprints()
    columns = {feature: store.status(feature) for feature in store.features()}
    if not any((status != Status.PENDING).any() for status in columns.values()):
        return  # a new store: the records need not be read for it
    for record in records:
        old, new = known.get(record.row), record.fingerprint
        # A file that could not be read has no hash: nothing says that it is another one.
        known_one = old is not None and old != UNKNOWN_FILE and bool(new.quick_hash)
        same = old is None or not known_one or _content(old) == _content(new)
        replaced = {feature.feature for feature in record.features}
        for feature, status in columns.items():
            if status[record.row] != Status.PENDING and (not same or feature in replaced):
                yield record.row, feature


def _content(file: Fingerprint) -> tuple[int, str]:
    return file.size, file.quick_hash


def _merge_collections(path: StorePath, parts: Sequence[StorePath]) -> None:
    """What the parts' runs remembered, in the store, too."""
    known = read_collection(path)
    for part in parts:
        made = read_collection(part)
        for root in made.roots:
            known = known.with_root(root)
        known = replace(known, weights=made.weights or known.weights)
    with storage_errors(f"store {str(path)!r}"):
        write_collection(path, known)


def _copy_runs(part: StorePath, store: Store) -> None:
    """Keep the files of the runs that made a part: with which versions, on which machine."""
    for run in Runs(part / "runs").all():
        if run["state"] != DAMAGED:
            # The checkpoint is a number of the part's ledger.
            store.runs.update(run["run_id"], **{**run, "checkpoint": 0})
