"""Shards of a packed copy: the chunk objects of many videos in one object.

Zarr's codec ``sharding_indexed``: the chunks one after the other, then an index with the offset
and the size of every chunk (little-endian u8, both 2**64 - 1 where there is none) and the index's
CRC-32C. Each shard holds the chunks with one number of a block of videos, in the order of the
rows. So the ledger's records alone say what is where, and a shard needs no record of its own.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from avqa.faults import is_limit
from avqa.machine import num_cores
from avqa.store.format import schema
from avqa.store.format.chunks import NOTHING, shard_name
from avqa.store.format.decoding import crc32c
from avqa.store.format.integrity import ChunkChecker
from avqa.store.format.records import ChunkRecord, FeatureRecord, Status
from avqa.store.places.files import StorePath

BLOCK_SECONDS = 64 * 60
"""Seconds of one shard's chunks: 64 videos in chunks of 60 s, 256 in chunks of 10 s."""
LEAST_BYTES = 50_000_000
MOST_BYTES = 10**9
"""Before compression."""
MOST_VIDEOS = 1024
"""Of features so small that their shards stay below `LEAST_BYTES`: a read reads the index too."""
UNREAD = "unread"
"""Kind of what the machine did not give."""


def videos_per_shard(chunk_seconds: int, chunk_bytes: int) -> int:
    """How many videos share a shard: a power of two.

    Args:
        chunk_seconds: seconds per chunk.
        chunk_bytes: of one chunk before compression.
    """
    videos = 1 << max(0, (BLOCK_SECONDS // chunk_seconds).bit_length() - 1)
    while videos < MOST_VIDEOS and videos * chunk_bytes < LEAST_BYTES:
        videos *= 2
    while videos > 1 and videos * chunk_bytes > MOST_BYTES:
        videos //= 2
    return videos


@dataclass(frozen=True)
class Shard:
    """What one shard holds, by the ledger."""

    block: int
    """Number of its block of videos."""
    chunk: int
    """Number of its chunks along the second axis."""
    videos: int
    """Size of a block."""
    pieces: tuple[tuple[int, ChunkRecord], ...]
    """(row, chunk), in the order of the rows."""

    def name(self, num_axes: int) -> str:
        """File; ``num_axes`` counts the axes after ``second``."""
        return shard_name(self.block, self.chunk, num_axes)

    @cached_property
    def offsets(self) -> list[int]:
        """First byte of every piece."""
        sizes = [record.n_bytes for _, record in self.pieces]
        return [0, *np.cumsum(sizes[:-1], dtype=np.int64).tolist()]

    @property
    def n_bytes(self) -> int:
        """Size of the whole object."""
        return self.offsets[-1] + self.pieces[-1][1].n_bytes + 16 * self.videos + 4

    def index(self) -> bytes:
        """The object's end: where each chunk lies, and the checksum of that."""
        index = np.full((self.videos, 2), NOTHING, "<u8")
        for (row, record), offset in zip(self.pieces, self.offsets, strict=True):
            index[row % self.videos] = offset, record.n_bytes
        raw = index.tobytes()
        return raw + crc32c(raw).to_bytes(4, "little")


def shards_of(records: Mapping[int, FeatureRecord], videos: int) -> list[Shard]:
    """The shards of a feature, in order: row → record; only ok ones have chunks."""
    pieces: dict[tuple[int, int], list[tuple[int, ChunkRecord]]] = {}
    for row in sorted(records):
        if records[row].status == Status.OK:
            for number, chunk in enumerate(records[row].chunks):
                pieces.setdefault((row // videos, number), []).append((row, chunk))
    return [Shard(*place, videos, tuple(found)) for place, found in sorted(pieces.items())]


@dataclass(frozen=True)
class ShardProblem:
    """One thing that is not as it should be in the shards of a feature."""

    kind: str
    """As of `verify.Problem`."""
    row: int
    """-1 if it concerns a whole shard."""
    detail: str


def _block_of(name: str) -> int:
    part = name.split(".")[1:2]
    return int(part[0]) if part and part[0].isdecimal() else -1


class ShardChecker:
    """Checks the shards of one feature of a packed copy."""

    def __init__(self, root: StorePath, feature: str) -> None:
        """Open the feature's array in the group ``root``."""
        array: Any = schema.open_array(root, feature, "r")
        self._folder = root / feature
        self._num_axes = len(array.shape) - 2
        self._videos = array.shards[0]
        self._values = ChunkChecker(root, feature)

    def check(
        self,
        records: Mapping[int, FeatureRecord],
        sizes: Mapping[str, int],
        *,
        read: bool,
        unknown: Collection[int] = (),
    ) -> Iterator[ShardProblem]:
        """Compare all shards with the ledger.

        Args:
            records: row → record.
            sizes: file → size of all objects of the feature.
            read: also read and decode every chunk: index, checksum, finite values, padding.
            unknown: rows without a record; what is where in their shards cannot be told.
        """
        blocks = {row // self._videos for row in unknown}
        shards = {
            shard.name(self._num_axes): shard
            for shard in shards_of(records, self._videos)
            if shard.block not in blocks
        }
        sizes = {name: size for name, size in sizes.items() if _block_of(name) not in blocks}
        whole = []
        for name, shard in shards.items():
            of = f"shard {name} of {len(shard.pieces)} videos"
            if name not in sizes:
                yield ShardProblem("missing", -1, f"{of}: no object")
            elif sizes[name] != shard.n_bytes:
                told = f"{sizes[name]} bytes, ledger says {shard.n_bytes}"
                yield ShardProblem("size", -1, f"{of}: {told}")
            else:
                whole.append(shard)
        for name in sorted(sizes.keys() - shards.keys()):
            yield ShardProblem("foreign", -1, f"{name}: not of this packed copy")
        if read:
            with ThreadPoolExecutor(max_workers=num_cores()) as pool:
                for problems in pool.map(lambda shard: self._tried(shard, records), whole):
                    yield from problems

    def _tried(self, shard: Shard, records: Mapping[int, FeatureRecord]) -> list[ShardProblem]:
        try:
            return self._read(shard, records)
        except OSError as error:
            if is_limit(error):
                raise
            name = shard.name(self._num_axes)
            return [ShardProblem(UNREAD, -1, f"{error.strerror or error}: {self._folder / name}")]

    def _read(self, shard: Shard, records: Mapping[int, FeatureRecord]) -> list[ShardProblem]:
        path = self._folder / shard.name(self._num_axes)
        index = shard.index()
        if path.read_range(shard.n_bytes - len(index), len(index)) != index:
            detail = f"shard {path.name} of {len(shard.pieces)} videos: its index is damaged"
            return [ShardProblem("crc", -1, detail)]
        problems = []
        for (row, chunk), offset in zip(shard.pieces, shard.offsets, strict=True):
            data = path.read_range(offset, chunk.n_bytes)
            stored = int.from_bytes(data[-4:], "little")
            if stored != chunk.crc32c:
                told = f"checksum {stored:08x}, ledger says {chunk.crc32c:08x}"
                wrong: tuple[str, str] | None = ("crc", told)
            else:
                wrong = self._values.check_values(data, shard.chunk, records[row].length)
            if wrong is not None:
                problems.append(ShardProblem(wrong[0], row, f"chunk={shard.chunk}: {wrong[1]}"))
        return problems
