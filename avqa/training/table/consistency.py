"""Whether a head answers the wordings of one question alike (MUSIC-AVQA-R).

- ``consistent``: share of the questions all of whose wordings are answered right.
- ``agreeing``: share of a question's wordings that get its most frequent answer, right or not,
  mean over questions.

Only questions with at least two wordings count. The authors of MUSIC-AVQA-R report accuracies
alone; both figures are ours.
"""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from avqa.datasets._parts.question import Question
from avqa.telling import objects
from avqa.training.scoring import Prediction
from avqa.training.table.intervals import Interval, interval

Groups = Mapping[Hashable, Sequence[Question]]
"""A question → its wordings, at least two."""


def wordings(
    questions: Iterable[Question], original: Callable[[Question], Hashable | None]
) -> Groups:
    """The questions that are asked in several wordings.

    Args:
        questions: of one split.
        original: what a wording is of; None of one that stands alone.
    """
    found: dict[Hashable, list[Question]] = {}
    for question in questions:
        if (of := original(question)) is not None:
            found.setdefault(of, []).append(question)
    return {of: these for of, these in found.items() if len({q.text for q in these}) > 1}


@dataclass(frozen=True)
class Consistency:
    """Of one head, seed by seed."""

    name: str
    questions: int
    wordings: int
    consistent: tuple[float, ...]
    """0 to 1, as ``agreeing``."""
    agreeing: tuple[float, ...]
    interval: Interval | None
    """95 % interval of the mean of ``consistent``; see `avqa.training.table.intervals`."""

    @classmethod
    def of(cls, name: str, groups: Groups, seeds: Sequence[Sequence[Prediction]]) -> Consistency:
        """Of a head that answered all wordings of at least one question.

        Args:
            name: of the head.
            groups: see `wordings`.
            seeds: what each seed answered.
        """
        given = [{row.key: row for row in rows} for rows in seeds]
        known = [g for g in groups.values() if all(q.key in of for q in g for of in given)]
        right = np.array([[all(of[q.key].correct for q in g) for g in known] for of in given])
        agreeing = [statistics.fmean(_agreement(g, of) for g in known) for of in given]
        videos = [group[0].video_id for group in known]
        return cls(
            name,
            len(known),
            sum(map(len, known)),
            tuple(map(float, right.mean(1))),
            tuple(agreeing),
            interval(right, videos),
        )

    def data(self) -> objects.Consistency:
        """For programs."""
        between = self.interval
        return {
            "name": self.name,
            "seeds": len(self.consistent),
            "questions": self.questions,
            "wordings": self.wordings,
            "consistent_percent": 100 * statistics.fmean(self.consistent),
            "low": None if between is None else between.low,
            "high": None if between is None else between.high,
            "agreeing_percent": 100 * statistics.fmean(self.agreeing),
        }


def _agreement(group: Sequence[Question], given: Mapping[str, Prediction]) -> float:
    answers = Counter(given[question.key].prediction for question in group)
    return answers.most_common(1)[0][1] / len(group)


def consistency_lines(found: Sequence[Consistency]) -> list[str]:
    """A line a head, with what the figures are."""
    lines = []
    for one in found:
        data = one.data()
        between = f" ({one.interval})" if one.interval else ""
        lines.append(
            f"{one.name}: consistent {data['consistent_percent']:.2f} %{between}, agreeing"
            f" {data['agreeing_percent']:.2f} %, of {one.questions} questions in {one.wordings}"
            " wordings"
        )
    return [
        *lines,
        "consistent: all wordings of a question are answered right, with its 95 % interval;"
        " agreeing: share of a question's wordings that get its most frequent answer",
    ]
