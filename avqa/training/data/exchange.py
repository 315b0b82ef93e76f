"""Comparisons asked the other way round, to train on: the two sides and the answer exchanged.

"Is the cello louder than the flute?" answered with yes says that the flute is not louder than the
cello. Answered with no it says the opposite only where no two are alike, as in the synthetic
benchmark; annotators of real videos call a tie "no" both ways.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Literal

from avqa.datasets import Question
from avqa.datasets._parts.fields import PLACEHOLDER, fill

Exchange = Literal["none", "yes", "both"]
ANSWERS: dict[Exchange, dict[str, str]] = {
    "none": {},
    "yes": {"yes": "no"},
    "both": {"yes": "no", "no": "yes"},
}
"""What the answer becomes of which comparisons."""
_THAN = " than "


def with_exchanged(questions: Sequence[Question], exchange: Exchange) -> list[Question]:
    """The questions, then those of them that can be asked the other way round."""
    return [*questions, *_exchanged(questions, ANSWERS[exchange])]


def exchange_note(questions: Sequence[Question], exchange: Exchange) -> list[str]:
    """What is told of them; nothing without."""
    if exchange == "none":
        return []
    more = len(with_exchanged(questions, exchange)) - len(questions)
    which = "answered with yes " if exchange == "yes" else ""
    return [
        f"{more} comparisons {which}are asked the other way round, too, in training"
        f" (exchange={exchange})"
    ]


def _exchanged(questions: Iterable[Question], answers: dict[str, str]) -> list[Question]:
    return [
        other_way_round(question, answers[question.answer])
        for question in questions
        if question.answer in answers and has_two_sides(question)
    ]


def has_two_sides(question: Question) -> bool:
    """Whether it compares two that stand in slots alike, and are not the same."""
    left, than, right = question.template.partition(_THAN)
    sides = [PLACEHOLDER.findall(side) for side in (left, right)]
    half = len(sides[0])
    same = question.slots[:half] == question.slots[half:]
    return bool(than) and half > 0 and sides[0] == sides[1] and not same


def other_way_round(question: Question, answer: str) -> Question:
    """The question with its sides exchanged, and a key of its own."""
    half = len(question.slots) // 2
    slots = question.slots[half:] + question.slots[:half]
    text = fill(question.template, slots)
    return replace(
        question,
        key=hashlib.sha256(f"exchanged {question.key}".encode()).hexdigest(),
        text=text,
        words=tuple(text.split(" ")),
        slots=slots,
        answer=answer,
    )
