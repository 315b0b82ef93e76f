"""AST: all that its file needs, but its numbers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from avqa.extract.encoders._contract import Input, Option, Options, Tap, Weights
from avqa.extract.encoders._parts.weights import read_safetensors
from avqa.extract.encoders.ast import kaldi

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor, nn

    from avqa.extract.encoders._contract import Device, Network, Precision

BANDS = 128
PATCH, STRIDE = 16, 10
ROWS = (BANDS - PATCH) // STRIDE + 1
"""Patches along frequency."""
REAL = -(-kaldi.num_frames(kaldi.RATE) // STRIDE)
"""Patches along time that see the second: 10 of 101."""
OPTIONS: Mapping[str, Option] = {}
PREFIX = "audio_spectrogram_transformer."
"""Of the network's tensors in the published file, which holds a classifier, too."""


@dataclass(frozen=True, kw_only=True)
class Ast:
    """One network. Its members are those of `EncoderModule`."""

    name: str
    model: str
    """Of the hub."""
    width: int
    layers: int
    heads: int
    address: str = ""
    licence: str = ""
    batch: Mapping[str, int] = field(default_factory=lambda: {"cpu": 1, "cuda": 32})

    def inputs(self) -> Mapping[str, Input]:
        """The log-mel spectrogram of a second."""
        frames = kaldi.num_frames(kaldi.RATE)
        return {"mel": Input("audio", (frames, BANDS), "float32", window=kaldi.RATE)}

    def taps(self) -> Mapping[str, Tap]:
        """One vector, and one for each row of patches along frequency."""
        band = Tap("mel", (ROWS, self.width), ("frequency", "channel"), sparse=False)
        return {
            "class": Tap("mel", (self.width,), ("channel",), sparse=False),
            "band": band,
            "band10": band,
        }

    def recipe(self, tap: str) -> dict[str, Any]:
        """Everything of this encoder that changes a number of ``tap``."""
        return {
            "network": self.model,
            "tap": {
                "class": "mean of class and distillation token, last layer, before layernorm",
                "band": "mean of all 101 patches of a band, last layer, before layernorm",
                "band10": f"mean of the {REAL} patches of a band that see the second, layernorm",
            }[tap],
            "mel": "16 bit; kaldi, 25 ms hanning every 10 ms, 128 bands; second by second, 98"
            " frames, zeros to 1024, (x + 4.2677393) / (2 · 4.5689974)",
        }

    def prepare(
        self, name: str, seconds: NDArray[np.float32], options: Options
    ) -> NDArray[np.float32]:
        """Audio [rows, 16000] at 16 kHz → log-mel spectrograms float32 [rows, 98, 128]."""
        sixteen_bits = np.clip(np.round(seconds * 32768.0), -32768, 32767) / 32768.0
        return kaldi.log_mel(sixteen_bits, BANDS)

    def places(self) -> nn.Module:
        """Where the weights go, named as the published file names them."""
        from avqa.extract.encoders.ast import network

        return network.Places(width=self.width, layers=self.layers, bands=BANDS)

    def _random(self) -> Mapping[str, Tensor]:
        from avqa.extract.encoders.ast import network

        return network.drawn(self.places())

    def weights(self) -> Mapping[str, Weights]:
        """All but the classifier's."""
        return {
            self.name: Weights(
                random=self._random,
                address=self.address,
                digest="",
                licence=self.licence,
                convert=_converted,
            )
        }

    def build(
        self, state: Mapping[str, Tensor], options: Options, device: Device, precision: Precision
    ) -> Network:
        """The frozen network.

        Raises:
            WeightsUnavailable: if names or shapes are not this architecture's.
        """
        import torch

        from avqa.extract.encoders._parts import frozen
        from avqa.extract.encoders.ast import network

        places = frozen.filled(self.places, state, self.name)
        frozen.freeze(places, device, precision)
        with torch.inference_mode():
            return network.Network(
                places,
                heads=self.heads,
                bands=BANDS,
                real=REAL,
                batch=self.batch[device],
                dtype=frozen.DTYPES[precision],
            )


def _converted(path: Path) -> dict[str, Any]:
    return {name.removeprefix(PREFIX): value for name, value in read_safetensors(path).items()}
