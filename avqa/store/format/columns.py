"""One value per video or text: an array held in memory whole and written back by chunks.

The driver is the only writer, so its copy is the truth and no chunk is read before it is
written. Chunks that hold nothing but the fill value are removed, so that the objects on disk
depend on the values alone and not on how they came about; those of statuses stay, so that one that
is lost does not read as pending.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from avqa.errors import StoreError
from avqa.faults import reading
from avqa.store.format import schema
from avqa.store.format.decoding import ChunkDecoder, DamagedObject, read_object
from avqa.store.places.files import StorePath, store_path

REBUILD = "rebuild it from the ledger with: avqa verify --repair"


class Column:
    """An array of the store in one row per video or text, with changes that wait for `flush`."""

    def __init__(
        self, root: StorePath, name: str, *, heal: bool = False, kept: range | None = None
    ) -> None:
        """Read the array ``name`` of the group ``root``.

        With ``heal``, a damaged column starts empty and says so in ``damaged``: the ledger
        has its values. Of a column with ``kept`` all is read and these rows alone are kept, for
        reading only: the others are zero or empty and take no memory.

        Raises:
            StoreError: if a chunk is damaged, without ``heal``.
            StorageFailure, EnvironmentFailure: the machine is at fault.
        """
        self.name = name
        self._heal = heal
        self._root = store_path(root)
        self._array = schema.describe(root, name)
        self._chunk = self._array.chunks[0]
        self.rows: int = self._array.shape[0]
        self._dirty: set[int] = set()
        self.damaged = False
        self.lost: tuple[str, ...] = ()
        """Objects that are not there: their rows have the fill value."""
        try:
            if kept is None:
                self._values = self._filled(self.rows)
                self._values[: self.rows], self.lost = read_column(self._root, name, self._array)
            else:
                self._values, self.lost = _read_some(self._root, name, self._array, kept)
        except StoreError:
            if not heal:
                raise
            self._start_empty()

    def condemn(self, why: str) -> None:
        """Treat the column as damaged: what it holds cannot be.

        Raises:
            StoreError: it is not to be healed.
        """
        if self.damaged:
            return
        if not self._heal:
            raise StoreError(f"array {self.name}: {why}; {REBUILD}")
        self._start_empty()

    def _start_empty(self) -> None:
        self.damaged = True
        self._values = self._filled(self.rows)
        self._dirty.update(range(len(self._values) // self._chunk))

    def _filled(self, rows: int) -> NDArray[Any]:
        size = max(1, -(-rows // self._chunk)) * self._chunk
        shape = (size, *self._array.shape[1:])
        return np.full(shape, self._array.fill_value, self._array.dtype)

    @property
    def height(self) -> int:
        """Rows of an object."""
        return int(self._chunk)

    @property
    def values(self) -> NDArray[Any]:
        """``[rows, ...]``, including changes that are not flushed; not to be written to."""
        view = self._values[: self.rows].view()
        view.flags.writeable = False
        return view

    def __getitem__(self, row: int) -> Any:
        """Value of one row."""
        return self._values[row]

    def __setitem__(self, row: int, value: Any) -> None:
        """Change one row, in memory."""
        self._values[row] = value
        self._dirty.add(row // self._chunk)

    def extend(self, rows: int) -> None:
        """Make room for ``rows`` rows, in memory."""
        if rows > len(self._values):
            longer = self._filled(rows)
            longer[: len(self._values)] = self._values
            self._values = longer
        self.rows = rows

    def cut(self, rows: int) -> None:
        """Forget the rows from ``rows`` on, in memory."""
        for row in range(rows, self.rows):
            self[row] = self._array.fill_value
        self.rows = rows

    def flush(self, *, durable: bool = False) -> None:
        """Write the changed chunks; each is replaced atomically.

        With ``durable`` they survive a power loss once this returns; other columns the ledger
        can rebuild.
        """
        if self._dirty:
            self._array = schema.opened(self._array)
        for chunk in sorted(self._dirty):
            rows = slice(chunk * self._chunk, (chunk + 1) * self._chunk)
            values = self._values[rows]
            axes = [str(chunk), *["0"] * (values.ndim - 1)]
            path = self._root / self.name / ".".join(["c", *axes])
            empty = np.array_equal(values, self._filled(1), equal_nan=values.dtype.kind == "f")
            if empty and not self.name.startswith("status/"):
                path.unlink(missing_ok=True)
            else:
                schema.beyond_shape(self._array, self._values.shape)[rows] = values
                if durable:
                    path.sync()
                    path.parent.sync()
        self._dirty.clear()

    def commit_shape(self) -> None:
        """Make the rows visible in the array's metadata."""
        schema.set_shape(self._root, self.name, (self.rows, *self._values.shape[1:]))


def read_column(root: StorePath, name: str, array: Any) -> tuple[NDArray[Any], tuple[str, ...]]:
    """All values of a column, and which of its objects are not there.

    Rows without an object have the fill value. An object is left out where all rows have it; who
    knows better has to say so.

    Raises:
        StoreError: a chunk is damaged.
        StorageFailure, EnvironmentFailure: the machine is at fault.
    """
    values = np.full(array.shape, array.fill_value, array.dtype)
    lost: list[str] = []
    for start, file, found in column_chunks(root, name, array):
        if found is None:
            lost.append(file)
        else:
            values[start : start + len(found)] = found
    return values, tuple(lost)


def _read_some(
    root: StorePath, name: str, array: Any, kept: range
) -> tuple[NDArray[Any], tuple[str, ...]]:
    """As `read_column`, with the rows ``kept`` alone: the others are zero or empty."""
    values = np.zeros(array.shape, array.dtype)
    values[kept.start : kept.stop] = array.fill_value
    lost: list[str] = []
    for start, file, found in column_chunks(root, name, array):
        if found is None:
            lost.append(file)
            continue
        first, last = max(start, kept.start), min(start + len(found), kept.stop)
        if first < last:
            values[first:last] = found[first - start : last - start]
    return values, tuple(lost)


def column_chunks(
    root: StorePath, name: str, array: Any, first: int = 0
) -> Iterator[tuple[int, str, NDArray[Any] | None]]:
    """(row it begins with, file, values) of every chunk of a column from row ``first`` on.

    None instead of values where there is no object.

    Raises:
        StoreError: a chunk is damaged.
        StorageFailure, EnvironmentFailure: the machine is at fault.
    """
    decoder = ChunkDecoder(array)
    rows, height = array.shape[0], array.chunks[0]
    for chunk in range(first // height, -(-rows // height)):
        file = ".".join(["c", str(chunk), *["0"] * (array.ndim - 1)])
        with reading(f"array {name}"):
            data = read_object(root / name / file)
        if data is None:
            yield chunk * height, file, None
            continue
        try:
            yield chunk * height, file, decoder.decode(data)[: rows - chunk * height]
        except DamagedObject as error:
            raise StoreError(
                f"array {name}: a chunk is damaged ({error}); expected its checksum to fit;"
                f" {REBUILD}"
            ) from error
