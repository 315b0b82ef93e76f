"""Stores of features, and questions, for tests of what reads them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from helpers.questions.question_files import make_question
from helpers.store import stored

from avqa import heads
from avqa.datasets import Question
from avqa.store.lock import Lock
from avqa.store.reader import FeatureStore
from avqa.training.data.features import VideoFeatures
from avqa.training.data.questions import QuestionSet
from avqa.training.settings import Missing

NAMES = {"audio": "vggish/audio", "frame": "clip/frame", "patch": "clip/patch"}
SPEC = {spec.name: spec for spec in stored.SPECS}
EVERYTHING = 2**40
"""A budget under which every array is loaded."""


class CountingStore(FeatureStore):
    """Counts its reads in memory that processes share."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.reads = torch.zeros(len(self.video_ids), dtype=torch.long).share_memory_()

    def read(self, video_id, feature):
        self.reads[self.video_ids.index(video_id)] += 1
        return super().read(video_id, feature)


def store_of(path: Path, lengths: dict[str, int]) -> CountingStore:
    """A store of videos of these seconds with frames, patches and audio."""
    stored.make_store(path, lengths)
    return CountingStore(path)


def store_with(path: Path, videos: list[str], records, specs=stored.SPECS) -> CountingStore:
    """A store with whatever ``records(writer, rows)`` gives for these videos."""
    with Lock.acquire(path, "first") as lock:
        recipes = {spec.name: stored.RECIPES[spec.name] for spec in specs}
        store = stored.Store.create(path, recipes, specs, stored.CHUNK_SECONDS, lock=lock)
        store.start_run({})
        rows = store.add_rows(videos)
        store.set_pending((row, spec.name) for row in rows.values() for spec in specs)
        writer = stored.ChunkWriter(store.path, specs, stored.CHUNK_SECONDS)
        store.commit(records(writer, rows))
        store.finish_run({})
    return CountingStore(path)


def expected(video: str, field: str, seconds: int) -> np.ndarray:
    """What such a store holds: ``[seconds, ...]`` float16."""
    return stored.values_of(SPEC[NAMES[field]], video, seconds).astype(np.float16)


def ask(videos: list[str], **changes) -> list[Question]:
    """A question about each of these videos."""
    return [
        make_question(key=str(number), question_id=str(number), video_id=video, **changes)
        for number, video in enumerate(videos)
    ]


def question_set(
    store: FeatureStore, videos: list[str], budget: int = EVERYTHING, missing: Missing = "error"
) -> QuestionSet:
    """A question about each of these videos, for a head that reads audio, patches and words."""
    head = heads.build("late_fusion", width=16, audio_width=6, visual_width=8)
    names = {field: NAMES[field] for field in head.FEATURES}
    features = VideoFeatures(store, names, missing=missing, budget_bytes=budget)
    features.preload(videos)
    return QuestionSet(ask(videos), videos, features, None, head, training=True)
