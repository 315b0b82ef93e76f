"""Choosing questions so that neither the template nor its values give the answer away."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence

import numpy as np

from avqa.datasets._synth.questions import A_COMP, Question

COMPARATIVE = A_COMP[1]
MOST = 1.4
"""A video with much to ask stands in for one with little: times as many questions."""
SLACK = 1.15
"""How far an answer may be above the mean of its template's answers."""


def choose(
    askable: Mapping[str, Sequence[Question]], rng: np.random.Generator, per_video: int
) -> dict[str, list[Question]]:
    """About ``per_video`` questions a video, even over types, templates and their answers.

    Greedy: videos take turns, and each takes the question whose type, template, answer and values
    have been asked least. An answer that has run ahead of the others of its template is not
    asked again until they catch up.
    """
    tally = _Tally(askable)
    chosen: dict[str, list[Question]] = {video: [] for video in askable}
    left = {video: list(questions) for video, questions in askable.items()}
    names = sorted(askable)
    missing = per_video * len(names)
    for turn in range(round(MOST * per_video)):
        for number in rng.permutation(len(names)):
            video = names[number]
            question = tally.least_asked(left[video], rng) if missing else None
            if question is not None:
                tally.add(question)
                chosen[video].append(question)
                left[video] = [q for q in left[video] if not _alike(q, question)]
                missing -= 1
        if not missing and turn >= per_video - 1:
            break
    return chosen


def with_both_orders(
    chosen: Mapping[str, Sequence[Question]], askable: Mapping[str, Sequence[Question]]
) -> dict[str, list[Question]]:
    """The questions, each comparison followed by the same one the other way round."""
    found: dict[str, list[Question]] = {}
    for video, questions in chosen.items():
        found[video] = []
        for question in questions:
            found[video].append(question)
            if question.type[1] == COMPARATIVE:
                found[video] += [q for q in askable[video] if _is_exchanged(q, question)]
    return found


def _is_exchanged(one: Question, other: Question) -> bool:
    half = len(other.values) // 2
    exchanged = other.values[half:] + other.values[:half]
    return one.template == other.template and one.values == exchanged


def _alike(one: Question, other: Question) -> bool:
    """Same template and the same values in any order: the answer would follow."""
    return one.template == other.template and sorted(one.values) == sorted(other.values)


class _Tally:
    """How often each type, template, answer and set of values was asked."""

    def __init__(self, askable: Mapping[str, Sequence[Question]]) -> None:
        self.asked: Counter[object] = Counter()
        self.possible: dict[str, set[str]] = defaultdict(set)
        for questions in askable.values():
            for question in questions:
                self.possible[question.template].add(question.answer)

    def add(self, question: Question) -> None:
        q = question
        self.asked.update([q.type, q.template, (q.template, q.answer), (q.template, q.values)])
        self.asked[(q.template, q.values, q.answer)] += 1

    def least_asked(
        self, questions: Sequence[Question], rng: np.random.Generator
    ) -> Question | None:
        open_ones = [q for q in questions if not self._ran_ahead(q)]
        if not open_ones:
            return None
        order = rng.permutation(len(open_ones))
        return open_ones[min(order, key=lambda number: self._cost(open_ones[number]))]

    def _ran_ahead(self, q: Question) -> bool:
        mean = self.asked[q.template] / len(self.possible[q.template])
        return self.asked[(q.template, q.answer)] > SLACK * mean

    def _cost(self, q: Question) -> tuple[int, ...]:
        same = self.asked[(q.template, q.values, q.answer)]
        return (
            self.asked[q.type],
            self.asked[q.template],
            self.asked[(q.template, q.answer)],
            2 * same - self.asked[(q.template, q.values)],
            same,
        )
