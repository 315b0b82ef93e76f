"""Is a chunk object what its record says it is, and what can be said of one without a record?

Whatever cannot be read raises: it is neither good nor bad.
"""

from __future__ import annotations

import numpy as np

from avqa.store.format import schema
from avqa.store.format.chunks import FeatureObjects, record_of
from avqa.store.format.decoding import DamagedObject
from avqa.store.format.records import ChunkRecord, FeatureRecord, Status
from avqa.store.places.files import StorePath

Wrong = tuple[str, str]
"""(kind as of `verify.Problem`, detail)."""


class ChunkChecker:
    """Checks the chunk objects of one feature; threads may share one."""

    def __init__(self, root: StorePath, feature: str) -> None:
        """Open the feature's array in the group ``root``."""
        self._feature = feature
        self.objects = FeatureObjects(root, feature)
        self._chunk_seconds = self.objects.chunk_seconds
        self._decoder = self.objects.decoder

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

    def _check_end(self, row: int, number: int, record: ChunkRecord) -> Wrong | None:
        try:
            stored = self.objects.record(row, number)
        except DamagedObject as error:
            return "crc", str(error)
        return _compared(stored, record) if stored is not None else ("missing", "no object")

    def _check_whole(self, row: int, number: int, record: ChunkRecord, length: int) -> Wrong | None:
        try:
            data = self.objects.read(row, number)
        except DamagedObject as error:
            return "crc", str(error)
        if data is None:
            return "missing", "no object"
        return _compared(record_of(data), record) or self.check_values(data, number, length)

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
            try:
                data = self.objects.read(row, number)
            except DamagedObject:
                return None
            if data is None or self.check_values(data, number, length) is not None:
                return None
            chunks.append(record_of(data))
        if not chunks:
            return None
        return FeatureRecord(self._feature, Status.OK, length, tuple(chunks))


def _compared(stored: ChunkRecord, record: ChunkRecord) -> Wrong | None:
    if stored.n_bytes != record.n_bytes:
        return "size", f"{stored.n_bytes} bytes, ledger says {record.n_bytes}"
    if stored.crc32c != record.crc32c:
        return "crc", f"checksum {stored.crc32c:08x}, ledger says {record.crc32c:08x}"
    return None
