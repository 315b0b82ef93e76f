"""Chunks of a working store's features go into shards: the driver's work, of its own run's rows.

Workers write objects of one chunk each. As soon as no video of a shard is pending, its chunks are
written into it, durably and in one step, and the objects are removed; at a run's end whatever is
left. Killed anywhere, a chunk is in an object, in a shard, or in both, with the same bytes. A shard
follows from its chunks alone, so that it is the same however often it was written.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

from avqa.store.format import schema
from avqa.store.format.arrays import Arrays
from avqa.store.format.chunks import FeatureObjects, is_whole, object_sizes
from avqa.store.format.decoding import DamagedObject, read_object
from avqa.store.format.records import Status
from avqa.store.places.files import StorePath


class Sealer:
    """Writes the shards of one store, whose lock is held."""

    def __init__(self, root: StorePath, arrays: Arrays, chunk_seconds: int) -> None:
        """Take the group ``root`` and its columns."""
        self._root = root
        self._arrays = arrays
        self._chunk_seconds = chunk_seconds

    def seal_complete(self, features: Iterable[str], rows: Collection[int]) -> None:
        """Write the shards of these rows in which no video is pending."""
        for feature in features:
            objects = FeatureObjects(self._root, feature)
            if objects.videos:
                blocks = {row // objects.videos for row in rows}
                self._seal(objects, {b for b in blocks if self._is_complete(objects, b)})

    def seal_all(self, features: Iterable[str]) -> None:
        """Write the shards of everything that is finished and in none."""
        for feature in features:
            objects = FeatureObjects(self._root, feature)
            if objects.videos:
                self._seal(objects, None)

    def _is_complete(self, objects: FeatureObjects, block: int) -> bool:
        status = self._arrays.columns[schema.status_name(objects.feature)].values
        rows = slice(block * objects.videos, (block + 1) * objects.videos)
        return not (status[rows] == Status.PENDING).any()

    def _seal(self, objects: FeatureObjects, blocks: Collection[int] | None) -> None:
        """Write the shards of these blocks, or of all, that have chunks in objects."""
        if blocks is not None and not blocks:
            return
        loose: dict[tuple[int, int], list[int]] = {}
        for name in object_sizes(objects.root, objects.feature, is_whole):
            row, number = (int(part) for part in name.split(".")[1:3])
            block = row // objects.videos
            if (blocks is None or block in blocks) and self._counts(objects.feature, row, number):
                loose.setdefault((block, number), []).append(row)
        for (block, number), rows in sorted(loose.items()):
            self._seal_one(objects, block, number, sorted(rows))

    def _counts(self, feature: str, row: int, number: int) -> bool:
        """Whether a chunk is one of a video that is there."""
        status = self._arrays.columns[schema.status_name(feature)].values
        length = self._arrays.columns[schema.length_name(feature)].values
        return bool(
            row < len(status)
            and status[row] == Status.OK
            and number < schema.num_chunks(int(length[row]), self._chunk_seconds)
        )

    def _seal_one(self, objects: FeatureObjects, block: int, number: int, rows: list[int]) -> None:
        try:
            there = objects.pieces(block, number)
        except DamagedObject:
            return  # a repair takes it away; until then nothing more is lost
        pieces = {row: p for row, p in there.items() if self._counts(objects.feature, row, number)}
        for row in rows:
            found = read_object(objects.path(row, number))
            if found is not None:
                pieces[row] = found
        objects.write_shard(block, number, pieces)
        for row in rows:
            objects.path(row, number).unlink(missing_ok=True)
