"""What each of MUSIC-AVQA's 22 instruments looks and sounds like here.

Networks with seeded random weights see colour, texture and spectrum, not meaning: every
instrument has a colour and an outline of its own, and a band of the spectrum of its own.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

Shape = tuple[str, tuple[int, ...]]
"""``ellipse``, ``box`` or ``polygon`` in the instrument's colour, ``dark`` and ``light`` boxes on
it; coordinates in a square of 100 × 100."""


@dataclass(frozen=True)
class Instrument:
    """How one instrument looks and sounds."""

    pitch_rank: int
    """Its place among the 22 from low to high."""
    colour: tuple[int, int, int]
    struck: bool
    """Sounds die away after every stroke; else they are held."""
    shapes: tuple[Shape, ...]


def _strings(width: int, bottom: int) -> Shape:
    return ("dark", (50 - width // 2, 0, 50 + width // 2, bottom))


# Ordered so that the first ones, which small benchmarks use, look most different.
INSTRUMENTS: dict[str, Instrument] = {
    "violin": Instrument(
        17,
        (225, 25, 35),
        False,
        (
            ("ellipse", (18, 48, 82, 100)),
            ("ellipse", (27, 22, 73, 66)),
            _strings(10, 80),
        ),
    ),
    "piano": Instrument(
        12,
        (20, 20, 25),
        True,
        (
            ("box", (0, 18, 100, 100)),
            *(("light", (6 + 15 * k, 58, 16 + 15 * k, 80)) for k in range(6)),
        ),
    ),
    "trumpet": Instrument(
        14,
        (250, 215, 20),
        False,
        (
            ("box", (0, 42, 72, 62)),
            ("polygon", (60, 50, 100, 10, 100, 94)),
            ("box", (22, 20, 54, 86)),
            ("dark", (32, 30, 44, 76)),
        ),
    ),
    "drum": Instrument(
        4,
        (30, 60, 235),
        True,
        (
            ("box", (4, 22, 96, 86)),
            ("ellipse", (4, 70, 96, 100)),
            ("ellipse", (4, 6, 96, 40)),
            ("light", (4, 52, 96, 60)),
        ),
    ),
    "accordion": Instrument(
        10,
        (20, 165, 60),
        False,
        (
            ("box", (0, 14, 100, 96)),
            *(("dark", (24 + 12 * k, 14, 28 + 12 * k, 96)) for k in range(5)),
        ),
    ),
    "tuba": Instrument(
        0,
        (235, 40, 215),
        False,
        (
            ("polygon", (6, 0, 94, 0, 66, 46, 34, 46)),
            ("ellipse", (12, 34, 88, 100)),
            ("dark", (42, 58, 58, 80)),
        ),
    ),
    "flute": Instrument(
        20,
        (25, 220, 230),
        False,
        (
            ("polygon", (0, 64, 84, 4, 100, 30, 16, 92)),
            *(("dark", (22 + 16 * k, 56 - 11 * k, 30 + 16 * k, 64 - 11 * k)) for k in range(4)),
        ),
    ),
    "xylophone": Instrument(
        21,
        (255, 125, 0),
        True,
        (
            *(("box", (2 + 20 * k, 8 + 7 * k, 17 + 20 * k, 98 - 7 * k)) for k in range(5)),
            ("dark", (0, 40, 100, 46)),
            ("dark", (0, 60, 100, 66)),
        ),
    ),
    "acoustic_guitar": Instrument(
        7,
        (150, 75, 20),
        True,
        (
            ("ellipse", (10, 46, 90, 100)),
            ("ellipse", (22, 28, 78, 70)),
            ("box", (42, 0, 58, 40)),
            ("dark", (40, 60, 60, 76)),
        ),
    ),
    "cello": Instrument(
        3,
        (120, 0, 20),
        False,
        (
            ("ellipse", (10, 42, 90, 94)),
            ("ellipse", (20, 18, 80, 62)),
            _strings(8, 100),
        ),
    ),
    "saxophone": Instrument(
        11,
        (170, 245, 40),
        False,
        (
            ("polygon", (20, 0, 40, 0, 52, 66, 30, 76)),
            ("ellipse", (26, 52, 74, 100)),
            ("polygon", (56, 84, 66, 30, 100, 30, 74, 92)),
        ),
    ),
    "guzheng": Instrument(
        13,
        (110, 20, 170),
        True,
        (
            ("polygon", (0, 90, 22, 20, 100, 20, 100, 90)),
            *(("light", (22, 30 + 12 * k, 100, 34 + 12 * k)) for k in range(5)),
        ),
    ),
    "clarinet": Instrument(
        15,
        (0, 120, 120),
        False,
        (
            ("box", (38, 0, 62, 84)),
            ("polygon", (38, 78, 62, 78, 84, 100, 16, 100)),
            *(("light", (46, 12 + 16 * k, 54, 20 + 16 * k)) for k in range(4)),
        ),
    ),
    "ukulele": Instrument(
        18,
        (255, 150, 185),
        True,
        (
            ("ellipse", (22, 54, 78, 100)),
            ("ellipse", (32, 38, 68, 72)),
            ("box", (43, 0, 57, 48)),
        ),
    ),
    "bagpipe": Instrument(
        9,
        (0, 80, 30),
        False,
        (
            ("ellipse", (4, 44, 84, 100)),
            *(("box", (16 + 22 * k, 0, 26 + 22 * k, 60)) for k in range(3)),
            ("box", (70, 74, 100, 86)),
        ),
    ),
    "erhu": Instrument(
        16,
        (195, 95, 255),
        False,
        (
            ("box", (26, 62, 74, 98)),
            ("box", (44, 0, 56, 66)),
            ("dark", (30, 10, 70, 16)),
            ("dark", (30, 24, 70, 30)),
        ),
    ),
    "banjo": Instrument(
        8,
        (250, 235, 160),
        True,
        (
            ("ellipse", (16, 38, 84, 100)),
            ("box", (43, 0, 57, 44)),
            ("dark", (34, 74, 66, 80)),
        ),
    ),
    "electric_bass": Instrument(
        1,
        (0, 0, 120),
        True,
        (
            ("polygon", (14, 50, 34, 62, 66, 62, 86, 46, 78, 100, 22, 100)),
            ("box", (43, 0, 57, 66)),
            ("light", (36, 76, 64, 82)),
        ),
    ),
    "pipa": Instrument(
        19,
        (235, 175, 95),
        True,
        (
            ("polygon", (50, 6, 88, 74, 78, 98, 22, 98, 12, 74)),
            *(("dark", (40, 34 + 14 * k, 60, 38 + 14 * k)) for k in range(4)),
        ),
    ),
    "suona": Instrument(
        6,
        (130, 130, 0),
        False,
        (
            ("box", (42, 0, 58, 64)),
            ("polygon", (42, 56, 58, 56, 96, 100, 4, 100)),
        ),
    ),
    "bassoon": Instrument(
        2,
        (85, 40, 60),
        False,
        (
            ("box", (30, 0, 48, 100)),
            ("box", (52, 24, 68, 100)),
            ("light", (34, 8, 44, 16)),
        ),
    ),
    "congas": Instrument(
        5,
        (150, 200, 255),
        True,
        (
            ("polygon", (2, 20, 46, 20, 38, 100, 10, 100)),
            ("polygon", (54, 20, 98, 20, 90, 100, 62, 100)),
            ("ellipse", (2, 10, 46, 30)),
            ("ellipse", (54, 10, 98, 30)),
        ),
    ),
}
MEL_LOW, MEL_HIGH = 125.0, 7500.0
"""What VGGish hears, in Hz."""
GUARD = 0.12
"""Share of a band left free on either side."""


def registers(instruments: Sequence[str]) -> dict[str, tuple[float, float]]:
    """Band in Hz of each instrument, equal on the mel scale, in their order of pitch.

    The highest band is left free for the voice, under the name ``voice``.
    """
    names = [*sorted(instruments, key=lambda name: INSTRUMENTS[name].pitch_rank), "voice"]
    low, high = _mel(MEL_LOW), _mel(MEL_HIGH)
    width = (high - low) / len(names)
    return {
        name: (
            _hertz(low + (number + GUARD) * width),
            _hertz(low + (number + 1 - GUARD) * width),
        )
        for number, name in enumerate(names)
    }


def _mel(hertz: float) -> float:
    return 1127.0 * math.log(1.0 + hertz / 700.0)


def _hertz(mel: float) -> float:
    return 700.0 * (math.exp(mel / 1127.0) - 1.0)
