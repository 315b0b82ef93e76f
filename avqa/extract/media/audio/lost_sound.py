"""Which seconds of a video's sound damage has taken: packets that fail, holes where some were.

What the file itself leaves silent is not lost: sound that begins late, a recorder that paused.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from avqa.extract.media.types import AudioSamples, Stretch

HOLE_SECONDS = 0.1
"""Time stamps are rounded: packets closer than this follow each other."""
NEAR_SECONDS = 0.5
"""A hole so soon after a damaged packet is damage, too."""
LEAST_BYTES = 16
"""Smaller packets of zeros are silence in Vorbis."""
MOST_BYTES = {"mp2": 1730, "mp3": 1730, "ac3": 3840, "eac3": 4096, "aac": 6144}
"""Size of the largest packet of these codecs: what is larger was not found to be several."""
BLOB = 8
"""A packet so many times larger than any before is what a parser found no packet in."""
ZERO_BYTES = bytes(1024)
"""Within a file, what was never written or could not be read."""
_BLOCK = 1 << 20
_MOST_SHOWN = 5


def means_zeros(codec: str) -> bool:
    """Whether a packet of zeros is sound; some codecs that have none decode it all the same."""
    silent = codec.startswith("pcm_") and codec not in {"pcm_u8", "pcm_mulaw", "pcm_alaw"}
    return silent or "dpcm" in codec


def is_void(packet: Any) -> bool:
    """Whether an `av.Packet` is all zeros, and not a small one."""
    return packet.size >= LEAST_BYTES and not any(memoryview(packet))


class LostSound:
    """Notes the stretches that are lost, on the file's clock; gets every packet in file order."""

    def __init__(self, path: str, stretches: list[Stretch]) -> None:
        """``stretches`` is added to."""
        self._path = path
        self._stretches = stretches
        self._end: float | None = None
        self._largest = 0
        self._is_blob = False
        self._damaged_at = -math.inf
        self._goes_on = False
        """What is lost goes on where the last stretch ended."""
        self._places = (0, 0)
        """The last two positions in the file that differ."""

    def take(self, packet: Any, *, lost: bool, hollow: bool) -> None:
        """Note a packet.

        Args:
            packet: an `av.Packet`, or what is known of one.
            lost: it does not decode.
            hollow: it may hold a row of zeros that is none of sound.
        """
        start = self._end or 0.0
        if packet.pts is not None:
            start = float(packet.pts * packet.time_base)
        place = packet.pos or self._places[1]
        if self._end is not None and start - self._end > HOLE_SECONDS:
            if self._damaged_at >= self._end - NEAR_SECONDS or self._has_zeros(place):
                self._add(self._end, start)
            else:
                self._goes_on = False
        if place != self._places[1]:
            self._places = (self._places[1], place)
        self._end = start + float((packet.duration or 0) * packet.time_base)
        self._is_blob = hollow and 0 < BLOB * self._largest < packet.size
        if lost or packet.is_corrupt or self._is_blob:
            self._damaged_at = self._end
        if lost:
            self._add(start, self._end)
        else:
            self._goes_on = False
            if not self._is_blob:
                self._largest = max(self._largest, packet.size)

    def finish(self) -> None:
        """No packet follows: one that was a blob had all the rest in it."""
        if self._is_blob and self._end is not None:
            self._add(self._end, math.inf)

    def _add(self, start: float, end: float) -> None:
        if self._goes_on:
            start, _ = self._stretches.pop()
        self._stretches.append((start, end))
        self._goes_on = True

    def _has_zeros(self, place: int) -> bool:
        """Whether zeros lie in the file between the packets on either side of a hole."""
        with open(self._path, "rb") as file:
            file.seek(self._places[0])
            kept = b""
            while block := file.read(max(0, min(_BLOCK, place - file.tell()))):
                if ZERO_BYTES in kept + block:
                    return True
                kept = block[-len(ZERO_BYTES) :]
        return False


class Gaps:
    """Passes runs of sound on and notes where there was none between them, on the file's clock.

    For readers that do not see packets: if they met damage, it was there.
    """

    def __init__(self, runs: Iterator[AudioSamples]) -> None:
        """Take a reader's ``runs``."""
        self._runs = runs
        self._gaps: list[Stretch] = []
        self._end: float | None = None

    def __iter__(self) -> Iterator[AudioSamples]:
        for run in self._runs:
            start = float(run.start_seconds)
            if self._end is not None and start - self._end > HOLE_SECONDS:
                self._gaps.append((self._end, start))
            self._end = start + run.samples.shape[-1] / run.sample_rate
            yield run

    def close(self) -> None:
        """No more is wanted; a reader ends its program or closes its file."""
        close = getattr(self._runs, "close", None)
        if close is not None:
            close()

    def until(self, end: float | None) -> list[Stretch]:
        """The gaps up to the second at which the sound ends, as far as that is known."""
        last = self._end
        if last is not None and end is not None and end - last > HOLE_SECONDS:
            return [*self._gaps, (last, end)]
        return self._gaps


def on_frame_clock(stretches: Iterable[Stretch], zero: float, num_seconds: int) -> list[Stretch]:
    """The stretches within [0, T) of the frames' clock, in order, each second once.

    Args:
        stretches: on the file's clock.
        zero: time of the first frame there.
        num_seconds: T.
    """
    found: list[Stretch] = []
    for start, end in sorted(stretches):
        begin = max(0.0, start - zero, found[-1][1] if found else 0.0)
        stop = min(end - zero, float(num_seconds))
        if stop > begin:
            found.append((begin, stop))
    return [(round(start, 3), round(end, 3)) for start, end in found]


def total(stretches: Iterable[Sequence[float]]) -> float:
    """Seconds of these stretches, of which none overlap."""
    return round(sum(end - start for start, end in stretches), 3)


def in_words(stretches: Sequence[Sequence[float]], num_seconds: int) -> str:
    """How much is lost, and where: ``1.50 of 8 s, at 2.00 to 3.00 s and 5.00 to 5.50 s``."""
    places = [f"{start:.2f} to {end:.2f} s" for start, end in stretches[:_MOST_SHOWN]]
    more = len(stretches) - len(places)
    places += [f"{more} other places"] if more else []
    where = " and ".join(", ".join(part) for part in (places[:-1], places[-1:]) if part)
    return f"{total(stretches):.2f} of {num_seconds} s, at {where}"
