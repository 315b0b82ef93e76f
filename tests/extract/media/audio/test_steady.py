"""Samples follow each other where stamps wobble, and move where time has."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from avqa.extract.media.audio.steady import steady
from avqa.extract.media.types import AudioSamples

RATE, PACKET = 48_000, Fraction(20, 1000)


def placed(stamps, rate=RATE):
    """Where packets of 20 ms with these stamps (seconds) are placed, as seconds."""
    samples = np.zeros(int(PACKET * rate), np.float32)
    runs = [AudioSamples(Fraction(stamp), rate, samples) for stamp in stamps]
    return [run.start_seconds for run in steady(runs)]


def even(count, start=Fraction(0)):
    return [start + k * PACKET for k in range(count)]


@settings(max_examples=30)
@given(st.integers(0, 2**32 - 1), st.integers(60, 400))
def test_stamps_that_wobble_move_nothing(seed, count):
    wobble = np.random.default_rng(seed).integers(-15, 16, count)
    found = placed([t + Fraction(int(w), 1000) for t, w in zip(even(count), wobble, strict=True)])
    steps = np.diff([float(t) for t in found])
    assert (np.abs(steps - 0.02) > 1e-9).sum() <= 1  # the first stamp may have been far off
    assert np.abs(np.array(found, float) - np.array(even(count), float))[count // 2 :].max() < 0.016


@settings(max_examples=40)
@given(
    st.integers(30, 100),
    st.integers(30, 100),
    st.sampled_from([11, 20, 35, 59, 61, 200, 5_000, -11, -30, -59, -200, -900]),
    st.booleans(),
)
def test_a_step_that_lasts_is_one_of_time(first, second, milliseconds, rounded):
    step = Fraction(milliseconds, 1000)
    stamps = even(first) + even(second, first * PACKET + step)
    assert placed(stamps) == stamps


def test_one_stamp_that_is_wrong_moves_nothing():
    stamps = even(100)
    stamps[50] += Fraction(300, 1000)
    assert placed(stamps) == even(100)


def test_stamps_rounded_to_milliseconds_move_nothing():
    samples = np.zeros(1_024, np.float32)
    exact = [Fraction(1_024 * k, 44_100) for k in range(200)]
    runs = [AudioSamples(Fraction(round(t * 1000), 1000), 44_100, samples) for t in exact]
    assert [run.start_seconds for run in steady(runs)] == exact


def test_a_clock_that_drifts_is_followed():
    """A recorder of 47,900 samples a second that says 48,000."""
    stamps = [k * PACKET * Fraction(480, 479) for k in range(3_000)]
    off = np.array([float(a - b) for a, b in zip(placed(stamps), stamps, strict=True)])
    assert np.abs(off).max() < 0.0115


def test_bursts_between_gaps_stay_where_they_are():
    stamps = [t for burst in range(6) for t in even(5, Fraction(burst))]
    assert placed(stamps) == stamps


@pytest.mark.parametrize("rates", [(48_000, 44_100), (44_100, 48_000)])
def test_a_rate_that_changes_moves_nothing(rates):
    runs, begin = [], Fraction(0)
    for rate in (rates[0],) * 50 + (rates[1],) * 50:
        runs.append(AudioSamples(begin, rate, np.zeros(1_024, np.float32)))
        begin += Fraction(1_024, rate)
    assert [run.start_seconds for run in steady(runs)] == [run.start_seconds for run in runs]
