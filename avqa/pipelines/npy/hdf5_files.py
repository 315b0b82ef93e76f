"""HDF5 files of other people: one dataset of features and the ids of its rows.

What a file says is checked before any of its rows is read, and rows are read in blocks that fit
its chunks: a file may be far larger than memory.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

from numpy.typing import NDArray

from avqa.errors import EnvironmentFailure
from avqa.pipelines.npy.kinds import DATASETS, Dtype, Kind
from avqa.pipelines.npy.npy_files import FLOATS, BadFile

IDS = "ids"
BLOCK_BYTES = 64 * 2**20
"""Of the rows that are read at once."""
SHOWN_NAMES = 8


def load_library() -> Any:
    """The package ``h5py``.

    Raises:
        EnvironmentFailure: it is not installed.
    """
    try:
        import h5py
    except ImportError as error:
        raise EnvironmentFailure(
            "HDF5 files: h5py is not installed; expected the extra hdf5; install it with:"
            " pip install h5py"
        ) from error
    return h5py


@contextmanager
def opened(path: Path) -> Iterator[Any]:
    """The file, open for reading.

    Raises:
        BadFile: it is none, cannot be read or is not complete.
    """
    h5py = load_library()
    try:
        if path.stat().st_size == 0:
            raise BadFile("empty", "is empty; expected an HDF5 file; copy the file again")
        file = h5py.File(path, "r")
    except OSError as error:
        raise _unopened(str(error)) from error
    with file:
        yield file


def _unopened(why: str) -> BadFile:
    if "truncated" in why:
        return BadFile("truncated", f"is not complete ({why}); expected all of it; copy it again")
    if "signature not found" in why:
        return BadFile("not_hdf5", "is no HDF5 file; expected one; check what wrote it")
    return BadFile("unreadable", f"cannot be read: {why}; expected an HDF5 file; check it")


def published(file: Any) -> list[str]:
    """Names of the published datasets that a file has.

    Raises:
        BadFile: it has none.
    """
    names = _names(file)
    found = [name for name in DATASETS if name in names]
    if not found:
        told = ", ".join(map(repr, names[:SHOWN_NAMES])) + (", …" if names[SHOWN_NAMES:] else "")
        raise BadFile(
            "names",
            f"holds {told or 'nothing'}; expected one of the datasets {', '.join(DATASETS)}; give"
            " the file that has it",
        )
    return found


def _names(file: Any) -> list[str]:
    try:
        return list(file)
    except RuntimeError as error:
        raise BadFile("unreadable", f"cannot be read: {error}; copy the file again") from error


class Table:
    """One dataset of a file: the rows of the features of videos."""

    def __init__(self, path: Path, file: Any, name: str) -> None:
        """Check what the file says of it; read its ids, and no row.

        Raises:
            BadFile: it is not what is published under this name.
        """
        self.path = path
        self.kind: Kind = DATASETS[name]
        stat = path.stat()
        self.state = stat.st_size, stat.st_mtime_ns
        """Size and modification time of the file."""
        self._data = _dataset(file, name)
        shape: tuple[int, ...] = self._data.shape or ()
        self._row = _row_shape(self.kind, shape)
        if self._data.dtype.name not in FLOATS:
            raise BadFile(
                "dtype",
                f"{name} has dtype={self._data.dtype}; expected {', '.join(FLOATS)}; save it again"
                " as float32",
            )
        self.dtype = cast(Dtype, self._data.dtype.name)
        ids = _dataset(file, IDS)
        if ids.shape != shape[:1]:
            raise BadFile(
                "ids",
                f"{IDS} has shape={ids.shape} and {name} {shape[0]} rows; expected one id a row;"
                " make the file again",
            )
        self.ids, self.numbers = _ids(ids)
        row_bytes = math.prod(self._row) * self._data.dtype.itemsize
        self._step = block_rows(row_bytes, (self._data.chunks or (1,))[0])
        self._block = range(0)
        self._values: NDArray[Any] | None = None

    @property
    def length(self) -> int:
        """T: rows that a video has."""
        return self._row[0]

    def __len__(self) -> int:
        """Number of videos, n."""
        return len(self.ids)

    def what(self, number: int) -> str:
        """Words for one row."""
        return f"file {str(self.path)!r}: {self.kind.name}[{number}] (id {self.ids[number]!r})"

    def row(self, number: int) -> NDArray[Any]:
        """The features of one video, ``[T, *row]``; with it the block is read that it lies in.

        Raises:
            BadFile: the file is damaged there.
        """
        if number not in self._block:
            first = number // self._step * self._step
            self._block = range(first, min(first + self._step, len(self)))
            try:
                self._values = self._read(self._block.start, self._block.stop)
            except BadFile:  # of a block with a damaged chunk the other rows are good
                self._values = None
        if self._values is None:
            return self.row_alone(number)
        rows: NDArray[Any] = self._values[number - self._block.start]
        return rows

    def row_alone(self, number: int) -> NDArray[Any]:
        """`row`, for one that is not read in order."""
        rows: NDArray[Any] = self._read(number, number + 1)[0]
        return rows

    def _read(self, start: int, stop: int) -> NDArray[Any]:
        try:
            values: NDArray[Any] = self._data[start:stop]
        except (OSError, RuntimeError, ValueError) as error:
            raise BadFile("unreadable", f"cannot be read: {error}; copy the file again") from error
        return values.astype(self.dtype, copy=False).reshape(-1, *self._row)


def block_rows(row_bytes: int, chunk_rows: int) -> int:
    """Rows to read at once: whole chunks of the file, so that none is unpacked twice, if they fit.

    Args:
        row_bytes: of a row.
        chunk_rows: rows that share a chunk.
    """
    most = max(1, BLOCK_BYTES // row_bytes)
    return most // chunk_rows * chunk_rows or most


def _dataset(file: Any, name: str) -> Any:
    """A dataset whose values lie in this file.

    Raises:
        BadFile: it is not there, or is something else.
    """
    h5py = load_library()
    try:
        link = file.get(name, getlink=True)
        if link is None:
            raise BadFile("names", f"has no dataset {name!r}; expected it; give the whole file")
        if not isinstance(link, h5py.HardLink):
            where = f" in {link.filename!r}" if isinstance(link, h5py.ExternalLink) else ""
            raise BadFile(
                "link",
                f"{name} is a link to {link.path!r}{where}; expected a dataset of this file; avqa"
                " follows no link in files of others: copy the values into the file",
            )
        data = file[name]
    except (KeyError, OSError, RuntimeError) as error:
        raise BadFile("unreadable", f"{name} cannot be read: {error}; copy it again") from error
    if not isinstance(data, h5py.Dataset):
        raise BadFile(
            "names",
            f"{name} is a {type(data).__name__.lower()}; expected a dataset; check the file",
        )
    if data.external or data.is_virtual:
        raise BadFile(
            "link",
            f"{name} has its values in other files; expected them in this one; avqa follows no"
            " link in files of others: copy the values into the file",
        )
    return data


def _row_shape(kind: Kind, shape: tuple[int, ...]) -> tuple[int, ...]:
    """``[T, *row]`` of one video.

    Raises:
        BadFile: the dataset has another shape, or no row.
    """
    fits = len(shape) == len(kind.row) + (1 if kind.whole else 2)
    if not fits or shape[-len(kind.row) :] != kind.row or 0 in shape:
        wanted = ",".join(["n", *([] if kind.whole else ["T"]), *map(str, kind.row)])
        raise BadFile(
            "shape",
            f"{kind.name} has shape={shape}; expected [{wanted}], no size 0; check what wrote it",
        )
    return (1, *kind.row) if kind.whole else shape[1:]


def _ids(data: Any) -> tuple[tuple[str | None, ...], bool]:
    """The ids as texts, None for one that is none, and whether they are numbers.

    Raises:
        BadFile: they are neither texts nor whole numbers.
    """
    h5py = load_library()
    is_text = h5py.check_string_dtype(data.dtype) is not None
    if not is_text and data.dtype.kind not in "iu":
        raise BadFile(
            "ids",
            f"{IDS} has dtype={data.dtype}; expected texts or whole numbers; make the file again",
        )
    try:
        values = data[()]
    except (OSError, RuntimeError, ValueError) as error:
        raise BadFile("unreadable", f"{IDS} cannot be read: {error}; copy it again") from error
    if not is_text:
        return tuple(str(int(value)) for value in values), True
    return tuple(_text(value) for value in values), False


def _text(value: bytes) -> str | None:
    try:
        return value.decode() or None
    except UnicodeDecodeError:
        return None


def named(ids: Sequence[str | None], numbers: bool, names: Mapping[str, str]) -> list[str | None]:
    """Ids by the names that a data set has for their numbers; None for a number without one."""
    return [
        None if found is None else names.get(found, None if numbers else found) for found in ids
    ]
