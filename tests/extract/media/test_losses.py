"""Places kept for frames that are gone."""

from fractions import Fraction

import numpy as np
import pytest

from avqa.extract.media.losses import behind_gaps, lost_times, with_lost
from avqa.extract.media.packet_plan import PacketTable
from avqa.extract.media.types import TimeTable


def table(pts, keys=(0, 10, 20)):
    """Packets with these stamps, in order; one in ten begins a group."""
    pts = np.array(pts, np.int64)
    key = np.isin(pts // 40, keys)
    return PacketTable(pts, np.full(len(pts), 40), key, np.ones(len(pts), np.bool_))


WITHOUT = [n * 40 for n in range(30) if n not in (13, 14, 15)]


@pytest.mark.parametrize(
    ("damaged", "lost"),
    [
        ((12,), [520]),  # the packet before the gap
        ((10,), [520]),  # one of its group
        ((5,), []),  # another group: this gap is meant
        ((25,), []),
        ((), []),
    ],
)
def test_a_gap_near_damage_is_a_loss(damaged, lost):
    assert lost_times(table(WITHOUT), damaged, ()).tolist() == lost


def test_what_the_index_tells_is_all():
    assert lost_times(table(WITHOUT), (12,), (520, 560, 600)).tolist() == [520, 560, 600]


def test_frames_at_uneven_times_have_no_gaps():
    pts = np.cumsum([40, 90, 40, 120, 40, 200] * 5)
    key = np.arange(30) % 10 == 0
    packets = PacketTable(pts, np.full(30, 40), key, np.ones(30, np.bool_))
    assert lost_times(packets, (12,), ()).tolist() == []
    assert behind_gaps(packets, 1_000) == set()


def test_even_frames_follow_each_other():
    assert behind_gaps(table(WITHOUT), 1_000) == {13}
    assert behind_gaps(table(WITHOUT), 160) == set()  # a pause
    fields = np.cumsum([0, *([2, 3] * 20)]) * 20  # a film at 2 and 3 fields by turns
    assert behind_gaps(table(fields), 1_000) == set()


def test_frames_keep_their_order_among_lost_ones():
    times = TimeTable(np.array([0, 40, 40, 160]), 200, Fraction(1, 1000))
    found, places = with_lost(times, np.array([80, 120, 160]), 240)
    assert found.pts.tolist() == [0, 40, 40, 80, 120, 160]
    assert places.tolist() == [0, 1, 2, 5]
    assert found.end == 240
    assert with_lost(times, np.array([], np.int64), None)[0].end == 200
