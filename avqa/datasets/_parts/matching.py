"""Which row of a store holds the features of a question's video."""

from __future__ import annotations

import re
import warnings
from collections.abc import Sequence
from dataclasses import dataclass

from avqa.datasets._parts.question import Question
from avqa.errors import AnnotationWarning, DatasetError, StoreError

CLIP = re.compile(r"(.+)_[0-9]+\.[0-9]{3}_[0-9]+\.[0-9]{3}")
"""Name of a clip of a video, with the seconds at which it starts and ends."""


@dataclass(frozen=True)
class Matches:
    """Rows found for questions."""

    rows: tuple[int | None, ...]
    """Per question the row of its video; None if the store has none."""
    num_full_id: int
    """Questions whose video id is a row's id."""
    num_last_part: int
    """Questions whose video id is the last part of one row's id only."""
    num_zeros: int
    """Questions whose video id and a row's, both of digits alone, differ in leading zeros only."""
    num_clips: int
    """Questions whose video id is what stands before the seconds of one row's id."""
    unmatched: tuple[Question, ...]
    """Questions without a row, in their order."""


def match_rows(
    questions: Sequence[Question],
    store_ids: Sequence[str],
    *,
    held: str = "the store",
    option: str = "--store",
) -> Matches:
    """The row of every question's video: by its whole id, else by the last part of one row's id.

    An id of digits alone that no row has is that of the row which differs in leading zeros only:
    tables lose them. An `AnnotationWarning` counts these. An id that no row has either way is that
    of a clip of the video, ``<id>_<start>_<end>`` with seconds to three decimals.

    Args:
        questions: of any data set.
        store_ids: the store's video ids by row, such as ``00000093`` or ``train/00000093``.
        held: what holds the videos, for messages.
        option: which names it.

    Raises:
        DatasetError: if a video id is the last part of two rows' ids and the whole of none,
            differs from two in leading zeros only, or is that of two clips.
        StoreError: if there are questions and none has a row.
    """
    by_id = {store_id: number for number, store_id in enumerate(store_ids)}
    by_last: dict[str, list[int]] = {}
    by_digits: dict[str, list[int]] = {}
    by_clip: dict[str, list[int]] = {}
    for number, store_id in enumerate(store_ids):
        last = store_id.rpartition("/")[2]
        by_last.setdefault(last, []).append(number)
        if last.isascii() and last.isdecimal():
            by_digits.setdefault(last.lstrip("0"), []).append(number)
        if clip := CLIP.fullmatch(last):
            by_clip.setdefault(clip[1], []).append(number)
    rows: list[int | None] = []
    num_full_id = num_last_part = num_clips = 0
    zeros: list[tuple[str, int]] = []
    for question in questions:
        row = by_id.get(question.video_id)
        num_full_id += row is not None
        if row is None and question.video_id in by_last:
            row = _only(by_last[question.video_id], question, store_ids, held)
            num_last_part += 1
        digits = question.video_id.lstrip("0")
        if row is None and digits in by_digits:
            row = _only(by_digits[digits], question, store_ids, held)
            zeros.append((question.video_id, row))
        if row is None and question.video_id in by_clip:
            row = _only(by_clip[question.video_id], question, store_ids, held)
            num_clips += 1
        rows.append(row)
    unmatched = tuple(q for q, row in zip(questions, rows, strict=True) if row is None)
    if questions and len(unmatched) == len(questions):
        first = f"video_id={store_ids[0]!r}" if store_ids else "no video"
        raise StoreError(
            f"none of {len(questions)} questions has its video in {held}: the first asks about"
            f" video_id={questions[0].video_id!r}, {held} of {len(store_ids)} videos begins with"
            f" {first}; expected ids that are equal, or equal in their last part; check {option}"
            " and --annotations"
        )
    if zeros:
        video, row = zeros[0]
        _tell_zeros(f"{len(zeros)} of {len(questions)}", video, store_ids[row], held)
    return Matches(tuple(rows), num_full_id, num_last_part, len(zeros), num_clips, unmatched)


def _tell_zeros(how_many: str, video: str, store_id: str, held: str) -> None:
    warnings.warn(
        f"{how_many} questions have a video_id that {held} has with other leading zeros, the first"
        f" {video!r} for {store_id!r}; expected equal ids; keep the zeros with dtype=str where"
        " pandas reads the questions",
        AnnotationWarning,
        stacklevel=3,
    )


def _only(rows: list[int], question: Question, store_ids: Sequence[str], held: str) -> int:
    if len(rows) > 1:
        raise DatasetError(
            f"video_id={question.video_id!r} of question_id={question.question_id!r} fits two rows"
            f" of {held}, {store_ids[rows[0]]!r} and {store_ids[rows[1]]!r}; expected one;"
            " extract with ids that differ in their last part, or give whole ids in the questions"
        )
    return rows[0]
