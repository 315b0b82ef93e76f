"""Grounding pre-training over a store: audio and frames of the real training videos."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch

from avqa import datasets
from avqa.datasets._parts.matching import match_rows
from avqa.datasets.music_avqa import is_real
from avqa.errors import ConfigError, DatasetError
from avqa.heads import coded_width
from avqa.heads.avst import Head as Avst
from avqa.heads.avst import Options
from avqa.store.places.files import StorePath
from avqa.store.reader import FeatureStore
from avqa.training.data.features import VideoFeatures
from avqa.training.data.names import names_of
from avqa.training.data.splits import read_splits
from avqa.training.data.standard import standardise
from avqa.training.grounding import FIELDS, STAGE_ONE, pretrain, save_grounding
from avqa.training.settings import WITHOUT_AUDIO, resolve


@dataclass(frozen=True, kw_only=True)
class GroundingOptions:
    """What to train on, and where to."""

    store: StorePath
    dataset: str
    annotations: Path
    out: Path
    assignments: Mapping[str, str] = field(default_factory=dict)
    """Setting or option of ``avst`` → value as text."""
    seed: int = 0
    choices: Mapping[str, str] = field(default_factory=dict)
    """The data set's own, as far as they are given; see `avqa.datasets.chosen`."""


def pretrain_grounding(
    options: GroundingOptions, say: Callable[[str], None] = lambda line: None
) -> float:
    """Train AVST's grounding and write its layers to a file; the match loss at the end.

    Raises:
        ConfigError: a setting cannot be used, the file is there already, the loss is not finite.
        DatasetError: the questions cannot be read, or there are fewer than two videos.
        FeatureMissing, StoreError: the store lacks a feature or every video.
        StorageFailure: the file cannot be written.
    """
    settings, chosen = resolve("avst", options.assignments, STAGE_ONE)
    if not chosen["spatial"]:
        raise ConfigError("spatial=false; expected spatial=true: there is no grounding to train")
    if settings.missing in WITHOUT_AUDIO:
        raise ConfigError(
            f"missing={settings.missing}; expected error or skip: grounding learns which frames go"
            " with audio; use --set missing=skip"
        )
    if settings.debias != "none":
        raise ConfigError(
            f"debias={settings.debias}; expected none: grounding answers no question; leave it for"
            " `avqa train-head`"
        )
    if options.out.exists():
        raise ConfigError(
            f"out={str(options.out)!r} is there already; expected a new file; choose another --out"
        )
    store = FeatureStore(options.store)
    chosen_of = datasets.chosen(options.dataset, options.choices)
    train = read_splits(
        options.dataset, options.annotations, settings.split, chosen_of, settings.dub
    ).train
    real = [q for q in train if is_real(q.video_id)]
    rows = [row for row in match_rows(real, store.video_ids).rows if row is not None]
    names = names_of(settings, FIELDS, store)
    features = VideoFeatures(
        store,
        names,
        stride_seconds=settings.stride_seconds,
        max_seconds=settings.max_seconds,
    )
    usable = features.require([store.video_ids[row] for row in rows], settings.missing)
    videos = sorted(usable)
    if len(videos) < 2:
        raise DatasetError(
            f"{len(videos)} real training videos to learn grounding from; expected two or more,"
            " since audio is told from the frames of another; check --annotations and --store"
        )
    of = "; ".join(filter(None, (f"{settings.max_seconds} s of each", datasets.told(chosen_of))))
    say(f"grounding: {len(videos)} real training videos, {of}")
    features.preload(videos)
    widths = {
        field: coded_width(rows.shape[-1], chosen["time_code"])
        for field, rows in features.read(videos[0]).items()
    }
    chosen |= {"audio_width": widths["audio"], "visual_width": widths["patch"]}
    with torch.random.fork_rng():
        torch.manual_seed(options.seed)
        head = Avst(Options(**chosen))
        standardise(head, features, videos, lambda: None)
        loss = pretrain(head, features, videos, settings, seed=options.seed, say=say)
    recipes = {name: store.made_by(name) for name in names.values()}
    save_grounding(options.out, head, recipes)
    return loss
