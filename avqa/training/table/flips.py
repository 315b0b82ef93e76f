"""The flip rate: whether a head turns its answer when a comparison is asked the other way round.

A head that does not read which of the two stands first answers both ways alike, and is right half
of the time: its accuracy does not tell it from one that guesses.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from avqa.datasets._parts.floors import Score
from avqa.datasets._parts.question import Question
from avqa.training.data.exchange import has_two_sides
from avqa.training.scoring import Prediction
from avqa.training.table.intervals import Interval, interval

FLIP = "Flip"
"""Name of the column."""


class Flips:
    """P pairs of one comparison, of the same video, whose right answers are opposite."""

    def __init__(self, questions: Sequence[Question]) -> None:
        pairs = list(_pairs(questions))
        self._keys = [(one.key, other.key) for one, other in pairs]
        self._videos = [one.video_id for one, _ in pairs]

    def __len__(self) -> int:
        """P."""
        return len(self._keys)

    def turned(self, rows: Sequence[Prediction]) -> NDArray[np.bool_]:
        """``[P]``: whether a head's two answers differ."""
        said = {row.key: row.prediction for row in rows}
        return np.array([said[one] != said[other] for one, other in self._keys], bool)

    def interval(self, turned: NDArray[np.bool_]) -> Interval | None:
        """Of the mean of a head's seeds, ``[S, P]``."""
        return interval(turned, self._videos)

    def note(self) -> str:
        """What the column is."""
        return (
            f"{FLIP}: of {len(self)} comparisons asked both ways round, those that are answered"
            " differently, as all should be"
        )


def score_of(turned: NDArray[np.bool_]) -> Score:
    """As the other columns' of one seed."""
    return Score(int(turned.sum()), len(turned))


def _pairs(questions: Sequence[Question]) -> Iterator[tuple[Question, Question]]:
    waiting: dict[tuple[object, ...], Question] = {}
    for question in filter(has_two_sides, questions):
        half = len(question.slots) // 2
        exchanged = question.slots[half:] + question.slots[:half]
        other = waiting.pop((question.video_id, question.template, exchanged), None)
        if other is None:
            waiting[question.video_id, question.template, question.slots] = question
        elif other.answer != question.answer:
            yield other, question
