"""`avqa remove`: videos leave a store, and their space is given back."""

from __future__ import annotations

import sys
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from avqa.errors import ConfigError, nearest
from avqa.pipelines.extraction.array_job import refuse_parts
from avqa.pipelines.extraction.collection.sources import read_ids
from avqa.store.commit import Store
from avqa.store.format.chunks import FeatureObjects, is_whole, object_sizes, row_of
from avqa.store.format.layout import refuse_packed
from avqa.store.format.records import Status
from avqa.store.format.runs import new_run_id
from avqa.store.lock import Lock
from avqa.store.places.files import StorePath
from avqa.store.running import running
from avqa.units import size


@dataclass
class RemoveReport:
    """What `avqa remove` did."""

    store: StorePath
    taken: int
    """Videos asked for."""
    removed: int = 0
    rows: int = 0
    """Seconds of the removed videos."""
    n_bytes: int = 0
    """Of their chunk objects."""
    left: int = 0
    """Videos that the store still has."""

    def summary(self) -> str:
        """Counts, for people."""
        before = self.taken - self.removed
        already = f", {before} removed before" if before else ""
        return (
            f"{self.taken} {'video' if self.taken == 1 else 'videos'}: {self.removed} removed"
            f"{already}; {self.rows} rows, {size(self.n_bytes)} given back; {self.left} left in"
            f" {str(self.store)!r}"
        )


def remove_videos(path: StorePath, ids: Path, *, steal_lock: bool = False) -> RemoveReport:
    """Remove the videos listed in the file ``ids`` from the store ``path``.

    Their rows stay empty until the same videos are extracted again; other videos and the texts
    are not touched. A video that was removed before is left as it is.

    Raises:
        StoreNotFound: there is no store.
        ConfigError: the list cannot be read, or names a video that the store does not have.
        StoreError: it is a packed copy, damaged, or being extracted in parts.
        StoreLocked: a run holds it.
        StorageFailure: the disk is read-only.
    """
    asked = read_ids(ids)
    refuse_packed(path)
    refuse_parts(path)
    _refuse_unknown(Store.open(path), ids, asked)
    report = RemoveReport(path, len(asked))

    def ended(reason: str) -> dict[str, object]:
        return {"reason": reason, "removed": report.removed, "n_bytes": report.n_bytes}

    with Lock.acquire(path, new_run_id(), steal=steal_lock) as lock:
        refuse_parts(path)  # with the lock held, no task can begin any more
        with running(path, lock, {"argv": sys.argv}, ended) as store:
            _remove(store, asked, report)
    return report


def _refuse_unknown(store: Store, ids: Path, asked: Collection[str]) -> None:
    rows = store.rows()
    unknown = sorted(name for name in asked if name not in rows)
    if unknown:
        raise ConfigError(
            f"{len(unknown)} of {len(asked)} ids in {str(ids)!r} are no videos of store"
            f" {str(store.path)!r}, the first is {unknown[0]!r};{nearest(unknown[0], rows)}"
            " expected its video ids; nothing was removed; correct --ids"
        )


def _remove(store: Store, asked: Collection[str], report: RemoveReport) -> None:
    names = [name for name in store.video_ids() if name in asked]
    rows = [store.rows()[name] for name in names]
    lengths = [
        np.where(store.status(feature) == Status.OK, store.length(feature), 0)
        for feature in store.features()
    ]
    n_bytes = _chunk_bytes(store, set(rows))
    store.delete(names)
    report.removed, report.n_bytes = len(names), n_bytes
    report.rows = int(np.max(lengths, axis=0)[rows].sum())
    report.left = len(store.video_ids())


def _chunk_bytes(store: Store, rows: Collection[int]) -> int:
    """Bytes of all chunks of these rows."""
    n_bytes = 0
    for feature in store.features():
        objects = FeatureObjects(store.root, feature)
        shards = object_sizes(store.root, feature) if objects.videos else ()
        loose = object_sizes(objects.root, feature, lambda name: row_of(name) in rows)
        found = objects.sizes(filter(is_whole, shards)) | loose
        n_bytes += sum(size for name, size in found.items() if row_of(name) in rows)
    return n_bytes
