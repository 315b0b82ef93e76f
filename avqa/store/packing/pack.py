"""`avqa pack`: the arrays of a store in few large shards, to share, archive or upload.

    OUT/features.zarr/              as in the working store, but
        <feature>                   one object per block of videos and chunk_seconds, see `shards`
        index/, status/, length/    rows of finished videos only, in the same order
    OUT/ledger/packed/000001.jsonl  the newest record of every video and feature

A chunk's bytes are those of the working store. Everything is read back before it is published,
and nothing ever changes afterwards: the attribute ``packed`` makes writers refuse.
"""

from __future__ import annotations

import functools
import hashlib
import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import numpy as np

from avqa.errors import ConfigError, StorageFailure, StoreError, StoreLocked
from avqa.store.checks.verify import metadata_of
from avqa.store.format import layout, schema
from avqa.store.format.arrays import Arrays
from avqa.store.format.chunks import object_sizes
from avqa.store.format.frame_times import FrameTimes
from avqa.store.format.ledger import Ledger
from avqa.store.format.records import FeatureRecord, VideoRecord
from avqa.store.format.shards import Shard, ShardChecker, shards_of, videos_per_shard
from avqa.store.format.texts import CONTENT, EOT, KEY, object_name, text_recipes
from avqa.store.lock import LOCK, Lock
from avqa.store.packing.snapshot import Snapshot
from avqa.store.places.files import LocalPath, StorePath, storage_errors, store_path, with_retries
from avqa.store.zarr_library import zarr
from avqa.telling import counting

_NAME_BYTES = 255
MOST_THREADS = 4
MEMORY_BYTES = 2 * 2**30
"""All shards that are being put together; each is in memory twice."""


@dataclass(frozen=True)
class PackReport:
    """What was packed."""

    source: StorePath
    out: StorePath
    videos: int
    deleted: int
    """Videos left out because they were deleted from the store."""
    unfinished: int
    """Videos left out because no feature of them is finished."""
    partly: int
    """Videos of the copy with a pending feature."""
    files: tuple[int, int]
    """Of ``features.zarr``, before and after."""
    n_bytes: tuple[int, int]
    seconds: float

    def lines(self) -> list[str]:
        """For people, one fact per line."""
        text = [
            f"packed {str(self.source)!r} into {str(self.out)!r}: {self.videos} videos, read back"
            " and equal",
            f"files {self.files[0]} -> {self.files[1]}, {self.n_bytes[0] / 1e6:.1f} MB ->"
            f" {self.n_bytes[1] / 1e6:.1f} MB, {self.seconds:.1f} s",
        ]
        if self.deleted or self.unfinished:
            text.append(f"left out: {self.deleted} deleted videos, {self.unfinished} not begun")
        if self.partly:
            text.append(f"videos with a feature that is pending, here too: {self.partly}")
        return text


def pack(
    path: str | StorePath, out: str | StorePath, *, say: Callable[[str], None] = lambda line: None
) -> PackReport:
    """Make a packed copy of a store.

    Args:
        path: the store directory; nothing is written to it.
        out: folder or prefix of a bucket to make, in one step when everything was read back.
        say: gets a line per feature.

    Raises:
        StoreNotFound: there is no store.
        StoreError: it is packed or damaged, which names the video; or ``out`` exists.
        StoreLocked: a run holds the store or changed it meanwhile, or ``out`` is being packed.
        ConfigError: ``out`` is in the store, or goes through a file.
        StorageFailure: the disk is full or read-only.
    """
    started = time.monotonic()
    path, out = store_path(path), store_path(out)
    layout.read_attributes(path)
    if str(out.absolute()).startswith(f"{path.absolute()}/"):
        raise ConfigError(f"OUT={str(out)!r} is in the store; expected a place beside it")
    with storage_errors(f"packed copy {str(out)!r}"), _building(out) as building:
        _refuse_wrong_metadata(path)
        snapshot = Snapshot(path)
        root = building / schema.GROUP
        metadata = _create(snapshot, building)
        for feature in snapshot.features:
            _pack_feature(snapshot, root, feature, say)
        _copy_texts(snapshot, root)
        _check_columns(snapshot, root)
        snapshot.check_unchanged()
        publish(building, out, metadata)
    before, after = _measured(path / schema.GROUP), _measured(out / schema.GROUP)
    return PackReport(
        source=path,
        out=out,
        videos=len(snapshot.records),
        deleted=snapshot.num_deleted,
        unfinished=snapshot.num_unfinished,
        partly=snapshot.num_partly,
        files=(before[0], after[0]),
        n_bytes=(before[1], after[1]),
        seconds=time.monotonic() - started,
    )


def _refuse_wrong_metadata(path: StorePath) -> None:
    """Make sure that every array is what the attributes say: a shape decides what is copied.

    Raises:
        StoreError: one is not.
    """
    for wrong in metadata_of(path):
        raise StoreError(
            f"store {str(path)!r}: array {wrong.name}: {wrong.detail}; expected what its attributes"
            f" say; nothing was packed; rebuild it with: avqa verify --repair {path}"
        )


def _beside(name: str) -> str:
    """Name of the place that a copy of this name is built in; the next run finds it again."""
    found = f"{name}.packing"
    if len(os.fsencode(found)) <= _NAME_BYTES:
        return found
    return f"{hashlib.blake2b(os.fsencode(name), digest_size=16).hexdigest()}.packing"


@contextmanager
def _building(out: StorePath) -> Iterator[StorePath]:
    """A place of this run's own to build in, empty now and gone afterwards.

    For a folder it lies beside ``out``, so that one rename publishes. A bucket has no rename:
    there it is ``out``, which is no store before its last object. What a killed run left goes.
    """
    place: StorePath = out
    if out.local is not None:
        place = out.parent / _beside(out.name)
    if place == out or not place.exists():
        _refuse_existing(out)
    try:
        lock = Lock.acquire(place, f"pack-{uuid4().hex[:8]}")
    except StoreLocked as error:
        raise StoreLocked(
            f"{str(out)!r} is being packed already; expected no other run; wait for it to end, or,"
            f" if it is known to be dead, remove {str(place / LOCK)!r}"
        ) from error
    except (FileExistsError, NotADirectoryError) as error:
        raise ConfigError(
            f"OUT={str(out)!r} goes through a file, {str(error.filename)!r}; expected folders;"
            " give another one"
        ) from error
    try:
        _clean(place, out)
        _refuse_existing(out)
        yield place if place == out else place / "store"
    finally:
        _clean(place, out)
        lock.release()
        if place.local is not None:
            with suppress(OSError):
                place.local.rmdir()  # kept if it holds anything that is not ours


def _clean(place: StorePath, out: StorePath) -> None:
    """Remove what was built in a place, unless it was published there."""
    if place != out:
        (place / "store").remove_folder()
        (place / "runs").remove_folder()
    elif not _exists(out):
        (out / schema.GROUP).remove_folder()
        (out / "ledger").remove_folder()


def _exists(out: StorePath) -> bool:
    return (out if out.local is not None else out / schema.GROUP / "zarr.json").exists()


def _refuse_existing(out: StorePath) -> None:
    if _exists(out):
        raise StoreError(f"OUT={str(out)!r} exists; expected a new folder; give another one")


def publish(building: StorePath, out: StorePath, metadata: bytes) -> None:
    """Make a copy that is complete, but for the group's metadata, appear at ``out`` in one step."""
    _refuse_existing(out)
    (building / schema.GROUP / "zarr.json").write(metadata)
    if building.local is not None:
        for path in building.local.rglob("*"):
            LocalPath(path).sync()
        building.move(out)
        out.parent.sync()


def _create(snapshot: Snapshot, building: StorePath) -> bytes:
    """Write everything but the chunks, the texts and the group's metadata, which it returns."""
    root = building / schema.GROUP
    chunk_seconds = snapshot.attrs["chunk_seconds"]
    capacity = len(snapshot.records)
    built: dict[str, Any] = {}
    shard_videos: dict[str, int] = {}
    group = zarr.create_group(zarr.storage.MemoryStore(built), zarr_format=3)
    schema.create_index(group, capacity=capacity, chunk_seconds=chunk_seconds)
    for feature in snapshot.features:
        array = schema.open_array(snapshot.root, feature, "r")
        chunk_bytes = int(np.prod(array.chunks)) * array.dtype.itemsize
        videos = videos_per_shard(chunk_seconds, chunk_bytes)
        schema.create_packed(group, feature, array, videos=videos, capacity=capacity)
        shard_videos[feature] = videos
    for name in _texts_arrays(snapshot):
        schema.require_parents(group, name)
    features = {
        name: {**entry, "shard_videos": shard_videos[name]}
        for name, entry in snapshot.attrs["features"].items()
    }
    attrs = {**snapshot.attrs, "schema": schema.SCHEMA, "features": features}
    attrs |= {"capacity": capacity, layout.PACKED: True}
    group.update_attributes(layout.sealed(attrs))
    metadata: bytes = built.pop("zarr.json").to_bytes()
    for name, content in built.items():
        (root / name).write(content.to_bytes(), durable=False)
    schema.set_shape(root, schema.PTS, (0, snapshot.seconds))
    arrays = Arrays(root, snapshot.features, chunk_seconds, heal=False)
    arrays.add_rows([record.video_id for record in snapshot.records])
    arrays.show_rows()
    arrays.apply(snapshot.records)
    Ledger(building / "ledger").append("packed", snapshot.records)
    return metadata


def _texts_arrays(snapshot: Snapshot) -> list[str]:
    recipes = text_recipes(snapshot.attrs)
    columns = [CONTENT, EOT, KEY] if recipes else []
    return [*columns, *recipes, *map(schema.status_name, recipes)]


def _pack_feature(
    snapshot: Snapshot, root: StorePath, feature: str, say: Callable[[str], None]
) -> None:
    """Write the shards of a feature, each once, and read them back."""
    array: Any = schema.open_array(root, feature, "r")
    records = {r.row: of for r in snapshot.records for of in _of(r, feature)}
    shards = shards_of(records, array.shards[0])
    largest = max((shard.n_bytes for shard in shards), default=1)
    threads = max(1, min(MOST_THREADS, MEMORY_BYTES // (2 * largest)))

    def write(shard: Shard) -> None:
        chunks = [
            snapshot.read_chunk(feature, row, shard.chunk, record) for row, record in shard.pieces
        ]
        data = b"".join([*chunks, shard.index()])
        target = root / feature / shard.name(array.ndim - 2)
        with_retries(functools.partial(target.write, data, durable=False))

    with (
        counting(say, f"pack {feature}", len(shards), "shards") as count,
        ThreadPoolExecutor(threads) as pool,
    ):
        for _ in pool.map(write, shards):
            count.step()
    sizes = object_sizes(root, feature)
    for wrong in ShardChecker(root, feature).check(records, sizes, read=True):
        if wrong.kind in {"not_finite", "padding"}:
            what = f"video {snapshot.records[wrong.row].video_id!r} {feature}"
            raise snapshot.damaged(what, wrong.detail)
        raise StorageFailure(
            f"{feature} {wrong.detail}; expected to read back what was written; check the disk;"
            " nothing was published"
        )
    say(f"{feature}: {len(shards)} shards, {sum(sizes.values()) / 1e6:.1f} MB")


def _of(record: VideoRecord, feature: str) -> list[FeatureRecord]:
    return [of for of in record.features if of.feature == feature]


def _copy_texts(snapshot: Snapshot, root: StorePath) -> None:
    """Copy the arrays of the texts object by object: they are few already."""
    for name in _texts_arrays(snapshot):
        array = schema.open_array(snapshot.root, name, "r")
        num_chunks = -(-array.shape[0] // array.chunks[0])
        objects = [object_name(number, array.ndim - 1) for number in range(num_chunks)]
        for file in ("zarr.json", *objects):
            source, target = snapshot.root / name / file, root / name / file
            if not source.exists():
                continue  # none of its texts is ok
            data = source.read_bytes()
            target.write(data, durable=False)
            if target.read_bytes() != data:
                raise StorageFailure(
                    f"{name}/{file} reads back otherwise than written; expected the same; check"
                    " the disk; nothing was published"
                )


def _check_columns(snapshot: Snapshot, root: StorePath) -> None:
    """Read index, statuses and lengths back."""
    chunk_seconds = snapshot.attrs["chunk_seconds"]
    arrays = Arrays(root, snapshot.features, chunk_seconds, heal=False)
    wrong = [
        name
        for name, values in snapshot.columns().items()
        if not np.array_equal(
            arrays.columns[name].values, values, equal_nan=values.dtype.kind == "f"
        )
    ]
    times = FrameTimes(root)
    for first in range(0, len(snapshot.records), schema.PTS_ROWS):
        of_block = snapshot.records[first : first + schema.PTS_ROWS]
        expected = np.full((len(of_block), snapshot.seconds), np.nan)
        for row, record in enumerate(of_block):
            expected[row, : len(record.pts)] = record.pts
        read = times.read(slice(first, first + schema.PTS_ROWS))
        if not np.array_equal(read, expected, equal_nan=True):
            wrong.append(schema.PTS)
    if wrong:
        raise StorageFailure(
            f"{wrong[0]} reads back otherwise than written; expected the same; check the disk;"
            " nothing was published"
        )


def _measured(root: StorePath) -> tuple[int, int]:
    """Files and bytes."""
    sizes = root.all_sizes()
    return len(sizes), sum(sizes)
