"""MUSIC-AVQA-v2.0: more videos and questions against the answer bias of MUSIC-AVQA.

There is no validation file: a tenth of the training videos, chosen by the hash of their ids, is
``val``. Ids of questions are missing in part, so a question is named by its key.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from avqa.datasets._parts.files import find
from avqa.datasets._parts.music_rows import questions_in
from avqa.datasets._parts.question import Question
from avqa.datasets._parts.splits import video_position
from avqa.datasets._parts.taxonomy import COLUMNS as COLUMNS
from avqa.datasets._parts.vocabulary import MUSIC_AVQA

BIBTEX = """\
@inproceedings{liu2024tackling,
  title     = {Tackling Data Bias in MUSIC-AVQA: Crafting a Balanced Dataset for Unbiased
               Question-Answering},
  author    = {Liu, Xiulong and Dong, Zhikang and Zhang, Peng},
  booktitle = {IEEE/CVF Winter Conference on Applications of Computer Vision (WACV)},
  year      = {2024}
}
"""
LICENSE = "see its repository; it extends MUSIC-AVQA, which is CC BY-NC 4.0"
VOCABULARY = MUSIC_AVQA
VARIANTS: dict[str, tuple[str, ...]] = {"edition": ("balance", "bias")}
FOLDERS = {
    "balance": ("data/balance_full_set/", "balance_full_set/", ""),
    "bias": ("data/bias_set/", "bias_set/", ""),
}
HELD_OUT = 0.1


def _names(edition: str) -> dict[str, tuple[str, ...]]:
    return {
        split: tuple(f"{folder}{split}_{edition}.json" for folder in FOLDERS[edition])
        for split in ("train", "test")
    }


FILES = _names("balance")
COUNTS = {10819: "balance", 9119: "bias"}
"""Test questions of each edition."""


def read(
    path: Path, splits: Sequence[str] | None = None, edition: str = "balance"
) -> list[Question]:
    """Questions of a folder or file; a train file holds ``train`` and ``val``.

    Args:
        path: the repository's root, its ``data``, the edition's folder, or one file.
        splits: those to read; by default those whose file is there.
        edition: ``balance`` (the full set) or ``bias``.
    """
    files = None
    if splits is not None:
        files = list(dict.fromkeys("train" if split == "val" else split for split in splits))
    questions = [
        _hold_out(question)
        for split, file in find(path, files, _names(edition)).items()
        for question in questions_in("music-avqa-v2", file, split)
    ]
    # sorted() keeps the order within a split.
    questions = sorted(questions, key=lambda q: ("train", "val", "test").index(q.split))
    return [q for q in questions if splits is None or q.split in splits]


def _hold_out(question: Question) -> Question:
    if question.split == "train" and video_position(question.video_id, seed=0) < HELD_OUT:
        return dataclasses.replace(question, split="val")
    return question


def version(questions: Iterable[Question]) -> str:
    """``balance`` or ``bias`` by the number of test questions, else ``unknown``."""
    return COUNTS.get(Counter(q.split for q in questions)["test"], "unknown")
