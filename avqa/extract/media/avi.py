"""AVI counts its frames and has no times: one that is lost moves all others, but for the index.

Pure functions of the index entries and packets of PyAV, and of the file's first bytes.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from avqa.extract.media.clock import Clock, Shifts, Track
from avqa.extract.media.packet_plan import MISSING

MOST_HELD_BACK = 4
"""Frames that an encoder holds back, at most."""
CHUNK_HEAD = 8
"""Bytes before a chunk's content: its name and size. The index points at them."""

_HEAD_BYTES = 4096


@dataclass(frozen=True)
class Index:
    """What the index says of one stream's chunks; empty ones, which repeat a frame, are not in."""

    place: NDArray[np.int64]
    """[N] byte at which each chunk's content begins, ascending."""
    time: NDArray[np.int64]
    """[N] tick of each chunk."""


def index_of(stream: Any) -> Index:
    """The index as far as it is known, which is not far where the file has none.

    To be asked for before packets are read: FFmpeg adds those.
    """
    entries = sorted((e.pos + CHUNK_HEAD, e.timestamp) for e in stream.index_entries)
    return Index(*(np.array([entry[k] for entry in entries], np.int64) for k in (0, 1)))


def declared_frames(path: str) -> int:
    """Frames that the header of an AVI file counts; 0 if it does not tell."""
    with open(path, "rb") as file:
        head = file.read(_HEAD_BYTES)
    place = head.find(b"avih")
    if head[:4] != b"RIFF" or not 0 <= place <= len(head) - 28:
        return 0
    (count,) = struct.unpack_from("<I", head, place + 24)
    return int(count)


@dataclass(frozen=True)
class Truth:
    """What is true of the frames of an AVI file."""

    clock: Clock = Clock()
    lost: tuple[int, ...] = ()
    """Ticks of frames that the index names and that are not there."""
    damaged: tuple[int, ...] = ()
    """Numbers of the packets behind lost ones."""
    missing: int = 0
    """Frames that the header counts, and nothing tells where they should be."""
    end: int | None = None
    """Tick at which the last chunk ends, empty ones included."""
    delay: int = 0
    """Ticks from a chunk to the frames that are shown at its time."""

    def extent(self, time_base: Fraction) -> list[tuple[Fraction, Fraction]]:
        """Seconds of begin and end that the header tells, if it does."""
        return [] if self.end is None else [(Fraction(0), (self.end + self.delay) * time_base)]


def truth(stream: Any, indices: list[Index], tracks: list[Track | None]) -> Truth:
    """Compare the packets found with the index, or with the header where there is none.

    Args:
        stream: the video stream.
        indices: of the video stream and, where there is one, of the audio stream.
        tracks: what was read of them.
    """
    index, video = indices[0], tracks[0]
    if video is None or len(video) == 0 or len(index.place) < len(video):
        return Truth(missing=abs(stream.frames - (len(video) if video else 0)))
    heard = _shifts(indices[1], tracks[1]) if len(indices) > 1 and tracks[1] else Shifts()
    shifts = _shifts(index, video)
    there = np.isin(index.place, video.place)
    delay = int(video.starts()[0] - video.dts[0]) if video.dts[0] != MISSING else 0
    whole = stream.frames and stream.frames == stream.duration
    return Truth(
        Clock(shifts, heard),
        lost=tuple(int(tick) + delay for tick in index.time[~there]),
        damaged=shifts.starts,
        end=stream.frames if whole else None,
        delay=delay,
    )


def packed_times(video: Track, frames: NDArray[np.int64]) -> NDArray[np.int64]:
    """Ticks at which frames are shown, where a packet may hold two of them, in that order.

    Args:
        video: the packets; each counts one tick.
        frames: [N] frames in each. Behind a packet of two, an empty one fills the second's place.
    """
    shown, more = [], 0
    for tick, count in zip(video.dts.tolist(), frames.tolist(), strict=True):
        if count or more:
            shown.append(tick)
            more += count - 1
    ticks = np.array(shown, np.int64)
    # An encoder that comes to hold more frames back leaves a place empty each time.
    if (frames > 1).any() and ticks[-1] - ticks[0] + 1 - len(ticks) <= MOST_HELD_BACK:
        ticks = np.arange(ticks[-1] + 1 - len(ticks), ticks[-1] + 1)
    return ticks


def _shifts(index: Index, track: Track) -> Shifts:
    """From counted times to those of the index; a piece of a chunk goes with the piece before."""
    found = np.minimum(np.searchsorted(index.place, track.place), len(index.place) - 1)
    known = (index.place[found] == track.place) & (track.dts != MISSING)
    known[1:] &= track.place[1:] != track.place[:-1]
    numbers = np.flatnonzero(known)
    times, counted = index.time[found[numbers]], track.dts[numbers]
    # Plain samples are counted in bytes by the index, in samples by the packets.
    later = np.flatnonzero(counted > 0)
    bytes_each = max(1, round(times[later[0]] / counted[later[0]])) if len(later) else 1
    ticks = times // bytes_each - counted
    changes = np.flatnonzero(np.diff(ticks, prepend=0))
    return Shifts(
        tuple(int(n) for n in numbers[changes]), tuple(int(tick) for tick in ticks[changes])
    )
