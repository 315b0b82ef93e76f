"""What of a machine decides the numbers: versions of libraries, and the recipes they give.

A driver and workers that are other processes on other machines must agree on both.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from typing import Any

from avqa.errors import AvqaError, EnvironmentFailure
from avqa.extract.decoder.process import DecoderProcess
from avqa.extract.recipe import feature_recipe
from avqa.extract.settings import Settings
from avqa.extract.weights import WeightsSource
from avqa.machine import num_gpus
from avqa.pipelines.engine.files import in_bucket
from avqa.pipelines.engine.job import VideoJob
from avqa.store.format.recipe_diff import diff_features, require_same
from avqa.store.lock import read_holder
from avqa.store.places.files import StorePath

PACKAGES = (
    *("av", "numpy", "open_clip_torch", "soxr", "torch", "torchvggish", "torchvision", "zarr"),
)
"""Distributions whose version may change a number or how it is stored."""


@dataclass(frozen=True)
class Environment:
    """What driver and workers must have in common."""

    versions: Mapping[str, str]
    recipes: Mapping[str, Mapping[str, Any]]
    """Feature → recipe."""


def library_versions() -> dict[str, str]:
    """Version of each of `PACKAGES`; ``none`` where it is not installed."""
    found = {}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = "none"
    return found


def build_recipes(
    settings: Settings, source: WeightsSource, decoder: DecoderProcess | None = None
) -> dict[str, dict[str, Any]]:
    """The recipe of every feature asked for.

    ``decoder``: one that is there, to be asked for its version.
    """
    if decoder is not None:
        version = decoder.version()
    else:
        with DecoderProcess(settings.decoder) as made:  # native libraries stay out of this process
            version = made.version()
    return {
        feature: feature_recipe(feature, settings, source, version) for feature in settings.features
    }


def environment(settings: Settings, source: WeightsSource) -> Environment:
    """Versions and recipes as they are in this process."""
    return Environment(library_versions(), build_recipes(settings, source))


def check_worker(
    expected: Environment, settings: Settings, source: WeightsSource, store: StorePath, run_id: str
) -> None:
    """Make sure that this process would give the driver's numbers, and put them in its store.

    Raises:
        EnvironmentFailure: other versions, no GPU where one is needed, or not the driver's store.
        RecipeMismatch: the same versions, but another recipe.
    """
    _check_versions(expected.versions)
    if settings.device == "cuda" and not num_gpus():
        visible = os.environ.get("CUDA_VISIBLE_DEVICES", "not set")
        raise EnvironmentFailure(
            f"device=cuda, but no GPU is visible here (CUDA_VISIBLE_DEVICES={visible}); expected"
            " an NVIDIA GPU for each worker; start its worker on a GPU, or use --device cpu"
        )
    holder = read_holder(store)
    if holder is None or holder.run_id != run_id:
        raise EnvironmentFailure(
            f"store {str(store)!r} is not there as the driver sees it; expected a folder that all"
            " machines share; mount it at the same path there, or give another --out"
        )
    try:
        recipes = build_recipes(settings, source)
    except AvqaError as error:
        raise EnvironmentFailure(str(error)) from error
    _check_recipes(expected.recipes, recipes)


def check_videos(jobs: Sequence[VideoJob]) -> None:
    """Make sure that the files of a first bundle are here.

    Raises:
        EnvironmentFailure: not one of them is.
    """
    if not any(in_bucket(job.path) or os.path.exists(job.path) for job in jobs):
        job = jobs[0]
        folder = job.path.removesuffix(job.relpath).rstrip(os.sep) or os.sep
        what = f"none of {len(jobs)} videos" if os.path.isdir(folder) else "no such folder"
        raise EnvironmentFailure(
            f"videos folder {folder!r}: {what} there, the first is {job.relpath!r}; expected a"
            " folder that all machines share; mount it at the same path there"
        )


def _check_versions(expected: Mapping[str, str]) -> None:
    found = library_versions()
    differing = [
        f"{name}={found.get(name, 'none')} (driver {version})"
        for name, version in expected.items()
        # What follows a plus sign is how it was built: for a GPU or not.
        if found.get(name, "none").partition("+")[0] != version.partition("+")[0]
    ]
    if differing:
        raise EnvironmentFailure(
            f"other versions: {', '.join(differing)}; expected the driver's, since numbers may"
            " depend on them; use the same environment on all machines"
        )


def _check_recipes(
    expected: Mapping[str, Mapping[str, Any]], found: Mapping[str, Mapping[str, Any]]
) -> None:
    require_same(
        "features",
        diff_features(expected, found),
        "use the same environment on all machines",
        sides=("driver", "worker"),
    )
