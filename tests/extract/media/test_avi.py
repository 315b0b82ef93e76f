"""What an AVI tells of its frames: the index of those that are lost, packets of those in one."""

from fractions import Fraction

import numpy as np
import pytest

from avqa.extract.media.avi import packed_times
from avqa.extract.media.clock import Track


def track(ticks):
    dts = np.array(ticks, np.int64)
    return Track(dts, dts, np.ones_like(dts), dts * 100, Fraction(1, 25))


@pytest.mark.parametrize(
    ("ticks", "frames", "shown"),
    [
        ([0, 1, 2, 3], [1, 1, 1, 1], [0, 1, 2, 3]),
        ([0, 1, 2, 3, 4], [1, 2, 0, 2, 0], [0, 1, 2, 3, 4]),  # I, P+B, empty, P+B, empty
        ([0, 1, 2, 3, 4], [1, 2, 1, 0, 1], [0, 1, 2, 3, 4]),  # two B frames between P frames
        ([0, 1, 2, 3], [1, 0, 0, 1], [0, 3]),  # empty ones alone repeat a frame
        ([0, 2, 3, 5, 6, 7], [1, 2, 0, 2, 1, 0], [2, 3, 4, 5, 6, 7]),  # held back, 1 and then 2
        ([0, 2, 3, 13, 14], [1, 2, 0, 2, 0], [0, 2, 3, 13, 14]),
        ([0, 2, 3], [1, 1, 1], [0, 2, 3]),
    ],
)
def test_when_packed_frames_are_shown(ticks, frames, shown):
    assert packed_times(track(ticks), np.array(frames)).tolist() == shown
