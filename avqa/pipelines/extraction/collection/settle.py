"""What a run does before it extracts: the store's videos follow their files, and it remembers."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import replace

from avqa.errors import StoreError
from avqa.pipelines.extraction.collection.roots import judge, without_moved
from avqa.pipelines.extraction.collection.sources import Source
from avqa.store.collection import Root, read_collection, write_collection
from avqa.store.commit import Store
from avqa.store.places.files import storage_errors
from avqa.store.renaming import rename_videos


def settle(
    store: Store,
    root: Root,
    sources: Sequence[Source],
    prune: bool,
    run_id: str,
    note: Callable[[str], None],
) -> tuple[int, int]:
    """Rename videos whose files were, and with ``prune`` remove those that have none any more.

    Args:
        store: with its lock.
        root: of the videos.
        sources: all of them.
        prune: remove, instead of telling.
        run_id: of this run.
        note: gets what is to be told.

    Returns:
        Numbers of renamed and of removed videos.

    Raises:
        RootMismatch: the root is not the store's, see `judge`.
        StoreError: more than half of the videos would go.
        StorageFailure: the disk is full or read-only.
    """
    found = judge(store, read_collection(store.path), root, sources)
    if found.renamed:
        rename_videos(store, found.renamed, run_id)
        old, new = next(iter(found.renamed.items()))
        note(f"renamed: {len(found.renamed)} videos, one is {new.video_id!r}, before {old!r}")
    if not found.gone:
        return len(found.renamed), 0
    if not prune:
        note(
            f"gone: {len(found.gone)} videos of the store have no file any more, one is"
            f" {found.gone[0]!r}; --prune removes them"
        )
        return len(found.renamed), 0
    _refuse_many(store, found.gone)
    store.delete(found.gone)
    return len(found.renamed), len(found.gone)


def _refuse_many(store: Store, gone: Sequence[str]) -> None:
    """Make sure that a store is not emptied of which a disk is not mounted.

    Raises:
        StoreError: more than half of its videos would go.
    """
    held = len(store.video_ids())
    if 2 * len(gone) > held:
        raise StoreError(
            f"store {str(store.path)!r}: {len(gone)} of its {held} videos have no file any more,"
            f" the first is {gone[0]!r}; expected at most half of them with --prune, since a disk"
            f" may be missing; if they shall go, list them for: avqa remove {store.path} --ids FILE"
        )


def remember(store: Store, root: Root, sources: Sequence[Source], weights: str) -> None:
    """Keep what a later run need not be told again.

    Args:
        store: with its lock.
        root: of the run's videos.
        sources: all of them.
        weights: as the run was given them.

    Raises:
        StorageFailure: the disk is full or read-only.
    """
    path = store.path
    known = without_moved(store, read_collection(path), root, sources).with_root(root)
    if weights != "pretrained" and not weights.startswith("random:"):
        known = replace(known, weights=os.path.abspath(weights))
    with storage_errors(f"store {str(path)!r}"):
        write_collection(path, known)
