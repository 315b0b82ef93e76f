"""FortisAVQA: the wordings of MUSIC-AVQA-R, put into head and tail by another rule.

Training and validation are MUSIC-AVQA's. Every test row says its group in its field ``split``,
which is taken as it is: five of nine types are cut elsewhere than MUSIC-AVQA-R's, so that head and
tail of the two compare with each other in no table. The field ``x`` and keys that begin with
``_comment`` are not read.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from avqa.datasets import music_avqa, music_avqa_r
from avqa.datasets._parts.fields import BadField, shown
from avqa.datasets._parts.files import Row, digest_note, find, there
from avqa.datasets._parts.music_rows import questions_in
from avqa.datasets._parts.question import Question
from avqa.datasets._parts.taxonomy import COLUMNS as COLUMNS
from avqa.datasets._parts.vocabulary import MUSIC_AVQA

BIBTEX = """\
@article{ma2025fortisavqa,
  title   = {{FortisAVQA} and {MAVEN}: a Benchmark Dataset and Debiasing Framework for Robust
             Multimodal Reasoning},
  author  = {Ma, Jie and Gao, Zhitao and Chai, Qi and Liu, Jun and Wang, Pinghui and Tao, Jing
             and Su, Zhou},
  journal = {arXiv preprint arXiv:2504.00487},
  year    = {2025}
}
"""
LICENSE = "GPL-3.0 by its repository; it extends MUSIC-AVQA, which is CC BY-NC 4.0"
VOCABULARY = MUSIC_AVQA
GROUPS = ("head", "tail")
VARIANTS: dict[str, tuple[str, ...]] = {"group": ("all", *GROUPS)}
FILES = {
    **{split: music_avqa.FILES[split] for split in ("train", "val")},
    "test": tuple(
        f"{folder}{name}.json"
        for folder in ("", "data/", "dataset/")
        for name in ("FortisAVQA-test", "fortisavqa-test", "fortisavqa_test")
    ),
}
NUM_TEST = {"head": 142548, "tail": 69024}


def read(path: Path, splits: Sequence[str] | None = None, group: str = "all") -> list[Question]:
    """Questions of a folder or file.

    Args:
        path: a folder that holds the test file beside MUSIC-AVQA's others, or one file.
        splits: those to read; by default those whose file is there.
        group: of the test questions, those with a frequent answer (``head``), with a rare one
            (``tail``), or ``all``.
    """
    questions: list[Question] = []
    for split, file in find(path, splits, FILES).items():
        if split == "test":
            found = questions_in("fortisavqa", file, split, _group)
            questions += [q for q in found if group in ("all", q.group)]
        else:
            questions += questions_in("fortisavqa", file, split)
    return questions


def _group(row: Row) -> str:
    named = row.get("split")
    if named not in GROUPS:
        raise BadField(f"split={shown(named)}; expected head or tail; correct or remove the row")
    return str(named)


def notes(path: Path) -> list[str]:
    """The digest of the test file."""
    file = there(path, FILES).get("test")
    return [] if file is None else [digest_note("test", file)]


original = music_avqa_r.original


def version(questions: Iterable[Question]) -> str:
    """``released`` if the test split, or the part of a group, has the released number."""
    found = {"head": 0, "tail": 0}
    for question in questions:
        if question.split == "test" and question.group in found:
            found[question.group] += 1
    there = {group: count for group, count in found.items() if count}
    return "released" if there and there.items() <= NUM_TEST.items() else "unknown"
