"""Runs of `avqa questions` on invented questions and a store of videos without features."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
from helpers.store import crashing

from avqa.extract.text import TextSettings
from avqa.pipelines.questions import encode as questions
from avqa.store.commit import Store
from avqa.store.format.schema import FeatureSpec
from avqa.store.lock import Lock

FRAME = FeatureSpec("clip_vit_b32/frame", (512,), ("channel",), False)
TOKENS, WIDTH = 77, 512


def recipe(weights: dict[str, str]) -> dict[str, Any]:
    return {"feature": FRAME.name, "weights": {"clip_vit_b32": weights}}


def video_store(
    path: Path,
    ids: Sequence[str] = ("00000001", "train/00000002"),
    weights: dict[str, str] | None = None,
) -> Path:
    """A store of these videos, all pending, whose CLIP pictures have these weights."""
    recipes = {FRAME.name: recipe(weights or {"source": "random:0"})}
    with Lock.acquire(path, "extracted") as lock:
        store = Store.create(path, recipes, [FRAME], 5, lock=lock)
        store.start_run({})
        store.add_rows(ids)
        store.finish_run({"reason": "done"})
    return path


def music(folder: Path, rows: Sequence[tuple[str, str, list[str]]]) -> Path:
    """An annotation in MUSIC-AVQA's format: (video id, text, what fills its slots) per row."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "avqa-test.json").write_text(
        json.dumps(
            [
                {
                    "video_id": video,
                    "question_id": number,
                    "type": '["Visual", "Location"]',
                    "question_content": text,
                    "templ_values": json.dumps(slots),
                    "question_deleted": 0,
                    "anser": "yes",
                }
                for number, (video, text, slots) in enumerate(rows)
            ]
        ),
        encoding="utf-8",
    )
    return folder


def many(folder: Path, count: int) -> Path:
    """As many different texts."""
    return music(folder, [("00000001", f"Where is thing {n}?", []) for n in range(count)])


class FakeEncoder:
    """In place of the text tower: vectors that follow from a text's tokens alone."""

    batch = 16
    rows = ("word",)
    sizes: list[int] = []
    """Texts of each forward so far."""
    on_forward = staticmethod(lambda: None)

    def __init__(self, settings: TextSettings, state: object) -> None:
        pass

    def tokenise(self, texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        return letters(texts)

    def encode(self, tokens: np.ndarray, eot: np.ndarray) -> dict[str, np.ndarray]:
        self.sizes.append(len(tokens))
        self.on_forward()
        return self.finished({"word": np.stack([self.words(row) for row in tokens])}, eot)

    def finished(self, rows: dict[str, np.ndarray], eot: np.ndarray) -> dict[str, np.ndarray]:
        words = rows["word"]
        return {"sentence": words[np.arange(len(eot)), eot], "word": words}

    def forward(self, name: str, batch: Any, taps: Sequence[str]) -> dict[str, Any]:
        """As `ask` has it, rows that no text takes among them."""
        import torch

        rows = batch.numpy()
        self.sizes.append(int(rows.any(1).sum()))
        self.on_forward()
        words = torch.from_numpy(np.stack([self.words(row) for row in rows]))
        return dict.fromkeys(taps, words)

    @staticmethod
    def words(tokens: np.ndarray) -> np.ndarray:
        seed = hashlib.sha256(tokens.tobytes()).digest()[:8]
        rng = np.random.default_rng(int.from_bytes(seed, "little"))
        return rng.random((TOKENS, WIDTH), np.float32)


def letters(texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """In place of the tokeniser: a token per letter, the first ones, counted as its end."""
    tokens = np.zeros((len(texts), TOKENS), np.int64)
    texts = [text[: TOKENS - 1] for text in texts]
    for row, text in enumerate(texts):
        tokens[row, : len(text)] = list(text.encode())
    return tokens, np.array([len(text) for text in texts])


def expected(text: str) -> np.ndarray:
    """The words of a text by the fakes, as stored."""
    return FakeEncoder.words(letters([text])[0][0]).astype(np.float16)


@contextlib.contextmanager
def fakes() -> Iterator[type[FakeEncoder]]:
    """No torch, no weights: in a few milliseconds what takes the tower seconds."""
    FakeEncoder.sizes = []
    with (
        mock.patch.object(questions, "TextEncoder", FakeEncoder),
        mock.patch.object(questions, "tokenise", letters),
        mock.patch.object(questions.weights, "load_state", return_value={}),
        mock.patch.object(questions, "_use_one_core"),
    ):
        yield FakeEncoder


def run(store: Path, annotations: Path, change: int | None = None) -> None:
    """A run of its own process; killed before its change of the disk number ``change``."""
    if change is not None:
        crashing.guard(crashing.dies_before(change))
    with fakes():
        questions.encode_questions(
            questions.QuestionOptions("music-avqa", annotations, store), lambda line: None
        )
