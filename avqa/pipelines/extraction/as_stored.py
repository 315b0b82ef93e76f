"""Choices that a run was not given are those that its store was made with."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import fields, replace
from typing import Any

from avqa.extract.encoders import Device
from avqa.extract.profiles import profile as choose
from avqa.extract.recipe import OPTIONS, settings_like
from avqa.extract.settings import Settings, check_settings
from avqa.store.collection import read_collection
from avqa.store.commit import Store
from avqa.store.format.layout import read_attributes
from avqa.store.places.files import StorePath

PROFILED = ("features", "frame_at", "resample", "options")
"""What a profile says; the rest is the store's."""


def settings_for(
    path: StorePath, profile: str | None, device: Device, *, auto: bool, **choices: Any
) -> tuple[Settings, str]:
    """The settings of a run, and what of them was the store's choice, as options; or nothing.

    Args:
        path: the store, which need not exist.
        profile: None: the store's, where there is one.
        device: that the workers have.
        auto: whether nobody asked for it.
        **choices: values of `Settings`; those that are None are not given.

    Raises:
        UnknownName: there is no such profile, feature or encoder.
        ConfigError: a value is not allowed, or no run can have the store's choices.
        StoreError: the store is damaged, or of another schema.
    """
    chosen = check_settings(choose(profile or "default", device=device, **choices))
    recipes = _recipes(path)
    if not recipes:
        return chosen, ""
    given = {name for name, value in choices.items() if value not in (None, {}, ())}
    given |= set(PROFILED if profile else ()) | set(() if auto else ("device",))
    features = chosen.features if "features" in given else None
    base = _with_folder(path, settings_like(recipes, features), recipes)
    if base.device == "cuda":  # whether this machine can, is known here alone
        base = replace(base, device=device)
    kept = {name: getattr(chosen, name) for name in given - {"options"} if name in _NAMES}
    options = {**base.options, **chosen.options}
    followed = check_settings(replace(base, **kept, options=options))
    return followed, _told(followed, chosen)


_NAMES = {field.name for field in fields(Settings)}


def _recipes(path: StorePath) -> Mapping[str, Mapping[str, Any]]:
    """Of a store whose features were extracted; of others nothing is to be taken over."""
    if not Store.exists(path):
        return {}
    recipes = {name: of["recipe"] for name, of in read_attributes(path)["features"].items()}
    extracted = all(
        {"grid", "decoder", "compute", "storage"} <= of.keys() for of in recipes.values()
    )
    return recipes if extracted else {}


def _with_folder(
    path: StorePath, settings: Settings, recipes: Mapping[str, Mapping[str, Any]]
) -> Settings:
    """The settings, with weights from the folder that they came from, if it is still there."""
    folder = read_collection(path).weights
    if settings.weights == "pretrained" and folder and os.path.isdir(folder):
        return replace(settings, weights=folder)
    return settings


def _told(settings: Settings, otherwise: Settings) -> str:
    """The options that differ from what a new store would get."""
    flags = {option.lstrip("-").replace("-", "_"): option for option in OPTIONS.values()}
    told = []
    if settings.features != otherwise.features:
        told.append(f"--features {','.join(settings.features)}")
    for name, option in flags.items():
        if name in _NAMES and getattr(settings, name) != getattr(otherwise, name):
            told.append(f"{option} {getattr(settings, name)}")
    for name, value in settings.options.items():
        if otherwise.options.get(name) != value:
            told.append(f"--set {name}={value}")
    return " ".join(told)
