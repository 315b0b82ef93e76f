"""CLIP's features of asked texts, made exactly as those that a run was trained on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from avqa.datasets._parts.question import Question, text_key
from avqa.errors import FeatureMissing, StoreError
from avqa.extract import weights
from avqa.extract.text import (
    TextEncoder,
    TextSettings,
    check_features,
    encoder_of,
    text_recipe,
    tokenise,
)
from avqa.machine import give_memory_back
from avqa.pipelines.ask.cache import AskCache
from avqa.pipelines.ask.features import Recipes, Say, compare, device_for, stored
from avqa.pipelines.engine.texts import encode_texts
from avqa.pipelines.questions.encode import add_options, add_prompts, distinct_texts
from avqa.store.format.recipe_diff import recipe_hash
from avqa.store.reader import FeatureStore, TextReader
from avqa.training.run import Member


@dataclass(frozen=True)
class AskedTexts:
    """Features of a few texts, read as from a store: see `FeatureStore.read_texts`."""

    values: dict[str, dict[str, NDArray[Any]]]
    """Text feature → key of a text → its array."""
    ends: dict[str, int]
    """Key of a text → position of its end-of-text token."""

    @property
    def path(self) -> None:
        """They are in no store."""

    @property
    def text_features(self) -> tuple[str, ...]:
        """Names of the text features."""
        return tuple(self.values)

    def eot(self, text: str) -> int:
        """Position of a text's end-of-text token."""
        return self.ends[self._key(text)]

    def read_texts(self, texts: Sequence[str], feature: str) -> NDArray[Any]:
        """One feature of these texts, or of the texts with these keys: ``[n, *shape]``."""
        return np.stack([self.values[feature][self._key(text)] for text in texts])

    def _key(self, text: str) -> str:
        return text if text in self.ends else text_key(text)


class Texts:
    """Features of questions and their options by a run's recipe; the network is loaded once."""

    def __init__(
        self,
        member: Member,
        asked_device: str,
        cache: AskCache,
        store: FeatureStore | None,
        say: Say,
        *,
        prompts: bool = False,
        with_options: bool = False,
    ) -> None:
        """Load nothing yet; ``store`` is the run's, with the run's recipes, if it is there.

        ``prompts``: the questions' prompts are read too; ``with_options``: each with each option.
        """
        self._prompts, self._with_options = prompts, with_options
        self._run: Recipes = {n: dict(e["recipe"]) for n, e in member.config.texts.items()}
        self._member, self._device = member, asked_device
        self._cache, self._store, self._say = cache, store, say
        self._recipes: tuple[TextSettings, Recipes, weights.WeightsSource] | None = None
        self._encoder: TextEncoder | None = None

    def of(self, questions: Sequence[Question]) -> TextReader | None:
        """Features of the texts of these questions; None if the run needs none.

        Raises:
            RecipeMismatch: the recipe cannot be the run's.
            WeightsUnavailable: the run's weights are not at hand.
            ConfigError: there is no such device.
        """
        if not self._run:
            return None
        if self._store is not None and self._held(self._store, questions):
            return self._store
        return self._made(questions)

    def _held(self, store: FeatureStore, questions: Sequence[Question]) -> bool:
        """Whether the store has all these texts."""
        keys = list(self._contents(questions, ""))
        try:
            for feature in self._run:
                store.read_texts(keys, feature)
        except (FeatureMissing, StoreError):
            return False
        return True

    def _contents(self, questions: Sequence[Question], mark: str) -> dict[str, str]:
        """Key → what is tokenised, of all that is read."""
        contents, _ = distinct_texts(questions, mark)
        if self._prompts:
            add_prompts(contents, questions)
        if self._with_options:
            add_options(contents, questions)
        return contents

    def _made(self, questions: Sequence[Question]) -> AskedTexts:
        settings, here, source = self._compared()
        contents = self._contents(questions, settings.mark)
        paths = {
            (feature, key): self._cache.path("text", content, recipe_hash(recipe))
            for feature, recipe in here.items()
            for key, content in contents.items()
        }
        found = {place: self._cache.read(path) for place, path in paths.items()}
        _, ends = tokenise(list(contents.values()))
        if any(values is None for values in found.values()):
            texts = list(contents.values())
            encoded = encode_texts(self._network(settings, source), settings, texts)
            rows = {f: stored(x, settings.dtype, f) for f, x in encoded.items()}
            for place, key in enumerate(contents):
                for feature in here:
                    found[feature, key] = rows[feature][place]
                    self._cache.write(paths[feature, key], rows[feature][place])
        by_feature: dict[str, dict[str, NDArray[Any]]] = {feature: {} for feature in here}
        for (feature, key), values in found.items():
            assert values is not None
            by_feature[feature][key] = values
        return AskedTexts(by_feature, dict(zip(contents, ends.tolist(), strict=True)))

    def _compared(self) -> tuple[TextSettings, Recipes, weights.WeightsSource]:
        """Settings of the run, the recipes that they have here, and the weights."""
        if self._recipes is None:
            features = check_features(tuple(self._run))
            first, encoder = self._run[features[0]], encoder_of(features[0])
            described = str(first["weights"][encoder]["source"])
            source = weights.resolve(
                described if described.startswith("random:") else "pretrained", [encoder]
            )
            settings = TextSettings(
                features,
                mark=first["text"]["mark"],
                precision=first["compute"]["precision"],
                dtype=first["storage"]["dtype"],
                device=device_for(self._device, self._run.values()),
            )
            here = {feature: text_recipe(feature, settings, source) for feature in self._run}
            compare(self._run, here, self._member.path, self._say)
            self._recipes = settings, here, source
        return self._recipes

    def _network(self, settings: TextSettings, source: weights.WeightsSource) -> TextEncoder:
        if self._encoder is None:
            state = weights.load_state(encoder_of(settings.features[0]), source)
            self._encoder = TextEncoder(settings, state)
            give_memory_back()
        return self._encoder
