"""AVQA: 57,335 questions about 57,015 clips of everyday sound, four options each.

There is no public test file: papers report ``val``.
"""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from avqa.datasets._parts.fields import (
    BadField,
    given,
    id_field,
    literal,
    normal_text,
    one_of,
    question_field,
    shown,
    text_field,
    video_field,
    whole,
)
from avqa.datasets._parts.files import Row, find, parse_file
from avqa.datasets._parts.question import Keys, Question
from avqa.datasets._parts.taxonomy import Pairs
from avqa.errors import AnnotationWarning, DatasetError

BIBTEX = """\
@inproceedings{yang2022avqa,
  title     = {{AVQA}: A Dataset for Audio-Visual Question Answering on Videos},
  author    = {Yang, Pinci and Wang, Xin and Duan, Xuguang and Chen, Hong and Hou, Runze
               and Jin, Cong and Zhu, Wenwu},
  booktitle = {Proceedings of the 30th ACM International Conference on Multimedia},
  pages     = {3480--3491},
  year      = {2022}
}
"""
LICENSE = "see the data set's web site; the annotation is not part of this package"
VARIANTS: dict[str, tuple[str, ...]] = {}
FILES = {
    split: tuple(f"{folder}{split}_qa.json" for folder in ("", "annotation/", "data/annotation/"))
    for split in ("train", "val")
}
NUM_CHOICES = 4
RELATIONS = ("View", "Sound", "Both")
KINDS = (
    "Which",
    "Come From",
    "Happening",
    "Where",
    "Why",
    "Before Next",
    "When",
    "Used For",
)
COLUMNS: dict[str, Pairs] = {
    kind: frozenset((relation, kind) for relation in RELATIONS) for kind in KINDS
}
COLUMNS["All"] = frozenset().union(*COLUMNS.values())
COUNTS = {"train": 40425, "val": 16910}


def read(path: Path, splits: Sequence[str] | None = None) -> list[Question]:
    """Questions of a folder or file.

    Args:
        path: the repository's root, its ``data/annotation``, or one file.
        splits: some of ``train``, ``val``; by default those whose file is there.
    """
    return [
        question
        for split, file in find(path, splits, FILES).items()
        for question in _questions_in(file, split)
    ]


def video_names(path: Path) -> dict[str, str]:
    """The number of every video, which the authors' files of features have for it → its name.

    Args:
        path: as `read`.

    Raises:
        DatasetError: a file cannot be read, or a number has two names, or no row has a number.
    """
    names: dict[str, str] = {}

    def name(row: Row) -> None:
        number, found = whole(row.get("video_id")), video_field(row, "video_name")
        if number is not None and names.setdefault(str(number), found) != found:
            raise BadField(
                f"video_id={number} of video_name={shown(found)} is that of"
                f" {shown(names[str(number)])}, too; expected one name a number; correct the row"
            )

    for split, file in find(path, None, FILES).items():
        parse_file(file, name, split)
    if not names:
        raise DatasetError(
            f"annotations={str(path)!r}: no row has a number as video_id; expected the authors'"
            " files, which have it beside video_name; give these"
        )
    return names


def _questions_in(file: Path, split: str) -> list[Question]:
    keys = Keys("avqa", split)

    def question(row: Row) -> Question:
        question_id = id_field(row, "id")
        video_id = video_field(row, "video_name")
        template = question_field(row, "question_text")
        text = normal_text(template)
        choices = _choices(row)
        return Question(
            key=keys.make(question_id, video_id, text),
            question_id=question_id,
            video_id=video_id,
            split=split,
            text=text,
            words=tuple(text.split(" ")),
            modality=one_of(row, "question_relation", {name: name for name in RELATIONS}),
            kind=one_of(row, "question_type", {name: name for name in KINDS}),
            template=template,
            slots=(),
            answer=None,
            choices=choices,
            choice=_choice(row, choices),
        )

    found = parse_file(file, question, split)
    _tell_repeated(found, file)
    return found


def _tell_repeated(questions: Sequence[Question], file: Path) -> None:
    twice = [q for q in questions if len(there := [*filter(None, q.choices)]) > len({*there})]
    if twice:
        warnings.warn(
            f"file={str(file)!r}: {len(twice)} questions have an option twice, the first is"
            f" question_id={twice[0].question_id!r} with {list(twice[0].choices)}; expected four"
            " different ones; they are kept: heads score both alike, and answer the first",
            AnnotationWarning,
            stacklevel=2,
        )


def _choices(row: Row) -> tuple[str | None, ...]:
    """Four options; an absent, null or empty one is None."""
    value = row.get("multi_choice")
    found = literal(value) if isinstance(value, str) else value
    if not isinstance(found, (list, tuple)) or not 1 <= len(found) <= NUM_CHOICES:
        raise BadField(
            f"multi_choice={shown(value)}; expected a list of up to {NUM_CHOICES} options; correct"
            " or remove the row"
        )
    return tuple(_option(option) for option in [*found, *[None] * (NUM_CHOICES - len(found))])


def _option(value: object) -> str | None:
    if value is None or value == "":
        return None
    # Options mix "One" and 3; a column with a missing one makes 3.0 of 3.
    number = whole(value) if isinstance(value, float) else None
    text = str(value if number is None else number) if isinstance(value, (int, float)) else value
    return text_field({"multi_choice": text}, "multi_choice").strip()


def _choice(row: Row, choices: tuple[str | None, ...]) -> int | None:
    """Index of the right option; None if there is no answer, or the option itself is missing."""
    value = given(row, "answer")
    if value is None:
        return None
    digit = isinstance(value, str) and value.strip() in map(str, range(NUM_CHOICES))
    index = int(value) if digit else whole(value)
    if index is None or not 0 <= index < NUM_CHOICES:
        raise BadField(
            f"answer={shown(value)}; expected the index of an option, 0 to {NUM_CHOICES - 1};"
            " correct or remove the row"
        )
    return index if choices[index] is not None else None


def version(questions: Iterable[Question]) -> str:
    """``released`` if every split has the released number of questions, else ``unknown``."""
    found = Counter(q.split for q in questions)
    known = found and all(COUNTS.get(split) == count for split, count in found.items())
    return "released" if known else "unknown"
