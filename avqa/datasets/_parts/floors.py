"""What answering without looking scores, and the arithmetic of the field's result tables.

An average is over questions (micro), never over percentages: heads.md section 8. How a floor is
fitted: section 9.7, to the question; for multiple choice: section 9.2.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

from avqa.datasets._parts.question import Question
from avqa.datasets._parts.taxonomy import COLUMNS, Pairs


class Score(NamedTuple):
    """Right answers among questions."""

    correct: int
    total: int

    @property
    def percent(self) -> float:
        """100 × correct / total; NaN of no question."""
        return 100 * self.correct / self.total if self.total else float("nan")


Table = dict[str, Score]
"""Column → score, in printing order."""


def score_table(
    scored: Iterable[tuple[Question, bool]], columns: Mapping[str, Pairs] = COLUMNS
) -> Table:
    """Right answers per column: every type, every group's micro average, all.

    Args:
        scored: each question with whether it was answered right.
        columns: of the data set, in printing order; a question counts in every column that
            lists its type pair.

    Raises:
        ValueError: if no column lists a question's type pair.
    """
    pairs: Counter[tuple[str, str]] = Counter()
    right: Counter[tuple[str, str]] = Counter()
    for question, correct in scored:
        pairs[question.modality, question.kind] += 1
        right[question.modality, question.kind] += correct
    strange = set(pairs) - frozenset[tuple[str, str]]().union(*columns.values())
    if strange:
        raise ValueError(f"types={sorted(strange)}; expected those of columns {list(columns)}")
    return {
        name: Score(sum(right[pair] for pair in members), sum(pairs[pair] for pair in members))
        for name, members in columns.items()
    }


KeyOf = Callable[[Question], tuple[object, ...]]
PRIORS: dict[str, KeyOf] = {
    "global": lambda q: (),
    "type": lambda q: (q.modality, q.kind),
    "template": lambda q: (q.template,),
    "slots": lambda q: (q.template, q.slots),
}
"""Prior → what it knows of a question, from least to most."""


class AnswerPrior:
    """The most frequent answer of each key; of equally frequent ones the first in file order.

    A key that the fitting questions do not have falls back to the prior before it in `PRIORS`.
    """

    def __init__(self, questions: Iterable[Question], prior: str) -> None:
        """Fit on questions in file order; those without an answer are left out."""
        steps = list(PRIORS)[: list(PRIORS).index(prior) + 1]
        self._steps = [PRIORS[step] for step in reversed(steps)]
        counts: list[dict[tuple[object, ...], Counter[str]]] = [{} for _ in self._steps]
        for question in questions:
            if question.answer is not None:
                for of_key, key_of in zip(counts, self._steps, strict=True):
                    of_key.setdefault(key_of(question), Counter())[question.answer] += 1
        # most_common(1) gives the answer met first among equals.
        self._best = [
            {key: answers.most_common(1)[0][0] for key, answers in of_key.items()}
            for of_key in counts
        ]

    def answer(self, question: Question) -> str | None:
        """What the prior answers; None if it was fitted on nothing."""
        for best, key_of in zip(self._best, self._steps, strict=True):
            found = best.get(key_of(question))
            if found is not None:
                return found
        return None


def floors(
    fit: Sequence[Question], score: Sequence[Question], columns: Mapping[str, Pairs] = COLUMNS
) -> dict[str, Table]:
    """Result table of each prior, fitted on one split and scored on another.

    Open answers: `PRIORS`. Multiple choice: ``position``, the place that is right most often,
    ``option``, the option whose lower-cased text was right most often, and ``longest``, the one of
    most letters; of equal options the first, and never a missing one. Questions without an answer
    are not scored.
    """
    if any(question.choices for question in score):
        return _choice_floors(fit, [q for q in score if q.choice is not None], columns)
    answered = [question for question in score if question.answer is not None]
    tables = {}
    for name in PRIORS:
        prior = AnswerPrior(fit, name)
        tables[name] = score_table(((q, prior.answer(q) == q.answer) for q in answered), columns)
    return tables


def chance(questions: Iterable[Question]) -> float | None:
    """Percent that guessing among the options that are there scores; None without options.

    Questions without an answer are not counted.
    """
    shares = [
        1 / sum(option is not None for option in q.choices)
        for q in questions
        if q.choice is not None
    ]
    return 100 * sum(shares) / len(shares) if shares else None


def _choice_floors(
    fit: Sequence[Question], score: Sequence[Question], columns: Mapping[str, Pairs]
) -> dict[str, Table]:
    places = Counter(q.choice for q in fit if q.choice is not None)
    right = Counter(
        _option(q.choices[q.choice]) for q in fit if q.choice is not None and q.choices[q.choice]
    )
    pickers: dict[str, Callable[[Question], int]] = {
        "position": lambda q: _best(q, lambda place: places[place]),
        "option": lambda q: _best(q, lambda place: right[_option(q.choices[place])]),
        "longest": lambda q: _best(q, lambda place: len(q.choices[place] or "")),
    }
    return {
        name: score_table(((q, pick(q) == q.choice) for q in score), columns)
        for name, pick in pickers.items()
    }


def _option(text: str | None) -> str:
    return (text or "").lower()


def _best(question: Question, worth: Callable[[int], int]) -> int:
    """Place of the option that is there and worth most; the first of equals."""
    there = [place for place, text in enumerate(question.choices) if text is not None]
    return max(there, key=worth)
