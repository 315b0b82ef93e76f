"""Does the index say of each video what the ledger says?"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from avqa.store.commit import Store
from avqa.store.format import schema
from avqa.store.format.arrays import INDEX, index_values
from avqa.store.format.decoding import DamagedObject
from avqa.store.format.frame_times import FrameTimes
from avqa.store.format.records import Status, VideoRecord


def check_index(store: Store) -> Iterator[tuple[str, int, str]]:
    """(array, row, what is wrong) of every row that has an ok feature.

    Arrays that cannot be read are left out.
    """
    ok = np.logical_or.reduce([store.status(f) == Status.OK for f in store.features()])
    ids = {row: name for name, row in store.rows().items()}
    known = {
        row: records
        for row, records in sorted(store.ledger.described().items())
        if row in ids and ok[row] and all(r.video_id == ids[row] for r in records)
    }
    for name in INDEX:
        column = store.arrays.columns[name]
        if not column.damaged:
            values, dtype = column.values, column.values.dtype
            for row, records in known.items():
                told = [dtype.type(index_values(record)[name]) for record in records]
                if not any(_same(values[row], value) for value in told):
                    yield name, row, f"is {values[row]}, ledger says {told[0]}"
    yield from _check_times(FrameTimes(store.root), known)


def _same(left: NDArray[np.generic], right: NDArray[np.generic]) -> bool:
    return bool(left == right or (left != left and right != right))


def _check_times(
    times: FrameTimes, known: dict[int, list[VideoRecord]]
) -> Iterator[tuple[str, int, str]]:
    blocks: dict[int, list[int]] = {}
    for row in known:
        blocks.setdefault(row // schema.PTS_ROWS, []).append(row)
    for block, rows in blocks.items():
        first = block * schema.PTS_ROWS
        try:
            values = times.read(slice(first, first + schema.PTS_ROWS))
        except DamagedObject:
            continue  # a problem of its own
        for row in rows:
            stored = values[row - first]
            stored = stored[: len(stored) - int(np.isnan(stored)[::-1].cumprod().sum())]
            told = [record.pts for record in known[row]]
            if not any(np.array_equal(stored, np.array(pts)) for pts in told):
                yield schema.PTS, row, _difference(stored, np.array(told[0]))


def _difference(stored: NDArray[np.float64], told: NDArray[np.float64]) -> str:
    if len(stored) != len(told):
        return f"has {len(stored)} time stamps, ledger says {len(told)}"
    second = int((stored != told).argmax())
    return f"second={second} is {stored[second]}, ledger says {told[second]}"
