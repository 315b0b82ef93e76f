"""Two heads on the same questions: by scipy, by simulation, by what the figures must obey."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from avqa.training.table.paired import DRAWS, difference, mcnemar


def names(sizes):
    return [f"v{number}" for number, size in enumerate(sizes) for _ in range(size)]


def right(share, count, seed, seeds=1):
    return np.random.default_rng(seed).random((seeds, count)) < share


def test_of_single_questions_it_is_the_paired_difference_of_means():
    """Which scipy computes with Student's t; 400 questions are enough for the bootstrap."""
    first, second = right(0.7, 400, 1), right(0.6, 400, 2)
    found = difference(first, second, names([1] * 400))
    told = stats.ttest_rel(first[0].astype(float), second[0].astype(float))
    low, high = told.confidence_interval(0.95)
    assert found.mean == pytest.approx(100 * (first.mean() - second.mean()))
    assert (found.low, found.high) == pytest.approx((100 * low, 100 * high), abs=0.4)
    assert found.chance == pytest.approx(told.pvalue, abs=0.02)


def test_videos_count_not_questions():
    first, second = right(0.8, 60, 1), right(0.5, 60, 2)
    single = difference(first, second, names([1] * 60))
    repeated = (np.repeat(x, 6, axis=1) for x in (first, second))
    clustered = difference(*repeated, names([6] * 60))
    assert clustered == single


def test_seeds_that_differ_widen_it():
    apart = np.stack([np.arange(300) % 10 < share for share in (4, 6, 8)])
    alike = np.stack([np.arange(300) % 10 < 6] * 3)
    second = np.stack([np.arange(300) % 7 < 3] * 3)
    videos = names([1] * 300)
    wide, narrow = (difference(x, second, videos) for x in (apart, alike))
    assert wide.mean == pytest.approx(narrow.mean)
    assert wide.high - wide.low > 3 * (narrow.high - narrow.low)
    assert narrow == difference(alike[:1], second[:1], videos)


def test_seeds_of_one_head_are_compared_with_themselves():
    """Three seeds that differ by much, each of which loses the same by the change."""
    apart = np.stack([np.arange(300) % 10 < share for share in (4, 6, 8)])
    lost = apart & (np.arange(300) % 10 != 0)
    videos = names([1] * 300)
    beside = difference(apart, lost, videos, same_seeds=True)
    others = difference(apart, lost, videos)
    assert beside.mean == others.mean == pytest.approx(10)
    one = difference(apart[:1], lost[:1], videos)
    assert (beside.low, beside.high) == pytest.approx((one.low, one.high))
    assert others.high - others.low > 3 * (beside.high - beside.low)


def test_intervals_hold_the_truth_as_often_as_they_say():
    """Videos of 1 to 6 questions that share a difficulty, three seeds a head: 95 in 100."""
    rng, held, tries = np.random.default_rng(0), 0, 120
    for number in range(tries):
        sizes = rng.integers(1, 7, 120)
        hard = np.repeat(rng.normal(0, 0.15, 120), sizes)
        found = []
        for share in (0.65, 0.6):
            of_seed = rng.normal(0, 0.02, (3, 1))
            found.append(rng.random((3, len(hard))) < share + hard + of_seed)
        made = difference(*found, names(sizes), seed=number)
        held += made.low <= 5 <= made.high
    assert 0.89 <= held / tries <= 0.99  # three standard errors of 120 tries


def test_the_smallest_difference_is_shown_four_times_in_five():
    rng, shown, tries = np.random.default_rng(1), 0, 120
    videos = names([1] * 400)
    for number in range(tries):
        base = rng.random(400)
        first, second = (base + rng.normal(0, 0.2, 400) < share for share in (0.6, 0.534))
        made = difference(first[None], second[None], videos, seed=number)
        shown += made.chance < 0.05
    assert made.smallest == pytest.approx(6.6, abs=0.5)  # what they differ by
    assert shown / tries == pytest.approx(0.8, abs=0.11)


@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=40))
@settings(deadline=None)
def test_mcnemar_is_the_sign_test_of_the_questions_that_differ(pairs):
    first, second = np.array(pairs, bool).T
    gained, lost = int((first & ~second).sum()), int((~first & second).sum())
    total = gained + lost
    tail = sum(stats.binom.pmf(k, total, 0.5) for k in range(min(gained, lost) + 1))
    assert mcnemar(first, second) == pytest.approx(min(1, 2 * tail))
    assert mcnemar(first, second) == mcnemar(second, first)


def test_heads_that_answer_alike_do_not_differ():
    same = right(0.5, 30, 1)
    found = difference(same, same, names([3] * 10))
    assert (found.mean, found.low, found.high, found.chance, found.smallest) == (0, 0, 0, 1, 0)


def test_one_video_tells_nothing_and_the_least_chance_is_that_of_one_draw():
    assert difference(right(0.5, 9, 1), right(0.5, 9, 2), ["v"] * 9) is None
    found = difference(np.ones((1, 50), bool), np.zeros((1, 50), bool), names([1] * 50))
    assert (found.mean, found.chance) == (100, 1 / DRAWS)
