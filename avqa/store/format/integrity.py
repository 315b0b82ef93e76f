"""Is a chunk object what its record says it is?"""

from __future__ import annotations

from typing import Any

import numpy as np

from avqa.store.format import schema
from avqa.store.format.chunks import chunk_path, read_record
from avqa.store.format.records import ChunkRecord, FeatureRecord
from avqa.store.places.files import StorePath, store_path


class ChunkChecker:
    """Checks the chunk objects of one feature."""

    def __init__(self, root: StorePath, feature: str) -> None:
        """Open the feature's array in the group ``root``."""
        array = schema.open_array(root, feature)
        self._root = store_path(root)
        self._feature = feature
        self._num_axes = len(array.shape) - 2
        self._chunk_seconds = array.chunks[1]
        whole = (2**31, 2**31 * self._chunk_seconds, *array.shape[2:])
        self._array: Any = schema.beyond_shape(array, whole)

    def check(
        self, row: int, record: FeatureRecord, *, read: bool = True
    ) -> tuple[str, str] | None:
        """First thing wrong with a row's objects as (kind, detail), None if all is well.

        Existence, size, and the checksum as it is stored; with ``read`` also whether it fits,
        finite values and zero padding.
        """
        for number, chunk in enumerate(record.chunks):
            valid = min(record.length - number * self._chunk_seconds, self._chunk_seconds)
            wrong = self._check_object(row, number, chunk)
            if wrong is None and read:
                wrong = self.check_values(row, number, valid)
            if wrong is not None:
                return wrong[0], f"chunk={number}: {wrong[1]}"
        return None

    def _check_object(self, row: int, number: int, record: ChunkRecord) -> tuple[str, str] | None:
        path = chunk_path(self._root, self._feature, row, number, self._num_axes)
        try:
            stored = read_record(path)
        except FileNotFoundError:
            return "missing", "no object"
        if stored.n_bytes != record.n_bytes:
            return "size", f"{stored.n_bytes} bytes, ledger says {record.n_bytes}"
        if stored.crc32c != record.crc32c:
            return "crc", f"checksum {stored.crc32c:08x}, ledger says {record.crc32c:08x}"
        return None

    def check_values(self, row: int, number: int, valid: int) -> tuple[str, str] | None:
        """First thing wrong with a chunk's values, of which ``valid`` seconds count."""
        start = number * self._chunk_seconds
        try:
            values = self._array[row, start : start + self._chunk_seconds]
        except (ValueError, RuntimeError) as error:
            return "crc", f"does not decode: {error}"
        if not np.isfinite(values[:valid]).all():
            return "not_finite", f"NaN or infinity in the first {valid} seconds"
        if values[valid:].any():
            return "padding", f"values other than zero after second {valid}"
        return None
