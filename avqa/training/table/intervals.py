"""95 % intervals of accuracies: videos are drawn, not questions, and seeds differ.

Questions about one video share its features, so the accuracy is a ratio of sums over videos, and
its variance that of such a ratio (Taylor linearisation; Cochran, *Sampling Techniques*, 1977).
Several seeds add the variance of their mean. Both together give the number of independent
questions that would be as uncertain, for which Wilson's interval is taken (Wilson, 1927; with
such a number: Korn and Graubard, 1998), with the quantile of Student's t by Satterthwaite's degrees
of freedom.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

LEVEL = 0.95
_NOTHING = 1e-12
"""Variances of less are rounding: one of a million questions about as many videos is 1e-6."""


@dataclass(frozen=True)
class Interval:
    """Of an accuracy, in percent."""

    low: float
    high: float

    def __contains__(self, percent: float) -> bool:
        """Whether it may be this one, to the two digits that papers print."""
        return self.low - 0.005 <= percent <= self.high + 0.005

    def __str__(self) -> str:
        """``70.1 to 74.3``."""
        return f"{self.low:.1f} to {self.high:.1f}"


def interval(correct: NDArray[np.bool_], videos: Sequence[str]) -> Interval | None:
    """Of the mean accuracy of a head's seeds; None of fewer than two videos.

    Args:
        correct: ``[S, N]``: whether seed s answered question n right.
        videos: ``[N]``: what each question is about.
    """
    names, cluster = np.unique(np.asarray(videos), return_inverse=True)
    if len(names) < 2:
        return None
    mean = float(correct.mean())
    of_videos = _of_videos(correct.mean(0), cluster, len(names))
    of_seeds = _of_seeds(correct.mean(1))
    variance = of_videos + of_seeds
    if variance < _NOTHING:  # every video alike: as so many single questions
        return _wilson(mean, len(names), len(names) - 1)
    parts = ((of_videos, len(names) - 1), (of_seeds, len(correct) - 1))
    freedom = variance**2 / sum(part**2 / df for part, df in parts if part > 0)
    return _wilson(mean, min(mean * (1 - mean) / variance, correct.size), freedom)


def _of_videos(right: NDArray[np.float64], cluster: NDArray[np.intp], count: int) -> float:
    """Variance of the accuracy by the videos that happen to be asked about."""
    sums, sizes = np.bincount(cluster, right, count), np.bincount(cluster, minlength=count)
    rest = sums - right.mean() * sizes
    return float(count / (count - 1) * (rest**2).sum() / sizes.sum() ** 2)


def _of_seeds(accuracies: NDArray[np.float64]) -> float:
    """Variance of the seeds' mean; 0 of one seed, which does not tell."""
    return float(accuracies.var(ddof=1) / len(accuracies)) if len(accuracies) > 1 else 0.0


def _wilson(mean: float, count: float, freedom: float) -> Interval:
    from scipy.special import stdtrit  # slow to import

    t = float(stdtrit(freedom, (1 + LEVEL) / 2))
    centre = (mean + t**2 / (2 * count)) / (1 + t**2 / count)
    half = t / (1 + t**2 / count) * math.sqrt(mean * (1 - mean) / count + (t / (2 * count)) ** 2)
    return Interval(100 * max(0.0, centre - half), 100 * min(1.0, centre + half))
