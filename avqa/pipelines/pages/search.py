"""Seconds of a store whose frames are nearest to a sentence, by an encoder that reads both."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from avqa.errors import AvqaError, FeatureMissing, RecipeMismatch
from avqa.extract import encoders, weights
from avqa.extract.text import TextEncoder, TextSettings, check_features, text_recipe
from avqa.pipelines.engine.texts import encode_texts
from avqa.store.reader import FeatureStore

MOST_HITS = 24
"""Videos of each sentence, by their best second."""


@dataclass(frozen=True)
class Hit:
    """A second."""

    number: int
    """Of the video in the list."""
    second: float
    cosine: float


@dataclass(frozen=True)
class Hits:
    """What one sentence finds."""

    text: str
    feature: str
    hits: tuple[Hit, ...]
    """The nearest first, the best second of each video."""


def search(reader: FeatureStore, ids: Sequence[str], texts: Sequence[str]) -> list[Hits]:
    """The nearest seconds of these videos to each sentence; videos that cannot be read are none.

    Raises:
        FeatureMissing: the store has no frames of an encoder that reads sentences, too.
        WeightsUnavailable: its weights are not at hand.
        RecipeMismatch: the weights here are not those of the store's frames.
    """
    feature = _joint(reader)
    wanted = _unit(_sentences(reader, feature, texts))
    best: list[list[Hit]] = [[] for _ in texts]
    for number, name in enumerate(ids):
        try:
            rows, seconds = reader.read(name, feature), reader.pts(name)
        except AvqaError:
            continue
        if not len(rows):
            continue
        scores = wanted @ _unit(rows.astype(np.float32)).T
        for which, row in enumerate(scores.argmax(1)):
            at = float(seconds[row]) if np.isfinite(seconds[row]) else float(row)  # imported
            best[which].append(Hit(number, at, float(scores[which, row])))
    return [
        Hits(text, feature, tuple(sorted(found, key=lambda hit: -hit.cosine)[:MOST_HITS]))
        for text, found in zip(texts, best, strict=True)
    ]


def _joint(reader: FeatureStore) -> str:
    """The first feature of frames that lie in one space with sentences."""
    for feature in reader.features:
        encoder, _, tap = feature.rpartition("/")
        if tap == "frame" and encoders.is_known(encoder) and _reads_sentences(encoder):
            return feature
    raise FeatureMissing(
        "the store has no frames of an encoder that also reads sentences; expected"
        " clip_vit_b32/frame, or those of another CLIP; run `avqa extract --features"
        " clip_vit_b32/frame` into it"
    )


def _reads_sentences(encoder: str) -> bool:
    try:
        return "sentence" in encoders.text_tower(encoder).taps
    except AvqaError:
        return False


def _sentences(reader: FeatureStore, feature: str, texts: Sequence[str]) -> NDArray[np.float32]:
    """[n, width], by the weights that the store's frames are of."""
    encoder = feature.rpartition("/")[0]
    recipe = reader.recipe(feature)
    name = encoders.text_tower(encoder).weights
    its = recipe.get("weights", {}).get(name, {})
    random = str(its.get("source", "")).startswith("random:")
    source = weights.resolve(str(its["source"]) if random else "pretrained", [name])
    settings = TextSettings(check_features([f"{encoder}/sentence"]))
    ours = text_recipe(settings.features[0], settings, source)["weights"][name]
    if ours != its:
        raise RecipeMismatch(
            f"{feature} of the store is of weights={its!r}, those here are {ours!r}; expected the"
            " same, which alone put frames and sentences into one space; search where the store"
            " was made"
        )
    state = weights.load_state(encoder, source)
    found = encode_texts(TextEncoder(settings, state), settings, list(texts))
    return found[settings.features[0]]


def _unit(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    """Rows of length 1; zeros stay."""
    lengths = np.linalg.norm(rows, axis=-1, keepdims=True)
    unit: NDArray[np.float32] = np.divide(rows, np.maximum(lengths, 1e-12), dtype=np.float32)
    return unit
