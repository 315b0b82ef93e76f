"""What a run does before anything else on an existing store: heal what a crash left."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from avqa.store.format.integrity import ChunkChecker
from avqa.store.format.layout import allocate_reserve
from avqa.store.format.ledger import Segment
from avqa.store.format.records import Status, VideoRecord
from avqa.store.format.runs import DAMAGED, INTERRUPTED, RUNNING
from avqa.store.places.files import StorePath, modified

if TYPE_CHECKING:
    from avqa.store.commit import Store
    from avqa.store.lock import Lock

SUSPECT_SECONDS = 900.0
"""Files younger than this at a power loss may be short or empty: zarr does not sync them."""


@dataclass
class Recovery:
    """What was healed; all zero after an orderly run."""

    replayed: int = 0
    """Ledger segments applied again."""
    partials: int = 0
    """Leftovers of interrupted writes removed."""
    bad: list[tuple[int, str]] = field(default_factory=list)
    """(row, feature) pairs whose objects are damaged: pending again."""


def recover(store: Store, lock: Lock, *, rebuild: bool = False) -> Recovery:
    """Heal a store; see `Store.recover`, which guards and calls it."""
    found, run_id = Recovery(), lock.run_id
    runs = store.runs.all()
    interrupted = [run for run in runs if run["state"] == RUNNING and run["run_id"] != run_id]
    rebuild = rebuild or bool(store.damaged)
    segments = store.ledger.segments(0 if rebuild else store.runs.checkpoint())
    if segments:
        store.arrays.replay(newest_only(segments))
        found.replayed = len(segments)
    if lock.took_over or interrupted or segments or rebuild:
        store.arrays.show_rows()
        found.partials = remove_partials(store.path)
        # A damaged run file may have held the checkpoint: any segment may be applied again now.
        everything = rebuild or bool(segments and any(r["state"] == DAMAGED for r in runs))
        found.bad = recheck(
            store,
            None if everything else SUSPECT_SECONDS,
            read=everything or not lock.no_power_loss,
        )
    store.runs.update(run_id, checkpoint=store.ledger.last)
    for run in interrupted:
        store.runs.update(run["run_id"], state=INTERRUPTED)
    allocate_reserve(store.path)
    return found


def newest_only(segments: Sequence[Segment]) -> list[VideoRecord]:
    """Records in the order of their commits, without features that a later one replaced.

    Replaying an old failure would delete the chunk objects of a later success.
    """
    seen: set[tuple[int, str]] = set()
    kept: list[VideoRecord] = []
    for segment in reversed(segments):
        for record in reversed(segment.records()):
            features = tuple(f for f in record.features if (record.row, f.feature) not in seen)
            seen |= {(record.row, f.feature) for f in features}
            if features:
                kept.append(replace(record, features=features))
    return kept[::-1]


def remove_partials(path: StorePath) -> int:
    """Remove leftovers of interrupted writes, with the lock held; a bucket shows none."""
    if not isinstance(path, Path):
        return 0
    # Those in parts are of runs with locks of their own, which may be at work.
    found = (p for p in path.rglob("*.partial") if p.relative_to(path).parts[0] != "parts")
    leftovers = [p for p in found if p.is_file()]
    for leftover in leftovers:
        leftover.unlink(missing_ok=True)
    return len(leftovers)


def recheck(store: Store, newer_than: float | None, *, read: bool) -> list[tuple[int, str]]:
    """Look at the objects of rows committed last, and make damaged ones pending.

    Args:
        store: opened with its lock.
        newer_than: seconds before the newest commit; None checks everything.
        read: also read and decode them; else compare sizes and checksums as they are stored.
    """
    if newer_than is not None and not isinstance(store.path, Path):
        return []  # what a bucket has acknowledged is safe
    segments = store.ledger.segments()
    if newer_than is not None and segments:
        times = {segment.number: modified(segment.path) for segment in segments}
        start = max(times.values()) - newer_than
        segments = [segment for segment in segments if times[segment.number] >= start]
    rows = store.rows()
    status = {feature: store.status(feature) for feature in store.features()}
    checkers = {feature: ChunkChecker(store.root, feature) for feature in status}
    bad = [
        (record.row, feature.feature)
        for record in newest_only(segments)
        for feature in record.features
        if rows.get(record.video_id) == record.row
        and feature.feature in status
        and status[feature.feature][record.row] == Status.OK
        and feature.status == Status.OK
        and checkers[feature.feature].check(record.row, feature, read=read) is not None
    ]
    if bad:
        store.set_pending(bad)
    return bad
