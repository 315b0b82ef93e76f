"""A video whose features the run's store holds: nothing of it has to be extracted."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from avqa.errors import AvqaError, StoreNotFound
from avqa.heads import OF_SOUND
from avqa.pipelines.engine.files import fingerprint
from avqa.pipelines.extraction.work import is_equal
from avqa.store.commit import Store
from avqa.store.format.recipe_diff import diff_features
from avqa.store.format.records import Status
from avqa.store.places.files import store_path
from avqa.store.reader import FeatureStore
from avqa.training.data.features import VideoFeatures
from avqa.training.data.names import source_of
from avqa.training.run import Member
from avqa.training.settings import WITHOUT_AUDIO

Say = Callable[[str], None]


@dataclass(frozen=True)
class StoredVideo:
    """A video as the run's store has it."""

    video_id: str
    fields: dict[str, Tensor]
    """Rows as training had them, see `avqa.training.data.features.FeatureReader`."""
    silent: bool
    """Whether it has no audio where the head reads it."""
    source: NDArray[np.uint8] | None = None
    """See `avqa.pipelines.ask.features.VideoRows`."""


def run_store(member: Member, say: Say) -> FeatureStore | None:
    """The store that a run was trained on, if it is there with the features of then."""
    entries = (*member.config.features.values(), *_texts(member))
    try:
        store = FeatureStore(store_path(member.config.store))
        recorded = {str(entry["name"]): dict(entry["recipe"]) for entry in entries}
        there = {*store.features, *store.text_features}
        now = {name: store.recipe(name) for name in recorded if name in there}
    except StoreNotFound:  # the run may lie on another machine by now
        return None
    except AvqaError as error:
        say(f"warning: the run's store is not used: {error}")
        return None
    return store if now.keys() == recorded.keys() and not diff_features(recorded, now) else None


def _texts(member: Member) -> Iterator[dict[str, object]]:
    for name, entry in member.config.texts.items():
        yield {"name": name, **entry}


def stored_video(video: Path, member: Member, store: FeatureStore, say: Say) -> StoredVideo | None:
    """The video in the store whose file has the same content, if all that is needed is there."""
    settings = member.config.settings
    names = {field: str(entry["name"]) for field, entry in member.config.features.items()}
    reader = VideoFeatures(
        store,
        names,
        stride_seconds=settings.stride_seconds,
        max_seconds=settings.max_seconds,
        missing=settings.missing,
    )
    try:
        for video_id in _equals(video, store):
            silent = video_id in reader.silent([video_id])
            states = {f: store.status(video_id, name) for f, name in names.items()}
            if silent and settings.missing in WITHOUT_AUDIO:
                states = {f: state for f, state in states.items() if f not in OF_SOUND}
            if all(state == Status.OK for state in states.values()):
                source = _source(video_id, names.get("patch"), store)
                if source is not None:
                    source = source[: settings.max_seconds : settings.stride_seconds]
                return StoredVideo(video_id, reader.read(video_id), silent, source)
    except AvqaError as error:
        say(f"warning: the store's features are not used: {error}")
    return None


def _source(video_id: str, patch: str | None, store: FeatureStore) -> NDArray[np.uint8] | None:
    """Which token each patch went into, if the store has it of the tokens that are read."""
    source = None if patch is None else source_of(patch)
    if patch is None or source not in store.features:
        return None
    tokens, places = ({**store.recipe(name)["encoder"], "tap": ""} for name in (patch, source))
    if tokens != places or store.status(video_id, source) != Status.OK:
        return None
    return store.read(video_id, source)


def _equals(video: Path, store: FeatureStore) -> list[str]:
    """Ids of the store whose file is equal; that of the same name first."""
    size = video.stat().st_size
    written = Store.open(store.path)
    here, files = set(written.video_ids()), written.fingerprints()
    fitting = set(files.of_sizes([size]))
    rows = {name: row for name, row in written.rows().items() if name in here and row in fitting}
    alike = {name: files[row] for name, row in rows.items()}
    now = fingerprint(str(video)) if alike else None
    equal = [name for name, file in alike.items() if now and is_equal(now, file)]
    return sorted(equal, key=lambda name: name.rpartition("/")[2] != video.stem)
