"""CLIP's texts in a store that has videos."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from helpers.store import written

from avqa.store.commit import Store
from avqa.store.format.schema import FeatureSpec
from avqa.store.lock import Lock
from avqa.store.text_writer import Texts

TEXT_SPECS = (
    FeatureSpec("clip_vit_b32/sentence", (8,), ("channel",), False),
    FeatureSpec("clip_vit_b32/word", (77, 8), ("token", "channel"), False),
    FeatureSpec("clip_vit_b32/word_state", (77, 8), ("token", "channel"), False),
)


def add_texts(path: Path, texts: Sequence[str]) -> None:
    """Values that follow from each text."""
    recipes = {spec.name: {"weights": {"w": {"source": "random:1"}}} for spec in TEXT_SPECS}
    with Lock.acquire(path, "texts") as lock:
        store = Store.open(path, lock)
        store.start_run({})
        made = Texts.open(path, TEXT_SPECS, recipes, lock=lock)
        made.add(written.new(texts))
        for rows, contents in made.work():
            values = {
                spec.name: np.stack([written.value(spec, content) for content in contents])
                for spec in TEXT_SPECS
            }
            made.write(rows, values)
        store.finish_run({})
