"""Channels → one: the ways of ``--mix``.

- ``mean``: the mean of all channels; what the published VGGish path makes of stereo.
- ``itu``: the downmix of ITU-R BS.775 to one channel, with weights that sum to 1, so that it never
  clips. Where a file does not tell its channels, FFmpeg's usual ones of that number are taken.
- ``first``: the first channel alone.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from avqa.extract.media.types import AudioSamples, Report
from avqa.extract.settings import Mix

LOST = 0.1
"""A mix with less than this share of the loudest channel's energy is warned of."""
_FRONT = frozenset(("FL", "FR", "FLC", "FRC", "DL", "DR", "WL", "WR", "BIL", "BIR"))
_MIDDLE_BEHIND = frozenset(("BC", "TC", "TFC", "TBC", "BFC"))
_LOW = frozenset(("LFE", "LFE2"))
_UNTOLD = {
    3: ("FL", "FR", "LFE"),
    4: ("FL", "FR", "FC", "BC"),
    5: ("FL", "FR", "FC", "BL", "BR"),
    6: ("FL", "FR", "FC", "LFE", "BL", "BR"),
    7: ("FL", "FR", "FC", "LFE", "BC", "SL", "SR"),
    8: ("FL", "FR", "FC", "LFE", "BL", "BR", "SL", "SR"),
}
"""What FFmpeg takes channels for that the file does not name."""


class Mixer:
    """Mixes the runs of one video, and knows in the end whether the mix has lost it."""

    def __init__(self, mix: Mix) -> None:
        """Take one of the ways."""
        self._mix = mix
        self._mixed = 0.0
        self._by_channel: dict[int, float] = {}

    def __call__(self, run: AudioSamples) -> NDArray[np.float32]:
        """The run's samples [n] as one channel."""
        if run.samples.ndim == 1:
            mono, channels = run.samples, run.samples[None]
        else:
            mono, channels = self._one(run.samples, run.channels), run.samples
        energies = [float(np.dot(one, one)) for one in (mono, *channels)]
        if np.isfinite(energies).all():  # else it holds what is no number, and will be silenced
            self._mixed += energies[0]
            for place, energy in enumerate(energies[1:]):
                self._by_channel[place] = self._by_channel.get(place, 0.0) + energy
        return mono

    def _one(self, samples: NDArray[np.float32], names: tuple[str, ...]) -> NDArray[np.float32]:
        if self._mix == "first":
            return np.ascontiguousarray(samples[0])
        if self._mix == "itu":
            return itu_weights(names, len(samples)) @ samples
        mixed: NDArray[np.float32] = samples.mean(axis=0, dtype=np.float32)
        return mixed

    def warn(self, report: Report) -> None:
        """Warn if what was mixed up to now has cancelled out, or nearly."""
        loudest = max(self._by_channel.values(), default=0.0)
        if self._mixed < LOST * loudest:
            report.warnings.append(
                f"mix={self._mix} of {len(self._by_channel)} channels has"
                f" {100 * self._mixed / loudest:.1f} % of the energy of the loudest one; expected"
                f" at least {100 * LOST:.0f} %; use another --mix"
            )


def itu_weights(names: tuple[str, ...], count: int) -> NDArray[np.float32]:
    """Weight of each channel [count], all of them 1 together.

    Front left and right 0.707, centre 1, surround 0.5 each and 0.707 if there is one in the middle,
    low frequencies 0. Channels of no known kind all weigh the same.

    Args:
        names: of the channels, as FFmpeg names them; empty if the file does not tell.
        count: number of channels.
    """
    known = names if len(names) == count else _UNTOLD.get(count, ())
    weights = np.array([_weight(name) for name in known])
    if not weights.any():
        weights = np.ones(count)
    scaled: NDArray[np.float32] = (weights / weights.sum()).astype(np.float32)
    return scaled


def _weight(name: str) -> float:
    if name in _LOW:
        return 0.0
    if name == "FC":
        return 1.0
    return math.sqrt(0.5) if name in _FRONT | _MIDDLE_BEHIND else 0.5
