"""Log-mel spectrograms as Kaldi makes them, of audio from -1 to 1."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
from numpy.typing import NDArray

RATE = 16_000
LENGTH, HOP, FFT = 400, 160, 512
"""Samples of a frame, between frames, and of its transform."""
EMPHASIS = 0.97
LOWEST, HIGHEST = 20.0, RATE / 2
FLOOR = 2.0**-23
"""Least energy of a band, whose logarithm is that of silence."""


def num_frames(samples: int) -> int:
    """Whole frames in so many samples."""
    return 1 + (samples - LENGTH) // HOP


def log_mel(windows: NDArray[np.floating[Any]], bands: int) -> NDArray[np.float32]:
    """Log-mel spectrogram of each window, by itself.

    Args:
        windows: audio [rows, samples] at 16 kHz.
        bands: of mel.

    Returns:
        float32 [rows, frames, bands]; frame f begins at sample 160·f.
    """
    frames = np.lib.stride_tricks.sliding_window_view(windows.astype(np.float64), LENGTH, axis=1)
    frames = frames[:, ::HOP]
    frames = frames - frames.mean(-1, keepdims=True)
    before = np.concatenate([frames[..., :1], frames[..., :-1]], -1)
    spectrum = np.abs(np.fft.rfft((frames - EMPHASIS * before) * _hann(), FFT)) ** 2
    # One product per row, of one shape: rows must not depend on how many there are.
    return np.log(np.maximum(spectrum @ _mel_weights(bands), FLOOR)).astype(np.float32)


@functools.cache
def _hann() -> NDArray[np.float64]:
    return np.hanning(LENGTH)


@functools.cache
def _mel_weights(bands: int) -> NDArray[np.float64]:
    """Triangles [257, bands], linear on the mel scale."""

    def mel(hertz: NDArray[np.float64] | float) -> Any:
        return 1127.0 * np.log(1.0 + np.asarray(hertz) / 700.0)

    bins = mel(np.linspace(0.0, RATE / 2, FFT // 2 + 1))[:, None]
    edges = np.linspace(mel(LOWEST), mel(HIGHEST), bands + 2)
    low, middle, high = edges[:-2], edges[1:-1], edges[2:]
    rising, falling = (bins - low) / (middle - low), (high - bins) / (high - middle)
    weights: NDArray[np.float64] = np.maximum(0.0, np.minimum(rising, falling))
    return weights
