"""What a run trains on: questions with a video and an answer, and where their features come from.

Everything that is left out or looks odd is counted and becomes a note of the run.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from avqa.datasets import Question
from avqa.datasets._parts.matching import match_rows
from avqa.datasets._parts.question import SPLITS
from avqa.datasets._parts.vocabulary import ANSWER_ID, is_known
from avqa.store.reader import FeatureStore
from avqa.training.data.features import VideoFeatures, feature_names
from avqa.training.data.splits import SplitQuestions, read_splits, require_questions
from avqa.training.settings import TrainSettings

MOST_SHOWN = 5


@dataclass(frozen=True)
class Material:
    """The questions in use and their videos."""

    store: FeatureStore
    questions: SplitQuestions
    video_ids: dict[str, str]
    """A question's video → its id in the store."""
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
    lstm: bool,
) -> Material:
    """Read the questions and leave out those that cannot be used.

    Args:
        store: of the videos' features.
        dataset: a name of `avqa.datasets.names`.
        annotations: folder of the question files, or one file.
        settings: ``split``, ``visual`` and ``missing`` count here.
        fields: of `HeadInput`, those of the videos that any head of the run reads.
        lstm: whether any head of the run reads words through an LSTM.

    Raises:
        UnknownName: there is no such data set.
        DatasetError: a file cannot be used, or a split has no question left.
        StoreError: no question has its video in the store.
        FeatureMissing: a feature is not there; names the command to run.
    """
    questions = read_splits(dataset, annotations, settings.split)
    require_questions(questions, dataset, annotations)
    everything = [q for split in SPLITS for q in questions.of(split)]
    rows = match_rows(everything, store.video_ids).rows
    found = zip(everything, rows, strict=True)
    ids = {q.video_id: store.video_ids[row] for q, row in found if row is not None}
    usable = [q for q in everything if q.video_id in ids and _answerable(q)]
    reader = VideoFeatures(store, feature_names(fields, settings.visual, settings.audio))
    complete = reader.require([ids[q.video_id] for q in usable], settings.missing)
    kept = {q.key for q in usable if ids[q.video_id] in complete}
    train, val, test = (tuple(q for q in questions.of(s) if q.key in kept) for s in SPLITS)
    in_use = dataclasses.replace(questions, train=train, val=val, test=test)
    require_questions(in_use, dataset, annotations)
    notes = [
        *questions.notes,
        *_left_out(everything, ids, len(usable) - len(kept)),
        *_unseen(in_use),
        *(_unknown_words(in_use) if lstm else ()),
    ]
    return Material(store, in_use, ids, tuple(notes))


def _answerable(question: Question) -> bool:
    """Whether the file has an answer, and, to train on it, one that a head can give."""
    if question.choices:
        return question.choice is not None
    if question.split == "train":
        return question.answer in ANSWER_ID
    return question.answer is not None


def _left_out(everything: Sequence[Question], ids: dict[str, str], lacking: int) -> list[str]:
    without = [q for q in everything if q.video_id not in ids]
    videos = list(dict.fromkeys(q.video_id for q in without))
    shown = ", ".join(videos[:MOST_SHOWN]) + (", …" if len(videos) > MOST_SHOWN else "")
    unanswered = sum(q.video_id in ids and not _answerable(q) for q in everything)
    parts = [
        f"{len(without)} of {len(videos)} videos that the store has not ({shown})" * bool(without),
        f"{unanswered} without a right answer to train or test on" * bool(unanswered),
        f"{lacking} of videos without a needed feature (missing=skip)" * bool(lacking),
    ]
    line = ", ".join(part for part in parts if part)
    return [f"questions left out: {line}"] if line else []


def _unseen(questions: SplitQuestions) -> list[str]:
    """Answers of val and test that training cannot teach; options differ in every question."""
    trained = {q.answer for q in questions.train}
    notes = []
    for split in ("val", "test"):
        unseen = Counter(str(q.answer) for q in questions.of(split) if q.answer not in trained)
        if unseen:
            notes.append(
                f"{split}: {sum(unseen.values())} questions have an answer that no training"
                f" question has: {_most(unseen)}"
            )
    return notes


def _unknown_words(questions: SplitQuestions) -> list[str]:
    notes = []
    for split in SPLITS:
        these = questions.of(split)
        hit = [q for q in these if not all(map(is_known, q.words))]
        if hit:
            words = Counter(w for q in hit for w in q.words if not is_known(w))
            notes.append(
                f"{split}: {len(hit)} of {len(these)} questions have words that question=lstm does"
                f" not know and reads as padding: {_most(words)}; question=clip reads every word"
            )
    return notes


def _most(found: Counter[str]) -> str:
    more = ", …" if len(found) > MOST_SHOWN else ""
    return ", ".join(repr(name) for name, _ in found.most_common(MOST_SHOWN)) + more
