"""Which questions are for training, for choosing the epoch, and for the test.

A data set without one of the three gets it from what there is, and a line says so:

- without ``val``: a tenth of the training videos, by their hash
- without ``test`` (AVQA, own questions with ``train`` and ``val`` alone): ``val`` of the file is
  the test, as papers report it, and validation is held out of training in the same way: the test
  must not choose the epoch
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from avqa import datasets
from avqa.datasets import Question
from avqa.datasets._parts.question import SPLITS
from avqa.datasets._parts.splits import video_disjoint, video_position
from avqa.errors import DatasetError
from avqa.training.settings import Dub

HELD_OUT = 0.1
"""Share of the training videos that stands in for a missing ``val``."""


@dataclass(frozen=True)
class SplitQuestions:
    """All questions of a data set in the splits in which they are used."""

    train: tuple[Question, ...]
    val: tuple[Question, ...]
    test: tuple[Question, ...]
    version: str
    """Release of the annotation."""
    notes: tuple[str, ...] = ()
    """What was done to get three splits, one line each."""

    def of(self, split: str) -> tuple[Question, ...]:
        """Questions of ``train``, ``val`` or ``test``."""
        questions: tuple[Question, ...] = getattr(self, split)
        return questions


def read_splits(
    dataset: str,
    annotations: Path | str,
    split: Literal["official", "video"] = "official",
    choices: Mapping[str, str] | None = None,
    dub: Dub = "honour",
) -> SplitQuestions:
    """Read a data set's questions and divide them as training does; always in the same way.

    A split for which there are no questions is empty.

    Args:
        dataset: a name of `avqa.datasets.names`.
        annotations: folder of the question files, or one file.
        split: that of the files, or ``video``: new ones that share no video.
        choices: the data set's own, see `avqa.datasets.chosen`; by default its defaults.
        dub: how a question is heard that names another video's sound: with it, that video is in no
            other of the new splits either.

    Raises:
        UnknownName: there is no such data set, or no such value of a choice.
        DatasetError: a file is missing or cannot be used.
    """
    chosen = dict(choices or {})
    questions = datasets.read(dataset, annotations, **chosen)
    module = datasets.load(dataset)
    version = module.version(questions)
    notes = datasets.notes(dataset, annotations, **chosen)
    if split == "video":
        heard = dub == "honour"
        sounds = any(q.sound_id is not None for q in questions) and heard
        what = "no video, seen or heard," if sounds else "no video"
        note = f"splits by video: {what} is in two of them; not the data set's own splits"
        return _divide(video_disjoint(questions, heard=heard), version, (*notes, note))
    one_file = getattr(module, "WHOLE_FILES", False)
    if "test" not in module.FILES or (
        one_file and {q.split for q in questions} == {"train", "val"}
    ):
        moves = {"val": "test"}
        questions = [_moved(q, moves.get(q.split, q.split)) for q in questions]
        notes.append(f"{dataset} has no test of its own: val of the file is the test")
    if not any(q.split == "val" for q in questions):
        questions, videos, of = _held_out(questions)
        notes.append(
            f"validation: {videos} of {of} training videos, held out by video (the share is"
            f" {HELD_OUT:.0%} of their hashes)"
        )
    return _divide(questions, version, tuple(notes))


def _divide(questions: list[Question], version: str, notes: tuple[str, ...]) -> SplitQuestions:
    train, val, test = (tuple(q for q in questions if q.split == split) for split in SPLITS)
    return SplitQuestions(train, val, test, version, notes)


def _held_out(questions: list[Question]) -> tuple[list[Question], int, int]:
    """Move the questions of some training videos to ``val``; how many videos, of how many."""
    place = {q.video_id: video_position(q.video_id, 0) for q in questions if q.split == "train"}
    if len(set(place.values())) < 2:
        return questions, 0, len(place)
    # At least one, where there are few videos.
    limit = max(HELD_OUT, min(place.values()))
    held = {video for video, position in place.items() if position <= limit}
    moved = [
        _moved(q, "val") if q.split == "train" and q.video_id in held else q for q in questions
    ]
    return moved, len(held), len(place)


def _moved(question: Question, split: str) -> Question:
    return question if question.split == split else dataclasses.replace(question, split=split)


def require_questions(questions: SplitQuestions, dataset: str, annotations: Path | str) -> None:
    """Refuse an empty split.

    Raises:
        DatasetError: names the splits without a question.
    """
    empty = [split for split in SPLITS if not questions.of(split)]
    if empty:
        counts = ", ".join(f"{split} {len(questions.of(split))}" for split in SPLITS)
        raise DatasetError(
            f"no question left in {' and '.join(empty)} of {dataset} ({counts});"
            f" expected some in every split; check {str(annotations)!r}, or divide the questions"
            " anew with --set split=video"
        )
