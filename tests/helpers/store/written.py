"""Texts for tests of the store: features that follow from the content, one run that adds them."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from avqa.store.commit import Store
from avqa.store.format.schema import FeatureSpec
from avqa.store.lock import Lock
from avqa.store.text_writer import NewText, Texts

SENTENCE = FeatureSpec("clip/sentence", (8,), ("channel",), False)
WORD = FeatureSpec("clip/word", (3, 8), ("token", "channel"), False)
TEXT_SPECS = (SENTENCE, WORD)
TEXT_RECIPES = {
    spec.name: {"feature": spec.name, "text": {"mark": ""}, "weights": {"w": {"source": "file"}}}
    for spec in TEXT_SPECS
}


def copied(store: Path, to: Path) -> Path:
    """A copy of a store, without the 64 MB that are kept free on the disk."""
    return shutil.copytree(store, to, ignore=shutil.ignore_patterns(".reserve"))


def key(content: str) -> str:
    return hashlib.sha256(content.encode()).hexdigest()


def value(spec: FeatureSpec, content: str) -> np.ndarray:
    """What a network would give for one text; float16 holds it exactly."""
    seed = hashlib.sha256(f"{spec.name}:{content}".encode()).digest()[:8]
    rng = np.random.default_rng(int.from_bytes(seed, "little"))
    return rng.uniform(0.5, 2, spec.shape).astype(np.float16).astype(np.float32)


def values(contents: Sequence[str]) -> dict[str, np.ndarray]:
    return {
        spec.name: np.stack([value(spec, content) for content in contents]) for spec in TEXT_SPECS
    }


def named(*numbers: int) -> list[str]:
    return [f"text number {number}" for number in range(*numbers)]


def new(contents: Sequence[str]) -> list[NewText]:
    return [NewText(key(c), c, 2 + len(c) % 70) for c in contents]


def open_texts(path: Path, lock: Lock) -> Texts:
    return Texts.open(path, TEXT_SPECS, TEXT_RECIPES, lock=lock)


def add_texts(path: Path, contents: Sequence[str], run_id: str = "texts") -> int:
    """Add these texts and encode everything that is pending, as a run does; how many."""
    with Lock.acquire(path, run_id) as lock:
        store = Store.open(path, lock)
        store.recover()
        store.start_run({})
        texts = open_texts(path, lock)
        texts.add(new(contents))
        count = 0
        for rows, of_chunk in texts.work():
            texts.write(rows, values(of_chunk))
            count += len(rows)
        store.finish_run({})
        return count
