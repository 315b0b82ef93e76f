"""Which videos and features of a store still have to be extracted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from avqa.pipelines.engine.files import facts_of, fingerprint
from avqa.pipelines.engine.job import VideoJob
from avqa.pipelines.extraction.collection.sources import Source
from avqa.store.commit import Store
from avqa.store.format.records import UNKNOWN_FILE, Fingerprint, Status

Flags = NDArray[np.bool_]
T = TypeVar("T", bound=np.generic)


class Jobs(Sequence[VideoJob]):
    """The videos of a run: columns, of which a job is made when it is its turn."""

    def __init__(
        self,
        sources: Sequence[Source],
        rows: NDArray[np.int64],
        todo: NDArray[np.bool_],
        needed: Mapping[str, NDArray[np.bool_]],
        max_rows: NDArray[np.int64],
    ) -> None:
        """Take the sources that are ``todo``.

        Args:
            sources: all of a run.
            rows: of the store, ``[sources]``.
            todo: ``[sources]``.
            needed: feature → whether a source lacks it, ``[sources]``.
            max_rows: of other features that are there; -1: none, ``[sources]``.
        """
        which = np.flatnonzero(todo)
        self._sources = [sources[k] for k in which.tolist()]
        self.rows: NDArray[np.int64] = rows[which]
        """Row of each job: ``[jobs]``."""
        self._max_rows = max_rows[which].astype(np.int32)
        self._features = [*needed]
        self._lacks = np.zeros(len(which), np.int64)
        for bit, lacking in enumerate(needed.values()):
            self._lacks |= lacking[which].astype(np.int64) << bit

    def __len__(self) -> int:
        """Number of jobs."""
        return len(self._sources)

    def __getitem__(self, at: Any) -> Any:
        """The job, or a list of the jobs of a slice."""
        if isinstance(at, slice):
            return [self[k] for k in range(*at.indices(len(self)))]
        source, max_rows = self._sources[at], int(self._max_rows[at])
        return VideoJob(
            row=int(self.rows[at]),
            video_id=source.video_id,
            relpath=source.relpath,
            path=source.path,
            features=self._names(int(self._lacks[at])),
            max_rows=None if max_rows < 0 else max_rows,
        )

    def _names(self, lacks: int) -> tuple[str, ...]:
        return tuple(name for bit, name in enumerate(self._features) if lacks >> bit & 1)

    def counts(self) -> Counter[tuple[str, ...]]:
        """Features → number of jobs that lack exactly these."""
        sets, numbers = np.unique(self._lacks, return_counts=True)
        return Counter(dict(zip(map(self._names, sets.tolist()), numbers.tolist(), strict=True)))


@dataclass
class Work:
    """The jobs of a run and why other videos are not among them."""

    jobs: Jobs
    finished: int = 0
    """Videos all of whose features are there already."""
    failed_before: list[str] = field(default_factory=list)
    """Ids of videos that failed in an earlier run and are not retried."""
    changed: list[str] = field(default_factory=list)
    """Ids of videos whose file is another one than was extracted."""
    returned: list[str] = field(default_factory=list)
    """Ids of videos that were removed from the store: taken in again, each in its old row."""
    pending: list[tuple[int, str]] = field(default_factory=list)
    """(row, feature) pairs to be marked pending before anything is dispatched."""


@dataclass(frozen=True)
class Found:
    """What a store holds of some sources, in their order: ``[sources]`` each."""

    rows: NDArray[np.int64]
    """-1 where the store has none."""
    status: dict[str, NDArray[np.uint8]]
    """Feature → status; pending where there is nothing."""
    length: dict[str, NDArray[np.uint32]]
    """Feature → seconds."""
    removed: Flags
    """Removed, see `Store.delete`."""
    stale: Flags
    """Something is there, of another file than the source is now."""


class Held:
    """What a store holds of videos, as it was when this was made."""

    def __init__(self, store: Store) -> None:
        """Read the statuses, lengths and fingerprints of an open store."""
        self._rows = store.rows()
        self._files = store.fingerprints()
        self._status = {feature: store.status(feature) for feature in store.features()}
        self._length = {feature: store.length(feature) for feature in store.features()}
        self._removed: Flags = np.logical_or.reduce(
            [column == Status.DELETED for column in self._status.values()]
        )

    def has(self, video_id: str) -> bool:
        """Whether the video has a row and was not removed, see `Store.delete`."""
        row = self._rows.get(video_id)
        return row is not None and not self._removed[row]

    def twins(self, sources: Sequence[Source]) -> list[tuple[str, Source]]:
        """(id in the store, source) of the sources whose file the store has under that id.

        A source has one for each of its equals. Only files of equal sizes are read.
        """
        sizes = [facts_of(source.path)[0] for source in sources]
        rows = set(self._files.of_sizes(size for size in sizes if size > 0))
        known: dict[int, list[tuple[str, Fingerprint]]] = {}
        for video_id, row in self._rows.items():
            if row in rows and self.has(video_id):
                file = self._files[row]
                known.setdefault(file.size, []).append((video_id, file))
        found = []
        for source, size in zip(sources, sizes, strict=True):
            alike = known.get(size, ())
            now = fingerprint(source.path) if alike else None
            found += [(name, source) for name, file in alike if now and is_equal(now, file)]
        return found

    def look(self, sources: Sequence[Source]) -> Found:
        """What there is of these sources; asks for the file of each that anything is there of."""
        rows = np.fromiter(
            (self._rows.get(source.video_id, -1) for source in sources), np.int64, len(sources)
        )
        known = rows >= 0

        def of_sources(column: NDArray[T]) -> NDArray[T]:
            found: NDArray[T] = np.zeros(len(rows), column.dtype)
            found[known] = column[rows[known]]
            return found

        status = {feature: of_sources(column) for feature, column in self._status.items()}
        there = np.logical_or.reduce([column != Status.PENDING for column in status.values()])
        return Found(
            rows=rows,
            status=status,
            length={feature: of_sources(column) for feature, column in self._length.items()},
            removed=of_sources(self._removed),
            stale=self._changed(sources, rows, there),
        )

    def _changed(
        self, sources: Sequence[Source], rows: NDArray[np.int64], asked: Flags
    ) -> NDArray[np.bool_]:
        """Which of the sources that are ``asked`` for are other files than those of their rows."""
        changed = np.zeros(len(sources), bool)
        which = np.flatnonzero(asked)
        facts = chain.from_iterable(facts_of(sources[k].path) for k in which.tolist())
        sizes, times = np.fromiter(facts, np.int64, 2 * len(which)).reshape(-1, 2).T
        same = self._files.unchanged(rows[which], sizes, times)
        for k in which[~same].tolist():
            changed[k] = not is_same(sources[k].path, self._files.get(int(rows[k])))
        return changed


def find_work(
    store: Store,
    sources: Sequence[Source],
    features: Sequence[str],
    *,
    retry_failed: bool,
    earlier: Held | None = None,
) -> Work:
    """Compare every source with what the store holds of it.

    A video is skipped only if its file's fingerprint matches and all ``features`` are finished
    (ok, or absent because it has no such stream). What ``earlier`` holds, another store, counts
    like what this one does, as long as the file is the same.
    """
    finished = [Status.OK, Status.ABSENT, *([] if retry_failed else [Status.FAILED])]
    found = [Held(store).look(sources), *([earlier.look(sources)] if earlier else [])]
    own, gone = found[0], np.logical_or.reduce([each.removed for each in found])
    outdated = np.logical_or.reduce([each.stale for each in found])
    there = _together(found, outdated)
    nothing = np.zeros(len(sources), np.uint8)
    status = {feature: there.get(feature, (nothing, nothing))[0] for feature in features}
    needed = {feature: ~np.isin(column, finished) for feature, column in status.items()}
    todo = np.logical_or.reduce([*needed.values()])
    failed = ~todo & np.logical_or.reduce([column == Status.FAILED for column in status.values()])

    def names(which: Flags) -> list[str]:
        return [sources[k].video_id for k in np.flatnonzero(which).tolist()]

    return Work(
        jobs=Jobs(sources, own.rows, todo, needed, _max_rows(there, needed, len(sources))),
        finished=int((~todo & ~failed).sum()),
        failed_before=names(failed),
        changed=names(~gone & (own.stale | (outdated & todo))),
        returned=names(gone),
        pending=_again(own, needed),
    )


def _again(own: Found, needed: Mapping[str, Flags]) -> list[tuple[int, str]]:
    """(row, feature) of what is there and is to be made again, or is of another file."""
    return [
        (row, feature)
        for feature, column in own.status.items()
        for row in own.rows[
            (column != Status.PENDING) & (own.stale | needed.get(feature, own.stale))
        ].tolist()
    ]


def _together(
    found: Sequence[Found], outdated: Flags
) -> dict[str, tuple[NDArray[np.uint8], NDArray[np.uint32]]]:
    """Feature → status and length of what counts of each source: the first store's, if it is there.

    What a store has of another file does not count, nor what the others have then.
    """
    there: dict[str, tuple[NDArray[np.uint8], NDArray[np.uint32]]] = {}
    for number, each in reversed([*enumerate(found)]):
        counts = ~(outdated if number else each.stale)
        for feature, column in each.status.items():
            here, length = counts & (column != Status.PENDING), each.length[feature]
            below = there.get(feature, (np.zeros_like(column), np.zeros_like(length)))
            there[feature] = (np.where(here, column, below[0]), np.where(here, length, below[1]))
    return there


def _max_rows(
    there: Mapping[str, tuple[NDArray[np.uint8], NDArray[np.uint32]]],
    needed: Mapping[str, Flags],
    count: int,
) -> NDArray[np.int64]:
    """Rows of what is there of each source and stays: ``[sources]``, -1 where nothing is."""
    rows = np.full(count, -1, np.int64)
    for feature, (status, length) in there.items():
        stays = (status == Status.OK) & ~needed.get(feature, np.zeros(count, bool))
        rows = np.where(stays & (rows < 0), length, rows)
    return rows


def is_same(path: str, known: Fingerprint | None) -> bool:
    """Whether the file is the one whose fingerprint is ``known``.

    Equal size and modification time settle it; a touched file is compared by its contents.
    A file that cannot be read any more counts as the same: there is nothing better to extract. So
    does one of a rebuilt record, of which nothing is known.
    """
    if known is None:
        return False
    if known == UNKNOWN_FILE:
        return True
    now = fingerprint(path, known=known)
    return now is None or is_equal(now, known)


def is_equal(one: Fingerprint, other: Fingerprint) -> bool:
    """Whether two files have the same content, as far as fingerprints tell."""
    return (one.size, one.quick_hash) == (other.size, other.quick_hash)
