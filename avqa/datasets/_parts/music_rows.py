"""Rows of MUSIC-AVQA's format, which its later editions share, as questions.

Quirks handled (docs/datasets.md): the key ``anser``, lists inside strings, a full-width question
mark, spaces at the end, ids that are missing or come twice.
"""

from __future__ import annotations

import functools
from pathlib import Path

from avqa.datasets._parts.fields import (
    BadField,
    fill,
    id_field,
    list_in_string,
    text_field,
    video_field,
)
from avqa.datasets._parts.files import Row, parse_file
from avqa.datasets._parts.question import Keys, Question
from avqa.datasets._parts.taxonomy import COLUMNS

Texts = tuple[str, tuple[str, ...], tuple[str, ...]]
"""Filled text, its words, slot values."""


def questions_in(dataset: str, file: Path, split: str) -> list[Question]:
    """All rows of one file.

    Raises:
        DatasetError: at the first row that cannot be used, naming file, row and question.
    """
    keys = Keys(dataset, split)
    # 32,000 rows have 9 types and a few thousand filled texts: each is parsed once.
    text_of, pair_of = functools.cache(_texts), functools.cache(_pair)

    def question(row: Row) -> Question:
        question_id = id_field(row, "question_id")
        video_id = video_field(row, "video_id")
        template = text_field(row, "question_content")
        text, words, slots = text_of(template, _hashable(row.get("templ_values", "[]")))
        modality, kind = pair_of(_hashable(row.get("type")))
        return Question(
            key=keys.make(question_id, video_id, text),
            question_id=question_id,
            video_id=video_id,
            split=split,
            text=text,
            words=words,
            modality=modality,
            kind=kind,
            template=template,
            slots=slots,
            answer=_answer(row),
        )

    return parse_file(file, question)


def _hashable(value: object) -> str | None:
    """The string that holds a list; a list that is one already goes back into a string."""
    return value if isinstance(value, str) or value is None else repr(value)


def _texts(template: str, values: str | None) -> Texts:
    slots = list_in_string(values, "templ_values")
    text = fill(template, slots)
    return text, tuple(text.split(" ")), slots


def _pair(value: str | None) -> tuple[str, str]:
    pair = list_in_string(value, "type")
    if pair not in COLUMNS["All"]:
        raise BadField(
            f"type={list(pair)!r}; expected one of the nine pairs such as ['Audio', 'Counting'];"
            " correct or remove the row"
        )
    return pair[0], pair[1]


def _answer(row: Row) -> str | None:
    """``anser`` is how the released files spell it."""
    name = "answer" if "answer" in row else "anser"
    return None if row.get(name) is None else text_field(row, name).strip()
