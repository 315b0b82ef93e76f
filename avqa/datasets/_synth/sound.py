"""The sound of a clip: every instrument in its own band, at its own loudness."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from avqa.datasets._synth.instruments import INSTRUMENTS, registers
from avqa.datasets._synth.score import Player, Scene

RATE = 16_000
"""VGGish hears nothing above 7.5 kHz."""
LOUDEST_RMS = 0.05
"""Root mean square of an instrument at 0 dB while it sounds; five together do not clip."""
NOTES = (1.0, 9 / 8, 5 / 4, 3 / 2)
SPACING = (90.0, 130.0, 175.0)
"""Hz between the partials of an instrument's lowest note, by its place in the order of pitch."""
ATTACK_SECONDS = 0.02
SYLLABLES_PER_SECOND = 3

Wave = NDArray[np.float32]


def waveform(scene: Scene, instruments: Sequence[str], seed: int) -> Wave:
    """Mono float32 [seconds × 16000] within −1 … 1."""
    bands = registers(instruments)
    order = list(bands)
    mix = np.zeros(scene.seconds * RATE, np.float32)
    for number, player in enumerate(scene.players):
        rng = np.random.default_rng([seed, scene.number, 1, number])
        spacing = SPACING[order.index(player.instrument) % len(SPACING)]
        notes = [_note(player, bands[player.instrument], spacing * note, rng) for note in NOTES]
        for start, end in player.sounds:
            count = (end - start) * player.strokes_per_second
            melody = np.concatenate([notes[k] for k in rng.integers(len(notes), size=count)])
            mix[start * RATE : end * RATE] += _loud(melody, player.level_db)
    rng = np.random.default_rng([seed, scene.number, 2])
    for start, end in scene.voiceover:
        mix[start * RATE : end * RATE] += _loud(_whisper(end - start, bands["voice"], rng), -6)
    return mix


def to_pcm16(samples: Wave) -> NDArray[np.int16]:
    """Round to 16 bits."""
    pcm: NDArray[np.int16] = np.rint(samples * 32767).astype(np.int16)
    return pcm


def _note(
    player: Player, band: tuple[float, float], spacing: float, rng: np.random.Generator
) -> Wave:
    """One stroke: the partials of a note that lie in the band, swelling and fading."""
    size = RATE // player.strokes_per_second
    seconds = np.arange(size) / RATE
    low, high = band
    partials = spacing * np.arange(np.ceil(low / spacing), np.floor(high / spacing) + 1)
    if not partials.size:
        partials = np.array([(low * high) ** 0.5])
    phases = rng.uniform(0, 2 * np.pi, partials.size)
    tone = np.sin(2 * np.pi * seconds[:, None] * partials + phases).sum(axis=1)
    swell = np.minimum(1.0, np.minimum(seconds, seconds[-1] - seconds) / ATTACK_SECONDS)
    envelope = 0.5 - 0.5 * np.cos(np.pi * swell)
    if INSTRUMENTS[player.instrument].struck:
        envelope *= np.exp(-2.5 * seconds / seconds[-1])
    note: Wave = (tone * envelope).astype(np.float32)
    return note


def _whisper(seconds: int, band: tuple[float, float], rng: np.random.Generator) -> Wave:
    """Syllables of noise above all instruments."""
    spectrum = np.fft.rfft(rng.standard_normal(seconds * RATE))
    hertz = np.fft.rfftfreq(seconds * RATE, 1 / RATE)
    spectrum[(hertz < band[0]) | (hertz > band[1])] = 0
    time = np.arange(seconds * RATE) / RATE
    syllables = np.sin(np.pi * SYLLABLES_PER_SECOND * time) ** 2
    sound: Wave = (np.fft.irfft(spectrum, seconds * RATE) * syllables).astype(np.float32)
    return sound


def _loud(sound: Wave, level_db: int) -> Wave:
    """The sound at its level."""
    rms = float(np.sqrt(np.mean(np.square(sound, dtype=np.float64))))
    return sound * np.float32(LOUDEST_RMS * 10 ** (level_db / 20) / rms)
