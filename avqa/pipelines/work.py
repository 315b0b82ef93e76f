"""Which videos and features of a store still have to be extracted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from avqa.pipelines.sources import Source, fingerprint
from avqa.pipelines.ticket import VideoJob
from avqa.store.admin import Store
from avqa.store.records import Fingerprint, Status


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
    pending: list[tuple[int, str]] = field(default_factory=list)
    """(row, feature) pairs to be marked pending before anything is dispatched."""


def find_work(
    store: Store, sources: Sequence[Source], features: Sequence[str], *, retry_failed: bool
) -> Work:
    """Compare every source with what the store holds of it.

    A video is skipped only if its file's fingerprint matches and all ``features`` are finished
    (ok, or absent because it has no such stream).
    """
    rows = store.rows()
    known = store.fingerprints()
    stored = {feature: store.status(feature) for feature in store.features()}
    work = Work()
    for source in sources:
        row = rows[source.video_id]
        status = {feature: Status(int(column[row])) for feature, column in stored.items()}
        touched = any(value != Status.PENDING for value in status.values())
        changed = touched and not is_same(source.path, known.get(row))
        if changed:
            work.changed.append(source.video_id)
            stale = [name for name, value in status.items() if value != Status.PENDING]
            work.pending += [(row, feature) for feature in stale]
        needed = _still_needed(status, features, changed=changed, retry_failed=retry_failed)
        work.pending += [(row, f) for f in needed if not changed and status[f] != Status.PENDING]
        if needed:
            good = [f for f, value in status.items() if value == Status.OK and f not in needed]
            rows_there = int(store.length(good[0])[row]) if good and not changed else None
            work.jobs.append(
                VideoJob(row, source.video_id, source.relpath, source.path, needed, rows_there)
            )
        elif any(status[feature] == Status.FAILED for feature in features):
            work.failed_before.append(source.video_id)
        else:
            work.finished += 1
    return work


def _still_needed(
    status: Mapping[str, Status], features: Sequence[str], *, changed: bool, retry_failed: bool
) -> tuple[str, ...]:
    finished = {Status.OK, Status.ABSENT}
    if not retry_failed:
        finished.add(Status.FAILED)
    return tuple(f for f in features if changed or status[f] not in finished)


def is_same(path: str, known: Fingerprint | None) -> bool:
    """Whether the file is the one whose fingerprint is ``known``.

    Equal size and modification time settle it; a touched file is compared by its contents.
    A file that cannot be read any more counts as the same: there is nothing better to extract.
    """
    if known is None:
        return False
    now = fingerprint(path, known=known)
    return now is None or (now.size, now.quick_hash) == (known.size, known.quick_hash)
