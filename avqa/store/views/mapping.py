"""What Python, notebooks, xarray and torch see of a store: the base of `FeatureStore`."""

from __future__ import annotations

import importlib.util
import shlex
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from avqa.errors import ConfigError, FeatureMissing, LibraryMissing, UnknownVideo
from avqa.store.format.records import Status
from avqa.store.views import shown
from avqa.store.views.readable import Readable
from avqa.store.views.video import Video
from avqa.units import names_of, whole_number

if TYPE_CHECKING:
    import xarray

    from avqa.store.views.as_dataset import FeatureDataset


class StoreViews(Mapping[str, Video]):
    """A mapping of ids to videos, in row order, and what else is made of it."""

    def __iter__(self: Readable) -> Iterator[str]:
        """The `video_ids`."""
        return iter(self.video_ids)

    def __getitem__(self: Readable, video_id: str) -> Video:
        """One video; what is asked of it is read then.

        Raises:
            UnknownVideo: the store has no such video, or it was removed. Also a KeyError.
        """
        if video_id not in self:
            raise UnknownVideo(str(self.path), str(video_id), self.video_ids)
        return Video(self, str(video_id))

    def __bool__(self) -> bool:
        """True also without a video."""
        return True

    __eq__ = object.__eq__  # not by what is in both
    __hash__ = object.__hash__

    def __repr__(self: Readable) -> str:
        """A line of the store and one of each feature."""
        return shown.text(self)

    def _repr_html_(self: Readable) -> str:
        """For a notebook."""
        return shown.as_html(self)

    def to_xarray(
        self: Readable, features: Sequence[str] | None = None, videos: Sequence[str] | None = None
    ) -> xarray.Dataset:
        """The store as an `xarray.Dataset` of dims ``video``, ``second`` and each encoder's own.

            rows = store.to_xarray(["vggish/audio"])
            rows.sel(video_id="clip")["vggish/audio"].mean("second")

        Features are in the stored dtype, NaN where a video has no row, and are read where they
        are looked at; ``.chunk()`` gives Dask arrays. Coordinates: ``video_id``, ``second``,
        ``pts``, and ``mask``, true where all these features have a row and its frame is no lost
        one. Axes of a row have the encoder's name before their own: ``vggish_channel``.

        Args:
            features: by default all.
            videos: by default all.

        Raises:
            UnknownName: the store has no such feature or video.
            ConfigError: no feature is asked for.
            LibraryMissing: xarray is not installed.
        """
        chosen = _chosen(self, features)
        ids = self.video_ids if videos is None else names_of("videos", videos)
        for video in ids:
            self.status(video, chosen[0])  # refuses what is not there
        if importlib.util.find_spec("xarray") is None:
            raise LibraryMissing(
                "to_xarray: xarray is not installed; expected it beside avqa;"
                " install it with: pip install xarray"
            )
        from avqa.store.views import as_xarray

        return as_xarray.dataset(self, chosen, ids)

    def dataset(
        self: Readable,
        features: Sequence[str] | None = None,
        videos: Sequence[str] | None = None,
        seconds: int | None = None,
    ) -> FeatureDataset:
        """A torch `Dataset` of videos, whose ``collate`` makes padded float32 batches.

            rows = store.dataset(["vggish/audio"])
            loader = DataLoader(rows, batch_size=8, collate_fn=rows.collate, num_workers=2)
            for batch in loader:
                batch["vggish/audio"], batch["mask"]  # [B, T, 128] float32, [B, T] bool

        Args:
            features: by default all.
            videos: by default those that have all the features.
            seconds: T of every batch: longer videos are cut; by default each batch's longest.

        Raises:
            UnknownName: the store has no such feature or video.
            FeatureMissing: one of ``videos`` lacks a feature, or no video has all.
            ConfigError: no feature or video is asked for, or seconds is no whole number.
        """
        from avqa.store.views.as_dataset import FeatureDataset

        chosen = _chosen(self, features)
        length = None if seconds is None else whole_number("seconds", seconds)
        ids = _complete(self, chosen) if videos is None else names_of("videos", videos)
        if not ids:
            raise ConfigError("videos=[]; expected at least one id")
        for video, feature in ((video, feature) for video in ids for feature in chosen):
            self.require(video, feature)
        return FeatureDataset(self, chosen, ids, length)


def _chosen(store: Readable, features: Sequence[str] | None) -> tuple[str, ...]:
    chosen = store.features if features is None else names_of("features", features)
    for feature in chosen:
        store.counts(feature)  # refuses what is not there
    if not chosen or len(set(chosen)) < len(chosen):
        raise ConfigError(f"features={list(chosen)}; expected at least one, and each once")
    return chosen


def _complete(store: Readable, features: Sequence[str]) -> tuple[str, ...]:
    """The videos that have all of these features."""
    ids = tuple(
        video
        for video in store.video_ids
        if all(store.status(video, feature) == Status.OK for feature in features)
    )
    if not ids:
        raise FeatureMissing(
            f"none of {len(store)} videos has all of {', '.join(features)}; expected at least one;"
            f" see `avqa status {shlex.quote(str(store.path))}`, or ask for fewer features"
        )
    return ids
