"""Valor32k-AVQA v2.0: 225,495 questions about 28,863 clips of ten seconds, four options each.

Read are the flattened files, one question a row. A row names the clip by its YouTube id, where
files of clips are called ``<id>_<start>_<end>.mp4`` with three decimals: these are found by what
stands before the seconds. Files were corrected in place since they came out, so that their digests
are told; fields that no head reads (caption, rephrased answers, …) are not looked at.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from avqa.datasets._parts.fields import (
    BadField,
    given,
    id_field,
    normal_text,
    one_of,
    question_field,
    shown,
    text_field,
    video_field,
    whole,
)
from avqa.datasets._parts.files import Row, digest_note, find, parse_file, there
from avqa.datasets._parts.question import SPLITS, Keys, Question
from avqa.datasets._parts.taxonomy import Pairs

BIBTEX = """\
@inproceedings{riahi2025valor32k,
  title     = {Valor32k-AVQA v2.0: Open-Ended Audio-Visual Question Answering Dataset and
               Benchmark},
  author    = {Riahi, Ines and Radman, Abduljalil and Guo, Zixin and Hedjam, Rachid
               and Laaksonen, Jorma},
  booktitle = {Proceedings of the 33rd ACM International Conference on Multimedia},
  pages     = {13097--13103},
  year      = {2025}
}
"""
LICENSE = "CC BY-NC 4.0: research only; the annotation is not part of this package"
VARIANTS: dict[str, tuple[str, ...]] = {}
FILES = {
    split: tuple(
        f"{folder}{name}.json"
        for name in (f"combined_dataset_{split}_flattened", split)
        for folder in ("", "data/", "flattened/", "data/flattened/")
    )
    for split in SPLITS
}
NUM_OPTIONS = 4
MODALITIES = {"audio": "Audio", "visual": "Visual", "audio-visual": "Audio-Visual"}
CATEGORIES = {
    "description": "Description",
    "action": "Action",
    "count": "Count",
    "temporal": "Temporal",
    "location": "Location",
    "relative-position": "Relative-Position",
}
"""How the files spell it → how the tables do."""


def _columns() -> dict[str, Pairs]:
    of = {k: frozenset((m, k) for m in MODALITIES.values()) for k in CATEGORIES.values()}
    kinds = {kind.removesuffix("-Position"): pairs for kind, pairs in of.items()}
    senses = {
        f"{short}-Avg": frozenset((modality, kind) for kind in CATEGORIES.values())
        for short, modality in zip(("A", "V", "AV"), MODALITIES.values(), strict=True)
    }
    return {**kinds, **senses, "All": frozenset().union(*kinds.values())}


COLUMNS: dict[str, Pairs] = _columns()
COUNTS = {
    "v2.0": {"train": {177140}, "val": {22267}, "test": {26088}},
    "v2.0 of Hugging Face": {"train": {177132}, "val": {22267}, "test": {26088}},
}
"""Release → questions of each split."""


def read(path: Path, splits: Sequence[str] | None = None) -> list[Question]:
    """Questions of a folder or file.

    Args:
        path: a folder of the flattened files, as the repository or Hugging Face has them, or one.
        splits: those to read; by default those whose file is there.
    """
    return [
        question
        for split, file in find(path, splits, FILES).items()
        for question in _questions_in(file, split)
    ]


def notes(path: Path) -> list[str]:
    """The digest of every file."""
    return [digest_note(split, file) for split, file in there(path, FILES).items()]


def _questions_in(file: Path, split: str) -> list[Question]:
    keys = Keys("valor32k", split)

    def question(row: Row) -> Question:
        if isinstance(row.get("questions"), list):
            raise BadField(
                "the row holds the questions of a video; expected one question a row; give the"
                " flattened file, such as combined_dataset_test_flattened.json"
            )
        question_id = id_field(row, "id")
        video_id = video_field(row, "video_id")
        template = question_field(row, "question")
        text = normal_text(template)
        return Question(
            key=keys.make(question_id, video_id, text),
            question_id=question_id,
            video_id=video_id,
            split=split,
            text=text,
            words=tuple(text.split(" ")),
            modality=one_of(row, "modality", MODALITIES),
            kind=one_of(row, "category", CATEGORIES),
            template=template,
            slots=(),
            answer=None,
            choices=_options(row),
            choice=_choice(row),
        )

    return parse_file(file, question, split)


def _options(row: Row) -> tuple[str, ...]:
    found = row.get("options")
    told = "an early release had such rows: take a corrected one, or correct or remove the row"
    if not isinstance(found, list) or len(found) != NUM_OPTIONS:
        number = f" ({len(found)} of them)" if isinstance(found, list) else ""
        raise BadField(f"options={shown(found)}{number}; expected {NUM_OPTIONS} texts; {told}")
    texts = tuple(" ".join(text_field({"options": text}, "options").split()) for text in found)
    if twice := [text for text, times in Counter(texts).items() if times > 1]:
        raise BadField(f"options={shown(found)} have {twice[0]!r} twice; expected others; {told}")
    return texts


def _choice(row: Row) -> int | None:
    """Index of the right option; None where the file has none."""
    value = given(row, "correct_answer_idx")
    if value is None:
        return None
    index = whole(value)
    if index is None or not 0 <= index < NUM_OPTIONS:
        raise BadField(
            f"correct_answer_idx={shown(value)}; expected the index of an option, 0 to"
            f" {NUM_OPTIONS - 1}; correct or remove the row"
        )
    return index


def version(questions: Iterable[Question]) -> str:
    """The release that has as many questions in every split that is there, or ``unknown``."""
    found = Counter(q.split for q in questions)
    for name, counts in COUNTS.items():
        if found and all(number in counts[split] for split, number in found.items()):
            return name
    return "unknown"
