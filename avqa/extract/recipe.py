"""A feature's recipe: everything that changes one of its numbers, as plain data.

`feature_recipe` gives the nested dictionary that the store keeps, hashes and compares. The
sections ``grid`` and ``decoder`` are the same for all features of a store.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from avqa.errors import ConfigError
from avqa.extract import encoders
from avqa.extract.settings import Settings

if TYPE_CHECKING:
    from avqa.extract.weights import WeightsSource

SHARED_SECTIONS = ("grid", "decoder")
"""Sections that every feature of one store must agree on."""
RULES = 2
"""Which rules turn a file into frames and audio, whatever reader it is; ``docs/reading.md`` lists
them. It goes up when rows of some videos change though nobody chose anything. Recipes of 0.1, which
went by rules 1, have no such key."""
RULES_KEY = "decoder.rules"

OPTIONS = {
    "grid.frame_at": "--frame-at",
    "grid.chunk_seconds": "--chunk-seconds",
    "decoder.name": "--decoder",
    "encoder.resample": "--resample",
    "encoder.mix": "--mix",
    "compute.precision": "--precision",
    "compute.device": "--device",
    "weights": "--weights",
    "storage.dtype": "--dtype",
}
"""Beginning of a recipe key → the command-line option that sets it, for the refusal's advice.

Options of encoders are the keys ``encoder.<option>``; see `options_to_set`."""


def feature_recipe(
    feature: str, settings: Settings, weights: WeightsSource, decoder_version: str
) -> dict[str, Any]:
    """The canonical recipe of one ``<encoder>/<tap>`` under ``settings``.

    Raises:
        UnknownName: if the feature does not exist.
    """
    encoder, tap = encoders.split_feature(feature)
    module = encoders.load(encoder)
    audio = module.INPUTS[module.TAPS[tap].input].kind == "audio"
    shared = _shared(settings) if audio else {}
    return {
        "feature": feature,
        "grid": {"frame_at": settings.frame_at, "chunk_seconds": settings.chunk_seconds},
        "decoder": {"name": settings.decoder, "version": decoder_version, "rules": RULES},
        "encoder": {**module.recipe(tap), **shared, **settings.options_of(encoder)},
        "weights": {name: weights.describe(name) for name in encoders.weights_of([feature])},
        "compute": {
            "precision": settings.precision,
            "device": settings.device,
            "batch": module.BATCH[settings.device],
        },
        "storage": {"dtype": module.TAPS[tap].dtype or settings.dtype},
    }


def _shared(settings: Settings) -> dict[str, str]:
    """What the recipe of every tap of audio has.

    A choice that is younger than recipes is there if it is not the default, as it was before.
    """
    chosen = {name: getattr(settings, name) for name in encoders.SHARED_OPTIONS}
    if chosen["mix"] == Settings.mix:
        del chosen["mix"]
    return chosen


def _found_shared(encoder: Mapping[str, Any]) -> dict[str, Any]:
    """The inverse of `_shared`; nothing for a tap of frames."""
    if "resample" not in encoder:
        return {}
    return {
        "mix": Settings.mix,
        **{k: v for k, v in encoder.items() if k in encoders.SHARED_OPTIONS},
    }


def options_to_set(keys: Collection[str], features: Iterable[str]) -> list[str]:
    """Command-line options that set these keys of the recipes of ``features``."""
    found = [o for begin, o in OPTIONS.items() if any(key.startswith(begin) for key in keys)]
    names = [key.removeprefix("encoder.") for key in keys if key.startswith("encoder.")]
    own = [f"{feature.rpartition('/')[0]}.{name}" for feature in features for name in names]
    known = set(encoders.all_options())
    return list(dict.fromkeys([*found, *(f"--set {option}" for option in own if option in known)]))


def settings_from(recipes: Mapping[str, Mapping[str, Any]]) -> Settings:
    """The settings that made a store's features: the inverse of `feature_recipe`.

    Weights that came from files are looked for in the cache (``pretrained``).

    Raises:
        ConfigError: the features were made with choices that no single run can have.
        UnknownName: an encoder that made them is not here.
    """
    found = _choices(recipes)
    mixed = _mixed(found)
    if mixed:
        raise ConfigError(
            f"features differ in {', '.join(mixed)}; expected one value of each for all of them;"
            " name features that share it"
        )
    return _settings(tuple(recipes), found)


def settings_like(
    recipes: Mapping[str, Mapping[str, Any]], features: tuple[str, ...] | None
) -> Settings:
    """The settings by which a run goes on with a store's features, or adds others to them.

    Args:
        recipes: of all features of the store.
        features: those of the run; None: all of the store.

    Raises:
        ConfigError: they are in the store, made with choices that no single run can have.
        UnknownName: an encoder that made the store's is not here.
    """
    if features is None:
        return settings_from(recipes)
    stored = {feature: recipes[feature] for feature in features if feature in recipes}
    options = {name: values for name, values in _choices(recipes).items() if "." in name}
    if len(stored) == len(features):
        return replace(settings_from(stored), features=features)
    found = {**_choices(stored or recipes), **options}
    for name in _mixed(found):  # nothing tells which of them a new feature shall have
        del found[name]
    return _settings(features, found)


def _settings(features: tuple[str, ...], found: Mapping[str, set[Any]]) -> Settings:
    """The settings of these choices, each of which has one value."""
    single = {name: next(iter(values)) for name, values in found.items()}
    options = {name: single.pop(name) for name in list(single) if "." in name}
    return Settings(features=features, options=options, **single)


def _mixed(found: Mapping[str, set[Any]]) -> list[str]:
    return sorted(name for name, values in found.items() if len(values) > 1)


def _choices(recipes: Mapping[str, Mapping[str, Any]]) -> dict[str, set[Any]]:
    """Name of a setting, or ``<encoder>.<option>`` → its values in recipes."""
    found: dict[str, set[Any]] = {}
    for feature, recipe in recipes.items():
        encoder, tap = encoders.split_feature(feature)
        own_dtype = encoders.load(encoder).TAPS[tap].dtype is not None
        choices = {
            "frame_at": recipe["grid"]["frame_at"],
            "chunk_seconds": recipe["grid"]["chunk_seconds"],
            "decoder": recipe["decoder"]["name"],
            "precision": recipe["compute"]["precision"],
            "device": recipe["compute"]["device"],
            "dtype": None if own_dtype else recipe["storage"]["dtype"],
            "weights": _source(recipe["weights"]),
            **_found_shared(recipe["encoder"]),
            **{
                f"{encoder}.{name}": recipe["encoder"].get(name)
                for name in encoders.load(encoder).OPTIONS
            },
        }
        for name, value in choices.items():
            if value is not None:
                found.setdefault(name, set()).add(value)
    return found


def _source(weights: Mapping[str, Mapping[str, str]]) -> str | None:
    """``pretrained`` or ``random:SEED``; None for an encoder without weights."""
    sources = {entry["source"] for entry in weights.values()}
    random = (source for source in sources if source.startswith("random:"))
    return next(random, "pretrained" if sources else None)
