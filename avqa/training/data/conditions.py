"""Videos whose streams are missing or another video's: what a head makes of what is left.

A `Condition` stands between the features and the questions, so that heads, batches and answers
are those of every other evaluation.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from avqa.errors import ConfigError, UnknownName
from avqa.heads import OF_SOUND
from avqa.training.data.features import FeatureReader
from avqa.training.settings import Missing

STREAMS = {"audio": OF_SOUND, "frames": ("frame",), "patches": ("patch",)}
"""Name of a stream → fields of `HeadInput`."""


class Condition(Protocol):
    """What becomes of some streams of every video."""

    @property
    def name(self) -> str:
        """For people: ``without audio``."""
        ...

    @property
    def streams(self) -> tuple[str, ...]:
        """Those that it changes: keys of `STREAMS`."""
        ...

    def note(self, videos: Sequence[str], missing: Missing) -> str:
        """What it does to these videos, for people; arguments as of `of`."""
        ...

    def of(self, features: FeatureReader, videos: Sequence[str], missing: Missing) -> FeatureReader:
        """The same videos under this condition.

        Args:
            features: as they are.
            videos: that are asked about; may repeat.
            missing: what stands for audio that is not there: with ``zeros`` zeros, which a head
                hears, else nothing (`HeadInput.audio_valid`).
        """
        ...


def streams_of(option: str, text: str) -> tuple[str, ...]:
    """Streams by comma.

    Raises:
        UnknownName: one is none.
        ConfigError: one is named twice.
    """
    names = tuple(name.strip() for name in text.split(","))
    for name in names:
        if name not in STREAMS:
            raise UnknownName(f"stream of {option}", name, [*STREAMS])
    if len({*names}) < len(names):
        raise ConfigError(f"{option} {text!r} names a stream twice; expected each once; change it")
    return names


@dataclass(frozen=True)
class Without:
    """Streams are not there: frames and patches are zeros; of audio see `Condition.of`."""

    streams: tuple[str, ...]

    @property
    def name(self) -> str:
        """``without frames and patches``."""
        return f"without {' and '.join(self.streams)}"

    def note(self, videos: Sequence[str], missing: Missing) -> str:
        """What stands for each stream."""
        parts = [_not_there(missing)] if "audio" in self.streams else []
        seen = " and ".join(name for name in self.streams if name != "audio")
        return "; ".join([*parts, *([f"{seen} are zeros"] if seen else [])])

    def of(self, features: FeatureReader, videos: Sequence[str], missing: Missing) -> FeatureReader:
        """See `Condition`."""
        return _Lacking(features, self.streams, frozenset(videos), missing)


@dataclass(frozen=True)
class MissingAudio:
    """The audio of some videos is not there: each is drawn by its id and the seed.

    What lacks at some rate lacks at every higher one.
    """

    rate: float
    seed: int
    streams: tuple[str, ...] = ("audio",)

    @property
    def name(self) -> str:
        """``audio missing at 0.3``."""
        return f"audio missing at {self.rate:g}"

    def note(self, videos: Sequence[str], missing: Missing) -> str:
        """Of how many videos."""
        lacking = sum(map(self.lacks, {*videos}))
        drawn = f"{lacking} of {len({*videos})} videos, by seed {self.seed} and their ids"
        return f"{_not_there(missing)}, of {drawn}"

    def lacks(self, video_id: str) -> bool:
        """Whether this video's audio is missing."""
        drawn = hashlib.sha256(f"{self.seed} {video_id}".encode("utf-8", "surrogateescape"))
        return int.from_bytes(drawn.digest()[:8], "big") < self.rate * 2**64

    def of(self, features: FeatureReader, videos: Sequence[str], missing: Missing) -> FeatureReader:
        """See `Condition`."""
        lacking = frozenset(video for video in videos if self.lacks(video))
        return _Lacking(features, self.streams, lacking, missing)


@dataclass(frozen=True)
class Swapped:
    """Streams of another of the videos: the next in an order that the seed draws."""

    streams: tuple[str, ...]
    seed: int

    @property
    def name(self) -> str:
        """``other audio``."""
        return f"other {' and '.join(self.streams)}"

    def note(self, videos: Sequence[str], missing: Missing) -> str:
        """Whose."""
        what = " and ".join(self.streams)
        return f"{what} of another of the {len({*videos})} videos each, by seed {self.seed}"

    def partners(self, videos: Sequence[str]) -> dict[str, str]:
        """Video → whose streams it gets: never its own, and each gives to one.

        Raises:
            ConfigError: there is one video alone.
        """
        names = sorted({*videos})
        if len(names) < 2:
            raise ConfigError(
                f"--swap {','.join(self.streams)} of {len(names)} video; expected at least two, to"
                " give one the other's; evaluate more questions"
            )
        order = np.random.default_rng(self.seed).permutation(len(names)).tolist()
        return {
            names[one]: names[other]
            for one, other in zip(order, [*order[1:], order[0]], strict=True)
        }

    def of(self, features: FeatureReader, videos: Sequence[str], missing: Missing) -> FeatureReader:
        """See `Condition`."""
        return _Exchanged(features, self.streams, self.partners(videos), missing)


def _not_there(missing: Missing) -> str:
    if missing == "zeros":
        return "zeros stand for the audio, as in training (missing=zeros)"
    return "heads go without the audio, as with missing=masked"


@dataclass
class _Lacking:
    """Some videos without some streams."""

    features: FeatureReader
    streams: tuple[str, ...]
    lacking: frozenset[str]
    missing: Missing

    def read(self, video_id: str) -> dict[str, Tensor]:
        rows = dict(self.features.read(video_id))
        lacks = video_id in self.lacking
        for field in _read_of(self.streams, rows):
            if lacks:
                rows[field] = rows[field].new_zeros(()).expand(rows[field].shape)
            if field == "audio" and self.missing != "zeros":
                heard = torch.full((len(rows[field]),), not lacks)
                rows["audio_valid"] = heard & rows.get("audio_valid", heard)
        return rows


@dataclass
class _Exchanged:
    """Videos with some streams of others, which begin again where they are shorter."""

    features: FeatureReader
    streams: tuple[str, ...]
    partners: Mapping[str, str]
    missing: Missing

    def read(self, video_id: str) -> dict[str, Tensor]:
        rows = dict(self.features.read(video_id))
        theirs = self.features.read(self.partners[video_id])
        for field in _read_of(self.streams, rows):
            place = torch.arange(len(rows[field])) % len(theirs[field])
            rows[field] = theirs[field][place]
            if field == "audio" and self.missing != "zeros":
                heard = torch.ones(len(theirs[field]), dtype=torch.bool)
                for mask in ("audio_valid", "valid"):  # what damage took is not heard either
                    heard &= theirs.get(mask, heard)
                rows["audio_valid"] = heard[place]
        return rows


def _read_of(streams: Sequence[str], rows: Mapping[str, Tensor]) -> list[str]:
    """Fields of the streams that a head reads."""
    return [field for name in streams for field in STREAMS[name] if field in rows]
