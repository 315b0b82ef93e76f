"""Where videos lie to each other: numbers that can be worked out by hand."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from avqa.pipelines.pages.space import MOST_PIECES, described, space, strips


def cloud(count, width=6, seed=0):
    return np.random.default_rng(seed).normal(size=(count, width)).astype(np.float32)


def test_copies_are_nearly_the_same_and_strangers_stand_apart():
    means = cloud(40)
    means[7] = means[3] + 1e-3
    means[20] = 15.0
    found = space(means)
    assert [(a, b) for a, b, _ in found.pairs] == [(3, 7)]
    assert found.pairs[0][2] < 0.01
    assert found.farthest[0] == 20
    assert found.apart[20] == max(found.apart) > 2


def test_apart_is_the_mean_of_the_nearest_ones(monkeypatch):
    monkeypatch.setattr("avqa.pipelines.pages.space.NEIGHBOURS", 2)
    line = np.array([[0], [1], [2], [3], [9]], np.float32)
    found = space(line)  # distances of pairs: 1 1 1 2 2 3 6 7 8 9, in the middle 2.5
    assert found.apart == pytest.approx(np.array([1.5, 1, 1, 1.5, 6.5]) / 2.5)
    assert found.farthest == [4]


def test_the_map_has_the_two_widest_directions():
    along = np.linspace(-1, 1, 9, dtype=np.float32)
    means = np.zeros((9, 5), np.float32)
    means[:, 3], means[:, 1] = 10 * along, along**2
    found = space(means)
    assert abs(np.diff(found.places[:, 0])) == pytest.approx([1 / 8] * 8, abs=1e-5)
    assert found.shares[0] > 0.99
    assert found.places.min() == 0
    assert found.places.max() == 1


@settings(deadline=None, max_examples=25)
@given(st.integers(3, 12), st.integers(1, 5), st.integers(0, 99), st.floats(0.01, 100))
def test_distances_do_not_depend_on_scale_or_place(count, width, seed, factor):
    means = cloud(count, width, seed)
    one, other = space(means), space((means * factor + 3).astype(np.float32))
    assert one.apart == pytest.approx(other.apart, rel=0.02, abs=1e-3)
    assert one.places.shape == other.places.shape == (count, 2)


def test_too_few_or_all_alike_have_no_map():
    assert space(cloud(2)) is None
    assert space(np.ones((5, 4), np.float32)) is None


def test_a_video_is_the_mean_of_its_rows():
    rows = np.arange(24, dtype=np.float16).reshape(2, 3, 4)  # T, patches, channels
    found = described(rows)
    assert found.mean.tolist() == [10, 11, 12, 13]
    assert found.pieces.tolist() == [[4, 5, 6, 7], [16, 17, 18, 19]]
    long = described(np.arange(200, dtype=np.float32)[:, None])
    assert len(long.pieces) == MOST_PIECES
    assert long.mean.tolist() == [99.5]


def test_strips_show_what_is_alike_alike():
    pieces = [cloud(4), cloud(3, seed=1)]
    pieces.append(pieces[0][:2])
    found = strips(pieces)
    assert [len(strip) for strip in found] == [12, 9, 6]
    assert found[2] == found[0][:6]
    assert len(set(found[1])) > 3
    assert strips([np.ones((1, 4), np.float32)]) == [bytes([128] * 3)]
    assert len(strips([cloud(4, width=2)])[0]) == 12
