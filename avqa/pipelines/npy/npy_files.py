""".npy files of other people: headers are checked before anything is read or allocated.

Nothing is ever unpickled. A file is taken if it holds floating-point numbers, all of them
there and finite.
"""

from __future__ import annotations

import errno
import io
import math
import os
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, BinaryIO

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

FLOATS = ("float16", "float32", "float64")


class BadFile(Exception):
    """A file that cannot be taken: a word for the ledger and a line for the user."""

    def __init__(self, reason: str, message: str) -> None:
        """``reason``: unreadable, empty, not_npy, pickle, dtype, truncated, shape, not_finite."""
        super().__init__(message)
        self.reason = reason


@dataclass(frozen=True)
class Header:
    """What the head of a file says, and its own bytes."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    fortran: bool
    raw: bytes

    def is_plain(self, shape: tuple[int, ...]) -> bool:
        """Whether `numpy.save` would write this head for a C-ordered array of ``shape``."""
        return self.raw == head_of(shape, self.dtype.newbyteorder("="))

    def memory(self, path: Path) -> NDArray[Any]:
        """The file's array, read when and where it is touched.

        Raises:
            BadFile: it cannot be opened any more.
        """
        order: Any = "F" if self.fortran else "C"
        try:
            return np.memmap(path, self.dtype, "r", len(self.raw), self.shape, order)
        except (OSError, ValueError) as error:
            if isinstance(error, OSError) and error.errno == errno.ENODEV:
                # A file system that maps no files: it is read whole.
                values = np.fromfile(path, self.dtype, offset=len(self.raw))
                return values.reshape(self.shape, order=order)
            raise BadFile("unreadable", f"cannot be read: {error}; check the disk") from error


def head_of(shape: tuple[int, ...], dtype: np.dtype[Any]) -> bytes:
    """The head that `numpy.save` writes for a C-ordered array."""
    stream = io.BytesIO()
    values = {"descr": npy.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
    npy.write_array_header_1_0(stream, values)
    return stream.getvalue()


def file_bytes(rows: NDArray[Any], head: bytes | None = None) -> bytes:
    """What `numpy.save` writes, or under ``head`` the file that ``rows`` were imported from."""
    if head is None:
        return head_of(rows.shape, rows.dtype) + rows.tobytes()
    shape, fortran, dtype = read_head(io.BytesIO(head))
    return head + rows.astype(dtype).reshape(shape).tobytes("F" if fortran else "C")


def read_header(path: Path) -> Header:
    """The head of a file, checked against the file's size.

    Raises:
        BadFile: it is no .npy file, holds objects, no numbers or no rows, or is not complete.
    """
    try:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            header = _parse(file, size)
    except OSError as error:
        raise BadFile(
            "unreadable", f"cannot be read: {error.strerror}; expected a file; check it"
        ) from error
    expected = len(header.raw) + math.prod(header.shape) * header.dtype.itemsize
    if size != expected:
        raise BadFile(
            "truncated",
            f"size={size} bytes, its header says shape={header.shape} dtype={header.dtype};"
            f" expected {expected} bytes; copy the file again",
        )
    return header


def _parse(file: BinaryIO, size: int) -> Header:
    start = file.read(2)
    file.seek(0)
    if size == 0:
        raise BadFile("empty", "is empty; expected an array; copy the file again")
    if start[:1] == b"\x80":
        raise _pickled("is a pickle")
    try:
        shape, fortran, dtype = read_head(file)
    # A hostile head can fail in many ways inside numpy's parser: none of them is ours.
    except Exception as error:
        hint = "; it is a zip archive: unpack it" if start == b"PK" else "; check what wrote it"
        raise BadFile("not_npy", f"has no .npy header; expected one{hint}") from error
    if dtype.hasobject:
        raise _pickled("holds pickled objects")
    if 0 in shape or not shape:
        raise BadFile("shape", f"shape={shape} holds no row; expected some; make it again")
    raw = os.pread(file.fileno(), file.tell(), 0)
    return Header(shape, dtype, fortran, raw)


def read_head(file: BinaryIO | IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Shape, whether columns come first, and type, as the head of an array says.

    Raises:
        Exception: of whatever kind, where there is no such head.
    """
    version = npy.read_magic(file)
    reader = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}[version]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # numpy warns of heads that Python 2 wrote
        shape, fortran, dtype = reader(file)
    if any(size < 0 for size in shape):
        raise ValueError(f"negative size in {shape}")
    return shape, fortran, dtype


def _pickled(what: str) -> BadFile:
    return BadFile(
        "pickle",
        f"{what}; expected an array of numbers; avqa never unpickles: save it again as a"
        " plain float32 array",
    )


def fitted_shape(header: Header, row: tuple[int, ...]) -> tuple[int, ...]:
    """The shape ``[T, *row]`` of a file, a leading 1 squeezed.

    Raises:
        BadFile: no array of such rows, or of another type than floating point.
    """
    if header.dtype.name not in FLOATS:
        raise BadFile(
            "dtype",
            f"dtype={header.dtype}; expected {', '.join(FLOATS)}; save it again as float32",
        )
    shape = header.shape
    if len(shape) == len(row) + 2 and shape[0] == 1:
        shape = shape[1:]
    if len(shape) != len(row) + 1 or shape[1:] != row:
        wanted = ",".join(["T", *map(str, row)])
        raise BadFile(
            "shape",
            f"shape={header.shape} rank={len(header.shape)}; expected [{wanted}]"
            f" rank={len(row) + 1}; check the folder or --kind",
        )
    return shape


def check_finite(rows: NDArray[Any], first: int) -> None:
    """Refuse NaN and infinity; ``first`` is the number of the first of ``rows``.

    Raises:
        BadFile: names the row.
    """
    if not np.isfinite(rows).all():
        good = np.isfinite(rows.reshape(len(rows), -1)).all(axis=1)
        raise BadFile(
            "not_finite",
            f"row={first + int(good.argmin())} holds NaN or infinity; expected finite values;"
            " make the file again",
        )
