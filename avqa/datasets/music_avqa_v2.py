"""MUSIC-AVQA-v2.0: more videos and questions against the answer bias of MUSIC-AVQA.

Validation is the authors' file where it is there, whose rows are then no training rows. The
released folders have none: a tenth of the training videos, chosen by the hash of their ids, is
``val``. Ids of questions are missing in part, so a question is named by its key.
"""

from __future__ import annotations

import dataclasses
import warnings
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from avqa.datasets._parts.files import find, there
from avqa.datasets._parts.music_rows import questions_in
from avqa.datasets._parts.question import SPLITS, Question
from avqa.datasets._parts.splits import video_position
from avqa.datasets._parts.taxonomy import COLUMNS as COLUMNS
from avqa.datasets._parts.vocabulary import MUSIC_AVQA
from avqa.errors import AnnotationWarning, DatasetError

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
COMMON_FOLDERS = ("", "data/annots/music_avqa_v2/", "annots/music_avqa_v2/", "music_avqa_v2/")
FOLDERS = {
    "balance": ("data/balance_full_set/", "balance_full_set/", *COMMON_FOLDERS),
    "bias": ("data/bias_set/", "bias_set/", *COMMON_FOLDERS),
}
HELD_OUT = 0.1


def _names(edition: str, validation: bool = False) -> dict[str, tuple[str, ...]]:
    """With the authors' validation file, their training file without its rows comes first."""
    train = (f"train_{edition}", f"{edition}_train")
    names = {
        "train": train[::-1] if validation else train,
        "val": (f"{edition}_valid", f"{edition}_val", f"val_{edition}"),
        "test": (f"test_{edition}", f"{edition}_test"),
    }
    return {
        split: tuple(f"{folder}{name}.json" for name in tried for folder in FOLDERS[edition])
        for split, tried in names.items()
    }


FILES = _names("balance")
COUNTS = {
    "test": {10819: "balance", 9119: "bias"},
    "val": {5346: "balance", 4499: "bias"},
}
"""Questions of each edition; those of ``val`` are in the authors' files."""
WITHOUT_VALIDATION = {f"{edition}_train" for edition in FOLDERS}
"""Training files whose validation rows were taken out."""


def read(
    path: Path, splits: Sequence[str] | None = None, edition: str = "balance"
) -> list[Question]:
    """Questions of a folder or file.

    A training file holds ``train`` and ``val``, unless validation has a file of its own: then its
    rows are left out of training, by video and text.

    Args:
        path: the repository's root, its ``data``, the edition's folder, or one file.
        splits: those to read; by default those whose file is there.
        edition: ``balance`` (the full set) or ``bias``.

    Raises:
        DatasetError: as all data sets; or a file's name is that of the other edition.
    """
    _refuse_other(path, edition)
    validation = "val" in there(path, _names(edition))
    names = _names(edition, validation)
    wanted = splits
    if splits is not None and not validation:
        wanted = list(dict.fromkeys("train" if split == "val" else split for split in splits))
    questions = []
    for split, file in find(path, wanted, names).items():
        found = questions_in("music-avqa-v2", file, split)
        if split == "train" and file.stem not in WITHOUT_VALIDATION:
            if not validation:
                found = [_hold_out(question) for question in found]
            elif path.is_dir():
                found = _without(found, file, there(path, names)["val"])
        questions += found
    # sorted() keeps the order within a split.
    questions = sorted(questions, key=lambda q: SPLITS.index(q.split))
    return [q for q in questions if splits is None or q.split in splits]


def _refuse_other(path: Path, edition: str) -> None:
    """A file alone says its edition by its name, as far as it has one of the authors' names."""
    named = [name for name in FOLDERS if name in path.stem.split("_")]
    if path.is_file() and named and edition not in named:
        raise DatasetError(
            f"file={str(path)!r} holds edition {named[0]!r}, not {edition!r}; expected the file of"
            f" that edition; give its folder, or ask for edition={named[0]}"
        )


def _hold_out(question: Question) -> Question:
    if question.split == "train" and video_position(question.video_id, seed=0) < HELD_OUT:
        return dataclasses.replace(question, split="val")
    return question


def _without(train: list[Question], file: Path, validation: Path) -> list[Question]:
    """The rows of a whole training file that are not validation's; says how many are."""
    held = {(q.video_id, q.text) for q in questions_in("music-avqa-v2", validation, "val")}
    kept = [q for q in train if (q.video_id, q.text) not in held]
    absent = len(held - {(q.video_id, q.text) for q in train})
    warnings.warn(
        f"file={str(file)!r}: {len(train) - len(kept)} of {len(train)} rows are validation rows of"
        f" {validation.name!r} and left out of training; {absent} validation rows are not in it",
        AnnotationWarning,
        stacklevel=2,
    )
    return kept


def version(questions: Iterable[Question]) -> str:
    """``balance`` or ``bias`` by the number of test questions, without any by those of ``val``."""
    found = Counter(q.split for q in questions)
    split = "test" if found["test"] else "val"
    return COUNTS[split].get(found[split], "unknown")
