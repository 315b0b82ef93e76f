"""The choices that change a number, as one frozen value that travels everywhere."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal, get_args

from avqa.errors import ConfigError
from avqa.extract import encoders
from avqa.extract.encoders import Device, OptionValue, Precision

FrameAt = Literal["mid", "start", "key", "music-avqa", "ffmpeg-fps1", "ffmpeg-r1"]
Resample = Literal["soxr_hq", "nearest44k"]
Mix = Literal["mean", "itu", "first"]
Dtype = Literal["float16", "float32"]

CHOICES: dict[str, tuple[str, ...]] = {
    "frame_at": get_args(FrameAt),
    "resample": get_args(Resample),
    "mix": get_args(Mix),
    "precision": get_args(Precision),
    "dtype": get_args(Dtype),
}
"""Allowed values of every option with a closed list."""
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
    resample: Resample = "soxr_hq"
    """How the audio that all encoders see gets its 16 kHz."""
    mix: Mix = "mean"
    """How its channels become one; see `avqa.extract.media.mixing`."""
    options: Mapping[str, OptionValue] = field(default_factory=dict, hash=False)
    """``<encoder>.<option>`` → value, for those that are not at their defaults."""
    precision: Precision = "fp32"
    dtype: Dtype = "float16"
    weights: str = "pretrained"
    device: Device = "cpu"
    chunk_seconds: int = 60

    def options_of(self, encoder: str) -> dict[str, OptionValue]:
        """Every option of one encoder → its value.

        Raises:
            UnknownName: if there is no such encoder.
        """
        return {
            name: self.options.get(f"{encoder}.{name}", option.default)
            for name, option in encoders.load(encoder).OPTIONS.items()
        }


def check_settings(settings: Settings) -> Settings:
    """Return ``settings`` if every value is allowed, options as their encoders declare them.

    Raises:
        ConfigError: naming the option, its value, what is allowed.
        UnknownName: there is no such encoder or option.
    """
    for name, allowed in CHOICES.items():
        value = getattr(settings, name)
        if not isinstance(value, str) or value not in allowed:
            raise _refusal(name, value, "one of " + ", ".join(allowed))
    for name in ("decoder", "weights"):
        if not isinstance(value := getattr(settings, name), str):
            raise _refusal(name, value, "text")
    if type(settings.chunk_seconds) is not int or not (
        1 <= settings.chunk_seconds <= MAX_CHUNK_SECONDS
    ):
        raise _refusal("chunk_seconds", settings.chunk_seconds, f"1 to {MAX_CHUNK_SECONDS}")
    if not settings.features:
        raise _refusal("features", "", "at least one <encoder>/<tap>")
    if len(set(settings.features)) < len(settings.features):
        raise _refusal("features", ",".join(settings.features), "each feature once")
    features = tuple(encoders.feature_name(feature) for feature in settings.features)
    encoders.check_precision(settings.precision, (f.rpartition("/")[0] for f in features))
    return replace(settings, features=features, options=_checked(settings.options))


def _checked(options: Mapping[str, object]) -> dict[str, OptionValue]:
    """Values as the encoders declare them, without those that are the default."""
    found = {}
    for key, value in options.items():
        option = encoders.option_of(key)
        choice = option.parse(value) if isinstance(value, str | int | float) else None
        if choice is None:
            raise ConfigError(
                f"{key}={value!r}; expected one of {', '.join(map(str, option.choices))};"
                f" check --set {key}"
            )
        if choice != option.default:
            found[key] = choice
    return found


def _refusal(name: str, value: object, expected: str) -> ConfigError:
    option = "--" + name.replace("_", "-")
    return ConfigError(f"{name}={value!r}; expected {expected}; check {option}")
