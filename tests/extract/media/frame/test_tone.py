"""HDR to SDR, against numbers worked out by hand from the standards."""

import numpy as np
import pytest

from avqa.extract.media.frame import tone

GREYS = {0.1: 11, 1: 28, 10: 73, 26: 108, 50: 142, 84: 177, 203: 230, 400: 250, 1000: 255}
"""cd/m² → code; up to 88 it is 255 · (L / 203)^(1/2.4)."""
BT2020 = np.array([[0.6274, 0.3293, 0.0433], [0.0691, 0.9195, 0.0114], [0.0164, 0.0880, 0.8956]])
"""Light of BT.709's colours in BT.2020's (BT.2087)."""


def pq(light):
    codes = tone.CODE_WHITE * tone.pq_signal(np.asarray(light, float))
    return np.rint(np.maximum(codes, 0)).astype(np.uint16).reshape(1, -1, 3)


def hlg(*signals):
    codes = np.rint(np.array(signals) * tone.CODE_WHITE).astype(np.uint16)
    return codes.reshape(1, -1, 3)


@pytest.mark.parametrize("light", GREYS)
def test_grey_is_shown_at_its_light(light):
    assert tone.to_sdr(pq([light] * 3), "smpte2084").tolist() == [[[GREYS[light]] * 3]]
    if light < 88:
        assert round(255 * (light / 203) ** (1 / 2.4)) == GREYS[light]


def test_signals_are_those_of_the_standards():
    # BT.2408: 203 cd/m² is 58 % of PQ and 75 % of HLG; 0.5 is a twelfth of HLG's peak.
    np.testing.assert_allclose(tone.pq_signal(np.array([203.0, 10_000.0])), [0.5807, 1], atol=1e-4)
    np.testing.assert_allclose(tone.pq_light(np.array([0.5807])), 203, rtol=1e-3)
    scene = tone.hlg_scene(np.array([0.0, 0.5, 0.75, 1.0]))
    np.testing.assert_allclose(scene, [0, 1 / 12, 0.26496, 1], atol=1e-5)
    np.testing.assert_allclose(1000 * scene[2] ** 1.2, 203, rtol=2e-3)
    assert tone.to_sdr(hlg([0.75] * 3, [1.0] * 3), "arib-std-b67").tolist() == [
        [[230] * 3, [255] * 3]
    ]


@pytest.mark.parametrize("transfer", tone.TRANSFERS.values())
def test_brighter_is_never_darker_and_grey_stays_grey(transfer):
    codes = np.arange(1 << 16, dtype=np.uint16).reshape(256, 256, 1).repeat(3, axis=-1)
    shown = tone.to_sdr(codes, transfer).astype(int)
    assert (shown.max(axis=-1) == shown.min(axis=-1)).all()
    assert (np.diff(shown[..., 0].ravel()) >= 0).all()
    assert (shown.min(), shown.max()) == (0, 255)


def test_the_roll_off_begins_smoothly_and_ends_at_white():
    light = np.linspace(0.1, 2000, 20_000)
    rolled = tone.rolled_off(light)
    np.testing.assert_allclose(rolled[light < 87], light[light < 87], rtol=1e-9)
    assert (rolled <= light + 1e-9).all()
    np.testing.assert_allclose(rolled[light >= 1000], 203, rtol=1e-9)
    slope = np.diff(rolled) / np.diff(light)
    assert (slope >= -1e-9).all()
    assert np.abs(np.diff(slope)).max() < 0.02


@pytest.mark.parametrize(
    "colour", [(1, 0, 0), (0, 1, 0), (0, 0, 1), (0.2, 0.7, 0.4), (0.5, 0.3, 0)]
)
def test_colours_of_bt709_are_shown_as_they_are(colour):
    light = 80 * np.array(colour)
    shown = tone.to_sdr(pq(BT2020 @ light), "smpte2084")[0, 0]
    within = np.where(light == 0, 8, 1)  # the matrices are rounded, and codes fine in the dark
    assert (np.abs(shown - 255 * (light / 203) ** (1 / 2.4)) <= within).all()


def test_what_bt709_cannot_show_is_clipped_and_bright_colours_keep_their_hue():
    red, bright = tone.to_sdr(pq([[40, 0, 0], BT2020 @ [900, 300, 300]]), "smpte2084")[0].tolist()
    assert red[1:] == [0, 0]
    assert red[0] == round(255 * (1.6605 * 40 / 203) ** (1 / 2.4))
    share = (np.array(bright) / 255) ** 2.4
    assert bright[0] == 255 * round((tone.rolled_off(np.array([900.0]))[0] / 203) ** (1 / 2.4))
    np.testing.assert_allclose(share[1:] / share[0], 1 / 3, atol=0.01)
