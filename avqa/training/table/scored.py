"""What heads answered to the same questions: right or wrong, and the intervals of every column."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from avqa.datasets._parts.floors import Score, Table, floors
from avqa.datasets._parts.question import Question
from avqa.datasets._parts.taxonomy import Pairs
from avqa.training.scoring import Prediction
from avqa.training.table.intervals import Interval, interval


def of_groups(questions: Sequence[Question]) -> dict[str, list[int]]:
    """Column → places of the questions of a group: head, tail; none where all are of one."""
    found: dict[str, list[int]] = {}
    for place, question in enumerate(questions):
        if question.group:
            found.setdefault(question.group.capitalize(), []).append(place)
    return dict(sorted(found.items())) if len(found) > 1 else {}


def floors_of(
    fit: Sequence[Question], scored: Sequence[Question], columns: Mapping[str, Pairs]
) -> dict[str, Table]:
    """`floors` of these columns and those of groups."""
    found = floors(fit, scored, columns)
    for name, places in of_groups(scored).items():
        for prior, table in floors(fit, [scored[n] for n in places], columns).items():
            found[prior][name] = table["All"]
    return found


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
        """Column → its places among the questions; those of groups behind those of types."""
        self._groups = [*of_groups(questions)]
        self.columns |= {name: np.array(of) for name, of in of_groups(questions).items()}
        self.pairs = columns

    def right(self, rows: Sequence[Prediction]) -> NDArray[np.bool_]:
        """``[N]``: which questions one head answered right."""
        correct = {row.key: row.correct for row in rows}
        return np.array([correct[key] for key in self._keys], bool)

    def of_groups(self, right: NDArray[np.bool_]) -> Table:
        """What one head scores in the columns of groups, from what it answered right: ``[N]``."""
        places = {name: self.columns[name] for name in self._groups}
        return {name: Score(int(right[of].sum()), len(of)) for name, of in places.items()}

    def intervals(self, right: NDArray[np.bool_]) -> dict[str, Interval]:
        """Of the means of a head's seeds, ``[S, N]``; without columns of fewer than two videos."""
        found = {
            name: interval(right[:, places], self.videos[places].tolist())
            for name, places in self.columns.items()
            if len(places)
        }
        return {name: between for name, between in found.items() if between is not None}
