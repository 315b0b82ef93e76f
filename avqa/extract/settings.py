"""The choices that change a number, as one frozen value that travels everywhere."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from avqa.errors import ConfigError

FrameAt = Literal["mid", "start", "music-avqa", "ffmpeg-fps1", "ffmpeg-r1"]
Crop = Literal["center", "squash", "pad"]
Resample = Literal["soxr_hq", "nearest44k"]
Precision = Literal["fp32", "bf16", "fp16"]
Dtype = Literal["float16", "float32"]
Device = Literal["cpu", "cuda"]

CHOICES: dict[str, tuple[str, ...]] = {
    "frame_at": get_args(FrameAt),
    "clip_crop": get_args(Crop),
    "resample": get_args(Resample),
    "precision": get_args(Precision),
    "dtype": get_args(Dtype),
}
"""Allowed values of every option with a closed list."""
AUDIO_HOPS = (1.0, 0.96)
MAX_CHUNK_SECONDS = 3600

DEFAULT_FEATURES = (
    "clip_vit_b32/frame",
    "clip_vit_b32/patch",
    "resnet18/pool",
    "resnet18/map",
    "vggish/audio",
)


@dataclass(frozen=True)
class Settings:
    """Everything the user can choose that changes a stored number (design: recipe)."""

    features: tuple[str, ...] = DEFAULT_FEATURES
    frame_at: FrameAt = "mid"
    decoder: str = "pyav"
    clip_crop: Crop = "center"
    resample: Resample = "soxr_hq"
    audio_hop: float = 1.0
    """Seconds between VGGish examples: 1.0 or 0.96."""
    precision: Precision = "fp32"
    dtype: Dtype = "float16"
    weights: str = "pretrained"
    device: Device = "cpu"
    chunk_seconds: int = 60


def check_settings(settings: Settings) -> Settings:
    """Return ``settings`` unchanged if every value is allowed.

    Raises:
        ConfigError: naming the option, its value, what is allowed.
    """
    for name, allowed in CHOICES.items():
        value = getattr(settings, name)
        if value not in allowed:
            raise _refusal(name, value, "one of " + ", ".join(allowed))
    if settings.audio_hop not in AUDIO_HOPS:
        raise _refusal("audio_hop", settings.audio_hop, "1.0 or 0.96 seconds")
    if not 1 <= settings.chunk_seconds <= MAX_CHUNK_SECONDS:
        raise _refusal("chunk_seconds", settings.chunk_seconds, f"1 to {MAX_CHUNK_SECONDS}")
    if not settings.features:
        raise _refusal("features", "", "at least one <encoder>/<tap>")
    if len(set(settings.features)) < len(settings.features):
        raise _refusal("features", ",".join(settings.features), "each feature once")
    return settings


def _refusal(name: str, value: object, expected: str) -> ConfigError:
    option = "--" + name.replace("_", "-")
    return ConfigError(f"{name}={value!r}; expected {expected}; check {option}")
