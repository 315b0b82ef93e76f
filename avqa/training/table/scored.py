"""What heads answered to the same questions: right or wrong, and the intervals of every column."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from avqa.datasets._parts.question import Question
from avqa.datasets._parts.taxonomy import Pairs
from avqa.training.scoring import Prediction
from avqa.training.table.intervals import Interval, interval


class Scored:
    """N questions with a right answer, and which of them each column is of."""

    def __init__(self, questions: Sequence[Question], columns: Mapping[str, Pairs]) -> None:
        """``questions``: those that every head answered."""
        self._keys = [q.key for q in questions]
        self.videos = np.array([q.video_id for q in questions])
        """``[N]``: what each question is about."""
        types = [(q.modality, q.kind) for q in questions]
        self.columns = {
            name: np.array([row for row, pair in enumerate(types) if pair in pairs], int)
            for name, pairs in columns.items()
        }
        """Column → its places among the questions."""
        self.pairs = columns

    def right(self, rows: Sequence[Prediction]) -> NDArray[np.bool_]:
        """``[N]``: which questions one head answered right."""
        correct = {row.key: row.correct for row in rows}
        return np.array([correct[key] for key in self._keys], bool)

    def intervals(self, right: NDArray[np.bool_]) -> dict[str, Interval]:
        """Of the means of a head's seeds, ``[S, N]``; without columns of fewer than two videos."""
        found = {
            name: interval(right[:, places], self.videos[places].tolist())
            for name, places in self.columns.items()
            if len(places)
        }
        return {name: between for name, between in found.items() if between is not None}
