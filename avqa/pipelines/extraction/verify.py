"""`avqa verify`: the store's own checks, and extracting some videos again to compare."""

from __future__ import annotations

import contextlib
import os
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from numpy.typing import NDArray

from avqa.addresses import page
from avqa.errors import ConfigError
from avqa.extract.media.types import Limits
from avqa.extract.recipe import RULES, RULES_KEY, settings_from
from avqa.pipelines.engine.files import in_bucket
from avqa.pipelines.extraction.array_job import Partition
from avqa.pipelines.extraction.single import VideoExtractor, VideoWarning
from avqa.store.checks.report import Level, VerifyReport
from avqa.store.checks.verify import verify
from avqa.store.collection import read_collection
from avqa.store.places.files import StorePath
from avqa.store.reader import FeatureStore
from avqa.telling import Say, silent

LEVELS = ("size", "crc", "sample")
_NO_LIMITS = Limits(
    max_pixels=2**31 - 1,
    max_length_seconds=1e9,
    max_gap_seconds=1e9,
    timeout_seconds=86_400,
)


def verify_store(
    store: StorePath,
    *,
    level: str,
    videos: Path | None,
    num_videos: int,
    repair: bool,
    partition: Partition | None = None,
    say: Say = silent,
) -> VerifyReport:
    """Check a store, or a part of its rows; see `avqa.store.checks.verify.verify`.

    Raises:
        ConfigError: an unknown level, or ``sample`` without the videos; a part that is to be
            repaired or sampled.
        StoreNotFound: there is no store.
    """
    if level not in LEVELS:
        raise ConfigError(f"level={level!r}; expected {', '.join(LEVELS)}; check --level")
    if partition is not None:
        return _verify_part(store, cast(Level, level), partition, repair=repair, say=say)
    roots = read_collection(store).roots
    if level == "sample" and videos is None and not roots:
        raise ConfigError(
            "level='sample' extracts videos again; expected the folder they are in;"
            " give it with --videos"
        )
    if level != "sample":
        return verify(store, cast(Level, level), repair, end_of_text=_end_of_text, say=say)
    with contextlib.ExitStack() as stack:
        folders = [str(videos)] if videos is not None else [root.folder for root in roots]
        again = _Again(FeatureStore(store), folders, stack)
        return verify(
            store,
            "sample",
            repair,
            extract=again,
            num_sample=num_videos,
            end_of_text=_end_of_text,
            say=say,
        )


def _verify_part(
    store: StorePath, level: Level, partition: Partition, *, repair: bool, say: Say
) -> VerifyReport:
    if repair:
        raise ConfigError(
            f"--partition {partition} with --repair; expected one of them: a repair takes the whole"
            " store; verify the parts first, then run `avqa verify --repair` once, alone"
        )
    if level == "sample":
        raise ConfigError(
            f"--partition {partition} with --level sample; expected --level size or crc; samples"
            " are drawn from the whole store; leave --partition out"
        )
    return verify(store, level, part=(partition.index, partition.count), say=say)


def _end_of_text(texts: Sequence[str]) -> list[int]:
    from avqa.extract.text import tokenise

    _, ends = tokenise(texts)
    return [int(end) for end in ends]


class _Again:
    """Extracts videos of a store again; networks are built once per set of features."""

    def __init__(
        self, store: FeatureStore, folders: Sequence[str], stack: contextlib.ExitStack
    ) -> None:
        self._store = store
        self._folders = folders
        self._stack = stack
        self._extractors: dict[tuple[str, ...], VideoExtractor] = {}

    def __call__(
        self, video_id: str, relpath: str, features: tuple[str, ...]
    ) -> Mapping[str, NDArray[Any]]:
        if features not in self._extractors:
            recipes = {feature: self._store.recipe(feature) for feature in features}
            if any("imported" in recipe for recipe in recipes.values()):
                raise ConfigError(
                    "imported features cannot be extracted again; expected extracted ones for"
                    " level='sample'; use --level crc, or `avqa compare` with their files"
                )
            rules = {recipe["decoder"].get("rules") for recipe in recipes.values()}
            if rules != {RULES}:  # other rows would be no damage, and nothing could repair them
                raise ConfigError(
                    f"features read by rules of another version ({page('docs/reading.md')}) cannot"
                    f" be extracted again; expected {RULES_KEY}={RULES} for level='sample'; use"
                    " --level crc, or the version that made the store"
                )
            # What was stored is compared as it is: no limit, no judgement of damage.
            extractor = VideoExtractor(settings_from(recipes), _NO_LIMITS, judges=False)
            self._extractors[features] = self._stack.enter_context(extractor)
        places = [os.path.join(folder, relpath) for folder in self._folders]
        if in_bucket(relpath):
            places = [relpath]
        path = next(filter(os.path.exists, places), places[0])
        with warnings.catch_warnings():  # the store has them
            warnings.simplefilter("ignore", VideoWarning)
            return self._extractors[features].extract(path, max_rows=self._store.length(video_id))
