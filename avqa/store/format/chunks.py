"""Chunk objects of the videos' features: their names, their records, those of one row.

A feature lies in objects of one chunk each, or in shards of the chunks of many videos, see
`shards`. What is in no shard yet lies in objects of ``S/loose.zarr`` then, with the same names.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from avqa.faults import NOT_THERE
from avqa.store.format import schema
from avqa.store.format.decoding import (
    CRC_BYTES,
    ChunkDecoder,
    DamagedObject,
    crc32c,
    read_object,
)
from avqa.store.format.records import ChunkRecord
from avqa.store.places.files import StorePath, store_path, with_retries

NOTHING = 2**64 - 1
"""Offset and size, in a shard's index, of a chunk that is not there."""
MOST_INDICES = 256
"""Of shards, kept in memory."""


@dataclass(frozen=True)
class RowPart:
    """One of several equal parts of a store's rows, which follow each other."""

    index: int
    """From 0."""
    count: int
    total: int
    """Rows of the store."""
    step: int = 1
    """Parts begin at multiples of it."""

    @property
    def rows(self) -> range:
        """The rows of this part."""
        return range(self._begin(self.index), self._begin(self.index + 1))

    def _begin(self, index: int) -> int:
        blocks = -(-self.total // self.step)
        return min(index * blocks // self.count * self.step, self.total)

    @property
    def is_first(self) -> bool:
        """Whether what is of no row is this part's."""
        return self.index == 0

    def has(self, row: int | None) -> bool:
        """Whether a row is this part's: rows beyond the last are the last part's, None the first's.

        So whatever is found is found by exactly one part.
        """
        if row is None:
            return self.is_first
        if row >= self.total:
            return self.index == self.count - 1
        return row in self.rows


def row_of(name: str, height: int = 1) -> int | None:
    """First row of a chunk object of ``height`` rows, also half written; None if it is no such."""
    kind, _, rest = name.partition(".")
    number = rest.partition(".")[0]
    return int(number) * height if kind == "c" and number.isdecimal() else None


def chunk_path(root: StorePath, feature: str, row: int, chunk: int, num_axes: int) -> StorePath:
    """File of a chunk object; ``num_axes`` counts the axes after ``second``."""
    return root / feature / ".".join(["c", str(row), str(chunk), *["0"] * num_axes])


def delete(path: StorePath) -> None:
    """Remove an object, if it is there."""
    path.unlink(missing_ok=True)


def remove_chunks(
    root: StorePath,
    feature: str,
    row: int,
    first: int,
    known: int,
    num_axes: int,
    discard: Callable[[StorePath], None] = delete,
) -> None:
    """Delete a row's chunk objects from ``first`` on, the last one first, by ``discard``.

    Looks at numbers below ``known`` and, because an unfinished attempt may have gone beyond,
    further on up to the first gap. Deleting backwards keeps that search valid after a crash.
    """
    found = []
    chunk = first
    while (path := chunk_path(root, feature, row, chunk, num_axes)).exists() or chunk < known:
        found.append(path)
        chunk += 1
    for path in reversed(found):
        discard(path)


def read_record(path: StorePath) -> ChunkRecord:
    """Size and last four bytes of a chunk object.

    Raises:
        FileNotFoundError: there is none.
    """
    n_bytes, tail = path.tail(4)
    return ChunkRecord(n_bytes, int.from_bytes(tail, "little"))


def object_sizes(
    root: StorePath, feature: str, wanted: Callable[[str], bool] = lambda name: True
) -> dict[str, int]:
    """File name → size of what is ``wanted`` of a feature's folder, no metadata: one listing."""
    return store_path(root / feature).sizes(lambda name: name != "zarr.json" and wanted(name))


def shard_name(block: int, chunk: int, num_axes: int) -> str:
    """File of a shard; ``num_axes`` counts the axes after ``second``."""
    return ".".join(["c", str(block), str(chunk), *["0"] * num_axes])


def loose_root(root: StorePath) -> StorePath:
    """Group of the chunk objects that are in no shard yet, of a store's group ``root``."""
    return store_path(root).parent / schema.LOOSE


class FeatureObjects:
    """Where the chunks of one feature lie, in any store; threads may share one.

    Of a chunk that is in an object of its own and in a shard, the object counts: a run that wrote
    the shard anew was killed, or has not done so yet.
    """

    def __init__(self, root: StorePath, feature: str) -> None:
        """Open the feature's array in the group ``root``."""
        array: Any = schema.open_array(root, feature, "r")
        self.feature = feature
        self.videos: int = array.shards[0] if array.shards else 0
        """Of a shard; 0 if there are none."""
        self.num_axes: int = array.ndim - 2
        self.folder = store_path(root) / feature
        """Of the shards, if there are any."""
        self.root = loose_root(root) if self.videos else store_path(root)
        """Group in which the objects of one chunk lie."""
        self.chunk_seconds: int = array.chunks[1]
        self._shape, self._dtype = array.shape[2:], array.dtype
        self.decoder = ChunkDecoder(array)
        self._index = functools.lru_cache(MOST_INDICES)(self._read_index)

    def has_loose(self) -> bool:
        """Whether any chunk lies in an object of its own; where there are no shards, all do."""
        if not self.videos:
            return True
        try:
            return bool(object_sizes(self.root, self.feature))
        except NOT_THERE:  # a crash may have left a store without a group for these
            return False

    def path(self, row: int, number: int) -> StorePath:
        """Object of one chunk, whether it is there or not."""
        return chunk_path(self.root, self.feature, row, number, self.num_axes)

    def shard_path(self, block: int, number: int) -> StorePath:
        """Shard of the chunks with one number of a block of videos."""
        return self.folder / shard_name(block, number, self.num_axes)

    def read(self, row: int, number: int) -> bytes | None:
        """The bytes of a chunk; None if there is none.

        Raises:
            DamagedObject: its shard's index is damaged.
            OSError, StorageFailure: it cannot be read.
        """
        data = read_object(self.path(row, number))
        if data is not None or not self.videos:
            return data
        for _ in range(2):
            place = self._place(row, number)
            data = self._piece(row, number, *place) if place else None
            if data is not None and crc32c(data[:-CRC_BYTES]) == _crc_of(data):
                break
            self._index.cache_clear()  # a run may have written the shard anew
        return data

    def require(self, row: int, number: int) -> bytes:
        """The bytes of a chunk.

        Raises:
            FileNotFoundError: there is none.
            DamagedObject, OSError, StorageFailure: as `read`.
        """
        data = self.read(row, number)
        return self.path(row, number).read_bytes() if data is None else data

    def record(self, row: int, number: int) -> ChunkRecord | None:
        """Size and last four bytes of a chunk; None if there is none.

        Raises:
            DamagedObject, OSError, StorageFailure: as `read`.
        """
        try:
            return read_record(self.path(row, number))
        except NOT_THERE:
            return self.record_in_shard(row, number) if self.videos else None

    def record_in_shard(self, row: int, number: int) -> ChunkRecord | None:
        """`record` of a chunk that has no object of its own, where there are shards."""
        place = self._place(row, number)
        if place is None:
            return None
        offset, n_bytes = place
        tail = self._piece(row, number, offset + n_bytes - CRC_BYTES, CRC_BYTES)
        return None if tail is None else ChunkRecord(n_bytes, _crc_of(tail))

    def values(self, row: int, length: int) -> NDArray[Any] | None:
        """The first seconds of a video: ``[length, *shape]``; None if a chunk of it is gone.

        Raises:
            DamagedObject, OSError, StorageFailure: as `read`; or the chunk itself is damaged.
        """
        found = np.empty((length, *self._shape), self._dtype)
        for number, start in enumerate(range(0, length, self.chunk_seconds)):
            data = self.read(row, number)
            if data is None:
                return None
            part = found[start : start + self.chunk_seconds]
            part[:] = self.decoder.decode(data)[0, : len(part)]
        return found

    def sizes(self, shards: Iterable[str]) -> dict[str, int]:
        """Name that the object would have → size of every chunk in these shards.

        Shards whose index is damaged have none.
        """
        found = {}
        for name in shards:
            block, number = (int(part) for part in name.split(".")[1:3])
            try:
                index = self._index(block, number)
            except DamagedObject:
                continue
            for row in np.flatnonzero(index[:, 0] != NOTHING).tolist():
                of = shard_name(block * self.videos + row, number, self.num_axes)
                found[of] = int(index[row, 1])
        return found

    def is_sound(self, block: int, number: int) -> bool:
        """Whether a shard's index can be read, or there is no shard."""
        try:
            self._index(block, number)
        except DamagedObject:
            return False
        return True

    def pieces(self, block: int, number: int) -> dict[int, bytes]:
        """Row → bytes of all chunks of a shard; none if there is no shard.

        Raises:
            DamagedObject: its index is damaged.
        """
        path = self.shard_path(block, number)
        data = read_object(path)
        if data is None:
            return {}
        index = self._parsed(data[-self._index_bytes :], path.name)
        there = np.flatnonzero(index[:, 0] != NOTHING).tolist()
        places = {block * self.videos + row: index[row].tolist() for row in there}
        return {row: data[start : start + size] for row, (start, size) in places.items()}

    def write_shard(self, block: int, number: int, pieces: Mapping[int, bytes]) -> None:
        """Write a shard of these chunks (row → bytes), durably and in one step; of none: remove it.

        The same chunks give the same bytes: they lie in the order of their rows.
        """
        path = self.shard_path(block, number)
        if not pieces:
            path.unlink(missing_ok=True)
            return
        index = np.full((self.videos, 2), NOTHING, "<u8")
        offset = 0
        for row in sorted(pieces):
            index[row % self.videos] = offset, len(pieces[row])
            offset += len(pieces[row])
        raw = index.tobytes()
        end = raw + crc32c(raw).to_bytes(CRC_BYTES, "little")
        data = b"".join([*(pieces[row] for row in sorted(pieces)), end])
        with_retries(functools.partial(path.write, data))
        self._index.cache_clear()

    def forget(self, gone: Mapping[int, int], known: int) -> None:
        """Take chunks out of their shards: row → number of its first one that goes.

        Looks at numbers below ``known``.
        """
        for block in sorted({row // self.videos for row in gone}):
            of_block = {row: first for row, first in gone.items() if row // self.videos == block}
            for number in range(min(of_block.values()), known):
                leave = {row for row, first in of_block.items() if first <= number}
                if not self._holds(block, number, leave):
                    continue
                pieces = self.pieces(block, number)
                kept = {row: piece for row, piece in pieces.items() if row not in leave}
                self.write_shard(block, number, kept)

    def _holds(self, block: int, number: int, rows: Iterable[int]) -> bool:
        try:
            index = self._index(block, number)
        except DamagedObject:
            return False
        return any(index[row % self.videos, 0] != NOTHING for row in rows)

    def _place(self, row: int, number: int) -> tuple[int, int] | None:
        index = self._index(row // self.videos, number)
        offset, n_bytes = index[row % self.videos].tolist()
        return None if offset == NOTHING else (offset, n_bytes)

    def _piece(self, row: int, number: int, start: int, length: int) -> bytes | None:
        path = self.shard_path(row // self.videos, number)
        try:
            return with_retries(functools.partial(path.read_range, start, length), pause=0.05)
        except NOT_THERE:
            return None

    def _read_index(self, block: int, number: int) -> NDArray[np.uint64]:
        """``[videos, 2]``: offset and size of every chunk; nothing if there is no shard."""
        path = self.shard_path(block, number)
        try:
            _, raw = with_retries(functools.partial(path.tail, self._index_bytes), pause=0.05)
        except NOT_THERE:
            return np.full((self.videos, 2), NOTHING, np.uint64)
        return self._parsed(raw, path.name)

    @property
    def _index_bytes(self) -> int:
        return 16 * self.videos + CRC_BYTES

    def _parsed(self, raw: bytes, name: str) -> NDArray[np.uint64]:
        if len(raw) != self._index_bytes or crc32c(raw[:-CRC_BYTES]) != _crc_of(raw):
            raise DamagedObject(f"shard {name}: its index is damaged")
        return np.frombuffer(raw[:-CRC_BYTES], "<u8").reshape(self.videos, 2)


def is_whole(name: str) -> bool:
    """Whether a file in a feature's folder is an object: no metadata, nothing half written."""
    return name.startswith("c.") and name.rpartition(".")[2].isdecimal()


def record_of(data: bytes) -> ChunkRecord:
    """Size and last four bytes of a chunk's bytes."""
    return ChunkRecord(len(data), _crc_of(data))


def _crc_of(data: bytes) -> int:
    return int.from_bytes(data[-CRC_BYTES:], "little")
