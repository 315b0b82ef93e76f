"""Frozen networks, one file each: the file name is the encoder's public name.

An encoder module defines, without importing torch at module level:

- ``WEIGHTS: tuple[str, ...]``: names in `avqa.extract.weights.REGISTRY` it can need
- ``WEIGHTS_OF: dict[str, tuple[str, ...]]``: those that each tap needs
- ``BATCH: dict[str, int]``: rows per forward by kind of device; part of the recipe
- ``INPUTS: dict[str, Input]``: what its ``prepare`` makes of a second of video
- ``TAPS: dict[str, Tap]``: what it can store; a feature's name is ``<encoder>/<tap>``
- ``recipe(tap, settings) -> dict``: everything of this encoder that changes a number of that tap
- ``prepare(name, seconds, settings) -> ndarray``: the uint8 pictures or float32 sound of one
  `Input` → array ``[rows, *INPUTS[name].shape]``; runs in the decoder process
- ``build(settings, state) -> Network``: the frozen network, given its weights
"""

from __future__ import annotations

import importlib
import pkgutil
from dataclasses import dataclass
from types import ModuleType
from typing import TYPE_CHECKING, Literal, Protocol

from avqa.errors import UnknownName

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from torch import Tensor


@dataclass(frozen=True)
class Input:
    """One prepared block type: what travels from the decoder process to the network."""

    kind: Literal["picture", "sound"]
    shape: tuple[int, ...]
    """Shape of one row."""
    dtype: Literal["uint8", "float32"]
    window: int = 0
    """Samples of 16 kHz sound ``prepare`` gets for one row; sound only."""


@dataclass(frozen=True)
class Tap:
    """One array a network gives: its shape per second, dimension names and storage."""

    input: str
    shape: tuple[int, ...]
    dims: tuple[str, ...]
    sparse: bool
    """Many exact zeros (after a ReLU): stored with zstd; dense ones are not compressed."""


class Network(Protocol):
    """A frozen network on its device."""

    def forward(self, name: str, batch: Tensor, taps: Sequence[str]) -> dict[str, Tensor]:
        """Run one prepared batch ``[B, *shape]`` of the input ``name``, all rows at once.

        Returns float32 CPU tensors ``[B, *tap shape]`` for the taps asked for.
        """


def names() -> list[str]:
    """Names of all encoders, without importing them."""
    return sorted(m.name for m in pkgutil.iter_modules(__path__) if not m.name.startswith("_"))


def load(name: str) -> ModuleType:
    """Import one encoder module.

    Raises:
        UnknownName: if there is no such encoder.
    """
    if name not in names():
        raise UnknownName("encoder", name, names())
    return importlib.import_module(f"{__name__}.{name}")


def split_feature(feature: str) -> tuple[str, str]:
    """``<encoder>/<tap>`` → (encoder, tap), both known to exist.

    Raises:
        UnknownName: if the encoder or the tap does not exist.
    """
    encoder, _, tap = feature.partition("/")
    if encoder not in names() or tap not in load(encoder).TAPS:
        raise UnknownName("feature", feature, all_features())
    return encoder, tap


def all_features() -> list[str]:
    """Every ``<encoder>/<tap>`` there is."""
    return [f"{name}/{tap}" for name in names() for tap in load(name).TAPS]


def tap_of(feature: str) -> Tap:
    """The `Tap` of ``<encoder>/<tap>``."""
    encoder, tap = split_feature(feature)
    found: Tap = load(encoder).TAPS[tap]
    return found


def weights_of(features: Iterable[str]) -> tuple[str, ...]:
    """Names of the weights that these features need, each once, in order."""
    found: list[str] = []
    for feature in features:
        encoder, tap = split_feature(feature)
        found += load(encoder).WEIGHTS_OF[tap]
    return tuple(dict.fromkeys(found))
