"""Which videos and features of a store still have to be extracted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from avqa.pipelines.engine.files import fingerprint, size_of
from avqa.pipelines.engine.job import VideoJob
from avqa.pipelines.extraction.collection.sources import Source
from avqa.store.commit import Store
from avqa.store.format.records import UNKNOWN_FILE, Fingerprint, Status


@dataclass
class Work:
    """The jobs of a run and why other videos are not among them."""

    jobs: list[VideoJob] = field(default_factory=list)
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


class State(NamedTuple):
    """What there is of one feature of one video."""

    status: Status
    rows: int


class Held:
    """What a store holds of videos, as it was when this was made."""

    def __init__(self, store: Store) -> None:
        """Read the statuses, lengths and fingerprints of an open store."""
        self._rows = store.rows()
        self._known = store.fingerprints()
        self._columns = {f: (store.status(f), store.length(f)) for f in store.features()}

    def states(self, video_id: str) -> dict[str, State]:
        """What is there of a video: its features that are not pending."""
        row = self._rows.get(video_id)
        if row is None:
            return {}
        return {
            feature: State(Status(int(status[row])), int(length[row]))
            for feature, (status, length) in self._columns.items()
            if status[row] != Status.PENDING
        }

    def is_removed(self, video_id: str) -> bool:
        """Whether the video was removed, see `Store.delete`."""
        return any(state.status == Status.DELETED for state in self.states(video_id).values())

    def has(self, video_id: str) -> bool:
        """Whether the video has a row and was not removed."""
        return video_id in self._rows and not self.is_removed(video_id)

    def twins(self, sources: Sequence[Source]) -> list[tuple[str, Source]]:
        """(id in the store, source) of the sources whose file the store has under that id.

        A source has one for each of its equals. Only files of equal sizes are read.
        """
        known: dict[int, list[tuple[str, Fingerprint]]] = {}
        for video_id, row in self._rows.items():
            file = self._known.get(row)
            if file is not None and file.size > 0 and self.has(video_id):
                known.setdefault(file.size, []).append((video_id, file))
        found = []
        for source in sources:
            alike = known.get(size_of(source.path), ())
            now = fingerprint(source.path) if alike else None
            found += [(name, source) for name, file in alike if now and is_equal(now, file)]
        return found

    def stale(self, source: Source) -> tuple[str, ...]:
        """The features that are there but were made from another file than ``source`` is now."""
        there = tuple(self.states(source.video_id))
        if there and not is_same(source.path, self._known.get(self._rows[source.video_id])):
            return there
        return ()


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
    rows = store.rows()
    held = Held(store)
    work = Work()
    for source in sources:
        name, row = source.video_id, rows[source.video_id]
        stale = held.stale(source)
        outdated = earlier.stale(source) if earlier else ()
        own = {} if stale else held.states(name)
        before = {} if stale or outdated or not earlier else earlier.states(name)
        there = before | own
        needed = _still_needed(there, features, retry_failed=retry_failed)
        work.pending += [(row, f) for f in stale] + [(row, f) for f in needed if f in own]
        if held.is_removed(name) or (earlier and earlier.is_removed(name)):
            work.returned.append(name)
        elif stale or (outdated and needed):
            work.changed.append(name)
        if needed:
            good = [s.rows for f, s in there.items() if s.status == Status.OK and f not in needed]
            max_rows = good[0] if good else None
            work.jobs.append(VideoJob(row, name, source.relpath, source.path, needed, max_rows))
        elif any(there[feature].status == Status.FAILED for feature in features):
            work.failed_before.append(name)
        else:
            work.finished += 1
    return work


def _still_needed(
    there: Mapping[str, State], features: Sequence[str], *, retry_failed: bool
) -> tuple[str, ...]:
    finished = {Status.OK, Status.ABSENT}
    if not retry_failed:
        finished.add(Status.FAILED)
    return tuple(f for f in features if f not in there or there[f].status not in finished)


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
