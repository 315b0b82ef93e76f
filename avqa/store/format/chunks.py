"""Chunk objects of the videos' features: their names, their records, those of one row."""

from __future__ import annotations

from collections.abc import Callable

from avqa.store.format.records import ChunkRecord
from avqa.store.places.files import StorePath, store_path


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


def object_sizes(root: StorePath, feature: str) -> dict[str, int]:
    """File name → size of everything in a feature's folder but its metadata: one listing."""
    found = store_path(root / feature).sizes()
    found.pop("zarr.json", None)
    return found
