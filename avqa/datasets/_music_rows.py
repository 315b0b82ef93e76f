"""Rows of MUSIC-AVQA's format, which its later editions share, as questions.

Quirks handled (docs/datasets.md): the key ``anser``, lists inside strings, a full-width question
mark, spaces at the end, ids that are missing or come twice.
"""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from avqa.datasets._fields import BadField, fill, id_field, list_in_string, text_field, video_field
from avqa.datasets._files import rows
from avqa.datasets.question import Question, question_key
from avqa.datasets.taxonomy import COLUMNS
from avqa.errors import DatasetError

Texts = tuple[str, tuple[str, ...], tuple[str, ...]]
"""Filled text, its words, slot values."""


def questions_in(dataset: str, file: Path, split: str) -> list[Question]:
    """All rows of one file; the same row gets the same key whichever file it is in.

    Raises:
        DatasetError: at the first row that cannot be used, naming file, row and question.
    """
    return list(_questions(dataset, file, split, rows(file)))


def _questions(
    dataset: str, file: Path, split: str, found: list[dict[str, Any]]
) -> Iterator[Question]:
    # 32,000 rows have 9 types and a few thousand filled texts: each is parsed once.
    text_of, pair_of = functools.cache(_texts), functools.cache(_pair)
    seen: Counter[tuple[str | None, str, str]] = Counter()
    for number, row in enumerate(found):
        try:
            question_id = id_field(row, "question_id")
            video_id = video_field(row, "video_id")
            template = text_field(row, "question_content")
            text, words, slots = _cached(text_of, template, row.get("templ_values", "[]"))
            modality, kind = _cached(pair_of, row.get("type"))
            answer = _answer(row)
        except BadField as error:
            raise DatasetError(
                f"file={str(file)!r} row={number} question_id={row.get('question_id')!r}: {error}"
            ) from error
        same = (question_id, video_id, text)
        number_of_same = str(seen[same]) if seen[same] else None
        seen[same] += 1
        yield Question(
            key=question_key(dataset, split, *same, number_of_same),
            question_id=question_id,
            video_id=video_id,
            split=split,
            text=text,
            words=words,
            modality=modality,
            kind=kind,
            template=template,
            slots=slots,
            answer=answer,
        )


def _cached(parse: Callable[..., Any], *values: object) -> Any:
    """Parse strings through the cache; a list that is one already cannot be its key."""
    return parse(*(tuple(value) if isinstance(value, list) else value for value in values))


def _texts(template: str, values: object) -> Texts:
    slots = list_in_string(values, "templ_values")
    text = fill(template, slots)
    return text, tuple(text.split(" ")), slots


def _pair(value: object) -> tuple[str, str]:
    pair = list_in_string(value, "type")
    if pair not in COLUMNS["All"]:
        raise BadField(
            f"type={list(pair)!r}; expected one of the nine pairs such as ['Audio', 'Counting'];"
            " correct or remove the row"
        )
    return pair[0], pair[1]


def _answer(row: dict[str, Any]) -> str | None:
    """``anser`` is how the released files spell it."""
    name = "answer" if "answer" in row else "anser"
    return None if row.get(name) is None else text_field(row, name).strip()


def num_repeated(questions: list[Question]) -> int:
    """Number of question ids that occur more than once in their split."""
    ids = Counter((q.split, q.question_id) for q in questions if q.question_id is not None)
    return sum(count > 1 for count in ids.values())
