"""HDR → SDR by a stated rule: PQ and HLG with BT.2020 primaries to BT.709.

    light   PQ (SMPTE ST 2084): absolute; HLG (BT.2100): on a display of 1000 cd/m², gamma 1.2
    colour  linear BT.2020 → BT.709; what would be less than nothing is nothing
    tone    BT.2390's roll-off in PQ: of the brightest of the three colours, what is below 88 cd/m²
            stays, 1000 cd/m² and more become 203, the reference white of BT.2408; the other two
            keep their share of it, and so the hue
    code    (light / 203 cd/m²)^(1/2.4): a BT.1886 display shows that light

Everything that is no sum or square root is looked up, so that no processor gives another number.
"""

from __future__ import annotations

import functools
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

TRANSFERS = {16: "smpte2084", 18: "arib-std-b67"}
"""Number of a transfer (ITU-T H.273) → FFmpeg's name, of those that are HDR."""
PEAK, WHITE = 1000.0, 203.0
"""cd/m² that become white, and that white is shown as."""
CODE_WHITE = 255 << 8
"""What swscale makes of white in 16 bits, of the full range 0.3 % more in 10 bits."""
_LEVELS = 1 << 16
_ROWS = 32
"""Done at a time, for less memory."""
_LUMA = (0.2627, 0.6780, 0.0593)
_TO_BT709 = (
    (1.660491, -0.587641, -0.072850),
    (-0.124550, 1.132900, -0.008350),
    (-0.018151, -0.100579, 1.118730),
)
_PQ_ABSOLUTE = 10_000.0
Floats = NDArray[np.float32]


def to_sdr(rgb: NDArray[np.uint16], transfer: str) -> NDArray[np.uint8]:
    """SDR frame [H, W, 3] of an HDR one, white at `CODE_WHITE`."""
    shown = np.empty(rgb.shape, np.uint8)
    for row in range(0, len(rgb), _ROWS):
        shown[row : row + _ROWS] = _converted(rgb[row : row + _ROWS], transfer)
    return shown


def warning(transfer: str) -> str:
    """What is said of a video whose frames go through `to_sdr`."""
    return f"HDR (transfer={transfer}): frames are tone-mapped to BT.709"


def _converted(rgb: NDArray[np.uint16], transfer: str) -> NDArray[np.uint8]:
    tables = _tables()
    if transfer == "smpte2084":
        light = [tables.pq[rgb[..., i]] for i in range(3)]
    else:
        scene = [tables.hlg[rgb[..., i]] for i in range(3)]
        gain = _between(tables.hlg_gain, _weighted(scene, _LUMA))
        light = [colour * gain for colour in scene]
    light = [np.maximum(_weighted(light, row), 0) for row in _TO_BT709]
    brightest = np.maximum(np.maximum(light[0], light[1]), light[2])
    gain = _between(tables.tone_gain, brightest)
    places = [np.rint(_place(colour * gain)).astype(np.int32) for colour in light]
    return np.stack([tables.code[place] for place in places], axis=-1)


def _weighted(colours: list[Floats], weights: tuple[float, ...]) -> Floats:
    """Mean by weights that sum to 1; of grey, exactly its own value."""
    total = colours[0].copy()
    for colour, weight in zip(colours[1:], weights[1:], strict=True):
        total += (colour - colours[0]) * np.float32(weight)
    return total


def _place(light: Floats) -> Floats:
    """Place in the tables, by the square root, which is fine in the dark; clipped to 0 to 1."""
    place: Floats = np.sqrt(np.clip(light, 0, 1)) * np.float32(_LEVELS - 1)
    return place


def _between(table: Floats, light: Floats) -> Floats:
    """Value of a table, on a line between two of it: a step would make brighter light darker."""
    place = _place(light)
    below = np.minimum(place.astype(np.int32), _LEVELS - 2)
    value: Floats = table[below]
    value += (place - below) * (table[below + 1] - value)
    return value


class _Tables(NamedTuple):
    pq: Floats
    """Code → light, 1 for 10,000 cd/m²."""
    hlg: Floats
    """Code → light of the scene, 1 for its peak."""
    hlg_gain: Floats
    """`_place` of the scene's luminance → light on the display per light of the scene."""
    tone_gain: Floats
    """`_place` of the brightest colour → light of white 1 per light of 10,000 cd/m² 1."""
    code: NDArray[np.uint8]
    """`_place` of light, 1 for white → code."""


@functools.cache
def _tables() -> _Tables:
    signal = np.minimum(np.arange(_LEVELS) / CODE_WHITE, 1)
    light = (np.arange(_LEVELS) / (_LEVELS - 1)) ** 2
    bright = np.maximum(light, light[1]) * _PQ_ABSOLUTE  # no gain of nothing by nothing
    return _Tables(
        pq=(pq_light(signal) / _PQ_ABSOLUTE).astype(np.float32),
        hlg=hlg_scene(signal).astype(np.float32),
        hlg_gain=(PEAK / _PQ_ABSOLUTE * light**0.2).astype(np.float32),
        tone_gain=(rolled_off(bright) / WHITE / (bright / _PQ_ABSOLUTE)).astype(np.float32),
        code=np.rint(255 * light ** (1 / 2.4)).astype(np.uint8),
    )


_M1, _M2 = 2610 / 16384, 2523 / 4096 * 128
_C1, _C2, _C3 = 3424 / 4096, 2413 / 4096 * 32, 2392 / 4096 * 32


def pq_light(signal: NDArray[np.float64]) -> NDArray[np.float64]:
    """Light in cd/m² of a PQ signal of 0 to 1."""
    root = signal ** (1 / _M2)
    light: NDArray[np.float64] = (np.maximum(root - _C1, 0) / (_C2 - _C3 * root)) ** (1 / _M1)
    return light * _PQ_ABSOLUTE


def pq_signal(light: NDArray[np.float64]) -> NDArray[np.float64]:
    """The inverse of `pq_light`."""
    power = (light / _PQ_ABSOLUTE) ** _M1
    signal: NDArray[np.float64] = ((_C1 + _C2 * power) / (1 + _C3 * power)) ** _M2
    return signal


def hlg_scene(signal: NDArray[np.float64]) -> NDArray[np.float64]:
    """Light of the scene, 0 to 1, of an HLG signal of 0 to 1."""
    a, b = 0.17883277, 0.28466892
    c = 0.5 - a * np.log(4 * a)
    light: NDArray[np.float64] = np.where(
        signal <= 0.5, signal**2 / 3, (np.exp((signal - c) / a) + b) / 12
    )
    return light


def rolled_off(light: NDArray[np.float64]) -> NDArray[np.float64]:
    """Light in cd/m² at most `WHITE`, of light in cd/m²: BT.2390, with black at 0."""
    peak, white = pq_signal(np.array([PEAK, WHITE]))
    most = white / peak
    knee = 1.5 * most - 0.5
    given = np.minimum(pq_signal(light) / peak, 1)
    t = (given - knee) / (1 - knee)
    rolled = (
        (2 * t**3 - 3 * t**2 + 1) * knee
        + (t**3 - 2 * t**2 + t) * (1 - knee)
        + (-2 * t**3 + 3 * t**2) * most
    )
    return pq_light(np.where(given < knee, given, rolled) * peak)
