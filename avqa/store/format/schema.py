"""Names, shapes, codecs and fill values of every array in a store.

    S/features.zarr/                       one group; attributes: schema, recipes
        index/video_id    (video)          string
        index/duration    (video)          f4, seconds
        index/audio_start (video)          f8, seconds on the frame's clock; NaN: no audio
        index/audio_end   (video)          f8
        index/row_flags   (video)          u1
        index/pts         (video, second)  f8, seconds; NaN past a video's end
        status/<feature>  (video)          u1, see `records.Status`
        length/<feature>  (video)          u4, valid seconds
        <feature>         (video, second, ...)  one chunk object per video and chunk_seconds, or
                                           shards of the chunks of many videos
    S/loose.zarr/                          the same arrays, for what is in no shard yet
    S/lock.json, S/ledger/, S/runs/        beside the groups: Zarr lists no foreign folders

All feature arrays and ``index/pts`` share the size of their second axis, a multiple of
``chunk_seconds``, and grow together.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from avqa.errors import AvqaError, StoreError
from avqa.faults import machine_fault, reading, require_thread
from avqa.store import dtypes
from avqa.store.format.decoding import Described
from avqa.store.places.files import StorePath, store_path
from avqa.store.zarr_library import zarr

if TYPE_CHECKING:
    from zarr.core.metadata.v3 import ArrayV3Metadata

SCHEMA = "avqa.features/1"
SHARDED = "avqa.features/2"
"""Of stores with a feature in shards, which older versions would write to as if it were not."""
GROUP = "features.zarr"
LOOSE = "loose.zarr"
"""Group beside it: chunk objects of features in shards that are in no shard yet."""
VIDEO_ID = "index/video_id"
PTS = "index/pts"
PTS_ROWS = 256
CAPACITY = 65_536

_COLUMNS: dict[str, tuple[str, Any]] = {
    VIDEO_ID: ("str", ""),
    "index/duration": ("float32", np.nan),
    "index/audio_start": ("float64", np.nan),
    "index/audio_end": ("float64", np.nan),
    "index/row_flags": ("uint8", 0),
}
_KINDS = {
    VIDEO_ID: "OTU",
    "index/row_flags": "u",
    "text/content": "OTU",
    "text/eot": "u",
    "text/key": "u",
}
"""Kinds of values of the columns that are no floating point numbers."""
_CRC: dict[str, Any] = {"name": "crc32c"}
_LITTLE: dict[str, Any] = {"name": "bytes", "configuration": {"endian": "little"}}
_TEXTS: dict[str, Any] = {"name": "vlen-utf8", "configuration": {}}
_AS_WRITTEN: dict[str, tuple[Any, np.dtype[Any], list[dict[str, Any]]]] = {
    "string": ("", np.dtypes.StringDType(), [_TEXTS, _CRC]),
    "uint8": (0, np.dtype("u1"), [{"name": "bytes"}, _CRC]),
    "uint32": (0, np.dtype("<u4"), [_LITTLE, _CRC]),
    "float32": ("NaN", np.dtype("<f4"), [_LITTLE, _CRC]),
    "float64": ("NaN", np.dtype("<f8"), [_LITTLE, _CRC]),
}
"""Kind of a column → its fill value, as written, its dtype and its codecs."""
_ZSTD: dict[str, Any] = {"name": "zstd", "configuration": {"level": 1, "checksum": False}}
_KEYS: dict[str, Any] = {"name": "default", "separator": "."}


@dataclass(frozen=True)
class FeatureSpec:
    """What the store has to know of a feature: plain values, no encoder."""

    name: str
    """``<encoder>/<tap>``."""
    shape: tuple[int, ...]
    """Shape of one second."""
    dims: tuple[str, ...]
    """Name of each axis of ``shape``."""
    sparse: bool
    """Many exact zeros: stored with zstd; others are not compressed."""
    dtype: Literal["float16", "float32", "float64", "uint8"] = "float16"
    """Extraction gives float16 or float32, and uint8 of whole numbers; imported files keep
    theirs."""


def status_name(feature: str) -> str:
    """Array of a feature's status column."""
    return f"status/{feature}"


def length_name(feature: str) -> str:
    """Array of a feature's length column."""
    return f"length/{feature}"


def num_chunks(seconds: int, chunk_seconds: int) -> int:
    """Chunk objects of a video of this many seconds, per feature."""
    return -(-seconds // chunk_seconds)


def bytes_needed(specs: Sequence[FeatureSpec], seconds: Sequence[float], chunk_seconds: int) -> int:
    """Disk space for videos of these lengths, in bytes.

    Sparse features are taken to shrink to half, as ResNet maps with 38 % non-zeros do.
    """
    chunks = sum(max(1, num_chunks(round(s), chunk_seconds)) for s in seconds)
    total = 0
    for spec in specs:
        size = math.prod(spec.shape) * chunk_seconds * np.dtype(spec.dtype).itemsize
        total += chunks * (size // 2 if spec.sparse else size)
    return total


def create_index(group: zarr.Group, *, capacity: int, chunk_seconds: int) -> None:
    """Create ``index/*`` with no rows."""
    for name, (dtype, fill) in _COLUMNS.items():
        _create_column(group, name, dtype, fill, rows=0, capacity=capacity)
    require_parents(group, PTS)
    group.create_array(
        PTS,
        shape=(0, chunk_seconds),
        chunks=(PTS_ROWS, chunk_seconds),
        dtype="float64",
        fill_value=np.nan,
        compressors=[_CRC],
        chunk_key_encoding=_KEYS,
        dimension_names=("video", "second"),
    )


def create_feature(
    group: zarr.Group,
    spec: FeatureSpec,
    *,
    rows: int,
    seconds: int,
    chunk_seconds: int,
    capacity: int,
    shard_videos: int = 0,
) -> None:
    """Create a feature's array and its status and length columns, replacing unfinished ones.

    With ``shard_videos`` an object holds the chunks with one number of so many videos.

    Raises:
        ValueError: if a dimension has a feature's name: xarray would take that array for a
            coordinate and hide it.
    """
    check_spec(spec)
    _create_column(group, status_name(spec.name), "uint8", 0, rows=rows, capacity=capacity)
    _create_column(group, length_name(spec.name), "uint32", 0, rows=rows, capacity=capacity)
    shards = (shard_videos, chunk_seconds, *spec.shape) if shard_videos else None
    create_values(group, spec, (rows, seconds), chunk_seconds, shards)


def create_values(
    group: zarr.Group,
    spec: FeatureSpec,
    shape: tuple[int, int],
    chunk_seconds: int,
    shards: tuple[int, ...] | None = None,
) -> None:
    """Create a feature's array alone, of so many rows and seconds."""
    require_parents(group, spec.name)
    group.create_array(
        spec.name,
        shape=(*shape, *spec.shape),
        chunks=(1, chunk_seconds, *spec.shape),
        shards=shards,
        dtype=spec.dtype,
        fill_value=dtypes.fill_value(spec.dtype),
        compressors=[_ZSTD, _CRC] if spec.sparse else [_CRC],
        chunk_key_encoding=_KEYS,
        dimension_names=("video", "second", *spec.dims),
        overwrite=True,
    )


def create_packed(group: zarr.Group, name: str, like: Any, *, videos: int, capacity: int) -> None:
    """Create a packed copy's array of a feature, without rows, and its columns.

    Args:
        group: of the packed copy.
        name: ``<encoder>/<tap>``.
        like: the working store's array; chunks and codecs are its own.
        videos: a shard holds the chunks with one number of this many videos.
        capacity: chunk length of the columns.
    """
    _create_column(group, status_name(name), "uint8", 0, rows=0, capacity=capacity)
    _create_column(group, length_name(name), "uint32", 0, rows=0, capacity=capacity)
    require_parents(group, name)
    group.create_array(
        name,
        shape=(0, *like.chunks[1:]),
        shards=(videos, *like.chunks[1:]),
        chunks=like.chunks,
        dtype=like.dtype,
        fill_value=like.fill_value,
        compressors=like.compressors,
        chunk_key_encoding=_KEYS,
        dimension_names=like.metadata.dimension_names,
    )


def check_spec(spec: FeatureSpec) -> None:
    """Refuse a spec that cannot be stored so that every tool sees it.

    Raises:
        ValueError: if the name is not ``<encoder>/<tap>``, or axes and names do not match, or
            a dimension is named like the tap, ``video`` or ``second``.
    """
    encoder, _, tap = spec.name.rpartition("/")
    first = encoder.partition("/")[0]
    if not all(spec.name.split("/")) or first in {"", "index", "status", "length", "text"}:
        raise ValueError(f"feature name must be <encoder>/<tap>; got name={spec.name!r}")
    if len(spec.dims) != len(spec.shape):
        raise ValueError(f"{spec.name}: one name per axis; got {spec.dims=}, {spec.shape=}")
    if len({"video", "second", tap, *spec.dims}) != len(spec.dims) + 3:
        raise ValueError(
            f"{spec.name}: dimension names must be new and not {tap!r}; got {spec.dims=}"
        )


def check_sizes(sizes: Mapping[str, Mapping[str, int]]) -> None:
    """Refuse features of one encoder that give a dimension two sizes: xarray could not open it.

    Args:
        sizes: feature → dimension → size.

    Raises:
        ValueError: names both features.
    """
    known: dict[tuple[str, str], tuple[int, str]] = {}
    for feature, dims in sizes.items():
        encoder = feature.rpartition("/")[0]
        for name, size in dims.items():
            other, first = known.setdefault((encoder, name), (size, feature))
            if other != size:
                raise ValueError(
                    f"{feature}: {name}={size}, but {name}={other} in {first};"
                    " expected one size per encoder; give the dimension another name"
                )


def _create_column(
    group: zarr.Group, name: str, dtype: str, fill: Any, *, rows: int, capacity: int
) -> None:
    require_parents(group, name)
    group.create_array(
        name,
        shape=(rows,),
        chunks=(capacity,),
        dtype=dtype,
        fill_value=fill,
        compressors=[_CRC],
        chunk_key_encoding=_KEYS,
        dimension_names=("video",),
        overwrite=True,
    )


def require_parents(group: zarr.Group, name: str) -> None:
    """Create the groups that an array's name goes through."""
    parts = name.split("/")[:-1]
    for depth in range(1, len(parts) + 1):
        group.require_group("/".join(parts[:depth]))


def open_array(
    root: StorePath, name: str, mode: Literal["r", "r+"] = "r+"
) -> zarr.Array[ArrayV3Metadata]:
    """Open one existing array of the group ``root``.

    Raises:
        StoreError: its metadata is gone or damaged.
        StorageFailure, EnvironmentFailure: the machine is at fault.
    """
    store, path = store_path(root / name).zarr()
    try:
        require_thread()
        array = zarr.open_array(store, path=path, mode=mode, zarr_format=3)
        _check_kind(name, array)
        return array
    except AvqaError:
        raise
    except Exception as error:  # zarr and its codecs have no common error for bad metadata
        with reading(f"array {name}"):
            if machine_fault(error):
                raise
        raise StoreError(
            f"array {name}: its zarr.json is gone or damaged ({error}); expected the metadata of"
            f" an array; rebuild it with: avqa verify --repair {root.parent}"
        ) from error


def describe(root: StorePath, name: str) -> Any:
    """An array of the group ``root``, to read what it is and to decode its objects.

    Metadata that is word for word as `create_index` and `create_feature` write a column's is
    taken as it is, without zarr; whatever differs is for `open_array` to judge.

    Raises:
        StoreError, StorageFailure, EnvironmentFailure: as `open_array`.
    """
    try:
        found = json.loads((store_path(root) / name / "zarr.json").read_bytes())
        described = _described(root, name, found)
    except (OSError, ValueError, KeyError, TypeError):
        described = None
    return described or open_array(root, name)


def _described(root: StorePath, name: str, found: Any) -> Described | None:
    shape, kind = found["shape"], found["data_type"]
    chunks = found["chunk_grid"]["configuration"]["chunk_shape"]
    fill, dtype, codecs = _AS_WRITTEN[kind]
    expected = {
        "shape": shape,
        "data_type": kind,
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": chunks}},
        "chunk_key_encoding": {"name": "default", "configuration": {"separator": "."}},
        "fill_value": fill,
        "codecs": codecs,
        "attributes": {},
        "dimension_names": ["video", "second"][: len(shape)],
        "zarr_format": 3,
        "node_type": "array",
        "storage_transformers": [],
    }
    sizes = [*shape, *chunks]
    if found != expected or len(shape) != len(chunks) or not all(type(n) is int for n in sizes):
        return None
    if min(shape) < 0 or min(chunks) < 1:
        return None
    names = tuple(str(codec["name"]) for codec in codecs)
    value = "" if kind == "string" else dtype.type(fill)
    described = Described(root, name, tuple(shape), tuple(chunks), dtype, value, names)
    _check_kind(name, described)
    return described


def opened(array: Any) -> Any:
    """The array as zarr opens it, of one that may be `Described`."""
    return open_array(array.root, array.name) if isinstance(array, Described) else array


def _check_kind(name: str, array: Any) -> None:
    """Make sure that an array has the axes and the kind of values that its name says.

    Raises:
        ValueError: it has others, which are those of another array.
    """
    column = name.partition("/")[0]
    kind = {"status": "u", "length": "u"}.get(column, "fu")
    if column in {"index", "text"}:
        kind = _KINDS.get(name, "f")
    axes = 2 if name in {PTS, "text/key"} else 1
    is_column = column in {"index", "text", "status", "length"}
    if (array.ndim != axes if is_column else array.ndim < 2) or array.dtype.kind not in kind:
        raise ValueError(f"shape={array.shape} dtype={array.dtype}")


def open_group(root: StorePath) -> zarr.Group:
    """Open the group ``root`` to create arrays in it."""
    require_thread()
    store, path = store_path(root).zarr()
    return zarr.open_group(store, path=path, mode="r+", zarr_format=3)


def beyond_shape(
    array: zarr.Array[ArrayV3Metadata], shape: tuple[int, ...]
) -> zarr.Array[ArrayV3Metadata]:
    """The same array with another shape, in memory only, writing chunks equal to the fill too.

    Chunk objects may be written before the driver grows the array: their names and content
    do not depend on the shape.
    """
    inner = array.async_array
    config = replace(inner.config, write_empty_chunks=True)
    grown = replace(inner, metadata=inner.metadata.update_shape(shape), config=config)
    return zarr.Array(grown)


def set_shape(root: StorePath, name: str, shape: Sequence[int]) -> None:
    """Replace an array's shape in its metadata, touching no chunk.

    zarr's own ``resize`` lists and deletes when an axis shrinks (a row that a crash left
    half added), which takes seconds on a large store.
    """
    path = store_path(root) / name / "zarr.json"
    metadata = json.loads(path.read_bytes())
    if metadata["shape"] == list(shape):
        return
    metadata["shape"] = list(shape)
    path.write(json.dumps(metadata, indent=2).encode("ascii"))
