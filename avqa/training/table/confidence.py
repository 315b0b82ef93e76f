"""Whether a head knows what it knows: its probabilities beside how often it was right.

- ECE, the expected calibration error (Naeini et al., 2015; Guo et al., 2017): questions are put
  into 15 bins of equal width by the probability of the answer that was given; the differences of
  mean probability and accuracy of the bins are weighted by the questions in them.
- Brier's score (1950) of several answers: the squared distance of the probabilities from the right
  answer, 0 to 2, mean over questions. A right answer that a head cannot give counts as one of
  probability 0.
- AURC, the area under the risk-coverage curve (Geifman and El-Yaniv, 2017): if the k questions
  of which the head is surest were answered alone, so many of them would be wrong, mean over k. Of
  questions that are equally sure the order is left to chance, and its mean is taken.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from avqa.datasets._parts.vocabulary import MISSING, OUTSIDE
from avqa.telling import objects
from avqa.training.probabilities import Probabilities

BINS = 15


def expected_calibration_error(
    confidence: NDArray[np.float64], correct: NDArray[np.bool_], bins: int = BINS
) -> float:
    """See above: 0 to 1.

    Args:
        confidence: ``[N]``, of the answers that were given, 0 to 1; N at least 1.
        correct: ``[N]``.
        bins: of equal width; a probability at an edge is in the lower one.
    """
    place = np.clip(np.ceil(confidence * bins).astype(int) - 1, 0, bins - 1)
    apart = np.bincount(place, confidence - correct, bins)
    return float(np.abs(apart).sum() / len(confidence))


def brier_score(values: NDArray[np.float64], right: NDArray[np.int64]) -> float:
    """See above: 0 to 2.

    Args:
        values: ``[N, A]``, rows that add up to 1; N at least 1.
        right: ``[N]``, column of the right answer; `OUTSIDE` if there is none.
    """
    inside = right >= 0
    of_right = np.where(inside, values[np.arange(len(values)), np.where(inside, right, 0)], 0)
    return float(((values**2).sum(1) - 2 * of_right + 1).mean())


def area_under_risk_coverage(confidence: NDArray[np.float64], correct: NDArray[np.bool_]) -> float:
    """See above: 0 to 1.

    Args:
        confidence: ``[N]``, of the answers that were given; N at least 1.
        correct: ``[N]``.
    """
    order = np.argsort(-confidence, kind="stable")
    _, group = np.unique(-confidence[order], return_inverse=True)
    wrong, size = np.bincount(group, ~correct[order]), np.bincount(group)
    # Each of equally sure questions is wrong as often as all of them.
    errors = np.cumsum((wrong / size)[group])
    return float((errors / np.arange(1, len(order) + 1)).mean())


@dataclass(frozen=True)
class Confidence:
    """Of one head, seed by seed."""

    name: str
    accuracy: tuple[float, ...]
    """0 to 1, as all of these but ``brier``."""
    confidence: tuple[float, ...]
    """Mean probability of the answers that were given."""
    ece: tuple[float, ...]
    brier: tuple[float, ...]
    aurc: tuple[float, ...]

    @classmethod
    def of(cls, name: str, seeds: Iterable[Probabilities]) -> Confidence:
        """Of questions whose right answer is known, at least one."""
        found = [_measured(one) for one in seeds]
        return cls(name, *zip(*found, strict=True))

    def data(self) -> objects.Confidence:
        """For programs."""
        return {
            "name": self.name,
            "seeds": len(self.ece),
            "accuracy_percent": 100 * statistics.fmean(self.accuracy),
            "confidence_percent": 100 * statistics.fmean(self.confidence),
            "ece": statistics.fmean(self.ece),
            "ece_sd": _sd(self.ece),
            "brier": statistics.fmean(self.brier),
            "brier_sd": _sd(self.brier),
            "aurc": statistics.fmean(self.aurc),
            "aurc_sd": _sd(self.aurc),
        }


def _measured(one: Probabilities) -> tuple[float, ...]:
    if (one.right == MISSING).any():
        raise ValueError("a question has no right answer; expected those that have one")
    values = one.values.astype(np.float64)
    values /= values.sum(1, keepdims=True)  # float32 rounds
    confidence, given = values.max(1), values.argmax(1)
    correct = given == np.where(one.right == OUTSIDE, -1, one.right)
    return (
        float(correct.mean()),
        float(confidence.mean()),
        expected_calibration_error(confidence, correct),
        brier_score(values, one.right),
        area_under_risk_coverage(confidence, correct),
    )


def _sd(values: Sequence[float]) -> float | None:
    return statistics.stdev(values) if len(values) > 1 else None


_HEAD = ("", "accuracy", "confidence", "ECE", "Brier", "AURC")


def confidence_lines(found: Sequence[Confidence]) -> list[str]:
    """A table of heads, with what its columns are."""
    rows = [_HEAD, *map(_cells, found)]
    widths = [max(len(row[place]) for row in rows) for place in range(len(_HEAD))]
    return [
        *(
            "  ".join(
                text.ljust(width) if place == 0 else text.rjust(width)
                for place, (text, width) in enumerate(zip(row, widths, strict=True))
            ).rstrip()
            for row in rows
        ),
        f"confidence: mean probability of the answers given, in percent; ECE: {BINS} bins of equal"
        " width, 0 to 1; Brier: all answers, 0 to 2; AURC: share of wrong answers among the surest,"
        " mean over all coverages; less is better; ± s.d. of the seeds",
    ]


def _cells(one: Confidence) -> tuple[str, ...]:
    data = one.data()
    return (
        one.name,
        f"{data['accuracy_percent']:.2f}",
        f"{data['confidence_percent']:.2f}",
        _told(data["ece"], data["ece_sd"]),
        _told(data["brier"], data["brier_sd"]),
        _told(data["aurc"], data["aurc_sd"]),
    )


def _told(mean: float, sd: float | None) -> str:
    return f"{mean:.4f}" if sd is None else f"{mean:.4f} ± {sd:.4f}"
