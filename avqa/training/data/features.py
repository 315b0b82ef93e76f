"""Features of videos, from a store, as tensors.

Arrays that fit are loaded once, into memory that worker processes share; the others are read
video by video, and the last ones read are kept.
"""

from __future__ import annotations

import itertools
import math
import shlex
from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from avqa.errors import ConfigError, FeatureMissing
from avqa.extract import encoders
from avqa.machine import free_memory
from avqa.store.format.records import Status
from avqa.store.reader import FeatureStore
from avqa.training.data.memory import shared
from avqa.training.settings import WITHOUT_AUDIO, Missing

AXES = {"audio": (1,), "frame": (1,), "patch": (2, 3)}
"""Field of `HeadInput` → axes of a tap that can be it: ``(D,)``, ``(P, D)`` or ``(y, x, D)``."""
SHAPES = {"audio": "(D,) of audio", "frame": "(D,)", "patch": "(P, D) or (y, x, D)"}

KEPT_VIDEOS = 64
"""Videos read one by one of which the rows are kept."""
PRELOAD_SHARE = 0.25
"""An array is loaded if it takes no more than this share of the free memory."""
PRELOAD_THREADS = 8


def feature_names(fields: Iterable[str], visual: str, audio: str = "vggish") -> dict[str, str]:
    """Field of `HeadInput` → feature of a store: ``{"audio": "vggish/audio", ...}``.

    Args:
        fields: `Head.FEATURES`, or `Head.needs`, of which texts are left out.
        visual: encoder of the frames.
        audio: encoder of the audio.

    Raises:
        UnknownName: there is no such encoder.
        ConfigError: the encoder has no tap of the field's shape.
    """
    return {
        field: _feature(field, *(("audio", audio) if field == "audio" else ("visual", visual)))
        for field in fields
        if field in AXES
    }


def _feature(field: str, setting: str, encoder: str) -> str:
    """The encoder's first tap that has the field's shape."""
    module = encoders.load(encoder)
    kind = "audio" if field == "audio" else "frame"
    for name, tap in module.TAPS.items():
        if module.INPUTS[tap.input].kind == kind and len(tap.shape) in AXES[field]:
            return f"{encoder}/{name}"
    raise ConfigError(
        f"{setting}={encoder} has no features for {field}; expected an encoder with a tap of shape"
        f" {SHAPES[field]}; see `avqa encoders`"
    )


def num_patches(visual: str) -> int:
    """P: patches of a frame by this encoder; 1 where it has none."""
    try:
        feature = feature_names(["patch"], visual)["patch"]
    except ConfigError:
        return 1
    return math.prod(encoders.tap_of(feature).shape[:-1])


class FeatureReader(Protocol):
    """Where the features of videos come from."""

    def read(self, video_id: str) -> dict[str, Tensor]:
        """Rows of a video; not to be written to.

        Returns:
            Field of `HeadInput` → ``[T, ...]`` of any floating type, ``patch`` as ``[T, P, D]``;
            T is the same for all fields, and at least 1. If some rows are lost to damage, also
            ``valid`` [T], false there; with ``missing="masked"`` of every video also
            ``audio_valid`` [T], false without audio.
        """
        ...


@dataclass(frozen=True)
class _Loaded:
    """One feature of many videos: their rows one after the other."""

    rows: Tensor
    places: dict[str, slice]


class VideoFeatures:
    """Features of the videos of a store: rows 0, s, 2s, … of their first seconds.

    May be pickled and used after a fork; what was loaded is shared then, not copied.
    """

    def __init__(
        self,
        store: FeatureStore,
        names: Mapping[str, str],
        *,
        stride_seconds: int = 1,
        max_seconds: int = 60,
        missing: Missing = "error",
        budget_bytes: int | None = None,
    ) -> None:
        """Read nothing yet.

        Args:
            store: where from.
            names: field of `HeadInput` → feature.
            stride_seconds: every how many seconds a row is taken.
            max_seconds: later seconds are left out.
            missing: with ``masked`` or ``zeros`` the audio of a video without any is zeros, in as
                many rows as it has frames; ``masked`` says so of each row.
            budget_bytes: largest array that `preload` loads; by default a quarter of the free
                memory.
        """
        self.store = store
        self.names = dict(names)
        self._rows = slice(0, max_seconds, stride_seconds)
        self._missing = missing
        self._budget = budget_bytes
        self._loaded: dict[str, _Loaded] = {}
        self._kept: OrderedDict[str, dict[str, Tensor]] = OrderedDict()

    def __getstate__(self) -> dict[str, Any]:
        """Leave behind what was kept: another process reads other videos."""
        return self.__dict__ | {"_kept": OrderedDict()}

    def require(self, video_ids: Iterable[str], missing: Missing) -> frozenset[str]:
        """Those of these videos that have every feature.

        With ``masked`` or ``zeros`` also those that lack audio alone.

        Raises:
            FeatureMissing: unless with ``skip``, if a video lacks one; in any case, if the store
                has no such feature. Says what to run.
            UnknownName: the store has no such video.
        """
        self._require_features()
        lacking: dict[str, dict[str, Status]] = {}
        wanted = list(dict.fromkeys(video_ids))
        silent = self.silent(wanted) if missing in WITHOUT_AUDIO else ()
        for video in wanted:
            read = {f: n for f, n in self.names.items() if f != "audio" or video not in silent}
            states = {name: self.store.status(video, name) for name in read.values()}
            bad: dict[str, Status] = {
                name: state for name, state in states.items() if state != Status.OK
            }
            if bad:
                lacking[video] = bad
        if lacking and missing != "skip":
            raise FeatureMissing(self._complaint(lacking, len(wanted)))
        return frozenset(video for video in wanted if video not in lacking)

    def silent(self, video_ids: Iterable[str]) -> frozenset[str]:
        """Those of these videos that have no audio but have frames; none if audio is not read."""
        if "audio" not in self.names:
            return frozenset()
        return frozenset(
            video for video in video_ids if self._is_silent(video) and self.store.length(video)
        )

    def _is_silent(self, video_id: str) -> bool:
        return self.store.status(video_id, self.names["audio"]) == Status.ABSENT

    def _require_features(self) -> None:
        absent = [name for name in self.names.values() if name not in self.store.features]
        if absent:
            raise FeatureMissing(
                f"store {str(self.store.path)!r} has no {', '.join(absent)}; expected"
                f" {', '.join(self.names.values())}; add with: {self._command(absent)}"
            )

    def _command(self, names: Iterable[str], option: str = "") -> str:
        store = shlex.quote(str(self.store.path))
        return f"avqa extract --videos DIR --out {store} --features {','.join(names)}{option}"

    def _complaint(self, lacking: Mapping[str, Mapping[str, Status]], total: int) -> str:
        video, bad = next(iter(lacking.items()))
        first = " and ".join(f"{name} is {state.name.lower()}" for name, state in bad.items())
        found = {(name, state) for these in lacking.values() for name, state in these.items()}
        return (
            f"{len(lacking)} of {total} videos lack a needed feature, the first is {video!r}:"
            f" {first}; expected ok; {self._advice(found)} leave these videos' questions out with"
            f" --set missing=skip{self._silent_advice(lacking)}"
        )

    def _silent_advice(self, lacking: Mapping[str, Mapping[str, Status]]) -> str:
        count = len(self.silent(lacking))
        if not count:
            return ""
        them = "their audio" if count == len(lacking) else f"the audio of {count} of them"
        return f", or go without {them} with --set missing=masked"

    def _advice(self, found: Iterable[tuple[str, Status]]) -> str:
        """What can be done about features with these states, up to the last choice there is."""
        states = {name: {s for n, s in found if n == name} - {Status.ABSENT} for name, _ in found}
        imported = sorted(n for n in states if states[n] and "imported" in self.store.recipe(n))
        own = sorted(n for n in states if states[n] and n not in imported)
        steps = []
        if own:
            failed = any(Status.FAILED in states[name] for name in own)
            steps.append(f"run: {self._command(own, ' --retry-failed' if failed else '')}, or")
        if imported:
            steps.append(f"take the files of {', '.join(imported)} in with `avqa import npy`, or")
        return " ".join(steps) or "they have no such stream:"

    def preload(self, video_ids: Iterable[str]) -> None:
        """Load the arrays that fit, for these videos; replaces what was loaded before.

        Raises:
            FeatureMissing, StoreError: as `FeatureStore.read`.
        """
        self._loaded = {}
        self._kept.clear()
        videos = list(dict.fromkeys(video_ids))
        if not videos:
            return
        samples = {field: self._read_field(videos[0], field)[0] for field in self.names}
        for field, row in sorted(samples.items(), key=lambda item: item[1].nbytes):
            budget = PRELOAD_SHARE * free_memory() if self._budget is None else self._budget
            counts = [len(range(self.store.length(video))[self._rows]) for video in videos]
            if sum(counts) * row.nbytes <= budget:
                self._loaded[field] = self._load(field, videos, counts, row)

    def fits(self, video_ids: Iterable[str]) -> bool:
        """Whether `preload` would load all arrays of these videos, by the memory that is free now.

        Raises:
            UnknownName: the store has no such video.
        """
        videos = dict.fromkeys(video_ids)
        count = sum(len(range(self.store.length(video))[self._rows]) for video in videos)
        free = free_memory()
        for name in sorted(self.names.values(), key=self._row_bytes):
            size = count * self._row_bytes(name)
            if size > (PRELOAD_SHARE * free if self._budget is None else self._budget):
                return False
            free -= size
        return True

    def _row_bytes(self, name: str) -> int:
        return int(self.store.zero_rows(name, 1).nbytes)

    def _load(
        self, field: str, videos: Sequence[str], counts: Sequence[int], row: Tensor
    ) -> _Loaded:
        firsts = [0, *itertools.accumulate(counts)]
        rows = shared(torch.empty(firsts.pop(), *row.shape, dtype=row.dtype))

        def fill(video: str, first: int) -> slice:
            values = self._read_field(video, field)
            place = slice(first, first + len(values))
            rows[place] = values
            return place

        with ThreadPoolExecutor(PRELOAD_THREADS) as pool:
            places = dict(zip(videos, pool.map(fill, videos, firsts), strict=True))
        return _Loaded(rows, places)

    def _read_field(self, video_id: str, field: str) -> Tensor:
        """``[T, ...]`` from the store, or zeros."""
        name = self.names[field]
        if field == "audio" and self._missing in WITHOUT_AUDIO and self._is_silent(video_id):
            values = self.store.zero_rows(name, self.store.length(video_id))[self._rows]
        else:
            values = self.store.read(video_id, name)[self._rows]
        rows = torch.from_numpy(np.ascontiguousarray(values))
        # Maps [T, y, x, D] are patches, row by row.
        return rows.flatten(1, -2) if field == "patch" else rows

    def read(self, video_id: str) -> dict[str, Tensor]:
        """Rows of a video; see `FeatureReader.read`.

        Raises:
            UnknownName, FeatureMissing, StoreError: as `FeatureStore.read`.
        """
        found = {
            field: loaded.rows[loaded.places[video_id]]
            for field, loaded in self._loaded.items()
            if video_id in loaded.places
        }
        if len(found) < len(self.names):
            found |= self._read_kept(video_id)
        # Imported features may differ by a second.
        seconds = min(map(len, found.values()), default=0)
        if self._missing == "masked" and "audio" in found:
            silent = self._is_silent(video_id)
            found["audio_valid"] = torch.full((seconds,), not silent)
        lost = torch.from_numpy(self.store.lost_rows(video_id))[self._rows][:seconds]
        if lost.any() and not lost.all():  # a head needs one row at least
            found["valid"] = ~lost
        return {field: rows[:seconds] for field, rows in found.items()}

    def _read_kept(self, video_id: str) -> dict[str, Tensor]:
        """The fields that are not loaded, from among those kept if they are there."""
        if video_id not in self._kept:
            if len(self._kept) >= KEPT_VIDEOS:
                self._kept.popitem(last=False)
            self._kept[video_id] = {
                field: self._read_field(video_id, field)
                for field in self.names
                if field not in self._loaded or video_id not in self._loaded[field].places
            }
        self._kept.move_to_end(video_id)
        return self._kept[video_id]
