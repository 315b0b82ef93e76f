""".npz files of other people: only arrays of the names and shapes that are expected are read.

Nothing is ever unpickled, and no more of an archive is unpacked than its arrays should have.
"""

from __future__ import annotations

import io
import math
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from avqa.pipelines.npy.npy_files import FLOATS, BadFile, check_finite, read_head

BROKEN = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, ValueError)
"""What reading a broken or an encrypted archive may raise."""


class Packed(NamedTuple):
    """How an archive holds its arrays, which their numbers do not tell."""

    names: tuple[str, ...]
    """In their order."""
    compressed: bool


def packed(path: Path) -> Packed:
    """How a file is packed.

    Raises:
        BadFile: it is no archive.
    """
    with _opened(path) as archive:
        entries = archive.infolist()
        names = tuple(entry.filename.removesuffix(".npy") for entry in entries)
        return Packed(names, any(e.compress_type != zipfile.ZIP_STORED for e in entries))


def read_arrays(path: Path, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, NDArray[Any]]:
    """The arrays of these names, each of the shape that it must have.

    Raises:
        BadFile: one is missing, of another shape or type, damaged, or holds NaN or infinity.
    """
    with _opened(path) as archive:
        return {name: _array(archive, name, shape) for name, shape in shapes.items()}


def npz_bytes(arrays: Mapping[str, NDArray[Any]], *, compressed: bool = False) -> bytes:
    """What `numpy.savez`, or `numpy.savez_compressed`, writes."""
    stream = io.BytesIO()
    save: Any = np.savez_compressed if compressed else np.savez
    save(stream, **arrays)
    return stream.getvalue()


def _opened(path: Path) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(path)
    except OSError as error:
        raise BadFile(
            "unreadable", f"cannot be read: {error.strerror}; expected a file; check it"
        ) from error
    except BROKEN as error:
        raise BadFile("not_npy", "is no .npz archive; expected one; copy it again") from error


def _array(archive: zipfile.ZipFile, name: str, shape: tuple[int, ...]) -> NDArray[Any]:
    held = [entry.removesuffix(".npy") for entry in archive.namelist()]
    if name not in held:
        raise BadFile("shape", f"holds {_listed(held)}; expected {name} too; make it again")
    try:
        with archive.open(f"{name}.npy") as file:
            found, fortran, dtype = read_head(file)
            if dtype.hasobject:
                raise BadFile("pickle", f"{name} holds pickled objects; expected numbers")
            if found != shape or dtype.name not in FLOATS:
                raise BadFile(
                    "shape",
                    f"{name} has shape={found}, dtype={dtype}; expected {shape} of one of"
                    f" {', '.join(FLOATS)}; check --dataset and --annotations",
                )
            size = math.prod(shape) * dtype.itemsize
            data = file.read(size + 1)
    except (*BROKEN, KeyError) as error:
        raise BadFile("truncated", f"{name} is damaged; expected its checksum; copy it") from error
    if len(data) != size:
        raise BadFile("truncated", f"{name} has bytes={len(data)}; expected {size}; copy it again")
    values = np.frombuffer(data, dtype).reshape(shape, order="F" if fortran else "C")
    values = values.astype(dtype.newbyteorder("="))
    check_finite(values.reshape(1, -1), 0)
    return values


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names) or "nothing"
