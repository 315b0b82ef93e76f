"""MUSIC-AVQA-R: the test questions of MUSIC-AVQA in 25 wordings each, frequent and rare answers.

Training and validation are MUSIC-AVQA's updated files. The re-phrased texts come filled, without
values for slots, and use words outside MUSIC-AVQA's 92.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from avqa.datasets import music_avqa
from avqa.datasets._parts.files import digest_note, find, there
from avqa.datasets._parts.music_rows import questions_in
from avqa.datasets._parts.question import Question
from avqa.datasets._parts.taxonomy import COLUMNS as COLUMNS
from avqa.datasets._parts.vocabulary import MUSIC_AVQA
from avqa.errors import DatasetError

BIBTEX = """\
@inproceedings{ma2024look,
  title     = {Look, Listen, and Answer: Overcoming Biases for Audio-Visual Question Answering},
  author    = {Ma, Jie and Hu, Min and Wang, Pinghui and Sun, Wangchun and Song, Lingyun
               and Pei, Hongbin and Liu, Jun and Du, Youtian},
  booktitle = {Advances in Neural Information Processing Systems (NeurIPS)},
  year      = {2024}
}
"""
LICENSE = "see its repository; it extends MUSIC-AVQA, which is CC BY-NC 4.0"
VOCABULARY = MUSIC_AVQA
VARIANTS: dict[str, tuple[str, ...]] = {"group": ("all", "head", "tail")}
HEAD_FACTOR = 1.2


def _names(group: str) -> dict[str, tuple[str, ...]]:
    """A group's own file, else the file of both."""
    files = ("headtail",) if group == "all" else (group, "headtail")
    folders = ("", "data/", "dataset/", *music_avqa.FOLDERS[1:])
    tests = tuple(f"{folder}avqa-test-{file}.json" for file in files for folder in folders)
    return {"train": music_avqa.FILES["train"], "val": music_avqa.FILES["val"], "test": tests}


FILES = _names("all")
NUM_TEST = 211572


def read(path: Path, splits: Sequence[str] | None = None, group: str = "all") -> list[Question]:
    """Questions of a folder or file.

    Args:
        path: a folder that holds the test files beside MUSIC-AVQA's, or one file.
        splits: those to read; by default those whose file is there.
        group: of the test questions, those with a frequent answer (``head``), with a rare one
            (``tail``), or ``all``; see `groups`.
    """
    questions: list[Question] = []
    for split, file in find(path, splits, _names(group)).items():
        found = questions_in("music-avqa-r", file, split)
        questions += _of_group(found, file, group) if split == "test" else found
    return questions


def notes(path: Path, group: str = "all") -> list[str]:
    """The digest of the test file, of which there are several versions."""
    file = there(path, _names(group)).get("test")
    return [] if file is None else [digest_note("test", file)]


def _of_group(questions: list[Question], file: Path, group: str) -> list[Question]:
    held = file.stem.rpartition("-")[2]
    if held not in ("head", "tail"):
        group_of = groups(questions)
        grouped = [dataclasses.replace(q, group=group_of[q.key]) for q in questions]
    elif group in ("all", held):
        grouped = [dataclasses.replace(q, group=held) for q in questions]
    else:
        raise DatasetError(
            f"file={str(file)!r} holds group {held!r}, not {group!r}; expected the file of that"
            f" group or of both; give the folder, or ask for group={held}"
        )
    return [q for q in grouped if group in ("all", q.group)]


def groups(questions: Sequence[Question]) -> dict[str, str]:
    """Key → ``head`` or ``tail``: whether its answer is frequent among questions of its type.

    Frequent is more than 1.2 times the mean count of an answer of that type. All test questions
    are needed: the groups of a part are others.
    """
    counts = Counter((q.modality, q.kind, q.answer) for q in questions)
    totals = Counter((q.modality, q.kind) for q in questions)
    answers = Counter((modality, kind) for modality, kind, _ in counts)
    return {
        q.key: "head"
        if counts[q.modality, q.kind, q.answer]
        > HEAD_FACTOR * totals[q.modality, q.kind] / answers[q.modality, q.kind]
        else "tail"
        for q in questions
    }


def original(question: Question) -> tuple[str, str, str | None] | None:
    """What a wording is of: id, video and answer, which all wordings of a question share.

    None of training questions, and of one without an id.
    """
    if question.split != "test" or question.question_id is None:
        return None
    return question.question_id, question.video_id, question.answer


def version(questions: Iterable[Question]) -> str:
    """``released`` if the test split has the released number of questions, else ``unknown``."""
    num_test = sum(q.split == "test" for q in questions)
    return "released" if num_test == NUM_TEST else "unknown"
