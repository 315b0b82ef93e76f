"""The videos of a store as points: a map, what stands apart, what is nearly the same, strips.

A video is the mean of its rows; distances are Euclidean, in multiples of the median distance of two
videos of the store. So a figure depends on the store, not on the scale of a feature.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
MOST_PIECES = 60
"""Pieces of a video's strip; of longer videos each is the mean of several rows."""
NEIGHBOURS = 5
NEARLY_SAME = 0.1
"""Distance, in multiples of the median one, up to which two videos are listed as nearly the same.
Videos of one scene are mostly 0.3 to 0.6 apart."""
MOST_PAIRS = 40
MOST_APART = 12
LEAST = 3
"""Videos that a map needs."""


@dataclass(frozen=True)
class Described:
    """One video."""

    mean: Floats
    """[C]."""
    pieces: Floats
    """[K, C], K ≤ `MOST_PIECES`: means of rows that follow each other."""


@dataclass(frozen=True)
class Space:
    """All of them; N videos."""

    places: NDArray[np.float64]
    """[N, 2], each in 0 to 1."""
    shares: tuple[float, float]
    """Of the variance, that either axis of the map has."""
    apart: NDArray[np.float64]
    """[N]: mean distance of the nearest neighbours."""
    pairs: tuple[tuple[int, int, float], ...]
    """Two videos that are nearly the same, and their distance; the nearest first."""

    @property
    def farthest(self) -> list[int]:
        """The videos that stand most apart, the most in front."""
        order = np.argsort(-self.apart, kind="stable")[:MOST_APART]
        usual = float(np.median(self.apart))
        return [int(video) for video in order if self.apart[video] > 1.5 * usual]


def described(rows: NDArray[np.generic]) -> Described:
    """A video by its rows [T, *shape]; what is not the channel is averaged away."""
    flat = rows.reshape(len(rows), -1, rows.shape[-1]).astype(np.float32).mean(1)
    pieces = np.array_split(flat, min(len(flat), MOST_PIECES))
    return Described(flat.mean(0), np.stack([piece.mean(0) for piece in pieces]))


def space(means: Floats) -> Space | None:
    """Map and neighbours of videos [N, C]; None of fewer than `LEAST`, or if all are the same."""
    if len(means) < LEAST:
        return None
    centred = means - means.mean(0)
    left, values, _ = np.linalg.svd(centred, full_matrices=False)
    if not values[0] > 1e-6 * max(1.0, float(np.abs(means).max())):
        return None
    left, values = (np.pad(a, [(0, 0)] * (a.ndim - 1) + [(0, 1)]) for a in (left, values))
    places = _upright(left[:, :2] * values[:2])  # a single channel has a second one of zeros
    variance = values**2 / (values**2).sum()
    distances = _distances(centred)
    usual = _median(distances)
    nearest = np.sort(distances, axis=1)[:, 1 : NEIGHBOURS + 1] / usual
    low, high = places.min(0), places.max(0)
    return Space(
        places=(places - low) / np.maximum(high - low, 1e-12),
        shares=(float(variance[0]), float(variance[1])),
        apart=nearest.mean(1).astype(np.float64),
        pairs=tuple(_pairs(distances / usual)),
    )


def _upright(axes: Floats) -> NDArray[np.float64]:
    """Each axis with its farthest end to the right, whatever sign the decomposition gave it."""
    ends = axes[np.abs(axes).argmax(0), np.arange(axes.shape[1])]
    turned: NDArray[np.float64] = axes.astype(np.float64) * np.where(ends < 0, -1.0, 1.0)
    return turned


def _distances(points: Floats) -> Floats:
    """[N, N]."""
    squares = (points**2).sum(1)
    found = squares[:, None] + squares[None] - 2 * points @ points.T
    np.fill_diagonal(found, 0.0)
    distances: Floats = np.sqrt(found.clip(0))
    return distances


def _median(distances: Floats) -> float:
    """Of different videos; at least something, where most are the same."""
    upper = distances[np.triu_indices(len(distances), 1)]
    return float(np.median(upper)) or float(upper.max()) or 1.0


def _pairs(distances: Floats) -> Iterator[tuple[int, int, float]]:
    first, second = np.nonzero(np.triu(distances <= NEARLY_SAME, 1))
    order = np.argsort(distances[first, second], kind="stable")[:MOST_PAIRS]
    for place in order:
        a, b = int(first[place]), int(second[place])
        yield a, b, float(distances[a, b])


def strips(pieces: Sequence[Floats]) -> list[bytes]:
    """Each video's pieces as colours, three bytes a piece: alike looks alike across the store.

    The colours are the three directions in which the pieces of all videos differ most.
    """
    everything = np.concatenate(list(pieces))
    middle = everything.mean(0)
    covariance = np.cov((everything - middle).T) if len(everything) > 1 else None
    if covariance is None or covariance.ndim < 2:
        return [bytes([128] * 3 * len(of)) for of in pieces]
    _, axes = np.linalg.eigh(covariance)
    chosen = axes[:, ::-1][:, :3]
    chosen = np.pad(chosen, ((0, 0), (0, 3 - chosen.shape[1])))
    ends = chosen[np.abs(chosen).argmax(0), np.arange(3)]
    chosen = chosen * np.where(ends < 0, -1.0, 1.0)
    along = (everything - middle) @ chosen
    low, high = np.percentile(along, [2, 98], axis=0)
    span = np.maximum(high - low, 1e-12)
    return [
        np.rint((((of - middle) @ chosen - low) / span).clip(0, 1) * 215 + 20)
        .astype(np.uint8)
        .tobytes()
        for of in pieces
    ]
