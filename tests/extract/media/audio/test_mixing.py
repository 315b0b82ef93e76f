"""Channels to one, by each way of ``--mix``."""

from fractions import Fraction

import numpy as np
import pytest

from avqa.extract.media.audio.mixing import Mixer, itu_weights
from avqa.extract.media.types import AudioSamples, Report

SIDE = ("FL", "FR", "FC", "LFE", "SL", "SR")
BACK = ("FL", "FR", "FC", "LFE", "BL", "BR")


def run(*levels, names=(), length=100):
    samples = np.repeat(np.array(levels, np.float32)[:, None], length, axis=1)
    return AudioSamples(Fraction(0), 16_000, samples[0] if len(levels) == 1 else samples, names)


def warnings(mix, *given):
    mixer, report = Mixer(mix), Report()
    for one in given:
        mixer(one)
    mixer.warn(report)
    return report.warnings


def test_itu_weights_are_those_of_bs_775_and_sum_to_one():
    front, whole = np.sqrt(0.5), 2 * np.sqrt(0.5) + 1 + 2 * 0.5
    expected = np.array([front, front, 1, 0, 0.5, 0.5]) / whole
    for names in (SIDE, BACK, ()):  # six channels that are not told are 5.1
        np.testing.assert_allclose(itu_weights(names, 6), expected, rtol=1e-6)
    np.testing.assert_allclose(itu_weights(("FL", "FR", "BC"), 3), [1 / 3] * 3, rtol=1e-6)


@pytest.mark.parametrize(
    ("names", "weights"),
    [
        (("FL", "FR"), [0.5] * 2),
        (("LFE", "LFE"), [0.5] * 2),
        (("FL", "FR"), [0.5, 0.5, 0]),  # names of other channels tell nothing: it is 2.1
        ((), [1 / 9] * 9),
    ],
)
def test_itu_weights_where_the_standard_has_none(names, weights):
    np.testing.assert_allclose(itu_weights(names, len(weights)), weights, rtol=1e-6)


@pytest.mark.parametrize(("mix", "expected"), [("mean", 0.35), ("itu", 0.311_091), ("first", 0.1)])
def test_channels_become_one(mix, expected):
    mono = Mixer(mix)(run(0.1, 0.2, 0.3, 0.4, 0.5, 0.6, names=SIDE))
    assert (mono.shape, mono.dtype) == ((100,), np.float32)
    np.testing.assert_allclose(mono, expected, rtol=1e-5)
    alone = run(0.25)
    assert Mixer(mix)(alone) is alone.samples


def test_full_scale_in_every_channel_never_clips():
    for names in (SIDE, ("FL", "FR", "FC", "BC"), ()):
        assert np.abs(Mixer("itu")(run(*[1.0] * (len(names) or 7), names=names))).max() <= 1 + 1e-6


def test_a_mix_that_lost_the_sound_is_warned_of():
    opposite = run(0.5, -0.5)
    assert warnings("mean", opposite) == [
        "mix=mean of 2 channels has 0.0 % of the energy of the loudest one; expected at least 10 %;"
        " use another --mix"
    ]
    assert warnings("first", opposite) == []
    assert warnings("first", run(0, 0.5)) != []
    # In the centre of 5.1 alone: a sixth, which is 1/36 of the energy; ITU's weight gives 0.086.
    centre = run(0, 0, 0.5, 0, 0, 0, names=SIDE)
    assert "2.8 %" in warnings("mean", centre)[0]
    assert "8.6 %" in warnings("itu", centre)[0]


def test_the_whole_video_counts():
    assert warnings("mean", run(0.5, -0.5), run(0.3, 0.3)) == []
    assert warnings("mean", run(0.5, -0.5), run(0.1)) != []
    for silent in ([], [run(0, 0)], [run(0)], [run(0.5, 0)], [run(np.nan, 0.5)]):
        assert warnings("mean", *silent) == []
