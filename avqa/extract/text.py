"""Towers that read texts: a vector per text and one per token.

All 77 positions go through the tower's last layer norm, and for ``word`` through its projection
into the joint space; the sentence is the word at the end-of-text token. CLIP's towers are causal:
position 0 is the same vector for every text, and positions after the end hold numbers that mean
nothing by themselves. Towers with a tokeniser of their own give sentences alone. Not L2-normalised.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from avqa.errors import ConfigError, UnknownName
from avqa.extract import encoders
from avqa.extract.encoders import TextTap, TextTower
from avqa.extract.encoders._parts.library import module_alone

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

    from avqa.extract.encoders import Device, Precision
    from avqa.extract.settings import Dtype
    from avqa.extract.weights import WeightsSource

ENCODER = "clip_vit_b32"
"""Whose texts are stored unless others are asked for."""
FEATURES = (f"{ENCODER}/sentence", f"{ENCODER}/word")
TOKENS = 77
CLIPS = "open_clip SimpleTokenizer, clean=lower, bpe_simple_vocab_16e6"
BATCH: dict[str, int] = {"cpu": 16, "cuda": 128}
"""Texts per forward, always: part of the recipe."""
Mark = Literal["", "?"]


@dataclass(frozen=True)
class TextSettings:
    """Everything the user can choose that changes a number of a text's features."""

    features: tuple[str, ...] = FEATURES
    """``<encoder>/<tap>`` of one encoder."""
    mark: Mark = ""
    """Put after every question before it is tokenised."""
    precision: Precision = "fp32"
    dtype: Dtype = "float16"
    device: Device = "cpu"


def check_features(features: Sequence[str]) -> tuple[str, ...]:
    """These features of texts, if all are of one encoder's.

    Raises:
        UnknownName: there is no such encoder of texts, or tap.
        ConfigError: they are of several encoders, or there is none.
    """
    features = tuple(dict.fromkeys(map(encoders.full_name, features)))
    for feature in features:
        text_tap(feature)
    if len({encoder_of(feature) for feature in features}) != 1:
        raise ConfigError(
            f"features={','.join(features)!r}; expected features of texts, all of one encoder;"
            " check --features"
        )
    return features


def encoder_of(feature: str) -> str:
    """Encoder of a text's feature."""
    return feature.rpartition("/")[0]


def text_tap(feature: str) -> TextTap:
    """Shape of one ``<encoder>/<tap>`` of texts.

    Raises:
        UnknownName: there is no such encoder of texts, or tap.
    """
    encoder, _, tap = feature.rpartition("/")
    taps = encoders.text_tower(encoder).taps
    if tap not in taps:
        raise UnknownName("feature of texts", feature, [f"{encoder}/{name}" for name in taps])
    return taps[tap]


def text_recipe(feature: str, settings: TextSettings, weights: WeightsSource) -> dict[str, Any]:
    """The canonical recipe of a feature of texts, such as ``clip_vit_b32/sentence``.

    Raises:
        WeightsUnavailable: if the weights are not there.
    """
    tower = encoders.text_tower(encoder_of(feature))
    its = tower.tokeniser
    return {
        "feature": feature,
        "text": {
            "tokeniser": CLIPS if its is None else its.about(),
            "tokens": tower.tokens,
            "mark": settings.mark,
        },
        "encoder": {"network": tower.network, "tap": text_tap(feature).what},
        "weights": {tower.weights: weights.describe(tower.weights)},
        "compute": {
            "precision": settings.precision,
            "device": settings.device,
            "batch": BATCH[settings.device],
        },
        "storage": {"dtype": settings.dtype},
    }


def tokeniser() -> ModuleType:
    """open_clip's module of CLIP's byte pairs, without open_clip: that takes seconds to load."""
    return module_alone("open_clip", "tokenizer")


def tokenise(texts: Sequence[str]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """CLIP's byte pairs between start and end of text, then zeros; longer texts keep their end.

    Returns:
        tokens ``[n, 77]`` and the position of each end-of-text token ``[n]``, 1 to 76.
    """
    tokens: NDArray[np.int64] = tokeniser().tokenize(list(texts), TOKENS).numpy()
    return tokens, tokens.argmax(axis=1)  # end of text is the highest number there is


class TextEncoder:
    """A frozen text tower; forwards always have the batch shape of its device.

    Threads may share one encoder.
    """

    def __init__(self, settings: TextSettings, state: Mapping[str, Tensor]) -> None:
        """Build it from `load_state` of the encoder; the visual tower's part is not needed.

        Raises:
            WeightsUnavailable: if names or shapes are not this architecture's.
            ConfigError: if the device is not there.
        """
        self.name = encoder_of(settings.features[0])
        self.taps = tuple(feature.rpartition("/")[2] for feature in settings.features)
        self.batch = BATCH[settings.device]
        tower: TextTower = encoders.text_tower(self.name)
        self._tower = tower
        self._network = tower.build(state, settings.device, settings.precision, self.batch)

    def tokenise(self, texts: Sequence[str]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Tokens ``[n, tokens]`` of the tower, and CLIP's end of each text, as `tokenise`.

        Raises:
            WeightsUnavailable: files of its tokeniser are missing.
        """
        tokens, ends = tokenise(texts)
        its = self._tower.tokeniser
        return (tokens if its is None else its.tokenise(texts)), ends

    @property
    def rows(self) -> list[str]:
        """Taps that a forward gives; CLIP's sentence `finished` takes of the words."""
        if self._tower.tokeniser is not None:
            return list(self.taps)
        return sorted({"word" if tap == "sentence" else tap for tap in self.taps})

    def encode(
        self, tokens: NDArray[np.int64], eot: NDArray[np.int64]
    ) -> dict[str, NDArray[np.float32]]:
        """One forward of at most ``batch`` texts, as its own `tokenise` gives them.

        Returns:
            Tap → ``[n, *shape]``, float32.
        """
        import torch

        padded = np.zeros((self.batch, self._tower.tokens), np.int64)
        padded[: len(tokens)] = tokens
        out = self.forward("text", torch.from_numpy(padded), self.rows)
        return self.finished({tap: x.numpy()[: len(tokens)] for tap, x in out.items()}, eot)

    def forward(self, name: str, batch: Tensor, taps: Sequence[str]) -> dict[str, Tensor]:
        """All rows of tokens ``[B, 77]`` as they are → `rows`, each [B, 77, width], float32."""
        return self._network.forward(name, batch, taps)

    def finished(
        self, rows: Mapping[str, NDArray[np.float32]], eot: NDArray[np.int64]
    ) -> dict[str, NDArray[np.float32]]:
        """The taps asked for, of what a forward gave: CLIP's sentence is the word at its end."""
        if self._tower.tokeniser is not None:
            return dict(rows)
        return {
            tap: rows["word"][np.arange(len(eot)), eot] if tap == "sentence" else rows[tap]
            for tap in self.taps
        }
