"""The bytes of a chunk object as values.

zarr reads in threads and tells damage and a fault of the machine by the same errors. Here bytes are
read by plain calls, and whether they are damaged follows from them alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import google_crc32c
import numpy as np
from numcodecs.vlen import VLenUTF8
from numcodecs.zstd import Zstd
from numpy.typing import NDArray

from avqa.faults import NOT_THERE
from avqa.store.places.files import StorePath, with_retries

CRC_BYTES = 4


class DamagedObject(ValueError):
    """These bytes are no chunk object of their array."""


def crc32c(data: bytes) -> int:
    """CRC-32C, as Zarr's codec of that name stores it behind the data."""
    return int(google_crc32c.value(data))


def read_object(path: StorePath) -> bytes | None:
    """The bytes of an object; None if there is none.

    Raises:
        OSError, StorageFailure: it cannot be read, which says nothing of what it holds.
    """
    try:
        return with_retries(path.read_bytes, pause=0.05)
    except NOT_THERE:
        return None
    except OSError as error:
        error.filename = error.filename or str(path)  # reading itself does not say
        raise


@dataclass(frozen=True)
class Described:
    """An array by its metadata alone; see `avqa.store.format.schema.describe`."""

    root: StorePath
    """Its group."""
    name: str
    shape: tuple[int, ...]
    chunks: tuple[int, ...]
    dtype: np.dtype[Any]
    fill_value: Any
    codecs: tuple[str, ...]
    """Names, in the order in which they encode."""

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self.shape)


class ChunkDecoder:
    """Decodes the chunk objects of one array; threads may share one."""

    def __init__(self, array: Any) -> None:
        """Take the codecs of an array, open or `Described`; in shards, of the chunks inside."""
        self._codecs = list(array.codecs if isinstance(array, Described) else _codecs(array))
        self.shape: tuple[int, ...] = tuple(array.chunks)
        self.dtype: np.dtype[Any] = array.dtype

    def decode(self, data: bytes) -> NDArray[Any]:
        """All values of a chunk: ``[*shape]``.

        Raises:
            DamagedObject: says what is wrong with the bytes.
        """
        raw: Any = data
        for name in reversed(self._codecs):
            if name == "crc32c":
                raw = _checked(raw)
            elif name == "zstd":
                raw = _unpacked(raw)
            elif name == "vlen-utf8":
                return self._texts(raw)
        values = np.frombuffer(raw, self.dtype.newbyteorder("<")) if self._fits(raw) else None
        if values is None:
            raise DamagedObject(f"{len(raw)} bytes of values, expected {self._n_bytes}")
        return values.reshape(self.shape).astype(self.dtype, copy=False)

    @property
    def _n_bytes(self) -> int:
        return int(np.prod(self.shape)) * self.dtype.itemsize

    def _fits(self, raw: bytes) -> bool:
        return len(raw) == self._n_bytes

    def _texts(self, raw: bytes) -> NDArray[Any]:
        try:
            texts = np.asarray(VLenUTF8().decode(raw))
        except (ValueError, RuntimeError, IndexError) as error:
            raise DamagedObject(f"no texts: {error}") from error
        if texts.size != int(np.prod(self.shape)):
            raise DamagedObject(f"{texts.size} texts, expected {int(np.prod(self.shape))}")
        return texts.reshape(self.shape).astype(self.dtype)


def _codecs(array: Any) -> list[str]:
    codecs = [codec.to_dict() for codec in array.metadata.codecs]
    if codecs[0]["name"] == "sharding_indexed":
        codecs = list(codecs[0]["configuration"]["codecs"])
    return [codec["name"] for codec in codecs]


def _checked(data: bytes) -> bytes:
    if len(data) < CRC_BYTES:
        raise DamagedObject(f"{len(data)} bytes, shorter than a checksum")
    stored = int.from_bytes(data[-CRC_BYTES:], "little")
    computed = crc32c(data[:-CRC_BYTES])
    if stored != computed:
        raise DamagedObject(
            f"Stored and computed checksum do not match: {stored:08x}, {computed:08x}"
        )
    return data[:-CRC_BYTES]


def _unpacked(data: bytes) -> bytes:
    try:
        return bytes(Zstd().decode(data))
    except (ValueError, RuntimeError) as error:
        raise DamagedObject(f"does not unpack: {error}") from error
