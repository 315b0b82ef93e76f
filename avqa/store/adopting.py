"""What a part of a store has of its videos goes into the store: moved, and copied where it must be.

Every step may be repeated: a chunk that is in place already is known by its size and checksum.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from avqa.store.commit import Store
from avqa.store.format.chunks import (
    FeatureObjects,
    is_whole,
    object_sizes,
    read_record,
    record_of,
    remove_chunks,
)
from avqa.store.format.decoding import DamagedObject
from avqa.store.format.records import ChunkRecord, FeatureRecord, VideoRecord
from avqa.store.places.files import StorePath, with_retries

OPEN = 64
"""Features of parts whose arrays stay open: more than one part has."""


@dataclass(frozen=True)
class Item:
    """What a part has of one video."""

    part: Store
    made: VideoRecord
    """As the part's ledger has it: the row is the part's."""
    record: VideoRecord
    """As it will be in the store's ledger."""


class Mover:
    """Moves the chunks of videos from parts to the rows of a store."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._objects = {f: FeatureObjects(store.root, f) for f in store.features()}
        # What a killed run copied there counts before what is in shards.
        self._has_loose = {feature: of.has_loose() for feature, of in self._objects.items()}
        self._of_part = functools.lru_cache(OPEN)(FeatureObjects)
        self._known = store.arrays.seconds // store.chunk_seconds
        self.copied = 0
        """Chunks of shards that are none of the store's."""

    def adopt(self, part: Store) -> None:
        """Move the shards of a part whose rows are those of a whole shard of the store."""
        rows, names = self._store.rows(), part.rows()
        targets = np.full(part.num_rows, -1)
        for name, row in names.items():
            targets[row] = rows.get(name, -1)
        for feature, videos in part.shard_videos.items():
            mine = self._objects[feature]
            if mine.videos != videos:
                continue
            its = FeatureObjects(part.root, feature)
            for name in sorted(object_sizes(part.root, feature, is_whole)):
                block, number = (int(text) for text in name.split(".")[1:3])
                of_block = targets[block * videos : (block + 1) * videos]
                first = int(of_block[0])
                whole = first % videos == 0 and (np.diff(of_block) == 1).all()
                target = mine.shard_path(first // videos, number)
                if first >= 0 and whole and not target.exists():
                    its.shard_path(block, number).move(target)

    def move(self, item: Item) -> VideoRecord:
        """The record of what is in place: without features that lack a chunk."""
        features = tuple(f for f in item.record.features if self._move_feature(item, f))
        return replace(item.record, features=features)

    def _move_feature(self, item: Item, feature: FeatureRecord) -> bool:
        mine, row = self._objects[feature.feature], item.record.row
        if not self._has_loose[feature.feature] and _all_in_shards(mine, row, feature):
            return True
        its = self._of_part(item.part.root, feature.feature)
        for number, chunk in enumerate(feature.chunks):
            source, target = (its, item.made.row), (mine, row)
            if not with_retries(partial(self._move_chunk, source, target, number, chunk)):
                return False
        kept = len(feature.chunks)
        remove_chunks(mine.root, feature.feature, row, kept, self._known, mine.num_axes)
        return True

    def _move_chunk(
        self,
        source: tuple[FeatureObjects, int],
        target: tuple[FeatureObjects, int],
        number: int,
        chunk: ChunkRecord,
    ) -> bool:
        """Whether ``target`` has the chunk that the part's record speaks of."""
        (its, its_row), (mine, row) = source, target
        loose = its.path(its_row, number)
        found = _read_record(loose)
        if found is not None:
            if found == chunk:
                loose.move(mine.path(row, number))
            return found == chunk
        try:
            if mine.record(row, number) == chunk:  # adopted, or moved by a run that was killed
                return True
            data = its.read(its_row, number) if its.videos else None
        except DamagedObject:
            return False
        if data is None or record_of(data) != chunk:
            return False
        mine.path(row, number).write(data)
        self.copied += 1
        return True


def _all_in_shards(objects: FeatureObjects, row: int, feature: FeatureRecord) -> bool:
    """Whether all chunks were adopted: one look a chunk, since there may be millions."""

    def look() -> bool:
        return all(
            objects.record_in_shard(row, number) == chunk
            for number, chunk in enumerate(feature.chunks)
        )

    try:
        return with_retries(look)
    except DamagedObject:
        return False


def _read_record(path: StorePath) -> ChunkRecord | None:
    try:
        return read_record(path)
    except FileNotFoundError:
        return None
