"""Pictures of program streams that have no time of presentation get the one that is left."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from avqa.extract.media.ffmpeg_table import _filled
from avqa.extract.media.packet_plan import MISSING

STEP = 3600


def part(groups, start, bs=2):
    """dts and pts of I and P pictures with ``bs`` B pictures behind each, as they are stored."""
    pts, shown = [], 0
    for _ in range(groups):
        pts += [shown + bs, *range(shown, shown + bs)]
        shown += bs + 1
    dts = start + STEP * np.arange(len(pts))
    return start + STEP * (1 + np.array(pts, np.int64)), dts


def even(count):
    return np.full(count, STEP, np.int64)


@given(st.data(), st.integers(1, 8), st.integers(1, 8), st.integers(0, 3))
def test_what_was_left_out_of_even_times_comes_back(data, first, second, bs):
    parts = [part(first, 90_000, bs), part(second, 45_000, bs)]
    pts, dts = (np.concatenate(column) for column in zip(*parts, strict=True))
    # The first picture of a part is a key frame, which has its time.
    firsts = {0, len(parts[0][0])}
    removable = [n for n in range(len(pts)) if n not in firsts and n % (bs + 1) == 0]
    gone = data.draw(st.sets(st.sampled_from(removable))) if removable else set()
    told = pts.copy()
    told[sorted(gone)] = MISSING
    found = _filled(told, dts, even(len(pts)))
    np.testing.assert_array_equal(found, pts)


def test_times_that_are_not_even_or_lost_stay_missing():
    pts, dts = part(3, 90_000)
    told = pts.copy()
    told[3] = MISSING
    uneven = even(len(pts))
    uneven[5] = 1
    assert _filled(told, dts, uneven)[3] == MISSING
    told = pts.copy()
    told[1] = MISSING  # the picture that is shown first
    assert _filled(told, dts, even(len(pts)))[1] == MISSING
    told[1], told[3] = pts[1], MISSING
    kept = np.array([n for n in range(len(pts)) if n != 5])  # a picture is lost
    assert _filled(told[kept], dts[kept], even(len(kept)))[3] == MISSING
    assert (_filled(np.full(4, MISSING), dts[:4], even(4)) == MISSING).all()
    assert len(_filled(pts[:0], dts[:0], even(0))) == 0
