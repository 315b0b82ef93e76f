"""Named recipes: one word that sets every choice of `Settings` that a published work made.

A profile is data. What it says was read from the papers' released scripts; whether it
reproduces their published feature files can only be settled with those files (`avqa compare`).
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping
from dataclasses import fields, replace
from typing import Any

from avqa.errors import ConfigError, UnknownName
from avqa.extract import encoders
from avqa.extract.settings import Settings

_CLIP_AND_AUDIO = ("clip_vit_b32/frame", "clip_vit_b32/patch", "vggish/audio")
_LARGE_AND_TOKENS = (
    "clip_vit_l14_336/frame",
    "vit_l16_384/tome14",
    "vit_l16_384/tome14_source",  # to draw what heads looked at; for nothing: of the same forward
    "vggish/audio",
)
_MAPS_AND_AUDIO = ("resnet18/map", "vggish/audio")

PROFILES: dict[str, Settings] = {
    "default": Settings(),
    # The dataset authors' recommended scripts: mid-second frames looped to 60, audio by the
    # nearest 44.1 kHz sample, pooled vectors and squashed maps.
    "music-avqa": Settings(
        features=("resnet18/pool", "resnet18/map", "vggish/audio"),
        frame_at="music-avqa",
        resample="nearest44k",
    ),
    # Same dumps as music-avqa; these heads read the maps and the audio only.
    "avst": Settings(features=_MAPS_AND_AUDIO, frame_at="music-avqa", resample="nearest44k"),
    "tjstg": Settings(features=_MAPS_AND_AUDIO, frame_at="music-avqa", resample="nearest44k"),
    "sasr": Settings(features=_MAPS_AND_AUDIO, frame_at="music-avqa", resample="nearest44k"),
    # PSTP-Net's loader matches the files of the lagging `ffmpeg -r 1` script.
    "pstp": Settings(features=_CLIP_AND_AUDIO, frame_at="ffmpeg-r1", resample="nearest44k"),
    "mcd": Settings(
        features=("clip_vit_b32/frame", "resnet18/pool", "vggish/audio"),
        frame_at="music-avqa",
        resample="nearest44k",
    ),
    "avaf": Settings(
        features=_CLIP_AND_AUDIO,
        frame_at="music-avqa",
        resample="nearest44k",
    ),
    # Both read the dumps of MUSIC-AVQA's `ffmpeg -r 1` frames, each prepared in its own way.
    "qa-tiger": Settings(
        features=_LARGE_AND_TOKENS,
        frame_at="ffmpeg-r1",
        resample="nearest44k",
    ),
    "tspm": Settings(
        features=_LARGE_AND_TOKENS,
        frame_at="ffmpeg-r1",
        resample="nearest44k",
        options={"vit_l16_384.crop": "center", "vit_l16_384.statistics": "half"},
    ),
    "mccd": Settings(
        features=("r2plus1d_18/pool", "vggish/audio"),
        frame_at="ffmpeg-r1",
        resample="nearest44k",
    ),
    "cuespace": Settings(
        features=(
            "clip_vit_l14_336/frame@tome",
            "clip_vit_l14_336/tome14",
            "clip_vit_l14_336/tome14_source",
            "ast/class",
            "ast/band",
        ),
        frame_at="ffmpeg-fps1",
    ),
}

WHY = {
    "default": "one frame at the middle of each second; T is the video's own length",
    "music-avqa": "as MUSIC-AVQA's recommended scripts: always 60 rows, short clips are looped",
    "avst": "the maps and the audio of music-avqa, which AVST reads",
    "tjstg": "the same for TJSTG",
    "sasr": "the same for SaSR-Net",
    "pstp": "as `ffmpeg -r 1` writes frames, which PSTP-Net's files match",
    "mcd": "as music-avqa, pooled frames and CLIP",
    "avaf": "as music-avqa, CLIP patches",
    "qa-tiger": "as `ffmpeg -r 1`; CLIP L/14@336, merged tokens of squashed frames",
    "tspm": "as qa-tiger, merged tokens of the frames' middle",
    "mccd": "as `ffmpeg -r 1`; R(2+1)D-18 of single frames",
    "cuespace": "as `ffmpeg -vf fps=1`; CLIP L/14@336 with merged tokens, AST",
}
"""Profile → what it is for, in words."""


def profile(name: str, **overrides: Any) -> Settings:
    """The settings of one profile, single choices replaced by ``overrides`` that are not None.

    ``options`` of encoders are added to the profile's own.

    Raises:
        UnknownName: if there is no such profile or choice.
        ConfigError: ``options`` is no mapping.
    """
    if name not in PROFILES:
        raise UnknownName("profile", str(name), PROFILES)
    chosen = PROFILES[name]
    given = {key: _plain(value) for key, value in overrides.items() if value is not None}
    asked = given.pop("options", {})
    if not isinstance(asked, Mapping):
        raise ConfigError(f"options={asked!r}; expected a mapping of <encoder>.<option> to a value")
    options = {**chosen.options, **{str(key): _plain(value) for key, value in asked.items()}}
    known = [field.name for field in fields(Settings)]
    for old in sorted(given.keys() - set(known)):
        key = encoders.renamed().get(old)
        if key is not None:
            warnings.warn(
                f"{old}=… goes with the next release; use options={{{key!r}: …}}",
                DeprecationWarning,
                stacklevel=3,
            )
            options[key] = given.pop(old)
        else:
            raise UnknownName("choice", old, known)
    return replace(chosen, **given, options=options)


def _plain(value: Any) -> Any:
    """A number of numpy as Python's own, a path as text."""
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    return value.item() if getattr(value, "shape", None) == () else value
