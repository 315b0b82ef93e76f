"""Chunk objects of the videos' features: their names, their records, those of one row."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from avqa.store.format.records import ChunkRecord
from avqa.store.places.files import StorePath, store_path


@dataclass(frozen=True)
class RowPart:
    """One of several equal parts of a store's rows, which follow each other."""

    index: int
    """From 0."""
    count: int
    total: int
    """Rows of the store."""
    step: int = 1
    """Parts begin at multiples of it."""

    @property
    def rows(self) -> range:
        """The rows of this part."""
        return range(self._begin(self.index), self._begin(self.index + 1))

    def _begin(self, index: int) -> int:
        blocks = -(-self.total // self.step)
        return min(index * blocks // self.count * self.step, self.total)

    @property
    def is_first(self) -> bool:
        """Whether what is of no row is this part's."""
        return self.index == 0

    def has(self, row: int | None) -> bool:
        """Whether a row is this part's: rows beyond the last are the last part's, None the first's.

        So whatever is found is found by exactly one part.
        """
        if row is None:
            return self.is_first
        if row >= self.total:
            return self.index == self.count - 1
        return row in self.rows


def row_of(name: str, height: int = 1) -> int | None:
    """First row of a chunk object of ``height`` rows, also half written; None if it is no such."""
    kind, _, rest = name.partition(".")
    number = rest.partition(".")[0]
    return int(number) * height if kind == "c" and number.isdecimal() else None


def chunk_path(root: StorePath, feature: str, row: int, chunk: int, num_axes: int) -> StorePath:
    """File of a chunk object; ``num_axes`` counts the axes after ``second``."""
    return root / feature / ".".join(["c", str(row), str(chunk), *["0"] * num_axes])


def delete(path: StorePath) -> None:
    """Remove an object, if it is there."""
    path.unlink(missing_ok=True)


def remove_chunks(
    root: StorePath,
    feature: str,
    row: int,
    first: int,
    known: int,
    num_axes: int,
    discard: Callable[[StorePath], None] = delete,
) -> None:
    """Delete a row's chunk objects from ``first`` on, the last one first, by ``discard``.

    Looks at numbers below ``known`` and, because an unfinished attempt may have gone beyond,
    further on up to the first gap. Deleting backwards keeps that search valid after a crash.
    """
    found = []
    chunk = first
    while (path := chunk_path(root, feature, row, chunk, num_axes)).exists() or chunk < known:
        found.append(path)
        chunk += 1
    for path in reversed(found):
        discard(path)


def read_record(path: StorePath) -> ChunkRecord:
    """Size and last four bytes of a chunk object.

    Raises:
        FileNotFoundError: there is none.
    """
    n_bytes, tail = path.tail(4)
    return ChunkRecord(n_bytes, int.from_bytes(tail, "little"))


def object_sizes(
    root: StorePath, feature: str, wanted: Callable[[str], bool] = lambda name: True
) -> dict[str, int]:
    """File name → size of what is ``wanted`` of a feature's folder, no metadata: one listing."""
    return store_path(root / feature).sizes(lambda name: name != "zarr.json" and wanted(name))
