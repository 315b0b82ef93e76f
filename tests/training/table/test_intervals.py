"""Intervals of accuracies: by an independent formula, by simulation, by what they must obey."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from avqa.training.table.intervals import Interval, interval


def names(sizes):
    return [f"v{number}" for number, size in enumerate(sizes) for _ in range(size)]


def test_questions_about_one_video_each_have_wilsons_interval():
    """Of n - 1 questions, since a variance is divided by n - 1, with Student's quantile."""
    right = np.array([[True] * 30 + [False] * 20])
    found = interval(right, names([1] * 50))
    assert (found.low, found.high) == pytest.approx(wilson(0.6, 49, 49), abs=1e-9)
    exact = stats.binomtest(30, 50).proportion_ci(method="wilson")
    assert (found.low, found.high) == pytest.approx((100 * exact.low, 100 * exact.high), abs=0.5)


def test_videos_count_not_questions():
    """Ten videos whose five questions are all right or all wrong are ten draws."""
    right = np.repeat([True, False] * 5, 5)[None]
    assert interval(right, names([5] * 10)) == interval(right[:, ::5], names([1] * 10))
    single = interval(right, names([1] * 50))
    clustered = interval(right, names([5] * 10))
    assert clustered.high - clustered.low > 2 * (single.high - single.low)


def wilson(share, count, freedom):
    """Low and high in percent, by the textbook."""
    t = stats.t.ppf(0.975, freedom)
    root = t * math.sqrt(share * (1 - share) / count + t**2 / (4 * count**2))
    middle = share + t**2 / (2 * count)
    return tuple(100 * (middle + sign * root) / (1 + t**2 / count) for sign in (-1, 1))


def test_seeds_that_differ_widen_it():
    """Their mean varies by a third of 0.09; the questions are right in one, two or three seeds."""
    apart = np.stack([np.arange(100) % 10 < share for share in (2, 5, 8)])
    of_seeds = np.var([0.2, 0.5, 0.8], ddof=1) / 3
    of_videos = np.var(apart.mean(0), ddof=1) / 100
    variance = of_seeds + of_videos
    freedom = variance**2 / (of_seeds**2 / 2 + of_videos**2 / 99)
    found = interval(apart, names([1] * 100))
    assert (found.low, found.high) == pytest.approx(wilson(0.5, 0.25 / variance, freedom))


def test_the_ends_are_left_open_by_how_little_was_asked():
    right = np.ones((3, 8), bool)
    found = interval(right, names([2] * 4))
    of_four = 100 / (1 + stats.t.ppf(0.975, 3) ** 2 / 4)
    assert (found.low, found.high) == (pytest.approx(of_four), 100)
    none = interval(~right, names([2] * 4))
    assert (none.low, none.high) == (0, pytest.approx(100 - of_four))
    assert interval(right, names([8])) is None


@pytest.mark.parametrize(
    ("right", "of", "sizes"), [(1, 7, (14, 7)), (4, 5, (5, 20, 20, 25)), (1, 10, (50, 10))]
)
def test_videos_that_are_alike_are_not_certain(right, of, sizes):
    """Rounding, as in the last two, must not pass for a variance."""
    answers = np.tile([True] * right + [False] * (of - right), (3, sum(sizes) // of))
    found = interval(answers, names(sizes))
    expected = wilson(right / of, len(sizes), len(sizes) - 1)
    assert (found.low, found.high) == pytest.approx(expected)


def test_no_more_certain_than_that_many_questions():
    """Videos that make up for each other have less variance than single questions."""
    right = np.tile([True, False, False, True], (1, 50))
    right[0, :2] = True, True
    found = interval(right, names([2] * 100))
    low, high = wilson(right.mean(), right.size, 99)
    assert (found.low, found.high) == pytest.approx((low, high))


def test_what_is_printed_with_two_digits_is_inside():
    assert 70.00 in Interval(70.004, 72.0)
    assert 69.99 not in Interval(70.004, 72.0)
    assert str(Interval(70.04, 72.0)) == "70.0 to 72.0"


@given(st.data())
@settings(max_examples=60)
def test_it_holds_the_mean_whatever_the_order(data):
    sizes = data.draw(st.lists(st.integers(1, 4), min_size=2, max_size=8))
    seeds = data.draw(st.integers(1, 4))
    flat = data.draw(st.lists(st.booleans(), min_size=sum(sizes), max_size=sum(sizes)))
    flips = data.draw(st.lists(st.integers(0, sum(sizes) - 1), min_size=seeds, max_size=seeds))
    right = np.tile(flat, (seeds, 1))
    right[np.arange(seeds), flips] ^= True
    videos = names(sizes)
    found = interval(right, videos)
    assert 0 <= found.low <= 100 * right.mean() + 1e-9
    assert 100 * right.mean() - 1e-9 <= found.high <= 100
    order = data.draw(st.permutations(range(sum(sizes))))
    other = interval(right[::-1, order], [videos[place] for place in order])
    assert (other.low, other.high) == pytest.approx((found.low, found.high), abs=1e-6)


@pytest.mark.parametrize(
    ("videos", "seeds", "share", "between_seeds"),
    [(60, 3, 0.5, 0.01), (200, 3, 0.72, 0.02), (40, 1, 0.8, 0.0)],
)
def test_nineteen_of_twenty_hold_the_truth(videos, seeds, share, between_seeds):
    """Videos that are easy or hard, questions that a seed gets right by chance, lucky seeds."""
    rng = np.random.default_rng(0)
    turned = between_seeds * math.sqrt(2 / math.pi)
    truth = 100 * (share * (1 - turned) + turned / 2)
    held = 0
    for _ in range(800):
        sizes = rng.integers(1, 7, videos)
        of_video = np.repeat(rng.beta(4 * share, 4 * (1 - share), videos), sizes)
        usual = rng.random(of_video.size) < of_video
        chance = rng.random((seeds, of_video.size)) < of_video
        right = np.where(rng.random(chance.shape) < 0.2, chance, usual)
        luck = rng.normal(0, between_seeds, (seeds, 1))
        right = np.where(rng.random(right.shape) < np.abs(luck), luck > 0, right)
        found = interval(right, names(sizes))
        held += found.low <= truth <= found.high
    assert 0.93 <= held / 800 <= 0.97
