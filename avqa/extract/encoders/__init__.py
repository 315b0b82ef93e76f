"""Frozen networks, one file each: the file name is the encoder's public name.

An encoder's file holds everything about it: its weights, what it prepares, what can be stored,
its options, its recipe. `EncoderModule` is the contract; ``docs/plugins.md`` has an example.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

from avqa.errors import ConfigError, LibraryMissing, PluginError, UnknownName
from avqa.extract.encoders._contract import (
    SHARED_OPTIONS,
    USUAL_PRECISIONS,
    Device,
    EncoderFamily,
    EncoderModule,
    Input,
    Network,
    Option,
    Options,
    OptionValue,
    Precision,
    Tap,
    TextTap,
    TextTower,
    Weights,
    complaints,
)
from avqa.plugins import Kind

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

__all__ = [
    "ENCODERS",
    "SHARED_OPTIONS",
    "FAMILIES",
    "Device",
    "EncoderFamily",
    "EncoderModule",
    "Input",
    "Network",
    "Option",
    "OptionValue",
    "Options",
    "Precision",
    "Tap",
    "TextTap",
    "TextTower",
    "Weights",
    "all_features",
    "all_options",
    "check_precision",
    "feature_name",
    "full_name",
    "is_known",
    "load",
    "names",
    "option_of",
    "renamed",
    "split_feature",
    "tap_of",
    "text_tower",
    "weights_of",
]

ENCODERS: Kind[EncoderModule] = Kind(
    "encoder", __name__, "avqa.encoders", EncoderModule, complaints
)
FAMILIES: Kind[EncoderFamily] = Kind(
    "family of encoders", f"{__name__}._families", "avqa.encoder_families", EncoderFamily
)


def names() -> tuple[str, ...]:
    """Names of all encoders but the members of families, without importing them."""
    return ENCODERS.names()


def load(name: str) -> EncoderModule:
    """Import one encoder module, or get a family's member ``<family>/<rest>``.

    Raises:
        UnknownName: if there is no such encoder.
        PluginError: it breaks the contract.
    """
    family, _, rest = name.partition("/")
    if rest and family in FAMILIES.names():
        return _member(family, rest)
    return ENCODERS.load(name)


@functools.cache
def _member(family: str, rest: str) -> EncoderModule:
    return FAMILIES.load(family).member(rest)


def is_known(name: str) -> bool:
    """Whether there is an encoder of this name."""
    family, _, rest = name.partition("/")
    if not rest or family not in FAMILIES.names():
        return name in names()
    try:
        _member(family, rest)
    except UnknownName:
        return False
    return True


def full_name(written: str) -> str:
    """A feature or an encoder as it is stored: ``open_clip:NAME:TAG`` is ``open_clip/NAME/TAG``.

    What names no family's member is left as it is.

    Raises:
        UnknownName: there is no such member of the family.
    """
    family, colon, rest = written.partition(":")
    if not colon or family not in FAMILIES.names():
        return written
    member, slash, tap = rest.partition("/")
    return f"{family}/{FAMILIES.load(family).full_name(member)}{slash}{tap}"


def feature_name(written: str) -> str:
    """A feature as it is stored; of a family's member without a tap, the first one.

    Raises:
        UnknownName: there is no such member of the family.
    """
    name = full_name(written)
    if name == written or "/" in written:
        return name
    return f"{name}/{next(iter(load(name).TAPS))}"


def split_feature(feature: str) -> tuple[str, str]:
    """``<encoder>/<tap>`` → (encoder, tap), both known to exist.

    Raises:
        UnknownName: if the encoder or the tap does not exist.
    """
    encoder, _, tap = feature.rpartition("/")
    if "/" not in encoder and encoder not in names():
        raise UnknownName("feature", feature, all_features())
    if tap not in (taps := load(encoder).TAPS):
        of_family = [f"{encoder}/{name}" for name in taps] if "/" in encoder else []
        raise UnknownName("feature", feature, of_family or all_features())
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


def text_tower(encoder: str) -> TextTower:
    """The tower of an encoder that reads texts.

    Raises:
        UnknownName: there is no such encoder, or it reads no texts; names those that do.
        ConfigError: its texts cannot be had here; says why.
    """
    module = load(encoder) if is_known(encoder) else None
    tower: TextTower | None = getattr(module, "TEXT", None)
    if tower is None and (why := getattr(module, "NO_TEXT", "")):
        raise ConfigError(f"{encoder}: {why}")
    if tower is None:
        reading = [name for name, module in _usable() if hasattr(module, "TEXT")]
        raise UnknownName("encoder of texts", encoder, reading)
    return tower


def check_precision(precision: str, encoders: Iterable[str]) -> None:
    """Make sure that all of these encoders have it.

    Raises:
        ConfigError: one has not; names those that have.
    """
    if precision in USUAL_PRECISIONS:
        return
    others = [name for name in dict.fromkeys(encoders) if precision not in _own(load(name))]
    if others:
        able = [name for name, module in _usable() if precision in _own(module)]
        raise ConfigError(
            f"precision={precision!r} with {', '.join(others)}; expected encoders that have it:"
            f" {', '.join(able)}; check --precision, or take others in a run of their own"
        )


def _own(module: EncoderModule) -> tuple[Precision, ...]:
    return getattr(module, "PRECISIONS", ())


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
    encoder, _, option = key.rpartition(".")
    if not is_known(encoder) or option not in load(encoder).OPTIONS:
        raise UnknownName("option", key, all_options())
    return load(encoder).OPTIONS[option]


def renamed() -> dict[str, str]:
    """Name of a setting of before → the ``<encoder>.<option>`` that it is now."""
    return {was: key for key in all_options() if (was := option_of(key).was)}
