"""Stands in for librosa in the GPU check: resampling alone, by soxr, with the same samples.

See `benchmarks.gpu.prepare.put_resampler`.
"""

from __future__ import annotations

import math

import numpy as np
import soxr
from numpy.typing import NDArray


def resample(
    y: NDArray[np.float32], *, orig_sr: int, target_sr: int, res_type: str, axis: int = -1
) -> NDArray[np.float32]:
    """Audio [samples] at another rate, ceil(samples × target ÷ original) of them.

    Raises:
        ValueError: another method or axis than those avqa uses.
    """
    if res_type != "soxr_hq" or y.ndim != 1 or axis != -1:
        raise ValueError(f"res_type={res_type!r} of {y.ndim} axes; expected soxr_hq of one")
    count = math.ceil(y.size * target_sr / orig_sr)
    found = soxr.resample(y, orig_sr, target_sr, quality="HQ")[:count]
    return np.pad(found, (0, count - found.size)).astype(y.dtype)
