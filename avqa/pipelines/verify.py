"""`avqa verify`: the store's own checks, and extracting some videos again to compare."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from numpy.typing import NDArray

from avqa.errors import ConfigError
from avqa.extract.recipe import settings_from
from avqa.pipelines.single import extract_with
from avqa.store.reader import FeatureStore
from avqa.store.verify import Level, VerifyReport, verify

LEVELS = ("size", "crc", "sample")


def verify_store(
    store: Path, *, level: str, videos: Path | None, num_videos: int, repair: bool
) -> VerifyReport:
    """Check a store; see `avqa.store.verify.verify`.

    Raises:
        ConfigError: an unknown level, or ``sample`` without the videos.
        StoreNotFound: there is no store.
    """
    if level not in LEVELS:
        raise ConfigError(f"level={level!r}; expected {', '.join(LEVELS)}; check --level")
    if level == "sample" and videos is None:
        raise ConfigError(
            "level='sample' extracts videos again; expected the folder they are in;"
            " give it with --videos"
        )
    recipes = {}
    if level == "sample":
        held = FeatureStore(store)
        recipes = {feature: held.recipe(feature) for feature in held.features}

    def extract(
        video_id: str, relpath: str, features: tuple[str, ...]
    ) -> Mapping[str, NDArray[Any]]:
        assert videos is not None  # refused above
        settings = settings_from({feature: recipes[feature] for feature in features})
        return extract_with(settings, os.path.join(str(videos), relpath))

    return verify(store, cast(Level, level), repair, extract=extract, num_sample=num_videos)
