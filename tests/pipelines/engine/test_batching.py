"""Rows of many videos in fixed batches: nothing lost, repeated or out of order."""

import threading

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from avqa.pipelines.engine.batching import Batcher


def rows(owner: int, first: int, count: int) -> np.ndarray:
    return np.array([[owner, row] for row in range(first, first + count)], np.float32)


@given(
    lengths=st.lists(st.integers(1, 40), min_size=1, max_size=6),
    block=st.integers(1, 16),
    size=st.integers(1, 16),
)
def test_every_row_arrives_once_in_order_and_batches_are_full(lengths, block, size):
    batcher = Batcher({"a": size}, batches_ahead=10**6)
    batcher.add_producers(len(lengths))
    for owner, length in enumerate(lengths):
        for first in range(0, length, block):
            count = min(block, length - first)
            batcher.put("a", owner, first, rows(owner, first, count))
        batcher.remove_producer()
    seen, sizes = [], []
    while sum(sizes) < sum(lengths):
        batch = batcher.take()
        array = batch.array()
        assert array.shape == (size, 2)
        place = 0
        for segment in batch.segments:
            for k in range(len(segment.rows)):
                assert array[place].tolist() == [segment.owner, segment.first_row + k]
                seen.append((segment.owner, segment.first_row + k))
                place += 1
        assert not array[place:].any()
        sizes.append(place)
    assert seen == [(owner, row) for owner, length in enumerate(lengths) for row in range(length)]
    assert all(count == size for count in sizes[:-1])


def test_a_partial_batch_waits_while_a_video_is_being_decoded():
    batcher = Batcher({"a": 4})
    batcher.add_producers(2)
    batcher.put("a", 0, 0, rows(0, 0, 3))
    batcher.remove_producer()
    taken = []
    thread = threading.Thread(target=lambda: taken.append(batcher.take()))
    thread.start()
    thread.join(timeout=0.2)
    assert thread.is_alive(), "took a partial batch although another video may fill it"
    batcher.remove_producer()
    thread.join(timeout=60)
    assert len(taken[0].segments[0].rows) == 3


def test_put_waits_for_room_and_goes_on_after_a_take():
    batcher = Batcher({"a": 2}, batches_ahead=1)
    batcher.add_producers(1)
    batcher.put("a", 0, 0, rows(0, 0, 2))
    thread = threading.Thread(target=batcher.put, args=("a", 0, 2, rows(0, 2, 2)))
    thread.start()
    thread.join(timeout=0.2)
    assert thread.is_alive(), "queued more than batches_ahead"
    assert [s.first_row for s in batcher.take().segments] == [0]
    thread.join(timeout=60)
    assert [s.first_row for s in batcher.take().segments] == [2]


def test_the_oldest_ready_input_goes_first():
    batcher = Batcher({"a": 2, "b": 1})
    batcher.add_producers(1)
    batcher.put("a", 0, 0, rows(0, 0, 1))
    batcher.put("b", 0, 0, rows(0, 0, 1))
    assert batcher.take().input == "b"  # a is older but not full
    batcher.put("b", 0, 1, rows(0, 1, 1))
    batcher.put("a", 0, 1, rows(0, 1, 1))
    assert batcher.take().input == "a"


def test_drop_forgets_one_owner_only():
    batcher = Batcher({"a": 4})
    batcher.add_producers(1)
    for owner in (1, 2, 1):
        batcher.put("a", owner, 0, rows(owner, 0, 1))
    assert batcher.drop(1) == 2
    batcher.remove_producer()
    assert [segment.owner for segment in batcher.take().segments] == [2]


def test_a_failure_reaches_waiting_producers_and_takers():
    batcher = Batcher({"a": 1}, batches_ahead=1)
    batcher.add_producers(1)
    batcher.put("a", 0, 0, rows(0, 0, 1))
    errors = []

    def produce():
        try:
            batcher.put("a", 0, 1, rows(0, 1, 1))
        except OSError as error:
            errors.append(error)

    thread = threading.Thread(target=produce)
    thread.start()
    batcher.fail(OSError("disk on fire"))
    thread.join(timeout=60)
    assert [str(error) for error in errors] == ["disk on fire"]
    assert batcher.take() is None
    with pytest.raises(OSError, match="disk on fire"):
        batcher.put("a", 0, 2, rows(0, 2, 1))
