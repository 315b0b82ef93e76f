"""A feature's recipe: everything that changes one of its numbers, as plain data.

`feature_recipe` gives the nested dictionary that the store keeps, hashes and compares. The
sections ``grid`` and ``decoder`` are the same for all features of a store.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from avqa.errors import ConfigError
from avqa.extract import encoders
from avqa.extract.settings import Settings

if TYPE_CHECKING:
    from avqa.extract.weights import WeightsSource

SHARED_SECTIONS = ("grid", "decoder")
"""Sections that every feature of one store must agree on."""

OPTIONS = {
    "grid.frame_at": "--frame-at",
    "grid.chunk_seconds": "--chunk-seconds",
    "decoder.name": "--decoder",
    "encoder.crop": "--clip-crop",
    "encoder.resample": "--resample",
    "encoder.audio_hop": "--audio-hop",
    "compute.precision": "--precision",
    "compute.device": "--device",
    "weights": "--weights",
    "storage.dtype": "--dtype",
}
"""Beginning of a recipe key → the command-line option that sets it, for the refusal's advice."""


def feature_recipe(
    feature: str, settings: Settings, weights: WeightsSource, decoder_version: str
) -> dict[str, Any]:
    """The canonical recipe of one ``<encoder>/<tap>`` under ``settings``.

    Raises:
        UnknownName: if the feature does not exist.
    """
    encoder, tap = encoders.split_feature(feature)
    module = encoders.load(encoder)
    return {
        "feature": feature,
        "grid": {"frame_at": settings.frame_at, "chunk_seconds": settings.chunk_seconds},
        "decoder": {"name": settings.decoder, "version": decoder_version},
        "encoder": module.recipe(tap, settings),
        "weights": {name: weights.describe(name) for name in module.WEIGHTS_OF[tap]},
        "compute": {
            "precision": settings.precision,
            "device": settings.device,
            "batch": module.BATCH[settings.device],
        },
        "storage": {"dtype": settings.dtype},
    }


def settings_from(recipes: Mapping[str, Mapping[str, Any]]) -> Settings:
    """The settings that made a store's features: the inverse of `feature_recipe`.

    Weights that came from files are looked for in the cache (``pretrained``).

    Raises:
        ConfigError: the features were made with choices that no single run can have.
    """
    found: dict[str, set[Any]] = {}
    for feature, recipe in recipes.items():
        encoder = recipe["encoder"]
        sources = {weights["source"] for weights in recipe["weights"].values()}
        choices = {
            "frame_at": recipe["grid"]["frame_at"],
            "chunk_seconds": recipe["grid"]["chunk_seconds"],
            "decoder": recipe["decoder"]["name"],
            "precision": recipe["compute"]["precision"],
            "device": recipe["compute"]["device"],
            "dtype": recipe["storage"]["dtype"],
            "weights": next(iter(s for s in sources if s.startswith("random:")), "pretrained"),
            "resample": encoder.get("resample"),
            "audio_hop": encoder.get("audio_hop"),
            "clip_crop": encoder.get("crop") if feature.startswith("clip_") else None,
        }
        for name, value in choices.items():
            if value is not None:
                found.setdefault(name, set()).add(value)
    mixed = sorted(name for name, values in found.items() if len(values) > 1)
    if mixed:
        raise ConfigError(
            f"features differ in {', '.join(mixed)}; expected one value of each for all of them;"
            " name features that share it"
        )
    single = {name: next(iter(values)) for name, values in found.items()}
    return Settings(features=tuple(recipes), **single)
