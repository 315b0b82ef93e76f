"""Is a chunk object what its record says it is, and what can be said of one without a record?

Whatever cannot be read raises: it is neither good nor bad.
"""

from __future__ import annotations

import numpy as np

from avqa.faults import NOT_THERE
from avqa.store.format import schema
from avqa.store.format.chunks import chunk_path, read_record
from avqa.store.format.decoding import CRC_BYTES, ChunkDecoder, DamagedObject, read_object
from avqa.store.format.records import ChunkRecord, FeatureRecord, Status
from avqa.store.places.files import StorePath, store_path

Wrong = tuple[str, str]
"""(kind as of `verify.Problem`, detail)."""


class ChunkChecker:
    """Checks the chunk objects of one feature; threads may share one."""

    def __init__(self, root: StorePath, feature: str) -> None:
        """Open the feature's array in the group ``root``."""
        array = schema.open_array(root, feature, "r")
        self._root = store_path(root)
        self._feature = feature
        self._num_axes = len(array.shape) - 2
        self._chunk_seconds = array.chunks[1]
        self._decoder = ChunkDecoder(array)

    def check(self, row: int, record: FeatureRecord, *, read: bool = True) -> Wrong | None:
        """First thing wrong with a row's objects as (kind, detail), None if all is well.

        Existence, size, and the checksum as it is stored; with ``read`` also whether it fits,
        finite values and zero padding.

        Raises:
            OSError, StorageFailure: an object cannot be read.
        """
        for number, chunk in enumerate(record.chunks):
            if read:
                wrong = self._check_whole(row, number, chunk, record.length)
            else:
                wrong = self._check_end(row, number, chunk)
            if wrong is not None:
                return wrong[0], f"chunk={number}: {wrong[1]}"
        return None

    def _path(self, row: int, number: int) -> StorePath:
        return chunk_path(self._root, self._feature, row, number, self._num_axes)

    def _check_end(self, row: int, number: int, record: ChunkRecord) -> Wrong | None:
        try:
            stored = read_record(self._path(row, number))
        except NOT_THERE:
            return "missing", "no object"
        return _compared(stored, record)

    def _check_whole(self, row: int, number: int, record: ChunkRecord, length: int) -> Wrong | None:
        data = read_object(self._path(row, number))
        if data is None:
            return "missing", "no object"
        return _compared(_record_of(data), record) or self.check_values(data, number, length)

    def check_values(self, data: bytes, number: int, length: int) -> Wrong | None:
        """First thing wrong with the bytes of a chunk of a video of ``length`` seconds."""
        valid = min(length - number * self._chunk_seconds, self._chunk_seconds)
        try:
            values = self._decoder.decode(data)[0]
        except DamagedObject as error:
            return "crc", f"does not decode: {error}"
        if not np.isfinite(values[:valid]).all():
            return "not_finite", f"NaN or infinity in the first {valid} seconds"
        if values[valid:].any():
            return "padding", f"values other than zero after second {valid}"
        return None

    def vouched(self, row: int, length: int) -> FeatureRecord | None:
        """The record of a row by its objects alone, if all of them are there and in order.

        Args:
            row: of the video.
            length: seconds, as the column has it.

        Raises:
            OSError, StorageFailure: an object cannot be read.
        """
        chunks = []
        for number in range(schema.num_chunks(length, self._chunk_seconds)):
            data = read_object(self._path(row, number))
            if data is None or self.check_values(data, number, length) is not None:
                return None
            chunks.append(_record_of(data))
        if not chunks:
            return None
        return FeatureRecord(self._feature, Status.OK, length, tuple(chunks))


def _record_of(data: bytes) -> ChunkRecord:
    return ChunkRecord(len(data), int.from_bytes(data[-CRC_BYTES:], "little"))


def _compared(stored: ChunkRecord, record: ChunkRecord) -> Wrong | None:
    if stored.n_bytes != record.n_bytes:
        return "size", f"{stored.n_bytes} bytes, ledger says {record.n_bytes}"
    if stored.crc32c != record.crc32c:
        return "crc", f"checksum {stored.crc32c:08x}, ledger says {record.crc32c:08x}"
    return None
