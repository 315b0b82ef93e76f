"""What goes through the ring: rows in order, in blocks that fit."""

import os

import numpy as np
import pytest

from avqa.extract.decoder import ring as _ring
from avqa.extract.decoder.work import Prepared, RowsInOrder
from avqa.extract.encoders import Input


class Sink:
    """Takes blocks in place of the parent."""

    def __init__(self, num_rows: int) -> None:
        self.rows: list[int | None] = [None] * num_rows
        self._end = 0

    def send_block(self, name: str, first_row: int, rows: np.ndarray) -> None:
        assert first_row >= self._end
        self._end = first_row + len(rows)
        self.rows[first_row : self._end] = rows[:, 0].tolist()


def in_order(index: list[int], *passed_over: int) -> tuple[list[int | None], list[int], int]:
    """Rows sent, those lost, and the most that were kept, of a grid; some frames never come."""
    sink, most = Sink(len(index)), 0
    inputs = [Prepared("p", np, "p", Input("frame", (1,), "uint8"), {})]
    rows = RowsInOrder(np.array(index), inputs, sink)  # type: ignore[arg-type]
    for value in sorted(set(index) - set(passed_over)):
        rows.add(value, {"p": np.array([value])})
        most = max(most, len(rows._kept))
    rows.finish()
    return sink.rows, rows.lost, most


def test_rows_on_either_side_of_a_gap() -> None:
    frames = list(range(1000))
    rows = [None if frame in (0, 20, 21, 999) else frame for frame in frames]
    assert in_order(frames, 0, 20, 21, 999) == (rows, [0, 20, 21, 999], 0)
    assert in_order(frames, *frames[1:]) == ([0, *[None] * 999], frames[1:], 0)


def test_a_grid_that_comes_back_loses_one_row() -> None:
    """Frame 35 is passed over before 38 comes, but its row is after that of 38."""
    index = [0, 10, 20, 30, 38, 32, 35, 38]
    assert in_order(index, 35) == ([0, 10, 20, 30, 38, 32, None, 38], [6], 1)
    assert in_order(index) == (index, [], 2)


def test_ring_refuses_what_does_not_fit() -> None:
    fd = _ring.new_file()
    ring = _ring.Ring(fd)
    with pytest.raises(
        ValueError, match=r"a block takes 67108864 bytes; got array.nbytes=67108865"
    ):
        ring.put(0, np.zeros(_ring.SLOT_BYTES + 1, np.uint8))
    with pytest.raises(ValueError, match="no such block: slot=2"):
        ring.take(2, "|u1", [1])
    with pytest.raises(ValueError, match="no such block: slot=0, dtype='<f8'"):
        ring.take(0, "<f8", [1 << 30])
    ring.put(1, np.arange(6, dtype=np.int16).reshape(2, 3))
    np.testing.assert_array_equal(ring.take(1, "<i2", [2, 3]), [[0, 1, 2], [3, 4, 5]])
    ring.close()
    os.close(fd)


def test_a_ring_without_a_memory_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr("os.memfd_create", raising=False)
    fd = _ring.new_file()
    try:
        status = os.fstat(fd)
        assert (status.st_nlink, status.st_size) == (0, _ring.SLOTS * _ring.SLOT_BYTES)
        ours, theirs = _ring.Ring(fd), _ring.Ring(fd)
        rows = np.arange(12, dtype=np.float32).reshape(3, 4)
        ours.put(1, rows)
        np.testing.assert_array_equal(theirs.take(1, "<f4", (3, 4)), rows)
        ours.close()
        theirs.close()
    finally:
        os.close(fd)
