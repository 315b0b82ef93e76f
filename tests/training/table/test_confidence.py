"""Calibration, Brier's score and risk against coverage, beside computations from their words."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from scipy.stats import binned_statistic

from avqa.training.probabilities import Probabilities
from avqa.training.table.confidence import (
    BINS,
    Confidence,
    area_under_risk_coverage,
    brier_score,
    confidence_lines,
    expected_calibration_error,
)


@st.composite
def answered(draw):
    """Probabilities [N, A] and right answers, some of which no column is."""
    shape = draw(st.tuples(st.integers(1, 12), st.integers(2, 5)))
    raw = draw(arrays.arrays(np.float64, shape, elements=st.integers(0, 4).map(float)))
    values = (raw + 0.5) / (raw + 0.5).sum(1, keepdims=True)
    right = draw(arrays.arrays(np.int64, shape[0], elements=st.integers(-1, shape[1] - 1)))
    return values, np.where(right == -1, -2, right)


def by_bins(confidence, correct):
    """ECE with scipy's bins, which are closed below, of what is closed above: mirrored."""
    edges = np.linspace(0, 1, BINS + 1)
    total = 0.0
    for low, high in zip(edges, edges[1:], strict=False):
        inside = (confidence > low) & (confidence <= high)
        if inside.any():
            gap = abs(confidence[inside].mean() - correct[inside].mean())
            total += inside.sum() / len(confidence) * gap
    return total


def by_orders(confidence, correct):
    """AURC as the mean over many orders of equals, each counted coverage by coverage."""
    rng, areas = np.random.default_rng(0), []
    for _ in range(400):
        order = np.lexsort((rng.random(len(confidence)), -confidence))
        wrong = ~correct[order]
        areas.append(np.mean([wrong[:k].mean() for k in range(1, len(wrong) + 1)]))
    return np.mean(areas)


@given(answered())
def test_the_error_of_calibration_is_that_of_its_words(found):
    values, right = found
    confidence, correct = values.max(1), values.argmax(1) == right
    ours = expected_calibration_error(confidence, correct)
    assert ours == pytest.approx(by_bins(confidence, correct), abs=1e-9)
    assert 0 <= ours <= 1


def test_the_error_of_calibration_beside_scipys_bins():
    rng = np.random.default_rng(0)
    confidence = rng.uniform(0.05, 1, 500)
    correct = rng.random(500) < confidence**2
    mean, _, _ = binned_statistic(confidence, confidence, "mean", BINS, (0, 1))
    right, _, _ = binned_statistic(confidence, correct, "mean", BINS, (0, 1))
    count, _, _ = binned_statistic(confidence, confidence, "count", BINS, (0, 1))
    expected = np.nansum(count * np.abs(mean - right)) / 500
    assert expected_calibration_error(confidence, correct) == pytest.approx(expected)


def test_bins_are_closed_above():
    def error(*confidence, correct):
        return expected_calibration_error(np.array(confidence), np.array(correct))

    assert error(0.9, 1.0, correct=[True, False]) == pytest.approx((0.1 + 1) / 2)
    assert error(0.94, 1.0, correct=[True, False]) == pytest.approx(abs(0.94 + 1 - 1) / 2)
    assert error(0.15, 0.2, correct=[True, False]) == pytest.approx(abs(0.35 - 1) / 2)
    assert error(0.2, 0.21, correct=[True, False]) == pytest.approx((0.8 + 0.21) / 2)


@given(answered())
def test_briers_score_is_a_squared_distance(found):
    values, right = found
    one_hot = np.zeros((len(values), values.shape[1] + 1))
    one_hot[np.arange(len(values)), np.where(right < 0, values.shape[1], right)] = 1
    padded = np.pad(values, ((0, 0), (0, 1)))  # a column for answers that the head lacks
    expected = np.mean([np.linalg.norm(p - o) ** 2 for p, o in zip(padded, one_hot, strict=True)])
    assert brier_score(values, right) == pytest.approx(expected)


@given(st.lists(st.tuples(st.integers(0, 5), st.booleans()), min_size=1, max_size=15))
def test_risk_does_not_depend_on_the_order(rows):
    confidence, correct = (np.array(column) for column in zip(*rows, strict=True))
    ours = area_under_risk_coverage(confidence / 5, correct)
    back = area_under_risk_coverage(confidence[::-1] / 5, correct[::-1])
    assert ours == pytest.approx(back)
    assert 0 <= ours <= 1


def test_risk_against_coverage_coverage_by_coverage():
    confidence = np.array([0.9, 0.8, 0.8, 0.8, 0.5, 0.5, 0.1])
    correct = np.array([True, True, False, False, True, False, True])
    ours = area_under_risk_coverage(confidence, correct)
    assert ours == pytest.approx(by_orders(confidence, correct), abs=0.01)
    assert area_under_risk_coverage(np.array([0.9, 0.5]), np.array([True, False])) == 0.25


def of_head(right, *rows):
    values = np.array(rows, np.float32)
    names = np.array([str(n) for n in range(len(values))])
    return Probabilities(names, names, values, np.array(["a", "b"]), np.array(right))


def test_a_head_is_told_with_all_of_its_seeds():
    sure = of_head([0, 0, -2], [0.9, 0.1], [0.2, 0.8], [0.6, 0.4])
    even = of_head([0, 0, -2], [0.6, 0.4], [0.6, 0.4], [0.6, 0.4])
    one = Confidence.of("pstp", [sure, even])
    assert one.accuracy == pytest.approx((1 / 3, 2 / 3))
    assert one.confidence == pytest.approx((2.3 / 3, 0.6))
    brier = ((0.02 + 1.28 + 0.36 + 0.16 + 1) / 3, (0.32 + 0.32 + 1.52) / 3)
    assert one.brier == pytest.approx(brier)
    lines = confidence_lines([one])
    assert lines[0].split() == ["accuracy", "confidence", "ECE", "Brier", "AURC"]
    assert lines[1].startswith("pstp     50.00")
    assert f"{np.mean(brier):.4f} ± {np.std(brier, ddof=1):.4f}" in lines[1]
    assert "15 bins of equal width" in lines[2]


def test_questions_without_a_right_answer_are_not_taken():
    with pytest.raises(ValueError, match="has no right answer"):
        Confidence.of("pstp", [of_head([-1], [0.9, 0.1])])
