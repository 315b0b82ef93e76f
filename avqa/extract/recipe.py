"""A feature's recipe: everything that changes one of its numbers, as plain data.

`feature_recipe` gives the nested dictionary that the store keeps, hashes and compares. The
sections ``grid`` and ``decoder`` are the same for all features of a store.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from avqa.extract import encoders

if TYPE_CHECKING:
    from avqa.extract.settings import Settings
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
