"""The questions of a run as columns of JSON: what the page's script filters and sorts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from avqa.datasets import Question
from avqa.datasets._parts.taxonomy import Pairs
from avqa.pipelines.pages.confusions import name_of
from avqa.training.run import Member
from avqa.training.scoring import Prediction

Rows = Mapping[str, Prediction]
"""Key of each question → what a member answered."""


class Texts:
    """Every text once, and its number."""

    def __init__(self) -> None:
        """Begin without any."""
        self._numbers: dict[str, int] = {}

    def number(self, text: str | None) -> int:
        """Its place in `all`; -1 of None."""
        return -1 if text is None else self._numbers.setdefault(text, len(self._numbers))

    @property
    def all(self) -> list[str]:
        """In the order of their numbers."""
        return list(self._numbers)


def name(member: Member) -> str:
    """As the page calls a member."""
    return f"{member.config.variant}, seed {member.config.seed}"


def questions(
    answers: Sequence[tuple[Member, Rows]],
    known: Mapping[str, Question],
    columns: Mapping[str, Pairs],
) -> dict[str, Any]:
    """Every question that a member answered; as long lists of numbers, since there are many.

    Args:
        answers: of each member, those to show first in front.
        known: key → the question with its type and template, as far as these are at hand.
        columns: of the data set.
    """
    first = {key: row for _, rows in reversed(answers) for key, row in rows.items()}
    keys = list(dict.fromkeys(key for _, rows in answers for key in rows))
    texts, types, templates = Texts(), Texts(), Texts()
    of = [known.get(key) for key in keys]
    return {
        "id": [texts.number(first[key].question_id) for key in keys],
        "video": [texts.number(first[key].video_id) for key in keys],
        "text": [texts.number(first[key].text) for key in keys],
        "answer": [texts.number(first[key].answer) for key in keys],
        "type": [types.number(None if q is None else name_of(q, columns)) for q in of],
        "template": [templates.number(None if q is None else q.template) for q in of],
        "members": [_member(member, rows, keys, texts) for member, rows in answers],
        "types": types.all,
        "templates": templates.all,
        "texts": texts.all,
        "keys": _short(keys),
    }


def _member(member: Member, answered: Rows, keys: Sequence[str], texts: Texts) -> dict[str, Any]:
    rows = [answered.get(key) for key in keys]
    return {
        "name": name(member),
        "variant": member.config.variant,
        "prediction": [-1 if row is None else texts.number(row.prediction) for row in rows],
        "probability": [0 if row is None else round(row.probability, 3) for row in rows],
        "right": [_right(row) for row in rows],
    }


def _right(row: Prediction | None) -> int:
    """1 right, 0 wrong, -1 not answered, or without a right answer."""
    return -1 if row is None or row.correct is None else int(row.correct)


def _short(keys: Sequence[str]) -> list[str]:
    """Beginnings of keys, which tell questions apart on the page."""
    return [key[:12] for key in keys]
