"""Mean and deviation of every column of the training videos' rows, for `standardise=true`."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from avqa.heads import OF_SOUND, Head
from avqa.training.data.features import FeatureReader


@dataclass
class Moments:
    """Of rows seen so far, by the pairwise update of Chan, Golub and LeVeque (1979)."""

    count: int
    mean: Tensor
    """[D] float64."""
    squares: Tensor
    """[D] float64: sum of squared differences from the mean."""

    @classmethod
    def of(cls, rows: Tensor) -> Moments:
        """Of rows [N, D], N at least 1."""
        rows = rows.double()
        mean = rows.mean(0)
        return cls(len(rows), mean, (rows - mean).square().sum(0))

    def add(self, other: Moments) -> None:
        """Take in the rows of another."""
        total = self.count + other.count
        apart = other.mean - self.mean
        self.mean = self.mean + apart * (other.count / total)
        between = apart.square() * (self.count * other.count / total)
        self.squares = self.squares + other.squares + between
        self.count = total

    @property
    def deviation(self) -> Tensor:
        """[D], of the rows themselves: divided by their number."""
        return (self.squares / self.count).sqrt()


def standardise(
    head: Head, features: FeatureReader, videos: Iterable[str], check: Callable[[], None]
) -> None:
    """Give a head the columns of these videos' rows, each video once; nothing if it wants none.

    Seconds that damage has taken, and those without audio where that is masked, do not count.
    ``check`` is called for every video.
    """
    if head.standard is None:
        return
    found: dict[str, Moments] = {}
    for video in dict.fromkeys(videos):
        check()
        rows = features.read(video)
        for field in head.FEATURES:
            kept = _real(rows, field)
            if not len(kept):
                continue
            moments = Moments.of(kept.flatten(0, -2))
            if field in found:
                found[field].add(moments)
            else:
                found[field] = moments
    for field, moments in found.items():
        head.standard.set(field, moments.mean, moments.deviation)


def _real(rows: dict[str, Tensor], field: str) -> Tensor:
    """Rows of seconds that are there."""
    values = rows[field]
    masks = ("valid", "audio_valid") if field in OF_SOUND else ("valid",)
    keep = torch.ones(len(values), dtype=torch.bool)
    for mask in masks:
        if mask in rows:
            keep &= rows[mask]
    return values[keep]
