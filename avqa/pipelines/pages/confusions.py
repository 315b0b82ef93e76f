"""What a head takes for what: right answers against its own, type by type, template by template."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from avqa.datasets import Question
from avqa.datasets._parts.floors import AnswerPrior
from avqa.datasets._parts.taxonomy import Pairs
from avqa.training.scoring import Prediction

MOST_ANSWERS = 12
"""Answers of a matrix; the others are counted together."""
MOST_TEMPLATES = 40
LEAST_QUESTIONS = 5
"""Of a template that is shown."""
OTHERS = "others"


@dataclass(frozen=True)
class Count:
    """A place of a matrix."""

    right: str
    predicted: str
    number: int
    """Answers, of all seeds."""
    share: float
    """Of the row."""


@dataclass(frozen=True)
class Matrix:
    """One type's answers."""

    name: str
    questions: int
    answers: tuple[str, ...]
    """Heads of the columns, `OTHERS` last where there are any."""
    rows: tuple[tuple[Count, ...], ...]
    """One for each right answer, the frequent ones first."""
    percent: float


@dataclass(frozen=True)
class Template:
    """One template's questions."""

    text: str
    type: str
    questions: int
    percent: float
    """Right, mean of the seeds."""
    floor: float | None
    """Percent that the template's own most frequent training answer gets; None without any."""
    guess: str | None
    """That answer."""
    mistakes: tuple[tuple[str, str, int], ...]
    """Right answer, what was said instead, how often; the most frequent ones."""


Answered = Sequence[tuple[Question, Sequence[Prediction]]]
"""Questions with a right answer, and what each seed answered."""


def name_of(question: Question, columns: Mapping[str, Pairs]) -> str:
    """The column of the table that is of a question's type alone, else the type's own name."""
    pair = (question.modality, question.kind)
    known = (name for name, pairs in columns.items() if pairs == {pair})
    return next(known, " ".join(part for part in pair if part) or "all")


def matrices(answered: Answered, columns: Mapping[str, Pairs]) -> Iterator[Matrix]:
    """A matrix of each type with open answers, in the order of the table."""
    by_type: dict[str, list[tuple[str, str]]] = {}
    asked: Counter[str] = Counter()
    for question, rows in answered:
        if question.answer is not None and not question.choices:
            name = name_of(question, columns)
            asked[name] += 1
            pairs = by_type.setdefault(name, [])
            pairs += [(question.answer, row.prediction) for row in rows]
    order = [*columns, *by_type]
    for name in sorted(by_type, key=order.index):
        yield _matrix(name, asked[name], by_type[name])


def _matrix(name: str, questions: int, pairs: Sequence[tuple[str, str]]) -> Matrix:
    right = Counter(answer for answer, _ in pairs)
    said = Counter(prediction for _, prediction in pairs)
    frequent = sorted({*right, *said}, key=lambda a: (-right[a], -said[a], a))
    shown, rest = frequent[:MOST_ANSWERS], frequent[MOST_ANSWERS:]
    heads = (*shown, *([OTHERS] if rest else []))
    place = {answer: answer for answer in shown}
    counts = Counter((place.get(a, OTHERS), place.get(p, OTHERS)) for a, p in pairs)
    # Others is a row of its own only where a right answer is among them.
    lines = [a for a in heads if any(counts[a, p] for p in heads)]
    return Matrix(
        name=name,
        questions=questions,
        answers=heads,
        rows=tuple(tuple(_row(answer, heads, counts)) for answer in lines),
        percent=100 * sum(a == p for a, p in pairs) / len(pairs),
    )


def _row(
    right: str, heads: Sequence[str], counts: Mapping[tuple[str, str], int]
) -> Iterator[Count]:
    total = sum(counts.get((right, predicted), 0) for predicted in heads)
    for predicted in heads:
        number = counts.get((right, predicted), 0)
        yield Count(right, predicted, number, number / total)


def templates(
    answered: Answered, fit: Sequence[Question], columns: Mapping[str, Pairs]
) -> list[Template]:
    """The templates with enough questions, those least above their floor first."""
    prior = AnswerPrior(fit, "template") if fit else None
    found: dict[str, list[tuple[Question, Sequence[Prediction]]]] = {}
    for question, rows in answered:
        if question.template and not question.choices:
            found.setdefault(question.template, []).append((question, rows))
    many = {text: of for text, of in found.items() if len(of) >= LEAST_QUESTIONS}
    frequent = sorted(many, key=lambda text: -len(many[text]))[:MOST_TEMPLATES]
    made = [_template(text, many[text], prior, columns) for text in frequent]
    return sorted(made, key=lambda t: (t.percent - (t.floor or 0.0), t.text))


def _template(
    text: str, of: Answered, prior: AnswerPrior | None, columns: Mapping[str, Pairs]
) -> Template:
    pairs = [(question.answer or "", row.prediction) for question, rows in of for row in rows]
    guess = None if prior is None else prior.answer(of[0][0])
    right = sum(question.answer == guess for question, _ in of)
    mistakes = Counter(pair for pair in pairs if pair[0] != pair[1])
    return Template(
        text=text,
        type=name_of(of[0][0], columns),
        questions=len(of),
        percent=100 * sum(a == p for a, p in pairs) / len(pairs),
        floor=None if guess is None else 100 * right / len(of),
        guess=guess,
        mistakes=tuple((a, p, n) for (a, p), n in mistakes.most_common(3)),
    )
