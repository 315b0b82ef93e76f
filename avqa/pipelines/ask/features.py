"""Features of one video and of texts, made exactly as those that a run was trained on."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from avqa.datasets._parts.question import Question, text_key
from avqa.errors import ConfigError, MediaError, RecipeMismatch
from avqa.extract import encoders, weights
from avqa.extract.encoders import Device
from avqa.extract.media.types import Limits
from avqa.extract.recipe import settings_from
from avqa.extract.settings import Settings
from avqa.extract.text import ENCODER, TextEncoder, TextSettings, text_recipe, tokenise
from avqa.machine import choose_device, give_memory_back
from avqa.pipelines.ask.cache import AskCache
from avqa.pipelines.cluster.environment import build_recipes
from avqa.pipelines.engine.files import fingerprint
from avqa.pipelines.extraction.single import VideoExtractor, VideoWarning
from avqa.pipelines.questions.encode import distinct_texts
from avqa.store.format.recipe_diff import diff_features, recipe_hash, require_same
from avqa.telling import Bar
from avqa.training.run import Member
from avqa.training.settings import TrainSettings

MACHINE = ("compute.device", "compute.batch")
"""Keys of a recipe that say on what kind of machine the numbers were made: they move a number in
its last digits only."""
SIDES = ("run", "here")
CROPS = ("center", "squash", "pad")
"""Ways to fit a frame into a square that `explain` can draw; see `heat.grid_box`."""
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

    @property
    def crop(self) -> str | None:
        """How frames are fitted into the square that the patches divide; None if not known."""
        name = self.names.get("patch")
        crop = None if name is None else self.recipes[name]["encoder"].get("crop")
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


def video_recipe(member: Member, asked_device: str, say: Say) -> VideoRecipe:
    """Rebuild the recipe of a run's features and compare it with the run's.

    Raises:
        RecipeMismatch: it cannot be the same; names the keys.
        WeightsUnavailable: the run's weights are not at hand.
        ConfigError: there is no such device.
    """
    entries = member.config.features
    names = {field: str(entry["name"]) for field, entry in entries.items()}
    stored = {str(entry["name"]): dict(entry["recipe"]) for entry in entries.values()}
    for name, recipe in stored.items():
        if "imported" in recipe:
            raise RecipeMismatch(
                f"run {str(member.path)!r}: {name} was imported, so how it was made is not known;"
                " expected features of `avqa extract`; train on a store that it made"
            )
    device = device_for(asked_device, stored.values())
    if not stored:
        return VideoRecipe({}, {}, Settings(features=(), device=device))
    try:
        settings = replace(settings_from(stored), device=device)
    except ConfigError as error:
        raise RecipeMismatch(f"run {str(member.path)!r}: {error}") from error
    source = weights.resolve(settings.weights, encoders.weights_of(settings.features))
    recipes = build_recipes(settings, source)
    compare(stored, recipes, member.path, say)
    return VideoRecipe(names, recipes, settings)


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

    def read(self, video_id: str) -> dict[str, Tensor]:
        """The rows, whatever the video is called."""
        return self.fields


def video_rows(
    video: Path, recipe: VideoRecipe, settings: TrainSettings, cache: AskCache, say: Say
) -> VideoRows:
    """Rows 0, s, 2s, … of a video's first seconds, extracted or as kept before.

    Raises:
        ConfigError: there is no such file.
        MediaError: it cannot be read, or has no audio where audio is needed.
    """
    print_of = fingerprint(str(video)) if video.is_file() else None
    if print_of is None:
        raise ConfigError(
            f"no such file: video={str(video)!r}; expected one video file that can be read"
        )
    content = (print_of.size, print_of.quick_hash)
    paths = {
        name: cache.path("video", content, recipe_hash(made), settings.max_seconds)
        for name, made in recipe.recipes.items()
    }
    found: dict[str, NDArray[Any] | None] = {n: cache.read(path) for n, path in paths.items()}
    missing = tuple(name for name, values in found.items() if values is None)
    if missing:
        say(f"extracting {', '.join(missing)}")
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always", VideoWarning)
            chosen = replace(recipe.settings, features=missing)
            made = _extract(video, chosen, settings.max_seconds, say)
        for warning in told:
            say(f"warning: {warning.message}")
        for name in missing:
            cache.write(paths[name], made[name])
            found[name] = made[name]
    fields = {}
    for field, name in recipe.names.items():
        values = found[name]
        assert values is not None
        rows = torch.from_numpy(values[:: settings.stride_seconds])
        fields[field] = rows.flatten(1, -2) if field == "patch" else rows
    return VideoRows(fields, missing)


def _extract(video: Path, settings: Settings, max_rows: int, say: Say) -> dict[str, NDArray[Any]]:
    """Features of one video in the stored type."""
    with VideoExtractor(settings, Limits()) as extractor, Bar(say, extractor.shown):
        arrays = extractor.extract(video, max_rows)
    absent = [name for name in settings.features if name not in arrays]
    if absent:
        raise MediaError(
            "no_sound",
            f"video {str(video)!r} has no audio stream; expected one: the head was trained with"
            f" {', '.join(absent)}; ask about a video with audio",
        )
    return {
        name: stored(arrays[name], settings.dtype, f"video {str(video)!r}: {name}")
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


@dataclass(frozen=True)
class AskedTexts:
    """Features of a few texts, read as from a store: see `FeatureStore.read_texts`."""

    values: dict[str, dict[str, NDArray[Any]]]
    """Text feature → key of a text → its array."""
    ends: dict[str, int]
    """Key of a text → position of its end-of-text token."""

    @property
    def text_features(self) -> tuple[str, ...]:
        """Names of the text features."""
        return tuple(self.values)

    def eot(self, text: str) -> int:
        """Position of a text's end-of-text token."""
        return self.ends[self._key(text)]

    def read_texts(self, texts: Sequence[str], feature: str) -> NDArray[Any]:
        """One feature of these texts, or of the texts with these keys: ``[n, *shape]``."""
        return np.stack([self.values[feature][self._key(text)] for text in texts])

    def _key(self, text: str) -> str:
        return text if text in self.ends else text_key(text)


def asked_texts(
    member: Member, question: Question, asked_device: str, cache: AskCache, say: Say
) -> AskedTexts | None:
    """CLIP's features of a question and its options by the run's recipe; None if it needs none.

    Raises:
        RecipeMismatch: the recipe cannot be the run's.
        WeightsUnavailable: the run's weights are not at hand.
        ConfigError: there is no such device.
    """
    run = {name: dict(entry["recipe"]) for name, entry in member.config.texts.items()}
    if not run:
        return None
    first = next(iter(run.values()))
    described = str(first["weights"][ENCODER]["source"])
    source = weights.resolve(
        described if described.startswith("random:") else "pretrained", [ENCODER]
    )
    settings = TextSettings(
        mark=first["text"]["mark"],
        precision=first["compute"]["precision"],
        dtype=first["storage"]["dtype"],
        device=device_for(asked_device, run.values()),
    )
    here = {feature: text_recipe(feature, settings, source) for feature in run}
    compare(run, here, member.path, say)
    contents, _ = distinct_texts([question], settings.mark)
    paths = {
        (feature, key): cache.path("text", content, recipe_hash(recipe))
        for feature, recipe in here.items()
        for key, content in contents.items()
    }
    found = {place: cache.read(path) for place, path in paths.items()}
    tokens, ends = tokenise(list(contents.values()))
    if any(values is None for values in found.values()):
        encoder = TextEncoder(settings, weights.load_state(ENCODER, source))
        rows = {f: stored(x, settings.dtype, f) for f, x in _encoded(encoder, tokens, ends).items()}
        del encoder
        give_memory_back()
        for place, key in enumerate(contents):
            for feature in here:
                found[feature, key] = rows[feature][place]
                cache.write(paths[feature, key], rows[feature][place])
    by_feature: dict[str, dict[str, NDArray[Any]]] = {feature: {} for feature in here}
    for (feature, key), values in found.items():
        assert values is not None
        by_feature[feature][key] = values
    return AskedTexts(by_feature, dict(zip(contents, ends.tolist(), strict=True)))


def _encoded(
    encoder: TextEncoder, tokens: NDArray[np.int64], ends: NDArray[np.int64]
) -> dict[str, NDArray[np.float32]]:
    """Text feature → [n, *shape] float32."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)  # as `avqa questions`: numbers do not depend on the cores
    try:
        parts = [
            encoder.encode(tokens[i : i + encoder.batch], ends[i : i + encoder.batch])
            for i in range(0, len(tokens), encoder.batch)
        ]
    finally:
        torch.set_num_threads(before)
    return {f"{ENCODER}/{tap}": np.concatenate([part[tap] for part in parts]) for tap in parts[0]}
