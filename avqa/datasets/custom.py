"""Your own questions about your own videos: one CSV, JSON or JSON Lines file, or one a split.

A row has ``video``, ``question`` and ``answer``, and may have ``type``, ``split``, ``question_id``
and ``options``; docs/own_videos.md goes from such a file to a result table.
"""

from __future__ import annotations

import difflib
import hashlib
import math
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from avqa.datasets._parts.custom_rows import ENDINGS, PlacedRow, read_rows
from avqa.datasets._parts.fields import BadField, normal_text, text_field, video_field
from avqa.datasets._parts.files import find
from avqa.datasets._parts.question import SPLITS, Keys, Question
from avqa.datasets._parts.splits import FRACTIONS, split_videos
from avqa.datasets._parts.taxonomy import Pairs
from avqa.datasets._parts.vocabulary import OTHER
from avqa.errors import DatasetError

BIBTEX = "@misc{custom, title = {Own questions about own videos}}"
LICENSE = "yours"
FILES = {split: tuple(f"{split}{ending}" for ending in ENDINGS) for split in SPLITS}
VARIANTS: dict[str, tuple[str, ...]] = {}
COLUMNS: dict[str, Pairs] = {"All": frozenset({("", "")})}
WHOLE_FILES = True
REQUIRED = ("video", "question")
KNOWN = (*REQUIRED, "answer", "type", "split", "question_id", "options")
SPLIT_NAMES = {split: split for split in SPLITS}
SPLIT_NAMES |= {"training": "train", "valid": "val", "validation": "val"}
SUFFIXES = (
    *("mp4", "m4v", "mov", "mkv", "webm", "avi", "mpg", "mpeg"),
    *("ts", "mts", "m2ts", "flv", "ogv", "gif", "3gp", "wmv"),
)
"""Endings of files that `avqa extract` takes; ids have none."""
MOST_TYPES = 20
"""Types that have columns; of more there is the average alone."""
MOST_SHOWN = 5


def read(path: Path, splits: Sequence[str] | None = None) -> list[Question]:
    """Questions of a folder or file.

    Args:
        path: one file, whose splits its column ``split`` tells or, without one, the hashes of
            the videos; or a folder with a file for each split: ``train.csv``.
        splits: those to read; by default all that are there.
    """
    found = _read(path, splits)
    order = [q for split in SPLITS for q in found if q.split == split]
    asked = [q for q in order if splits is None or q.split in splits]
    if splits is not None and (empty := [s for s in splits if all(q.split != s for q in asked)]):
        raise DatasetError(
            f"annotations={str(path)!r} have no question in split={empty[0]!r}; expected at least"
            " one; ask for another split"
        )
    return asked


def version(questions: Iterable[Question]) -> str:
    """The beginning of a SHA-256 of the questions and their answers; ``unknown`` of none."""
    rows = sorted(repr((q.key, q.answer, q.choices, q.choice)) for q in questions)
    return hashlib.sha256("".join(rows).encode()).hexdigest()[:8] if rows else "unknown"


def columns(questions: Iterable[Question]) -> dict[str, Pairs]:
    """A column for each type, in the order of the alphabet, and ``All``."""
    kinds = sorted({q.kind for q in questions if q.kind})
    every = frozenset({("", ""), *(("", kind) for kind in kinds)})
    shown = kinds if len(kinds) <= MOST_TYPES else []
    return {kind: frozenset({("", kind)}) for kind in shown} | {"All": every}


def notes(path: Path) -> list[str]:
    """How the questions were divided, and which columns were not read; one line each."""
    lines = []
    if not path.is_dir() and path.stem not in SPLITS:
        rows = read_rows(path)
        if all(_split(row) is None for row in rows):
            lines.append(_division(_read(path, None)))
    files = [path] if path.is_file() else find(path, None, FILES).values()
    unread = dict.fromkeys(
        name
        for file in files
        for row in read_rows(file)
        for name in row.values
        if name not in KNOWN
    )
    if unread:
        lines.append(f"columns that are not read: {', '.join(unread)}")
    return lines


def _division(questions: Sequence[Question]) -> str:
    shares = " / ".join(f"{share:.0%}" for share in FRACTIONS.values())
    split_of = {q.video_id: q.split for q in questions}
    counts = Counter(split_of.values())
    told = ", ".join(f"{split} {counts[split]}" for split in SPLITS)
    return (
        f"splits: by video, since the file tells none: {' / '.join(FRACTIONS)} are {shares} of the"
        f" hashes of the ids, and one video at least: {told} videos"
    )


def _read(path: Path, splits: Sequence[str] | None) -> list[Question]:
    """All questions of a file or folder, in its order, with their splits."""
    if path.is_file() and path.stem not in SPLITS:
        found = _questions_in(path, None)
    else:
        files = find(path, splits, FILES)
        found = [q for split, file in files.items() for q in _questions_in(file, split)]
    _refuse_repeated(path, found)
    if not any(q.split for q in found):
        # A video in a folder and its bare name may be one video.
        names = {q.video_id: q.video_id.rpartition("/")[2] for q in found}
        split_of = split_videos(names.values())
        found = [replace(q, split=split_of[names[q.video_id]]) for q in found]
    return found


def _questions_in(file: Path, of_file: str | None) -> list[Question]:
    """The questions of one file; their split is '' where nothing tells it."""
    rows = read_rows(file)
    _check_columns(file, rows)
    keys = {split: Keys("custom", split) for split in (*SPLITS, "")}
    has_options = any(row.values.get("options") is not None for row in rows)
    questions = []
    for row in rows:
        try:
            split = _split(row)
            if None not in (split, of_file) and split != of_file:
                raise BadField(
                    f"split={split!r} in the file of {of_file!r}; expected {of_file!r}; move the"
                    " row, or leave the column out"
                )
            questions.append(_question(row.values, keys, of_file or split or "", has_options))
        except BadField as error:
            raise DatasetError(f"file={str(file)!r} {row.place}{_named(row)}: {error}") from error
    told = {bool(q.split) for q in questions}
    if len(told) > 1:
        place = next(r.place for r, q in zip(rows, questions, strict=True) if not q.split)
        raise DatasetError(
            f"file={str(file)!r} {place} has no split, other rows have; expected one in every row,"
            " or in none; fill the column, or leave it out to have splits made by video"
        )
    return questions


def _named(row: PlacedRow) -> str:
    given = row.values.get("question_id")
    return "" if given is None else f" question_id={given!r}"


def _check_columns(file: Path, rows: Sequence[PlacedRow]) -> None:
    there = {name for row in rows for name in row.values}
    missing = [name for name in REQUIRED if name not in there]
    absent = [name for name in KNOWN if name not in there]
    for name in sorted(there - set(KNOWN)):
        near = difflib.get_close_matches(name, absent, n=1, cutoff=0.7)
        if near:
            raise DatasetError(
                f"file={str(file)!r} has a column {name!r} and no {near[0]!r}; expected some of"
                f" {', '.join(KNOWN)}; did you mean {near[0]!r}? rename the column"
            )
    if missing:
        raise DatasetError(
            f"file={str(file)!r} has no column {missing[0]!r}; expected {', '.join(KNOWN[:3])}, and"
            f" if you like {', '.join(KNOWN[3:])}; its columns: {', '.join(sorted(there))}"
        )


def _question(
    row: Mapping[str, Any], keys: Mapping[str, Keys], split: str, has_options: bool
) -> Question:
    video = _video(row)
    template = text_field({"question": _typed(row, "question")}, "question")
    text = normal_text(template)
    given = _typed(row, "question_id")
    question_id = None if given is None else text_field({"question_id": given}, "question_id")
    kind = " ".join((_typed(row, "type") or "").split())
    if kind == "All":
        raise BadField("type='All'; expected another name: the average has this one; rename it")
    answer = _answer(row)
    choices = _options(row) if has_options else ()
    choice = None if answer is None or not choices else _right(answer, choices)
    return Question(
        key=keys[split].make(question_id, video, text),
        question_id=question_id,
        video_id=video,
        split=split,
        text=text,
        words=tuple(text.split(" ")),
        modality="",
        kind=kind,
        template=text,
        slots=(),
        answer=None if choices else answer,
        choices=choices,
        choice=choice,
    )


def _typed(row: Mapping[str, Any], name: str) -> str | None:
    """A text; a whole number as one, None where there is nothing."""
    value = row.get(name)
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise BadField(f"{name}={value!r}; expected a text or a number; correct the row")
    return str(int(value)) if value == value // 1 else str(value)


def _video(row: Mapping[str, Any]) -> str:
    """The id that `avqa extract` gives the file: its path without ending, parted by slashes."""
    given = text_field({"video": _typed(row, "video")}, "video").strip()
    video = video_field({"video": given}, "video").replace("\\", "/").removeprefix("./")
    stem, dot, ending = video.rpartition(".")
    return stem if dot and stem and ending.lower() in SUFFIXES else video


def normal_answer(text: str) -> str:
    """Small letters, single spaces, none at either end: the form in which answers are equal."""
    return " ".join(unicodedata.normalize("NFC", text).casefold().split())


def _answer(row: Mapping[str, Any]) -> str | None:
    """None where the file has no answers at all."""
    if "answer" not in row:
        return None
    answer = _typed(row, "answer")
    if answer is None or not answer.strip():
        raise BadField(
            "the answer is empty; expected a text; fill it in or remove the row; a file without"
            " the column can be answered by `avqa predict`"
        )
    normal = normal_answer(text_field({"answer": answer}, "answer"))
    if normal == OTHER:
        raise BadField(f"answer={answer!r}; expected another text: this one stands for all rare")
    return normal


def _options(row: Mapping[str, Any]) -> tuple[str, ...]:
    """A list of texts, or one text with | between them."""
    given = row.get("options")
    listed = given.split("|") if isinstance(given, str) else given
    if not isinstance(listed, list) or len(listed) < 2:
        raise BadField(
            f"options={given!r}; expected two or more, as a list or parted by |, in every row or"
            " in none; correct the row"
        )
    found = []
    for value in listed:
        option = _typed({"options": value}, "options")
        found.append(" ".join(text_field({"options": option}, "options").split()))
    if len({normal_answer(option) for option in found}) < len(found):
        raise BadField(f"options={given!r}; expected different ones; correct the row")
    return tuple(found)


def _right(answer: str, choices: Sequence[str]) -> int:
    for place, option in enumerate(choices):
        if normal_answer(option) == answer:
            return place
    raise BadField(
        f"answer={answer!r} is none of options={list(choices)!r}; expected one of them; correct"
        " the row"
    )


def _split(row: PlacedRow) -> str | None:
    given = _typed(row.values, "split")
    if given is None or not given.strip():
        return None
    if given.strip().lower() not in SPLIT_NAMES:
        raise BadField(f"split={given!r}; expected train, val or test; correct the row")
    return SPLIT_NAMES[given.strip().lower()]


def _refuse_repeated(path: Path, questions: Iterable[Question]) -> None:
    counts = Counter(q.question_id for q in questions if q.question_id is not None)
    twice = [name for name, count in counts.items() if count > 1]
    if twice:
        shown = ", ".join(map(repr, twice[:MOST_SHOWN])) + (
            ", …" if len(twice) > MOST_SHOWN else ""
        )
        raise DatasetError(
            f"annotations={str(path)!r}: question_id={shown} is given to more than one question;"
            " expected each once; number them anew, or leave the column out"
        )
