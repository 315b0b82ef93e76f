"""Does the index say of each video what the ledger says?"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from avqa.store.commit import Store
from avqa.store.format import schema
from avqa.store.format.arrays import INDEX, index_values
from avqa.store.format.decoding import DamagedObject
from avqa.store.format.frame_times import FrameTimes
from avqa.store.format.records import Status, VideoRecord

MOST_BYTES = 2**26
"""Of time stamps that are kept: records come nearly in the order of their rows."""


def check_index(store: Store) -> Iterator[tuple[str, int, str]]:
    """(array, row, what is wrong) of every row that has an ok feature.

    Where two records may have described a video, either may be right. Arrays that cannot be read
    are left out.
    """
    ok = np.logical_or.reduce([store.status(f) == Status.OK for f in store.features()])
    ids = store.names()
    index = _Index(store)
    right = np.zeros((store.num_rows, len(index.names)), bool)
    """Per array, whether a record says the same."""
    seen, foreign = np.zeros(store.num_rows, bool), set[int]()
    contradicting: dict[int, VideoRecord] = {}
    """The newest record of a row, where it differs: of most rows none is kept."""
    for row, record in store.ledger.described():
        if row not in ids or not ok[row]:
            continue
        if record.video_id != ids[row]:
            foreign.add(row)
            continue
        agrees = index.agrees(row, record)
        right[row] |= agrees
        if not seen[row] and not agrees.all():
            contradicting[row] = record
        seen[row] = True
    for place, name in enumerate(index.names):
        for row in sorted(contradicting.keys() - foreign):
            if not right[row, place]:
                yield name, row, index.told(name, row, contradicting[row])


class _Index:
    """What the arrays of a store's index say."""

    def __init__(self, store: Store) -> None:
        columns = {name: store.arrays.columns[name] for name in INDEX}
        self._values = {n: column.values for n, column in columns.items() if not column.damaged}
        self.names = (*self._values, schema.PTS)
        self._times = FrameTimes(store.root)
        most = MOST_BYTES // max(1, 8 * schema.PTS_ROWS * self._times.shape[1])
        self._block: Callable[[int], NDArray[np.float64] | None]
        self._block = functools.lru_cache(max(2, most))(self._read_block)

    def agrees(self, row: int, record: VideoRecord) -> NDArray[np.bool_]:
        """Per array, whether a record says what it says: ``[names]``."""
        told = index_values(record)
        same = [
            _same(values[row], values.dtype.type(told[n])) for n, values in self._values.items()
        ]
        stored = self._stored(row)
        same.append(stored is None or np.array_equal(stored, np.array(record.pts)))
        return np.array(same)

    def told(self, name: str, row: int, record: VideoRecord) -> str:
        """How an array and a record differ."""
        if name != schema.PTS:
            values = self._values[name]
            return f"is {values[row]}, ledger says {values.dtype.type(index_values(record)[name])}"
        stored, told = self._stored(row), np.array(record.pts)
        assert stored is not None
        if len(stored) != len(told):
            return f"has {len(stored)} time stamps, ledger says {len(told)}"
        second = int((stored != told).argmax())
        return f"second={second} is {stored[second]}, ledger says {told[second]}"

    def _stored(self, row: int) -> NDArray[np.float64] | None:
        """A video's time stamps, without the room behind them; None if they cannot be read."""
        values = self._block(row // schema.PTS_ROWS)
        if values is None:
            return None
        of_row: NDArray[np.float64] = values[row % schema.PTS_ROWS]
        return of_row[: len(of_row) - int(np.isnan(of_row)[::-1].cumprod().sum())]

    def _read_block(self, block: int) -> NDArray[np.float64] | None:
        first = block * schema.PTS_ROWS
        try:
            return self._times.read(slice(first, first + schema.PTS_ROWS))
        except DamagedObject:
            return None  # a problem of its own


def _same(left: Any, right: Any) -> bool:
    return bool(left == right or (left != left and right != right))
