"""Features of one video, made exactly as those that a run was trained on."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from avqa.errors import ConfigError, MediaError, RecipeMismatch
from avqa.extract import encoders, weights
from avqa.extract.decoder.process import DecoderProcess
from avqa.extract.encoders import Device
from avqa.extract.media.types import Limits
from avqa.extract.recipe import settings_from
from avqa.extract.settings import Settings
from avqa.machine import choose_device
from avqa.pipelines.ask.cache import AskCache
from avqa.pipelines.cluster.environment import build_recipes
from avqa.pipelines.engine.ahead import Ahead
from avqa.pipelines.engine.files import fingerprint
from avqa.pipelines.extraction.single import VideoExtractor, VideoWarning
from avqa.store.format.recipe_diff import diff_features, is_imported, recipe_hash, require_same
from avqa.telling import Bar
from avqa.training.data.names import is_ours, source_of
from avqa.training.run import Member
from avqa.training.settings import WITHOUT_AUDIO, TrainSettings

MACHINE = ("compute.device", "compute.batch")
"""Keys of a recipe that say on what kind of machine the numbers were made: they move a number in
its last digits only."""
SIDES = ("run", "here")
CROPS = ("center", "squash", "pad")
"""Ways to fit a frame into a square that `explain` can draw; see `heat.grid_box`."""
CENTER = re.compile(r"\bcenter (?:\w+ )?(\d+) of (\d+)")
"""In a recipe's ``resize``: the side of the square, and what the frame's shorter side becomes."""
Say = Callable[[str], None]
Recipes = dict[str, dict[str, Any]]


@dataclass(frozen=True)
class VideoRecipe:
    """How the video features of a run are made here."""

    names: dict[str, str]
    """Field of `HeadInput` → feature."""
    recipes: Recipes
    """Feature → recipe as it would be made here."""
    settings: Settings
    source: str | None = None
    """Feature that says which token each patch of a frame went into, for merged ones."""

    @property
    def crop(self) -> str | None:
        """How frames are fitted into the square that the patches divide; None if not known.

        ``center 384 of 438``: the square is 384 wide where the shorter side has 438.
        """
        name = self.names.get("patch")
        how = {} if name is None else self.recipes[name].get("encoder", {})
        crop = how.get("crop")
        within = CENTER.search(str(how.get("resize", ""))) if crop == "center" else None
        if within is not None:
            return f"center {within[1]} of {within[2]}"
        return crop if crop in CROPS else None


def device_for(asked: str, recipes: Iterable[Mapping[str, Any]]) -> Device:
    """The kind of device that features are made on.

    ``auto`` takes the run's own kind where this machine has it.

    Raises:
        ConfigError: there is no such device.
    """
    made_on = {recipe.get("compute", {}).get("device") for recipe in recipes}
    if asked == "auto" and made_on == {"cpu"}:
        return "cpu"
    return choose_device(asked)


def video_recipe(
    member: Member, asked_device: str, say: Say, decoder: DecoderProcess | None = None
) -> VideoRecipe:
    """Rebuild the recipe of a run's features and compare it with the run's.

    ``decoder``: one that was begun before, asked for its version if it fits.

    Raises:
        RecipeMismatch: it cannot be the same; names the keys.
        WeightsUnavailable: the run's weights are not at hand.
        ConfigError: there is no such device.
    """
    entries = member.config.features
    names = {field: str(entry["name"]) for field, entry in entries.items()}
    stored = {str(entry["name"]): dict(entry["recipe"]) for entry in entries.values()}
    for name, recipe in stored.items():
        if is_imported(recipe):
            raise RecipeMismatch(
                f"run {str(member.path)!r}: {name} was imported, so how it was made is not known"
                f"{'' if is_ours(name) else ', and avqa has no network that makes it'}; expected"
                " features of `avqa extract`: a new video has none; ask about videos of the run's"
                " store with `avqa predict`, or train on a store of `avqa extract`"
            )
    device = device_for(asked_device, stored.values())
    if not stored:
        return VideoRecipe({}, {}, Settings(features=(), device=device))
    try:
        settings = replace(settings_from(stored), device=device)
    except ConfigError as error:
        raise RecipeMismatch(f"run {str(member.path)!r}: {error}") from error
    source_of_patches = source_of(names["patch"]) if "patch" in names else None
    if source_of_patches is not None:  # to draw what the head looked at; made by the same forward
        settings = replace(settings, features=(*settings.features, source_of_patches))
    source = weights.resolve(settings.weights, encoders.weights_of(settings.features))
    fits = decoder is not None and decoder.reader == settings.decoder
    recipes = build_recipes(settings, source, decoder if fits else None)
    compare(stored, {name: recipes[name] for name in stored}, member.path, say)
    return VideoRecipe(names, recipes, settings, source_of_patches)


def recorded_recipe(member: Member, asked_device: str) -> VideoRecipe:
    """How the features of a run were made, wherever that was.

    The settings are those of one of them, of frames if there are any: they are drawn by them.
    """
    entries = member.config.features
    stored = {str(entry["name"]): dict(entry["recipe"]) for entry in entries.values()}
    device = device_for(asked_device, stored.values())
    names = {field: str(entry["name"]) for field, entry in entries.items()}
    shown = next((names[f] for f in ("patch", "frame", "audio") if f in names), None)
    if shown is None or is_imported(stored[shown]):
        settings = Settings(features=())
    else:
        settings = settings_from({shown: stored[shown]})
    return VideoRecipe(names, stored, replace(settings, device=device))


def compare(stored: Recipes, here: Recipes, run: Path, say: Say) -> None:
    """Refuse recipes that differ in more than the machine; warn of that.

    Raises:
        RecipeMismatch: names every differing key with both values.
    """
    differing = diff_features(stored, here)
    require_same(
        f"run {str(run)!r}",
        [one for one in differing if one.key not in MACHINE],
        "ask where its features were made, or train on features made here",
        sides=SIDES,
    )
    if differing:
        say(
            "warning: features are made on another kind of machine than the run's:"
            f" {'; '.join(one.line(SIDES) for one in differing)};"
            " numbers may differ in their last digits"
        )


@dataclass
class VideoRows:
    """Rows of one video as training had them: a `FeatureReader` of that video alone."""

    fields: dict[str, Tensor]
    made: tuple[str, ...] = ()
    """Features that were extracted now, not kept from before."""
    silent: bool = False
    """Whether it has no audio where the head reads it."""
    source: NDArray[np.uint8] | None = None
    """[T, P], which merged token each patch of a frame went into; None if that is not known."""

    def read(self, video_id: str) -> dict[str, Tensor]:
        """The rows, whatever the video is called."""
        return self.fields


class VideoToExtract:
    """A video file whose features are extracted, or were kept when they were before."""

    def __init__(
        self,
        video: Path,
        recipe: VideoRecipe,
        settings: TrainSettings,
        cache: AskCache,
        say: Say,
        decoder: DecoderProcess | None = None,
    ) -> None:
        """Find what is kept, and open the file if anything has to be extracted.

        ``decoder``: one that was begun before, taken if it fits.

        Raises:
            ConfigError: there is no such file.
            MediaError: it cannot be read, or has no audio where audio is needed.
        """
        self._video, self._recipe, self._settings = video, recipe, settings
        self._cache, self._say = cache, say
        print_of = fingerprint(str(video)) if video.is_file() else None
        if print_of is None:
            raise no_file(video)
        content = (print_of.size, print_of.quick_hash)
        self._paths = {
            name: cache.path("video", content, recipe_hash(made), settings.max_seconds)
            for name, made in recipe.recipes.items()
        }
        self._found = {n: cache.read(path) for n, path in self._paths.items()}
        self._missing = tuple(name for name, values in self._found.items() if values is None)
        self._ahead: Ahead | None = None
        if not self._found or self._missing:
            self._open(decoder)
        for values in self._found.values():
            if values is not None and _is_silence(values):
                self._require_trained_without()

    def _open(self, decoder: DecoderProcess | None) -> None:
        """A look at the file that costs little, before networks are loaded."""
        settings = replace(self._recipe.settings, features=self._missing)
        source = weights.resolve(settings.weights, encoders.weights_of(settings.features))
        self._ahead = Ahead(settings, source, decoder)
        try:
            header = self._ahead.decoder.probe(str(self._video), settings, Limits())
        except BaseException:
            self.close()
            raise
        if not header.has_audio and "audio" in self._recipe.names:
            self._require_trained_without()

    def _require_trained_without(self) -> None:
        """Raises MediaError if the head was not trained to do without audio."""
        if self._settings.missing not in WITHOUT_AUDIO:
            raise MediaError(
                "no_sound",
                f"video {str(self._video)!r} has no audio stream; expected one: the head was"
                f" trained with {self._recipe.names['audio']}; ask about a video with audio, or"
                " train with --set missing=masked, with which heads go without it",
            )

    def begin(self) -> None:
        """Begin what takes long of making the rows; `close` ends it."""
        if self._ahead is not None and self._missing:
            self._ahead.begin()

    def close(self) -> None:
        """End what was begun."""
        if self._ahead is not None:
            self._ahead.close()

    def rows(self) -> VideoRows:
        """Rows 0, s, 2s, … of the video's first seconds.

        Raises:
            MediaError: it cannot be read.
        """
        missing = self._missing
        if missing:
            self._say(f"extracting {', '.join(missing)}")
            with warnings.catch_warnings(record=True) as told:
                warnings.simplefilter("always", VideoWarning)
                chosen = replace(self._recipe.settings, features=missing)
                seconds = self._settings.max_seconds
                made = _extract(self._video, chosen, seconds, self._say, self._ahead)
            for warning in told:
                self._say(f"warning: {warning.message}")
            for name in missing:
                self._cache.write(self._paths[name], made[name])
                self._found[name] = made[name]
        fields, silent = {}, False
        for field, name in self._recipe.names.items():
            values = self._found[name]
            assert values is not None
            if _is_silence(values):
                self._require_trained_without()
                silent = True
                shape = (len(values), *encoders.tap_of(name).shape)
                values = np.zeros(shape, self._recipe.settings.dtype)
            rows = torch.from_numpy(values[:: self._settings.stride_seconds])
            fields[field] = rows.flatten(1, -2) if field == "patch" else rows
        if silent and self._settings.missing == "masked":
            fields["audio_valid"] = torch.zeros(len(fields["audio"]), dtype=torch.bool)
        return VideoRows(fields, missing, silent, self._source())

    def _source(self) -> NDArray[np.uint8] | None:
        if self._recipe.source is None:
            return None
        values = self._found[self._recipe.source]
        assert values is not None
        return values[:: self._settings.stride_seconds].astype(np.uint8)


def no_file(video: Path) -> ConfigError:
    """The refusal of a path that is no file."""
    return ConfigError(
        f"no such file: video={str(video)!r}; expected one video file that can be read"
    )


def _silence(rows: int) -> NDArray[Any]:
    """What is kept for the audio of a video that has none: rows without numbers."""
    return np.zeros((rows, 0), np.float16)


def _is_silence(values: NDArray[Any]) -> bool:
    return values.shape[1:] == (0,)


def _extract(
    video: Path, settings: Settings, max_rows: int, say: Say, ahead: Ahead | None
) -> dict[str, NDArray[Any]]:
    """Features of one video in the stored type; `_silence` for those of audio that it has not."""
    with VideoExtractor(settings, Limits(), ahead=ahead) as extractor, Bar(say, extractor.shown):
        arrays = extractor.extract(video, max_rows)
    return {
        name: stored(arrays[name], settings.dtype, f"video {str(video)!r}: {name}")
        if name in arrays
        else _silence(len(arrays["pts"][:max_rows]))
        for name in settings.features
    }


def stored(values: NDArray[np.float32], dtype: str, what: str) -> NDArray[Any]:
    """Values as a store keeps them.

    Raises:
        MediaError: one is beyond the type.
    """
    with np.errstate(over="ignore"):
        found = values.astype(dtype)
    if not np.isfinite(found).all():
        raise MediaError(
            "overflow", f"{what} has a value beyond {dtype}; expected finite ones", stage="encode"
        )
    return found
