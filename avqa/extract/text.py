"""CLIP ViT-B/32's text tower: a vector per text and one per token.

All 77 positions go through the tower's last layer norm and its projection into the joint space;
the sentence is the position of the end-of-text token. The tower is causal: position 0 is the same
vector for every text, and positions after the end hold numbers that mean nothing by themselves.
Not L2-normalised.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from avqa.extract.encoders import clip_vit_b32
from avqa.extract.encoders._library import module_alone

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

    from avqa.extract.encoders import Device, Precision
    from avqa.extract.settings import Dtype
    from avqa.extract.weights import WeightsSource

TOKENS = 77
WIDTH = 512
ENCODER = "clip_vit_b32"
TAPS: dict[str, tuple[tuple[int, ...], tuple[str, ...]]] = {
    "sentence": ((WIDTH,), ("channel",)),
    "word": ((TOKENS, WIDTH), ("token", "channel")),
}
"""Tap → shape and dimension names of one text."""
FEATURES = tuple(f"{ENCODER}/{tap}" for tap in TAPS)
BATCH: dict[str, int] = {"cpu": 16, "cuda": 128}
"""Texts per forward, always: part of the recipe."""
Mark = Literal["", "?"]


@dataclass(frozen=True)
class TextSettings:
    """Everything the user can choose that changes a number of a text's features."""

    mark: Mark = ""
    """Put after every question before it is tokenised."""
    precision: Precision = "fp32"
    dtype: Dtype = "float16"
    device: Device = "cpu"


def text_recipe(feature: str, settings: TextSettings, weights: WeightsSource) -> dict[str, Any]:
    """The canonical recipe of ``clip_vit_b32/sentence`` or ``clip_vit_b32/word``.

    Raises:
        WeightsUnavailable: if the weights are not there.
    """
    taps = {"sentence": "end of text", "word": f"all {TOKENS} positions"}
    return {
        "feature": feature,
        "text": {
            "tokeniser": "open_clip SimpleTokenizer, clean=lower, bpe_simple_vocab_16e6",
            "tokens": TOKENS,
            "mark": settings.mark,
        },
        "encoder": {
            "network": f"open_clip {clip_vit_b32.MODEL}, text tower",
            "tap": f"{taps[feature.partition('/')[2]]}, ln_final, text_projection",
        },
        "weights": {ENCODER: weights.describe(ENCODER)},
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
    """The frozen text tower; forwards always have the batch shape of its device.

    Threads may share one encoder.
    """

    def __init__(self, settings: TextSettings, state: Mapping[str, Tensor]) -> None:
        """Build it from `load_state("clip_vit_b32", …)`; the visual tower's part is not needed.

        Raises:
            WeightsUnavailable: if names or shapes are not this architecture's.
            ConfigError: if the device is not there.
        """
        import torch

        from avqa.extract.encoders import _clip_towers, _frozen

        with torch.device("meta"):
            tower: Any = _clip_towers.Text(TOKENS)
        wanted = {k: v for k, v in state.items() if not k.startswith("visual.")}
        _frozen.fill(tower, wanted, ENCODER)
        _frozen.freeze(tower, settings.device, settings.precision)
        self.batch = BATCH[settings.device]
        self._tower = tower
        with torch.inference_mode():
            blocks = tower.transformer.resblocks
            self._blocks = [clip_vit_b32.Block(b, self.batch * TOKENS, causal=True) for b in blocks]
        tower.transformer = None  # its weights live on in the blocks, in another layout

    def encode(
        self, tokens: NDArray[np.int64], eot: NDArray[np.int64]
    ) -> dict[str, NDArray[np.float32]]:
        """One forward of at most ``batch`` texts, as `tokenise` gives them.

        Returns:
            ``sentence`` [n, 512] and ``word`` [n, 77, 512], float32.
        """
        import torch

        padded = np.zeros((self.batch, TOKENS), np.int64)
        padded[: len(tokens)] = tokens
        (words,) = self.forward("text", torch.from_numpy(padded), ["word"]).values()
        return with_sentences(words.numpy()[: len(tokens)], eot)

    def forward(self, name: str, batch: Tensor, taps: Sequence[str]) -> dict[str, Tensor]:
        """All rows of tokens ``[B, 77]`` as they are → ``word`` [B, 77, 512], float32."""
        import torch

        with torch.inference_mode():
            x = self._tower.token_embedding(batch.to(self._tower.positional_embedding.device))
            x = x + self._tower.positional_embedding  # [B, 77, 512]
            for block in self._blocks:
                x = block(x)
            x = self._tower.ln_final(x) @ self._tower.text_projection
            return {tap: x.float().cpu() for tap in taps}


def with_sentences(
    words: NDArray[np.float32], eot: NDArray[np.int64]
) -> dict[str, NDArray[np.float32]]:
    """``word`` [n, 77, 512], and ``sentence`` [n, 512]: each text's word at its end, [n]."""
    return {"sentence": words[np.arange(len(words)), eot], "word": words}
