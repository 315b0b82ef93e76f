"""What a crash may leave of a store's files; `Store.recover` heals it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from avqa.store.format.integrity import ChunkChecker
from avqa.store.format.layout import REMOVED
from avqa.store.format.ledger import Ledger
from avqa.store.format.records import Status, feature_from
from avqa.store.places.files import StorePath

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


def remove_partials(path: StorePath) -> int:
    """Remove leftovers of interrupted writes, with the lock held; a bucket shows none."""
    folder = path.local
    if folder is None:
        return 0
    # Those in parts are of runs with locks of their own, which may be at work.
    others = {"parts", REMOVED}
    found = (p for p in folder.rglob("*.partial") if p.relative_to(folder).parts[0] not in others)
    leftovers = [p for p in found if p.is_file()]
    for leftover in leftovers:
        leftover.unlink(missing_ok=True)
    return len(leftovers)


def damaged_rows(
    root: StorePath,
    ledger: Ledger,
    rows: Mapping[str, int],
    status: Mapping[str, NDArray[np.uint8]],
    *,
    newer_than: float | None,
    read: bool,
) -> list[tuple[int, str]]:
    """Look at the objects of rows committed last; (row, feature) pairs that are not as recorded.

    Args:
        root: the store's group.
        ledger: the store's.
        rows: video id → row.
        status: feature → status of every row.
        newer_than: seconds before the newest commit; None checks everything.
        read: also read and decode the objects; else compare sizes and checksums as stored.
    """
    if newer_than is not None and root.local is None:
        return []  # what a bucket has acknowledged is safe
    segments = ledger.segments()
    if newer_than is not None and segments:
        times = {segment.number: segment.path.modified() for segment in segments}
        start = max(times.values()) - newer_than
        segments = [segment for segment in segments if times[segment.number] >= start]
    checkers = {feature: ChunkChecker(root, feature) for feature in status}
    seen = {feature: np.zeros(len(column), bool) for feature, column in status.items()}
    bad = []
    # The newest record of a feature alone; one at a time, since there may be half a million.
    for segment in reversed(segments):
        for plain in segment.newest_first():
            row = plain["row"]
            for record in map(feature_from, plain["features"]):
                name = record.feature
                if name not in seen or rows.get(plain["video_id"]) != row or seen[name][row]:
                    continue
                seen[name][row] = True
                is_ok = status[name][row] == record.status == Status.OK
                if is_ok and checkers[name].check(row, record, read=read) is not None:
                    bad.append((row, name))
    return sorted(bad)
