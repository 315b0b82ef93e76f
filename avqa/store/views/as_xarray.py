"""A store as an `xarray.Dataset`: nothing is read before it is looked at."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import xarray
from numpy.typing import NDArray
from xarray.backends import BackendArray
from xarray.core import indexing

from avqa.store.dtypes import missing
from avqa.store.format.records import Status
from avqa.store.views.readable import Readable


def dataset(store: Readable, features: Sequence[str], videos: Sequence[str]) -> xarray.Dataset:
    """These features of these videos; see `FeatureStore.to_xarray`."""
    lengths = {f: [store.length(video, f) for video in videos] for f in features}
    seconds = max((n for each in lengths.values() for n in each), default=0)
    coordinates = {
        "video_id": ("video", np.array(videos, dtype=object)),
        "second": ("second", np.arange(seconds)),
        "mask": (("video", "second"), _mask(store, videos, list(lengths.values()), seconds)),
        "pts": _lazy(videos, seconds, (), (), np.dtype("float64"), store.pts),
    }
    variables = {f: _feature(store, f, videos, seconds) for f in features}
    attributes = {"store": str(store.path)}
    made = xarray.Dataset(variables, coordinates, attributes)
    return made.set_xindex("video_id")


def _feature(store: Readable, feature: str, videos: Sequence[str], seconds: int) -> xarray.Variable:
    layout = store.row_layout(feature)
    # Encoders share names of axes, not their sizes.
    dims = tuple(f"{feature.rpartition('/')[0]}_{name}" for name in layout.dims)
    variable = _lazy(
        videos, seconds, dims, layout.shape, layout.dtype, functools.partial(_rows, store, feature)
    )
    variable.attrs["recipe_hash"] = store.recipe_hash(feature)
    if store.random_weights(feature):
        variable.attrs["warning"] = "RANDOM WEIGHTS"
    return variable


def _rows(store: Readable, feature: str, video: str) -> NDArray[Any]:
    """Those of a video; none if the feature is not there."""
    if store.status(video, feature) != Status.OK:
        layout = store.row_layout(feature)
        return np.empty((0, *layout.shape), layout.dtype)
    return store.read(video, feature)


def _mask(
    store: Readable, videos: Sequence[str], lengths: Sequence[Sequence[int]], seconds: int
) -> NDArray[np.bool_]:
    """``[V, T]``: where every feature has a row, and damage has taken no frame."""
    shortest = np.array(lengths).min(0)
    mask: NDArray[np.bool_] = np.arange(seconds) < shortest[:, None]
    for row, video in enumerate(videos):
        lost = store.lost_rows(video)[:seconds]
        mask[row, : len(lost)] &= ~lost
    return mask


def _lazy(
    videos: Sequence[str],
    seconds: int,
    dims: tuple[str, ...],
    shape: tuple[int, ...],
    dtype: np.dtype[Any],
    read: Callable[[str], NDArray[Any]],
) -> xarray.Variable:
    rows = _Rows(tuple(videos), (len(videos), seconds, *shape), dtype, read)
    return xarray.Variable(("video", "second", *dims), indexing.LazilyIndexedArray(rows))


class _Rows(BackendArray):  # type: ignore[misc,unused-ignore]
    """``[V, T, *shape]`` that is read video by video; NaN where a video has no row."""

    def __init__(
        self,
        videos: tuple[str, ...],
        shape: tuple[int, ...],
        dtype: np.dtype[Any],
        read: Callable[[str], NDArray[Any]],
    ) -> None:
        self.shape = shape
        self.dtype = dtype
        self._videos = videos
        self._read = read

    def __getitem__(self, key: indexing.ExplicitIndexer) -> Any:
        """What xarray asks for."""
        return indexing.explicit_indexing_adapter(
            key, self.shape, indexing.IndexingSupport.OUTER, self._taken
        )

    def _taken(self, key: tuple[Any, ...]) -> NDArray[Any]:
        """``key`` has a number, a slice or an array of numbers for each axis, apart."""
        chosen = np.arange(len(self._videos))[key[0]]
        if chosen.ndim == 0:
            return self._of_video(int(chosen), key[1:])
        if not len(chosen):
            return np.empty((0, *_outer(np.empty(self.shape[1:], self.dtype), key[1:]).shape))
        return np.stack([self._of_video(number, key[1:]) for number in chosen.tolist()])

    def _of_video(self, number: int, key: tuple[Any, ...]) -> NDArray[Any]:
        padded = missing(self.shape[1:], self.dtype)
        rows = self._read(self._videos[number])
        padded[: len(rows)] = rows
        return _outer(padded, key)


def _outer(values: NDArray[Any], key: tuple[Any, ...]) -> NDArray[Any]:
    """Each axis by its own part of the key, the last first: a number takes its axis away."""
    for axis in reversed(range(len(key))):
        values = values[(slice(None),) * axis + (key[axis],)]
    return values
