"""Features of videos, from a store, as tensors.

Arrays that fit are loaded once, into memory that worker processes share; the others are read
video by video, and the last ones read are kept.
"""

from __future__ import annotations

import itertools
import shlex
from collections import OrderedDict
from collections.abc import Collection, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from avqa.errors import ConfigError, FeatureMissing
from avqa.heads import OF_SOUND
from avqa.machine import free_memory
from avqa.store.collection import videos_typed
from avqa.store.format.recipe_diff import is_imported, is_of_whole_video, making_command
from avqa.store.format.records import Status
from avqa.store.reader import FeatureStore
from avqa.training.data.dubbing import is_dubbed, picture_of, shown_name, sound_of
from avqa.training.data.memory import shared
from avqa.training.data.names import is_frames
from avqa.training.settings import WITHOUT_AUDIO, Missing

KEPT_VIDEOS = 64
"""Videos read one by one of which the rows are kept."""
PRELOAD_SHARE = 0.25
"""An array is loaded if it takes no more than this share of the free memory."""
PRELOAD_THREADS = 8
MOST_APART = 1
"""Rows by which imported features of one video may differ: a last second that is not whole."""


def _source(video_id: str, field: str) -> str:
    """The store's video that a field of a name is read from."""
    return sound_of(video_id) if field in OF_SOUND else picture_of(video_id)


def _key(video_id: str, field: str) -> str:
    """What a field's rows are kept under: pictures once, whatever sound is heard with them."""
    return video_id if field in OF_SOUND else picture_of(video_id)


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

    The one row of a feature that describes a whole video stands beside each row of the others.
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
        self._whole = frozenset(
            field
            for field, name in self.names.items()
            if name in store.features and is_of_whole_video(store.recipe(name))
        )

    def __getstate__(self) -> dict[str, Any]:
        """Leave behind what was kept: another process reads other videos."""
        return self.__dict__ | {"_kept": OrderedDict()}

    def require(self, video_ids: Iterable[str], missing: Missing) -> frozenset[str]:
        """Those of these videos that have every feature.

        With ``masked`` or ``zeros`` also those that lack audio alone.

        Raises:
            FeatureMissing: unless with ``skip``, if a video lacks one; in any case, if the store
                has no such feature. Says what to run.
            ConfigError: rows of a feature are no seconds in their order; or imported features
                of a video are of different lengths; with ``skip``, only
                if they are in all videos, which are left out else.
            UnknownName: the store has no such video.
        """
        self._require_features()
        lacking: dict[str, dict[str, Status]] = {}
        wanted = list(dict.fromkeys(video_ids))
        silent = self.silent(wanted) if missing in WITHOUT_AUDIO else ()
        for video in wanted:
            read = {f: n for f, n in self.names.items() if f not in OF_SOUND or video not in silent}
            states = {n: self.store.status(_source(video, f), n) for f, n in read.items()}
            bad: dict[str, Status] = {
                name: state for name, state in states.items() if state != Status.OK
            }
            if bad:
                lacking[video] = bad
        if lacking and missing != "skip":
            raise FeatureMissing(self._complaint(lacking, len(wanted)))
        complete = [video for video in wanted if video not in lacking]
        uneven = [video for video in complete if self._is_uneven(self._lengths(video).values())]
        if uneven and (missing != "skip" or len(uneven) == len(complete)):
            raise ConfigError(self._of_different_lengths(uneven, len(complete)))
        return frozenset(complete).difference(uneven)

    def _lengths(self, video_id: str) -> dict[str, int]:
        """Rows of the features that go row by row, of those that the video has.

        Another video's sound is brought to the length of the pictures.
        """
        lengths = {
            name: self.store.length(picture_of(video_id), name)
            for field, name in self.names.items()
            if field not in self._whole and not (field in OF_SOUND and is_dubbed(video_id))
        }
        return {name: length for name, length in lengths.items() if length}

    @staticmethod
    def _is_uneven(lengths: Collection[int]) -> bool:
        """Whether rows of one number cannot be of one second: other steps, or another start."""
        return bool(lengths) and max(lengths) - min(lengths) > MOST_APART

    def _of_different_lengths(self, uneven: Sequence[str], total: int) -> str:
        told = ", ".join(f"{name} {rows} rows" for name, rows in self._lengths(uneven[0]).items())
        return (
            f"{len(uneven)} of {total} videos have features of different lengths, the first is"
            f" {shown_name(uneven[0])}: {told}; expected rows of the same seconds, so as many, or"
            f" {MOST_APART} less; choose others with --set visual or audio, cut the longer with"
            " `avqa import npy --truncate` into another store if they begin together, or leave"
            " these videos' questions out with --set missing=skip"
        )

    def silent(self, video_ids: Iterable[str]) -> frozenset[str]:
        """Those of these videos that have no audio but have frames; none if audio is not read."""
        if "audio" not in self.names:
            return frozenset()
        return frozenset(
            video
            for video in video_ids
            if self._is_silent(video) and self.store.length(picture_of(video))
        )

    def _is_silent(self, video_id: str) -> bool:
        return self.store.status(sound_of(video_id), self.names["audio"]) == Status.ABSENT

    def _require_features(self) -> None:
        there = self.store.features
        absent = [name for name in self.names.values() if name not in there]
        if absent:
            advice = f"add with: {self._command(absent)}"
            if any(is_imported(self.store.recipe(name)) for name in there):  # extract refuses it
                advice = (
                    f"choose with --set visual and audio from what was imported,"
                    f" {', '.join(there)}; or take in what lacks with `avqa import`"
                )
            raise FeatureMissing(
                f"store {str(self.store.path)!r} has no {', '.join(absent)}; expected"
                f" {', '.join(self.names.values())}; {advice}"
            )
        for name in self.names.values():
            rows = self.store.recipe(name).get("imported", {}).get("rows")
            if rows is not None:  # as many as another feature may have by chance
                raise ConfigError(
                    f"store {str(self.store.path)!r}: {name} has rows={rows} of a video, in an"
                    " order that nobody knows; expected a row a second; take in files of 60 rows"
                    " with `avqa import npy --from-layout qa-tiger` into another store, or make"
                    f" them with `avqa extract --features {name}`"
                )

    def _command(self, names: Iterable[str], option: str = "") -> str:
        store, videos = shlex.quote(str(self.store.path)), videos_typed(self.store.path)
        return f"avqa extract --videos {videos} --out {store} --features {','.join(names)}{option}"

    def _complaint(self, lacking: Mapping[str, Mapping[str, Status]], total: int) -> str:
        video, bad = next(iter(lacking.items()))
        first = " and ".join(f"{name} is {state.name.lower()}" for name, state in bad.items())
        found = {(name, state) for these in lacking.values() for name, state in these.items()}
        return (
            f"{len(lacking)} of {total} videos lack a needed feature, the first is"
            f" {shown_name(video)}:"
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
        recipes = {name: self.store.recipe(name) for name in states}
        imported = sorted(n for n in states if states[n] and is_imported(recipes[n]))
        own = sorted(n for n in states if states[n] and n not in imported)
        steps = []
        if own:
            failed = any(Status.FAILED in states[name] for name in own)
            steps.append(f"run: {self._command(own, ' --retry-failed' if failed else '')}, or")
        if imported:
            commands = " and ".join(sorted({f"`{making_command(recipes[n])}`" for n in imported}))
            steps.append(f"take the files of {', '.join(imported)} in with {commands}, or")
        zeros = all(map(is_imported, recipes.values()))
        nothing = "the files have zeros for them:" if zeros else "they have no such stream:"
        return " ".join(steps) or nothing

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
            once = list(dict.fromkeys(_key(video, field) for video in videos))
            counts = [self._count(video, field) for video in once]
            if sum(counts) * row.nbytes <= budget:
                self._loaded[field] = self._load(field, once, counts, row)

    def fits(self, video_ids: Iterable[str]) -> bool:
        """Whether `preload` would load all arrays of these videos, by the memory that is free now.

        Raises:
            UnknownName: the store has no such video.
        """
        videos = dict.fromkeys(video_ids)
        free = free_memory()
        for field in sorted(self.names, key=self._row_bytes):
            once = {_key(video, field) for video in videos}
            size = sum(self._count(video, field) for video in once) * self._row_bytes(field)
            if size > (PRELOAD_SHARE * free if self._budget is None else self._budget):
                return False
            free -= size
        return True

    def _row_bytes(self, field: str) -> int:
        return self._as_rows(field, self.store.zero_rows(self.names[field], 1)).nbytes

    def _count(self, video_id: str, field: str) -> int:
        """Rows that `_read_field` gives."""
        return len(range(self._stored_length(video_id, field))[self._rows])

    def _stored_length(self, video_id: str, field: str) -> int:
        of_pictures = field in OF_SOUND and is_dubbed(video_id)
        own = self.store.length(_source(video_id, field), self.names[field])
        if not (of_pictures or self._is_silence(video_id, field)):
            return own
        return 1 if field in self._whole else self.store.length(picture_of(video_id)) or own

    def _is_silence(self, video_id: str, field: str) -> bool:
        """Whether zeros stand for the audio."""
        return field in OF_SOUND and self._missing in WITHOUT_AUDIO and self._is_silent(video_id)

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
        """``[T, ...]`` from the store, or zeros; they also stand behind another's shorter sound."""
        name = self.names[field]
        if self._is_silence(video_id, field):
            values = self.store.zero_rows(name, self._stored_length(video_id, field))
        else:
            values = self.store.read(_source(video_id, field), name)
        if field in OF_SOUND and is_dubbed(video_id):
            length = self._stored_length(video_id, field)
            behind = self.store.zero_rows(name, max(length - len(values), 0))
            values = np.concatenate([values[:length], behind])
        return self._as_rows(field, values[self._rows])

    def _as_rows(self, field: str, values: NDArray[Any]) -> Tensor:
        rows = torch.from_numpy(np.ascontiguousarray(values))
        if field == "patch":
            return rows.flatten(1, -2)  # maps [T, y, x, D] are patches, row by row
        if field == "frame" and is_frames(self.store.row_layout(self.names[field])):
            return rows.mean(1)
        return rows

    def read(self, video_id: str) -> dict[str, Tensor]:
        """Rows of a video; see `FeatureReader.read`.

        Raises:
            UnknownName, FeatureMissing, StoreError: as `FeatureStore.read`.
        """
        found = {
            field: loaded.rows[place]
            for field, loaded in self._loaded.items()
            if (place := loaded.places.get(_key(video_id, field))) is not None
        }
        if len(found) < len(self.names):
            found |= self._read_kept(video_id)
        by_second = [len(rows) for field, rows in found.items() if field not in self._whole]
        # Imported features may differ by a second.
        seconds = min(by_second, default=min(map(len, found.values()), default=0))
        if self._missing == "masked" and "audio" in found:
            found["audio_valid"] = self._heard(video_id, seconds)
        picture = picture_of(video_id)
        lost = torch.from_numpy(self.store.lost_rows(picture))[self._rows][:seconds]
        if lost.any() and not lost.all():  # a head needs one row at least
            found["valid"] = ~lost
        return {
            field: rows.expand(seconds, *rows.shape[1:]) if field in self._whole else rows[:seconds]
            for field, rows in found.items()
        }

    def _heard(self, video_id: str, seconds: int) -> Tensor:
        """``[seconds]``: which rows of the audio are no zeros that stand for it."""
        rows = 0 if self._is_silent(video_id) else seconds
        if rows and is_dubbed(video_id) and "audio" not in self._whole:
            stored = self.store.length(sound_of(video_id), self.names["audio"])
            rows = len(range(stored)[self._rows])
        return torch.arange(seconds) < rows

    def _read_kept(self, video_id: str) -> dict[str, Tensor]:
        """The fields that are not loaded, from among those kept if they are there."""
        if video_id not in self._kept:
            if len(self._kept) >= KEPT_VIDEOS:
                self._kept.popitem(last=False)
            self._kept[video_id] = {
                field: self._read_field(video_id, field)
                for field in self.names
                if field not in self._loaded
                or _key(video_id, field) not in self._loaded[field].places
            }
        self._kept.move_to_end(video_id)
        return self._kept[video_id]
