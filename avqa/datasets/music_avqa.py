"""MUSIC-AVQA: 45,867 questions from 33 templates about 9,288 videos of music, 42 answers.

The updated annotation differs from the original by 0.6 % of the questions: of each two rows with
one id and two answers it keeps one. A folder that holds both gives the updated one.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from avqa.datasets._parts.files import find
from avqa.datasets._parts.music_rows import questions_in
from avqa.datasets._parts.question import SPLITS, Question, num_repeated
from avqa.datasets._parts.taxonomy import COLUMNS as COLUMNS
from avqa.datasets._parts.vocabulary import MUSIC_AVQA

BIBTEX = """\
@inproceedings{li2022learning,
  title     = {Learning to Answer Questions in Dynamic Audio-Visual Scenarios},
  author    = {Li, Guangyao and Wei, Yake and Tian, Yapeng and Xu, Chenliang and Wen, Ji-Rong
               and Hu, Di},
  booktitle = {IEEE/CVF Conference on Computer Vision and Pattern Recognition (CVPR)},
  pages     = {19108--19118},
  year      = {2022}
}
"""
LICENSE = "CC BY-NC 4.0: research only; the annotation is not part of this package"
VOCABULARY = MUSIC_AVQA
VARIANTS: dict[str, tuple[str, ...]] = {"subset": ("all", "real", "synthetic", "multi")}
FOLDERS = (
    *("", "json_update/", "data/json_update/", "dataset/split_que_id/", "json/", "data/json/"),
    *("data/annots/music_avqa/", "annots/music_avqa/"),
)
HALVES = {
    "all": ("",),
    "real": ("", "_real"),
    "synthetic": ("", "_fake", "_synthetic"),
    "multi": ("", "_multiple_q"),
}


def _names(subset: str) -> dict[str, tuple[str, ...]]:
    """A whole file comes before a half, an updated one before an original."""
    return {
        split: tuple(
            folder + name
            for half in HALVES[subset]
            for folder in FOLDERS
            for name in (f"avqa-{split}{half}.json", f"music_avqa_{split}{half}.json")
        )
        for split in SPLITS
    }


FILES = _names("all")
COUNTS = {
    "updated": {
        "train": {31927},
        "val": {4568, 3681, 887},
        "test": {9129, 7365, 1764, 5046},
    },
    "original": {
        "train": {32087, 25854, 6233},
        "val": {4595, 3698, 897},
        "test": {9185, 7402, 1783},
    },
}
"""Questions of each split: all, of real videos, of synthetic ones; of ``multi`` in the test."""
_SYNTHETIC = re.compile(r"[a-z]{1,3}[0-9]{8}")


def read(path: Path, splits: Sequence[str] | None = None, subset: str = "all") -> list[Question]:
    """Questions of a folder or file.

    Args:
        path: the repository's root, its ``data/json_update``, a flat folder, or one file.
        splits: those to read; by default those whose file is there.
        subset: ``synthetic``, ``real`` (the others, see `is_real`), ``multi`` (of the test, the
            questions about videos of which it asks two or more), or ``all``.
    """
    questions = [
        question
        for split, file in find(path, splits, _names(subset)).items()
        for question in questions_in("music-avqa", file, split)
    ]
    if subset == "multi":
        times = Counter(q.video_id for q in questions if q.split == "test")
        return [q for q in questions if q.split != "test" or times[q.video_id] > 1]
    return [q for q in questions if subset == "all" or is_real(q.video_id) == (subset == "real")]


def is_real(video_id: str) -> bool:
    """Whether a video is as it was filmed, not put together from the parts of two.

    Ids of synthetic ones have letters before their eight digits: ``va00003871``. Any other id is
    of a real one, also those of other data sets.
    """
    return _SYNTHETIC.fullmatch(video_id) is None


def version(questions: Iterable[Question]) -> str:
    """``updated``, ``original`` or ``unknown``, by known counts and repeated ids.

    If the splits disagree, each is named: ``train original, val updated``.
    """
    of_split: dict[str, list[Question]] = {}
    for question in questions:
        of_split.setdefault(question.split, []).append(question)
    found = {split: _version(split, these) for split, these in of_split.items()}
    if len(set(found.values())) == 1:
        return next(iter(found.values()))
    return ", ".join(f"{split} {name}" for split, name in found.items()) or "unknown"


def _version(split: str, questions: list[Question]) -> str:
    name = "original" if num_repeated(questions) else "updated"
    return name if len(questions) in COUNTS[name][split] else "unknown"
