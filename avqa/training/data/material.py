"""What a run trains on: questions with a video and an answer, and where their features come from.

Everything that is left out or looks odd is counted and becomes a note of the run.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from avqa import datasets
from avqa.datasets import Question, Vocabulary
from avqa.datasets._parts.question import SPLITS
from avqa.store.reader import FeatureStore
from avqa.training.data.dubbing import (
    as_heard,
    dub_note,
    dubbed,
    in_store,
    name_of,
    require_sounds,
)
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
    """A question's video, or the one whose sound it is asked with → its id in the store."""
    vocabulary: Vocabulary
    notes: tuple[str, ...]
    choices: dict[str, str]
    """The data set's own, every one; see `avqa.datasets.chosen`."""

    @property
    def multiple_choice(self) -> bool:
        """Whether answers are options."""
        return any(question.choices for question in self.questions.train)

    @property
    def counts(self) -> dict[str, int]:
        """Split → questions in use."""
        return {split: len(self.questions.of(split)) for split in SPLITS}

    @property
    def line(self) -> str:
        """For people: how many questions of what are in use."""
        counts = ", ".join(f"{split} {count}" for split, count in self.counts.items())
        line = f"questions: {counts}; annotation version: {self.questions.version}"
        return "; ".join(filter(None, (line, datasets.told(self.choices))))

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
        """The names of all videos that are asked about."""
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
        """The name of every question's video; see `avqa.training.data.dubbing`."""
        of = self.video_ids
        return [dubbed(of[q.video_id], of[q.sound_id or q.video_id]) for q in questions]


def gather(
    store: FeatureStore,
    dataset: str,
    annotations: Path,
    settings: TrainSettings,
    fields: Sequence[str],
    *,
    tokens: bool,
    choices: Mapping[str, str] | None = None,
) -> Material:
    """Read the questions and leave out those that cannot be used.

    Args:
        store: of the videos' features.
        dataset: a name of `avqa.datasets.names`.
        annotations: folder of the question files, or one file.
        settings: ``split``, the encoders, ``missing`` and those of the vocabulary count here.
        fields: of `HeadInput`, those of the videos that any head of the run reads.
        tokens: whether any head of the run learns words of its own.
        choices: the data set's own, as far as they are given.

    Raises:
        UnknownName: there is no such data set, or no such value of a choice.
        ConfigError: a setting of the vocabulary cannot be, or there is no such encoder.
        DatasetError: a file cannot be used, or a split has no question left, or val none that a
            head can answer.
        StoreError: no question has its video in the store.
        FeatureMissing: a feature is not there; names the command to run.
    """
    check_settings(dataset, settings)
    check_encoders(settings, store)
    fixed = datasets.fixed_vocabulary(dataset)
    chosen = datasets.chosen(dataset, choices or {})
    read = read_splits(dataset, annotations, settings.split, chosen, settings.dub)
    require_answers(read, dataset)
    require_questions(read, dataset, annotations)
    questions = _heard(read, settings, fields)
    everything = [q for split in SPLITS for q in questions.of(split)]
    ids = in_store(everything, store.video_ids)
    deaf = require_sounds(everything, ids, settings.missing)
    usable = {
        q.key: name
        for q in everything
        if (name := name_of(q, ids)) is not None and _answerable(q, fixed)
    }
    reader = VideoFeatures(store, names_of(settings, fields, store))
    complete = reader.require(usable.values(), settings.missing)
    kept = {key for key, name in usable.items() if name in complete}
    train, val, test = (tuple(q for q in questions.of(s) if q.key in kept) for s in SPLITS)
    in_use = dataclasses.replace(questions, train=train, val=val, test=test)
    require_questions(in_use, dataset, annotations)
    vocabulary = choose_vocabulary(dataset, train, settings)
    if fixed is None:
        require_val(in_use, vocabulary)
    videos = {name for key, name in usable.items() if key in kept}
    notes = [
        *questions.notes,
        *_silent(len(reader.silent(videos)), len(videos), settings.missing),
        *_left_out(everything, ids, fixed, len(usable) - len(kept), len(deaf)),
        *vocabulary_notes(in_use, vocabulary, tokens=tokens),
    ]
    taught = tuple(q for q in train if q.choices or vocabulary.teaches(q.answer))
    in_use = dataclasses.replace(in_use, train=taught)
    return Material(store, in_use, ids, vocabulary, tuple(notes), chosen)


def _heard(
    questions: SplitQuestions, settings: TrainSettings, fields: Collection[str]
) -> SplitQuestions:
    """The questions as heads hear them, with a note on it."""
    read = {split: questions.of(split) for split in SPLITS}
    notes = dub_note(read, settings.dub) if "audio" in fields else []
    train, val, test = (as_heard(these, settings.dub, fields) for these in read.values())
    return SplitQuestions(train, val, test, questions.version, (*questions.notes, *notes))


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
    everything: Sequence[Question],
    ids: dict[str, str],
    fixed: Vocabulary | None,
    lacking: int,
    deaf: int,
) -> list[str]:
    without = [q for q in everything if q.video_id not in ids]
    videos = list(dict.fromkeys(q.video_id for q in without))
    shown = ", ".join(videos[:MOST_SHOWN]) + (", …" if len(videos) > MOST_SHOWN else "")
    unanswered = sum(q.video_id in ids and not _answerable(q, fixed) for q in everything)
    parts = [
        f"{len(without)} of {len(videos)} videos that the store has not ({shown})" * bool(without),
        f"{unanswered} without a right answer to train or test on" * bool(unanswered),
        f"{deaf} with the sound of a video that the store has not (missing=skip)" * bool(deaf),
        f"{lacking} of videos without a needed feature (missing=skip)" * bool(lacking),
    ]
    line = ", ".join(part for part in parts if part)
    return [f"questions left out: {line}"] if line else []
