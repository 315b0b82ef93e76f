"""Two heads on the same questions: their difference, and what of it may be chance.

Questions about one video share its features and seeds differ, so both are drawn again: videos by a
bootstrap (Efron and Tibshirani, 1993; clusters as in Field and Welsh, 2007), the means of the seeds
by Student's t. Beside it stands McNemar's exact test (1947) of single heads, which takes questions
for independent and is too sure where videos have several.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from avqa.training.table.intervals import LEVEL

DRAWS = 2_000
POWER = 0.8
"""With which the smallest difference would be shown."""
_AT_ONCE = 2**21
"""Numbers of a piece of the draws."""


@dataclass(frozen=True)
class Difference:
    """Of two accuracies, in percentage points."""

    mean: float
    low: float
    high: float
    chance: float
    """p: how often chance alone differs by as much, two-sided; at least 1 / `DRAWS`."""
    smallest: float
    """Difference that questions as many and alike would show, with the probability `POWER`."""


def difference(
    first: NDArray[np.bool_],
    second: NDArray[np.bool_],
    videos: Sequence[str],
    seed: int = 0,
    *,
    same_seeds: bool = False,
) -> Difference | None:
    """First minus second; None of fewer than two videos.

    Args:
        first: ``[S, N]``: whether seed s of one head answered question n right.
        second: ``[S', N]``: likewise, of the other.
        videos: ``[N]``: what each question is about.
        seed: of the draws.
        same_seeds: row s of both is one trained head (S' = S), so that what seeds differ by is
            what their differences differ by.
    """
    names, cluster = np.unique(np.asarray(videos), return_inverse=True)
    if len(names) < 2:
        return None
    gained = first.mean(0) - second.mean(0)
    sums = np.bincount(cluster, gained, len(names)).astype(float)
    sizes = np.bincount(cluster, minlength=len(names)).astype(float)
    rng = np.random.default_rng(seed)
    sides = (first.astype(float) - second,) if same_seeds else (first, second)
    drawn = np.concatenate(list(_drawn(sums, sizes, rng))) + _of_seeds(sides, rng)
    low, high = np.quantile(drawn, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    side = min(float((drawn <= 0).mean()), float((drawn >= 0).mean()))
    normal = 1.959964 + 0.841621  # quantiles of (1 + LEVEL) / 2 and of POWER
    return Difference(
        100 * float(gained.mean()),
        100 * float(low),
        100 * float(high),
        min(1.0, max(2 * side, 1 / DRAWS)),
        100 * normal * float(drawn.std()),
    )


def _drawn(
    sums: NDArray[np.float64], sizes: NDArray[np.float64], rng: np.random.Generator
) -> Iterator[NDArray[np.float64]]:
    """Mean differences with as many videos drawn again, with replacement."""
    count = len(sums)
    piece = max(1, _AT_ONCE // count)
    for done in range(0, DRAWS, piece):
        times = rng.multinomial(count, np.full(count, 1 / count), min(piece, DRAWS - done))
        yield (times @ sums) / (times @ sizes)


def _of_seeds(sides: Sequence[NDArray[Any]], rng: np.random.Generator) -> NDArray[np.float64]:
    """What the means of the seeds would differ by; 0 of single seeds, which do not tell."""
    parts = [(_apart(x) / len(x), len(x) - 1) for x in sides if len(x) > 1]
    variance = sum(part for part, _ in parts)
    if not variance > 0:
        return np.zeros(DRAWS)
    freedom = variance**2 / sum(part**2 / degrees for part, degrees in parts)
    return math.sqrt(variance) * rng.standard_t(freedom, DRAWS)


def _apart(correct: NDArray[Any]) -> float:
    """Variance of the seeds' accuracies, without what single answers differ by: videos tell that.

    ``[S, N]``; answers that differ by chance alone are in the bootstrap already.
    """
    by_chance = correct.var(0, ddof=1).sum() / correct.shape[1] ** 2
    return max(0.0, float(correct.mean(1).var(ddof=1) - by_chance))


def mcnemar(first: NDArray[np.bool_], second: NDArray[np.bool_]) -> float:
    """Chance (p) by McNemar's exact test of two single heads ``[N]``; 1 if all are alike."""
    from scipy.stats import binomtest  # slow to import

    gained, lost = int((first & ~second).sum()), int((second & ~first).sum())
    if gained + lost == 0:
        return 1.0
    return float(binomtest(gained, gained + lost).pvalue)
