"""The worker's side: chunk objects of single rows, and nothing else.

Each chunk object belongs to one row and each row to one task at a time, so writers need no
locks. Metadata, index, status and length belong to the driver (`avqa.store.commit`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from avqa.errors import MediaError, StoreError
from avqa.store import dtypes
from avqa.store.format import schema
from avqa.store.format.chunks import chunk_path, loose_root, read_record, remove_chunks
from avqa.store.format.records import ChunkRecord
from avqa.store.places.files import StorePath, storage_errors, store_path, with_retries

_MANY = 2**31
"""Rows and chunks of the array as the writer sees it: beyond any real store."""


class ChunkWriter:
    """Writes and trims the chunk objects of rows.

    Args:
        path: the store directory S.
        specs: features this writer may be asked for.
        chunk_seconds: seconds per chunk, as in the store.

    Threads may share one writer as long as they write different rows.
    """

    def __init__(
        self, path: StorePath, specs: Sequence[schema.FeatureSpec], chunk_seconds: int
    ) -> None:
        self._root = store_path(path) / schema.GROUP
        self._chunk_seconds = chunk_seconds
        self._specs = {spec.name: spec for spec in specs}
        self._known_chunks: dict[str, int] = {}
        self._roots: dict[str, StorePath] = {}
        self._arrays = {name: self._open(spec) for name, spec in self._specs.items()}

    def _open(self, spec: schema.FeatureSpec) -> Any:
        array = schema.open_array(self._root, spec.name)
        expected = (1, self._chunk_seconds, *spec.shape)
        if array.chunks != expected or array.dtype != np.dtype(spec.dtype):
            raise StoreError(
                f"array {spec.name}: chunks={array.chunks} dtype={array.dtype}; expected"
                f" chunks={expected} dtype={spec.dtype}; its zarr.json may be damaged, rebuild it"
                f" with: avqa verify --repair {self._root.parent}"
            )
        self._known_chunks[spec.name] = schema.num_chunks(array.shape[1], self._chunk_seconds)
        self._roots[spec.name] = self._root
        if array.shards:  # shards are the driver's
            self._roots[spec.name] = loose_root(self._root)
            array = schema.open_array(self._roots[spec.name], spec.name)
        return schema.beyond_shape(array, (_MANY, _MANY * self._chunk_seconds, *spec.shape))

    def write(self, feature: str, row: int, chunk: int, values: NDArray[Any]) -> ChunkRecord:
        """Write one chunk object, atomically, zero-padded to the full chunk.

        Rows and chunks beyond the array's present shape are fine: the driver grows it later.

        Args:
            feature: ``<encoder>/<tap>``.
            row: row of the video.
            chunk: number of the chunk along the second axis.
            values: ``[n, *shape]`` with 1 <= n <= chunk_seconds, float32 or float16.

        Raises:
            MediaError: ``not_finite`` for NaN or infinity, ``overflow`` for a value that the
                stored dtype cannot hold; nothing is written.
            StorageFailure: the disk is full, read-only, or failed three times.
            ValueError: if the shape of ``values`` is not the feature's.
        """
        spec = self._specs[feature]
        padded = self._padded(spec, values)
        start = chunk * self._chunk_seconds
        path = self._path(feature, row, chunk)

        def store() -> ChunkRecord:
            self._arrays[feature][row, start : start + self._chunk_seconds] = padded
            return read_record(path)

        with storage_errors(f"{feature} row={row} chunk={chunk}"):
            return with_retries(store)

    def _padded(self, spec: schema.FeatureSpec, values: NDArray[Any]) -> NDArray[Any]:
        if values.shape[1:] != spec.shape or not 1 <= len(values) <= self._chunk_seconds:
            raise ValueError(
                f"{spec.name}: values must be [1..{self._chunk_seconds}, {spec.shape}]; "
                f"got shape={values.shape}"
            )
        if not np.isfinite(values).all():
            raise MediaError(
                "not_finite",
                f"{spec.name}: NaN or infinity in the output; expected finite values;"
                " extract with --precision fp32",
                stage="write",
            )
        largest, limit = np.abs(values).max(), dtypes.largest(spec.dtype)
        if largest > limit:
            raise MediaError(
                "overflow",
                f"{spec.name}: largest={largest:.6g} does not fit {spec.dtype} "
                f"(limit {limit:.6g}); extract with --dtype float32",
                stage="write",
            )
        padded = np.zeros((self._chunk_seconds, *spec.shape), spec.dtype)
        padded[: len(values)] = values
        return padded

    def trim(self, feature: str, row: int, num_chunks: int) -> None:
        """Delete this row's chunk objects from number ``num_chunks`` on.

        Call it after writing a video that may have been longer before, and with 0 after a
        video failed half-way.

        Raises:
            StorageFailure: the disk is read-only, or failed three times.
        """
        with storage_errors(f"{feature} row={row}"):
            known, num_axes = self._known_chunks[feature], len(self._specs[feature].shape)
            with_retries(
                lambda: remove_chunks(
                    self._roots[feature], feature, row, num_chunks, known, num_axes
                )
            )

    def _path(self, feature: str, row: int, chunk: int) -> StorePath:
        num_axes = len(self._specs[feature].shape)
        return chunk_path(self._roots[feature], feature, row, chunk, num_axes)
