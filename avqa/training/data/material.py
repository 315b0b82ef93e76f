"""What a run trains on: questions with a video and an answer, and where their features come from.

Everything that is left out or looks odd is counted and becomes a note of the run.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from avqa import datasets
from avqa.datasets import Question, Vocabulary
from avqa.datasets._parts.matching import match_rows
from avqa.datasets._parts.question import SPLITS
from avqa.store.reader import FeatureStore
from avqa.training.data.features import VideoFeatures
from avqa.training.data.names import check_encoders, names_of
from avqa.training.data.splits import SplitQuestions, read_splits, require_questions
from avqa.training.data.vocabulary import (
    MOST_SHOWN,
    check_settings,
    choose_vocabulary,
    require_answers,
    require_val,
    vocabulary_notes,
)
from avqa.training.settings import WITHOUT_AUDIO, TrainSettings


@dataclass(frozen=True)
class Material:
    """The questions in use and their videos."""

    store: FeatureStore
    questions: SplitQuestions
    video_ids: dict[str, str]
    """A question's video → its id in the store."""
    vocabulary: Vocabulary
    notes: tuple[str, ...]

    @property
    def multiple_choice(self) -> bool:
        """Whether answers are options."""
        return any(question.choices for question in self.questions.train)

    @property
    def counts(self) -> dict[str, int]:
        """Split → questions in use."""
        return {split: len(self.questions.of(split)) for split in SPLITS}

    @property
    def digest(self) -> str:
        """SHA-256 of the questions in use, with splits and answers."""
        rows = [
            (q.key, q.split, q.answer, q.choice)
            for split in SPLITS
            for q in self.questions.of(split)
        ]
        return hashlib.sha256(json.dumps(rows).encode()).hexdigest()

    def every_video(self) -> list[str]:
        """The store's ids of all videos that are asked about."""
        everything = (q for split in SPLITS for q in self.questions.of(split))
        return list(dict.fromkeys(self.videos(everything)))

    def features(self, settings: TrainSettings, fields: Iterable[str]) -> VideoFeatures:
        """A reader of those of these fields of `HeadInput` that are of videos; reads nothing yet.

        Raises:
            ConfigError: an encoder has no features for a field.
        """
        return VideoFeatures(
            self.store,
            names_of(settings, fields, self.store),
            stride_seconds=settings.stride_seconds,
            max_seconds=settings.max_seconds,
            missing=settings.missing,
        )

    def decided(self, settings: TrainSettings, fields: Iterable[str]) -> TrainSettings:
        """The settings, with ``batches=auto`` decided by what heads that read ``fields`` need."""
        if settings.batches != "auto":
            return settings
        fits = self.features(settings, fields).fits(self.every_video())
        return dataclasses.replace(settings, batches="shuffled" if fits else "grouped")

    def videos(self, questions: Iterable[Question]) -> list[str]:
        """The store's id of every question's video."""
        return [self.video_ids[question.video_id] for question in questions]


def gather(
    store: FeatureStore,
    dataset: str,
    annotations: Path,
    settings: TrainSettings,
    fields: Sequence[str],
    *,
    tokens: bool,
) -> Material:
    """Read the questions and leave out those that cannot be used.

    Args:
        store: of the videos' features.
        dataset: a name of `avqa.datasets.names`.
        annotations: folder of the question files, or one file.
        settings: ``split``, the encoders, ``missing`` and those of the vocabulary count here.
        fields: of `HeadInput`, those of the videos that any head of the run reads.
        tokens: whether any head of the run learns words of its own.

    Raises:
        UnknownName: there is no such data set.
        ConfigError: a setting of the vocabulary cannot be, or there is no such encoder.
        DatasetError: a file cannot be used, or a split has no question left, or val none that a
            head can answer.
        StoreError: no question has its video in the store.
        FeatureMissing: a feature is not there; names the command to run.
    """
    check_settings(dataset, settings)
    check_encoders(settings, store)
    fixed = datasets.fixed_vocabulary(dataset)
    questions = read_splits(dataset, annotations, settings.split)
    require_answers(questions, dataset)
    require_questions(questions, dataset, annotations)
    everything = [q for split in SPLITS for q in questions.of(split)]
    rows = match_rows(everything, store.video_ids).rows
    found = zip(everything, rows, strict=True)
    ids = {q.video_id: store.video_ids[row] for q, row in found if row is not None}
    usable = [q for q in everything if q.video_id in ids and _answerable(q, fixed)]
    reader = VideoFeatures(store, names_of(settings, fields, store))
    complete = reader.require([ids[q.video_id] for q in usable], settings.missing)
    kept = {q.key for q in usable if ids[q.video_id] in complete}
    train, val, test = (tuple(q for q in questions.of(s) if q.key in kept) for s in SPLITS)
    in_use = dataclasses.replace(questions, train=train, val=val, test=test)
    require_questions(in_use, dataset, annotations)
    vocabulary = choose_vocabulary(dataset, train, settings)
    if fixed is None:
        require_val(in_use, vocabulary)
    videos = {ids[q.video_id] for q in everything if q.key in kept}
    notes = [
        *questions.notes,
        *_silent(len(reader.silent(videos)), len(videos), settings.missing),
        *_left_out(everything, ids, fixed, len(usable) - len(kept)),
        *vocabulary_notes(in_use, vocabulary, tokens=tokens),
    ]
    taught = tuple(q for q in train if q.choices or vocabulary.teaches(q.answer))
    in_use = dataclasses.replace(in_use, train=taught)
    return Material(store, in_use, ids, vocabulary, tuple(notes))


def _answerable(question: Question, fixed: Vocabulary | None) -> bool:
    """Whether the file has an answer, and, to train on it, one of a fixed vocabulary."""
    if question.choices:
        return question.choice is not None
    if question.split == "train" and fixed is not None:
        return fixed.teaches(question.answer)
    return question.answer is not None


def _silent(silent: int, videos: int, missing: str) -> list[str]:
    """What is told of videos without audio, if they were let in."""
    if not silent:
        return []
    said = WITHOUT_AUDIO[missing]
    return [f"{silent} of {videos} videos have no audio: {said} (missing={missing})"]


def _left_out(
    everything: Sequence[Question], ids: dict[str, str], fixed: Vocabulary | None, lacking: int
) -> list[str]:
    without = [q for q in everything if q.video_id not in ids]
    videos = list(dict.fromkeys(q.video_id for q in without))
    shown = ", ".join(videos[:MOST_SHOWN]) + (", …" if len(videos) > MOST_SHOWN else "")
    unanswered = sum(q.video_id in ids and not _answerable(q, fixed) for q in everything)
    parts = [
        f"{len(without)} of {len(videos)} videos that the store has not ({shown})" * bool(without),
        f"{unanswered} without a right answer to train or test on" * bool(unanswered),
        f"{lacking} of videos without a needed feature (missing=skip)" * bool(lacking),
    ]
    line = ", ".join(part for part in parts if part)
    return [f"questions left out: {line}"] if line else []
