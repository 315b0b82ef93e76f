"""Frozen networks, one file each: the file name is the encoder's public name.

An encoder's file holds everything about it: its weights, what it prepares, what can be stored,
its options, its recipe. `EncoderModule` is the contract; ``docs/plugins.md`` has an example.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from avqa.errors import LibraryMissing, PluginError, UnknownName
from avqa.extract.encoders._contract import (
    SHARED_OPTIONS,
    Device,
    EncoderModule,
    Input,
    Network,
    Option,
    Options,
    OptionValue,
    Precision,
    Tap,
    Weights,
    complaints,
)
from avqa.plugins import Kind

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

__all__ = [
    "ENCODERS",
    "SHARED_OPTIONS",
    "Device",
    "EncoderModule",
    "Input",
    "Network",
    "Option",
    "OptionValue",
    "Options",
    "Precision",
    "Tap",
    "Weights",
    "all_features",
    "all_options",
    "load",
    "names",
    "option_of",
    "renamed",
    "split_feature",
    "tap_of",
    "weights_of",
]

ENCODERS: Kind[EncoderModule] = Kind(
    "encoder", __name__, "avqa.encoders", EncoderModule, complaints
)


def names() -> tuple[str, ...]:
    """Names of all encoders, without importing them."""
    return ENCODERS.names()


def load(name: str) -> EncoderModule:
    """Import one encoder module.

    Raises:
        UnknownName: if there is no such encoder.
        PluginError: it breaks the contract.
    """
    return ENCODERS.load(name)


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
    return [f"{name}/{tap}" for name, module in _usable() for tap in module.TAPS]


def _usable() -> Iterator[tuple[str, EncoderModule]]:
    """Those that keep their contract: a broken one stops nobody who does not name it."""
    for name in names():
        try:
            yield name, load(name)
        except (PluginError, LibraryMissing):
            continue


def tap_of(feature: str) -> Tap:
    """The `Tap` of ``<encoder>/<tap>``."""
    encoder, tap = split_feature(feature)
    return load(encoder).TAPS[tap]


def weights_of(features: Iterable[str]) -> tuple[str, ...]:
    """Names of the weights that these ``<encoder>/<tap>`` need, each once, in order."""
    found: list[str] = []
    for feature in features:
        encoder, tap = split_feature(feature)
        module = load(encoder)
        needed = module.TAPS[tap].weights
        found += module.WEIGHTS if needed is None else needed
    return tuple(dict.fromkeys(found))


def all_options() -> list[str]:
    """Every ``<encoder>.<option>`` there is."""
    return [f"{name}.{option}" for name, module in _usable() for option in module.OPTIONS]


def option_of(key: str) -> Option:
    """The `Option` of ``<encoder>.<option>``.

    Raises:
        UnknownName: if the encoder or the option does not exist.
    """
    encoder, _, option = key.partition(".")
    if encoder not in names() or option not in load(encoder).OPTIONS:
        raise UnknownName("option", key, all_options())
    return load(encoder).OPTIONS[option]


def renamed() -> dict[str, str]:
    """Name of a setting of before → the ``<encoder>.<option>`` that it is now."""
    return {was: key for key in all_options() if (was := option_of(key).was)}
