"""The videos and questions that are at hand, and what of them is not."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from avqa.datasets import Question
from avqa.datasets._parts.question import SPLITS
from avqa.errors import ConfigError, DatasetError, StoreError
from avqa.pipelines.extraction.collection.roots import find
from avqa.pipelines.reproduce.asked import ReproduceOptions
from avqa.store.collection import Collection as Remembered
from avqa.training.data.dubbing import in_store
from avqa.training.data.splits import SplitQuestions, read_splits, require_questions

MOST_SHOWN = 3


@dataclass(frozen=True)
class Collection:
    """What a reproduction starts from."""

    questions: SplitQuestions
    ids: tuple[str, ...]
    """Of the videos that are asked about and there, as a store names them."""
    absent: tuple[str, ...]
    """Videos that are asked about and not there, as the questions name them."""
    others: int
    """Videos that nobody asks about."""
    found: tuple[str, ...]
    """What was left out of the folder, a line each."""

    @property
    def every_question(self) -> list[Question]:
        """Of all splits."""
        return [question for split in SPLITS for question in self.questions.of(split)]

    @property
    def digest(self) -> str:
        """Of every question: `digest_of`."""
        return digest_of(self.every_question)

    def lines(self) -> list[str]:
        """What is there, and what is not."""
        counts = ", ".join(f"{split} {len(self.questions.of(split))}" for split in SPLITS)
        lines = [
            f"questions: {counts}; annotation version: {self.questions.version}",
            f"videos: {len(self.ids)} of {len(self.ids) + len(self.absent)} that are asked about",
        ]
        if self.others:
            lines.append(f"left out: {self.others} videos that nobody asks about")
        return [*lines, *self.questions.notes, *self.found]

    def lack(self) -> str | None:
        """What the absent videos cost; None if none is."""
        if not self.absent:
            return None
        gone = set(self.absent)
        lost = {
            s: sum(q.video_id in gone or q.sound_id in gone for q in self.questions.of(s))
            for s in SPLITS
        }
        counts = ", ".join(
            f"{lost[s]} of {len(self.questions.of(s))} {s} questions" for s in SPLITS if lost[s]
        )
        return (
            f"{len(self.absent)} of {len(self.ids) + len(self.absent)} videos are missing"
            f" ({_shown(self.absent)}), which costs {counts}"
        )


def digest_of(questions: Iterable[Question]) -> str:
    """SHA-256 of all that is asked, of what, where it counts and what is right."""
    rows = [(q.key, q.split, q.video_id, q.modality, q.kind, q.answer, q.choice) for q in questions]
    return hashlib.sha256(json.dumps(rows).encode()).hexdigest()


def collect(options: ReproduceOptions) -> Collection:
    """Read the questions and find their videos; nothing is decoded.

    Raises:
        DatasetError: the questions cannot be read, are of two versions, or a split has none.
        ConfigError: no such folder, or no file in it, or two for one id, are asked about.
    """
    questions = read_splits(options.dataset, options.annotations)
    require_questions(questions, options.dataset, options.annotations)
    _refuse_mixed(options, questions)
    _, discovery = find(options.videos, Remembered())
    sources = [source.video_id for source in discovery.sources]
    everything = [q for split in SPLITS for q in questions.of(split)]
    try:
        ids = in_store(everything, sources, held="the folder", option="--videos")
    except (StoreError, DatasetError) as error:
        raise ConfigError(f"videos {str(options.videos)!r}: {error}") from error
    asked = dict.fromkeys(v for q in everything for v in (q.video_id, q.sound_id) if v is not None)
    there = {*ids.values()}
    return Collection(
        questions,
        tuple(sorted(there)),
        tuple(video for video in asked if video not in ids),
        len(sources) - len(there),
        tuple(discovery.notes()),
    )


def _refuse_mixed(options: ReproduceOptions, questions: SplitQuestions) -> None:
    if ", " in questions.version:
        raise DatasetError(
            f"annotations {str(options.annotations)!r} are of several versions:"
            f" {questions.version}; expected one in all splits; give a folder with the files of one"
        )


def _shown(names: Sequence[str]) -> str:
    more = ", …" if len(names) > MOST_SHOWN else ""
    return ", ".join(names[:MOST_SHOWN]) + more
