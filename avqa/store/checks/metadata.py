"""Every ``zarr.json`` below a store's group: what it has to be, and what is wrong with it.

Names, types, chunks and codecs of all arrays follow from the group's attributes. Only shapes do
not: the arrays have them in common, so that those of the others tell what one should be.
"""

from __future__ import annotations

import functools
import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from avqa.faults import machine_fault, reading
from avqa.store.format import schema
from avqa.store.format.chunks import object_sizes
from avqa.store.format.decoding import CRC_BYTES, read_object
from avqa.store.format.layout import shard_videos_of
from avqa.store.format.shards import videos_per_shard
from avqa.store.format.texts import create_texts, text_entries
from avqa.store.places.files import StorePath
from avqa.store.zarr_library import zarr

FILE = "zarr.json"


@dataclass(frozen=True)
class WrongMetadata:
    """A ``zarr.json`` that is not what it has to be."""

    name: str
    """Of its array or group, in the store's group."""
    detail: str
    content: bytes
    """What it should hold."""


def wrong_metadata(
    root: StorePath,
    attrs: Mapping[str, Any],
    *,
    packed: bool,
    unfinished: bool,
    longest: Callable[[], int],
) -> list[WrongMetadata]:
    """All arrays and groups of the group ``root`` whose metadata is not as it should be.

    Args:
        root: the store's group.
        attrs: its attributes.
        packed: it is a packed copy.
        unfinished: a run is or was at work, which may have left shapes half changed.
        longest: seconds of the longest video, by the ledger; asked where arrays disagree.

    Raises:
        StorageFailure: a file cannot be read.
    """
    built = _built(root, attrs, packed)
    stored = {name: _stored(root, name) for name in built}
    shapes = _Shapes(attrs, stored, longest)
    found = []
    for name, metadata in built.items():
        expected = dict(metadata)
        if "shape" in expected:
            expected["shape"] = shapes.of(name, expected["shape"])
        detail = _difference(stored[name], expected, shape=not unfinished)
        if detail:
            content = json.dumps(expected, indent=2).encode("ascii")
            found.append(WrongMetadata(name, f"{FILE} {detail}", content))
    return found


def _stored(root: StorePath, name: str) -> dict[str, Any] | str:
    """The metadata as zarr understands it, or what is wrong with it."""
    with reading(f"{name}/{FILE}"):
        data = read_object(root / name / FILE)
    if data is None:
        return "is gone"
    try:
        found = json.loads(data)
        if found["node_type"] == "group":
            return {key: found[key] for key in ("zarr_format", "node_type")}
        return _normal(found)
    except Exception as error:  # zarr has no one error for what it does not understand
        if machine_fault(error):
            raise
        return f"is damaged: {str(error)[:200]}"


def _normal(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """One form for what may be written in several."""
    if metadata["node_type"] == "group":
        return {key: metadata[key] for key in ("zarr_format", "node_type")}
    found: dict[str, Any] = json.loads(
        json.dumps(
            zarr.core.metadata.v3.ArrayV3Metadata.from_dict(dict(metadata)).to_dict(), default=str
        )
    )
    return found


def _difference(stored: dict[str, Any] | str, expected: dict[str, Any], *, shape: bool) -> str:
    if isinstance(stored, str):
        return stored
    right = _normal(expected)
    for key in sorted(stored.keys() | right.keys()):
        if stored.get(key) != right.get(key) and (shape or key != "shape"):
            told = f"{json.dumps(stored.get(key))}, expected {json.dumps(right.get(key))}"
            return f"has {key}={told}"
    return ""


def _built(root: StorePath, attrs: Mapping[str, Any], packed: bool) -> dict[str, dict[str, Any]]:
    """Name → metadata of every array and group, of a store without rows."""
    specs = tuple(_specs(root, attrs["features"], attrs["chunk_seconds"]))
    told = shard_videos_of(attrs["features"])
    videos = tuple(told.get(spec.name, 0) for spec in specs)
    if packed:
        seconds = attrs["chunk_seconds"]
        videos = tuple(_shard_videos(root, spec, attrs["features"], seconds) for spec in specs)
    texts = tuple(_specs(root, text_entries(attrs), 0))
    found = _layout(attrs["chunk_seconds"], attrs["capacity"], specs, videos, texts, packed)
    return {name: json.loads(metadata) for name, metadata in found.items()}


@functools.cache
def _layout(
    chunk_seconds: int,
    capacity: int,
    specs: tuple[schema.FeatureSpec, ...],
    shard_videos: tuple[int, ...],
    texts: tuple[schema.FeatureSpec, ...],
    packed: bool,
) -> dict[str, str]:
    """Name → metadata as JSON, made as a store is made."""
    files: dict[str, Any] = {}
    group = zarr.create_group(zarr.storage.MemoryStore(files), zarr_format=3)
    schema.create_index(group, capacity=capacity, chunk_seconds=chunk_seconds)
    working = zarr.create_group(zarr.storage.MemoryStore(), zarr_format=3) if packed else group
    for spec, videos in zip(specs, shard_videos, strict=True):
        schema.create_feature(
            working,
            spec,
            rows=0,
            seconds=chunk_seconds,
            chunk_seconds=chunk_seconds,
            capacity=capacity,
            shard_videos=0 if packed else videos,
        )
        if packed:
            like = working[spec.name]
            schema.create_packed(group, spec.name, like, videos=videos, capacity=capacity)
    if texts:
        create_texts(group, texts)
    return {
        key.removesuffix(f"/{FILE}"): content.to_bytes().decode()
        for key, content in sorted(files.items())
        if key != FILE
    }


def _specs(
    root: StorePath, entries: Mapping[str, Mapping[str, Any]], chunk_seconds: int
) -> Iterator[schema.FeatureSpec]:
    for name, entry in entries.items():
        shape, dtype = tuple(entry["shape"]), entry["dtype"]
        sparse = entry.get("sparse")
        if sparse is None:  # written by version 0.1
            sparse = bool(chunk_seconds) and _looks_sparse(
                root, name, chunk_seconds * int(np.prod(shape)) * np.dtype(dtype).itemsize
            )
        yield schema.FeatureSpec(name, shape, tuple(entry["dims"]), sparse, dtype)


def _shard_videos(
    root: StorePath,
    spec: schema.FeatureSpec,
    entries: Mapping[str, Mapping[str, Any]],
    chunk_seconds: int,
) -> int:
    """Videos per shard; a copy of version 0.1 says so in its metadata alone."""
    told = entries[spec.name].get("shard_videos")
    stored = _stored(root, spec.name) if told is None else ""
    if not isinstance(stored, str):
        told = stored["chunk_grid"]["configuration"]["chunk_shape"][0]
    values = chunk_seconds * int(np.prod(spec.shape))
    return int(told or videos_per_shard(chunk_seconds, values * np.dtype(spec.dtype).itemsize))


def _looks_sparse(root: StorePath, name: str, n_bytes: int) -> bool:
    """Whether a feature's objects are compressed, by its metadata, else by their sizes."""
    stored = _stored(root, name)
    if not isinstance(stored, str):
        return "zstd" in json.dumps(stored["codecs"])
    try:
        sizes = [size for key, size in object_sizes(root, name).items() if key.startswith("c.")]
    except FileNotFoundError:
        return False
    return bool(sizes) and n_bytes + CRC_BYTES not in sizes


class _Shapes:
    """The shapes that the arrays should have: what most of them say."""

    def __init__(
        self,
        attrs: Mapping[str, Any],
        stored: Mapping[str, dict[str, Any] | str],
        longest: Callable[[], int],
    ) -> None:
        self._chunk_seconds = attrs["chunk_seconds"]
        texts = text_entries(attrs)
        self._of_texts = {*texts, *map(schema.status_name, texts)}
        self._features = {*attrs["features"], schema.PTS}
        known = {
            name: metadata["shape"]
            for name, metadata in stored.items()
            if not isinstance(metadata, str) and "shape" in metadata
        }
        of_texts = [shape[0] for name, shape in known.items() if self._is_text(name)]
        of_videos = [shape[0] for name, shape in known.items() if not self._is_text(name)]
        seconds = [
            shape[1]
            for name, shape in known.items()
            if name in self._features and len(shape) > 1 and self._is_length(shape[1])
        ]
        self._texts, self._rows = _commonest(of_texts), _commonest(of_videos)
        self._seconds = seconds[0] if len(set(seconds)) == 1 else 0
        if not self._seconds:
            least = longest()
            whole = schema.num_chunks(max(1, least), self._chunk_seconds)
            fitting = [number for number in seconds if number >= least]
            self._seconds = _commonest(fitting) or whole * self._chunk_seconds

    def _is_length(self, number: int) -> bool:
        return number > 0 and number % self._chunk_seconds == 0

    def _is_text(self, name: str) -> bool:
        return name.startswith("text/") or name in self._of_texts

    def of(self, name: str, empty: list[int]) -> list[int]:
        """The shape of an array whose shape without rows is ``empty``."""
        if self._is_text(name):
            return [self._texts, *empty[1:]]
        if name in self._features:
            return [self._rows, self._seconds, *empty[2:]]
        return [self._rows, *empty[1:]]


def _commonest(numbers: list[int]) -> int:
    """The number that occurs most often, of several the smallest; 0 of none."""
    counts = Counter(numbers)
    return min(counts, key=lambda number: (-counts[number], number), default=0)
