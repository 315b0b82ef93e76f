"""Named recipes: one word that sets every choice of `Settings` that a published work made.

A profile is data. What it says was read from the papers' released scripts; whether it
reproduces their published feature files can only be settled with those files (`avqa compare`).
"""

from __future__ import annotations

from dataclasses import replace

from avqa.errors import UnknownName
from avqa.extract.settings import Settings

_CLIP_AND_SOUND = ("clip_vit_b32/frame", "clip_vit_b32/patch", "vggish/audio")
_MAPS_AND_SOUND = ("resnet18/map", "vggish/audio")

PROFILES: dict[str, Settings] = {
    "default": Settings(),
    # The dataset authors' recommended scripts: mid-second frames looped to 60, sound by the
    # nearest 44.1 kHz sample, pooled vectors and squashed maps.
    "music-avqa": Settings(
        features=("resnet18/pool", "resnet18/map", "vggish/audio"),
        frame_at="music-avqa",
        resample="nearest44k",
    ),
    # Same dumps as music-avqa; these heads read the maps and the sound only.
    "avst": Settings(features=_MAPS_AND_SOUND, frame_at="music-avqa", resample="nearest44k"),
    "tjstg": Settings(features=_MAPS_AND_SOUND, frame_at="music-avqa", resample="nearest44k"),
    "sasr": Settings(features=_MAPS_AND_SOUND, frame_at="music-avqa", resample="nearest44k"),
    # PSTP-Net's loader matches the files of the lagging `ffmpeg -r 1` script.
    "pstp": Settings(features=_CLIP_AND_SOUND, frame_at="ffmpeg-r1", resample="nearest44k"),
    "mcd": Settings(
        features=("clip_vit_b32/frame", "resnet18/pool", "vggish/audio"),
        frame_at="music-avqa",
        resample="nearest44k",
    ),
    "avaf": Settings(
        features=_CLIP_AND_SOUND,
        frame_at="music-avqa",
        resample="nearest44k",
    ),
}


def profile(name: str, **overrides: object) -> Settings:
    """The settings of one profile, single choices replaced by ``overrides`` that are not None.

    Raises:
        UnknownName: if there is no such profile.
    """
    if name not in PROFILES:
        raise UnknownName("profile", name, PROFILES)
    given = {key: value for key, value in overrides.items() if value is not None}
    return replace(PROFILES[name], **given)  # type: ignore[arg-type]
