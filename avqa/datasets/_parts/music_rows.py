"""Rows of MUSIC-AVQA's format, which its later editions share, as questions.

Quirks handled (docs/datasets.md): the key ``anser``, lists inside strings, a full-width question
mark, spaces at the end, ids that are missing or come twice, and what tables make of a file.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path

from avqa.datasets._parts.fields import (
    BadField,
    fill,
    given,
    id_field,
    list_in_string,
    question_field,
    shown,
)
from avqa.datasets._parts.files import Row, parse_file
from avqa.datasets._parts.mended import Mended, answer_field, numbered_video
from avqa.datasets._parts.question import Keys, Question
from avqa.datasets._parts.taxonomy import COLUMNS

Texts = tuple[str, tuple[str, ...], tuple[str, ...]]
"""Filled text, its words, slot values."""
SOUND = "unmatch_audio"
VIDEO_DIGITS = 8
"""Of the ids that are digits alone: those of real videos."""


def questions_in(
    dataset: str, file: Path, split: str, group: Callable[[Row], str] = lambda row: ""
) -> list[Question]:
    """All rows of one file.

    Args:
        dataset: whose questions they are.
        file: JSON or JSON lines.
        split: of the file.
        group: what a row says of its group.

    Raises:
        DatasetError: at the first row that cannot be used, naming file, row and question.
    """
    keys, mended = Keys(dataset, split), Mended()
    # 32,000 rows have 9 types and a few thousand filled texts: each is parsed once.
    text_of, pair_of = functools.cache(_texts), functools.cache(_pair)

    def question(row: Row) -> Question:
        question_id = id_field(row, "question_id")
        video_id = numbered_video(row, "video_id", VIDEO_DIGITS, mended)
        template = question_field(row, "question_content")
        text, words, slots = text_of(template, _hashable(given(row, "templ_values")) or "[]")
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
            answer=_answer(row, mended),
            sound_id=_sound(row, mended),
            group=group(row),
        )

    questions = parse_file(file, question, split)
    mended.tell(file)
    return questions


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


def _sound(row: Row, mended: Mended) -> str | None:
    """v2.0 asks of some videos with another's sound whether it is their instrument's."""
    if given(row, SOUND) in (None, ""):
        return None
    return numbered_video(row, SOUND, VIDEO_DIGITS, mended)


def _answer(row: Row, mended: Mended) -> str | None:
    """``anser`` is how the released files spell it."""
    found = {name: answer_field(row, name, mended) for name in ("anser", "answer")}
    given_ones = {answer for answer in found.values() if answer is not None}
    if len(given_ones) > 1:
        raise BadField(
            f"anser={shown(row['anser'])} and answer={shown(row['answer'])}; expected one of them;"
            " correct or remove the row"
        )
    return next(iter(given_ones), None)
