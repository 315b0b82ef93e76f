"""Of which file each row of a store was made: columns instead of an object per row.

``S/ledger/sources.npz`` holds them up to a segment of the ledger, with its own checksum behind.
It follows from the ledger: where it is lost, damaged or ahead of the ledger, that is read instead.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from avqa.store.format.decoding import CRC_BYTES, crc32c
from avqa.store.format.records import Fingerprint

FILE = "sources.npz"
_COLUMNS = {
    "known": np.dtype(bool),
    "size": np.dtype("<i8"),
    "mtime_ns": np.dtype("<i8"),
    "quick_hash": np.dtype("S32"),
    "start": np.dtype("<i8"),
    "end": np.dtype("<i8"),
}
"""Values of a row; ``start`` and ``end`` of its path in the bytes of all paths."""

_MOST_ROWS = 10**8
"""No store has more; a line of its ledger that is damaged may."""
_LARGEST = 2**63 - 1
Found = tuple[int, str, Fingerprint]
"""Row, path below the videos folder, and what the file was."""


class Sources(Mapping[int, Fingerprint]):
    """Row → fingerprint of the file that its newest record was made from."""

    def __init__(self) -> None:
        """Nothing is known yet."""
        self.number = 0
        """Segments of the ledger up to this one are in here."""
        self._columns = {name: np.zeros(0, dtype) for name, dtype in _COLUMNS.items()}
        self._paths = bytearray()

    def add(self, found: Iterable[Found]) -> None:
        """Take these in, in the order of their commits."""
        newest = {row: (relpath, file) for row, relpath, file in found if row < _MOST_ROWS}
        if not newest:
            return
        self._extend(max(newest) + 1)
        rows = np.fromiter(newest, np.int64, len(newest))
        files = [file for _, file in newest.values()]
        paths = [relpath.encode("utf-8", "surrogatepass") for relpath, _ in newest.values()]
        ends = len(self._paths) + np.cumsum([len(path) for path in paths])
        self._columns["end"][rows] = ends
        self._columns["start"][rows] = ends - [len(path) for path in paths]
        self._paths += b"".join(paths)
        self._columns["size"][rows] = [min(file.size, _LARGEST) for file in files]
        self._columns["mtime_ns"][rows] = [min(file.mtime_ns, _LARGEST) for file in files]
        hashes = [file.quick_hash.encode("ascii", "replace") for file in files]
        self._columns["quick_hash"][rows] = hashes
        self._columns["known"][rows] = True

    def _extend(self, rows: int) -> None:
        before = len(self._columns["known"])
        if rows > before:
            size = max(rows, before + before // 4)
            for name, column in self._columns.items():
                longer = np.zeros(size, column.dtype)
                longer[:before] = column
                self._columns[name] = longer

    def __getitem__(self, row: int) -> Fingerprint:
        """The fingerprint of a row's file.

        Raises:
            KeyError: nothing is known of the row.
        """
        if not self._has(row):
            raise KeyError(row)
        size, mtime_ns = (int(self._columns[name][row]) for name in ("size", "mtime_ns"))
        return Fingerprint(size, mtime_ns, self._columns["quick_hash"][row].decode("ascii"))

    def _has(self, row: int) -> bool:
        return 0 <= row < len(self._columns["known"]) and bool(self._columns["known"][row])

    def __iter__(self) -> Iterator[int]:
        """The rows that are known, in order."""
        return iter(np.flatnonzero(self._columns["known"]).tolist())

    def __len__(self) -> int:
        """How many rows are known."""
        return int(self._columns["known"].sum())

    def known(self, count: int) -> NDArray[np.bool_]:
        """Which of the first ``count`` rows are known: ``[count]``."""
        found = np.zeros(count, bool)
        known = self._columns["known"][:count]
        found[: len(known)] = known
        return found

    def relpath(self, row: int) -> str | None:
        """Path of a row's file below the videos folder; None if nothing is known of the row."""
        if not self._has(row):
            return None
        start, end = (int(self._columns[name][row]) for name in ("start", "end"))
        return self._paths[start:end].decode("utf-8", "surrogatepass")

    def unchanged(
        self, rows: NDArray[np.int64], sizes: NDArray[np.int64], times: NDArray[np.int64]
    ) -> NDArray[np.bool_]:
        """Which of these rows were made of a file of this size and this time of change.

        Args:
            rows: ``[n]``.
            sizes: bytes of the files as they are now: ``[n]``.
            times: of their last changes, in nanoseconds: ``[n]``.
        """
        found = np.zeros(len(rows), bool)
        inside = np.flatnonzero((rows >= 0) & (rows < len(self._columns["known"])))
        at = rows[inside]
        found[inside] = (
            self._columns["known"][at]
            & (self._columns["size"][at] == sizes[inside])
            & (self._columns["mtime_ns"][at] == times[inside])
        )
        return found

    def of_sizes(self, sizes: Iterable[int]) -> list[int]:
        """Rows whose file has one of these sizes, in order."""
        alike = np.isin(self._columns["size"], np.fromiter(set(sizes), np.int64))
        found: list[int] = np.flatnonzero(alike & self._columns["known"]).tolist()
        return found

    def to_bytes(self) -> bytes:
        """As `FILE` holds them."""
        file = io.BytesIO()
        paths = np.frombuffer(self._paths, np.uint8)
        columns: dict[str, Any] = {"number": self.number, "paths": paths, **self._columns}
        np.savez(file, **columns)
        data = file.getvalue()
        return data + crc32c(data).to_bytes(CRC_BYTES, "little")


def from_bytes(data: bytes) -> Sources | None:
    """The sources that `Sources.to_bytes` gave; None if these bytes are damaged."""
    body = data[:-CRC_BYTES]
    if not body or crc32c(body) != int.from_bytes(data[-CRC_BYTES:], "little"):
        return None
    made = Sources()
    try:
        with np.load(io.BytesIO(body), allow_pickle=False) as file:
            made.number = int(file["number"])
            made._paths = bytearray(file["paths"])
            made._columns = {name: file[name] for name in _COLUMNS}
    except (ValueError, KeyError, OSError):  # of another version
        return None
    fits = all(made._columns[name].dtype == dtype for name, dtype in _COLUMNS.items())
    return made if fits else None
