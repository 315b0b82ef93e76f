"""One pass over a file's packets, without decoding: times, order, extent, and what is lost."""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import av
import av.logging
import numpy as np
from av.error import FFmpegError
from av.error import MemoryError as FFmpegMemoryError
from av.stream import Discard, Disposition
from numpy.typing import NDArray

from avqa.extract.media import avi, bitstream, clock, file_checks, losses
from avqa.extract.media.clock import Clock, Shifts, Track
from avqa.extract.media.container import (
    audio_stream,
    declared_of,
    declared_seconds,
    default_of,
)
from avqa.extract.media.packet_plan import MISSING, PacketTable, Traits
from avqa.extract.media.types import Limits

BAD_PACKETS = 100
"""Reading errors in a row after which the rest of a file is given up."""
SAY = frozenset({"matroska,webm", "ogg"})
"""Demuxers that only say that they have lost something; others flag packets, or count on."""
OGG_PAGE = 2.0
"""Seconds that a page may last. Only its last packet's time is told: the others' are guessed."""
NEAR_BYTES = 65_536
"""Packets of two tracks that begin a new part together lie no further apart than this."""


@dataclass
class Demuxed:
    """What one pass over all packets has found, without decoding."""

    packets: PacketTable
    """Of the video stream, on one clock."""
    traits: Traits
    clock: Clock
    """What was added to the time stamps of the file."""
    damaged: tuple[int, ...]
    """Numbers of the video's packets that are not whole, or that others were lost behind."""
    first: Fraction | None
    """Start in seconds of the earliest packet of frame or audio."""
    last: Fraction | None
    """End of the latest one, in any track if the chosen ones do not declare their length."""
    has_audio: bool
    """Whether the audio has packets: a recording that was muted declares it and has none."""
    audio_end: float | None
    """End in seconds of the audio's last packet that an edit list leaves in."""
    cut: bool
    """Something was lost behind the last packet, and nothing else tells how long the file is."""
    guessed: float
    """Seconds behind damage of which the times are guessed."""
    declared_seconds: float | None
    """Length of what ``last`` is about, as it is declared."""
    packed: NDArray[np.int64] | None
    """[F] ticks at which the frames of an MPEG-4 AVI are shown, in that order."""
    counted: avi.Truth
    """What is true of an AVI's frames, which have no times."""

    def declared_by(self, container: Any, stream: Any) -> float | None:
        """Length in seconds that the header declares; of a cut AVI, FFmpeg tells what is left."""
        declared = declared_seconds(container)
        if self.counted.missing and stream.average_rate:
            return max(float(stream.frames / stream.average_rate), declared or 0.0)
        return declared

    def is_short_of(self, container: Any) -> bool:
        """Whether packets end clearly before the length that the header declares."""
        name = container.format.name.split(",")[0]
        declared = self.declared_seconds
        if self.cut:
            return True
        if declared is None or name not in file_checks.DECLARES_LENGTH or self.last is None:
            return False
        if self.counted.missing:
            return True
        start = min(self.first or Fraction(0), Fraction(0))
        # Headers are rounded, and audio may be declared to its last padded frame.
        return float(self.last - start) < declared - max(0.5, 0.01 * declared)


def demux(container: Any, stream: Any, path: str, limits: Limits) -> Demuxed:
    """Read the packet table of ``stream``, and the extent of the audio beside it.

    Raises:
        MediaError: ``too_long`` if time stamps go beyond the limit.
    """
    audio = audio_stream(container)
    chosen = [stream, audio] if audio else [stream]
    declared = declared_of(container, chosen)
    streams = chosen if declared is not None else [*chosen, *_others(container, chosen)]
    traits = Traits()
    if audio is not None and audio is not default_of(list(container.streams.audio)):
        traits.warnings.append(
            f"an audio stream has no decoder: stream {audio.index} is read in its place"
        )
    name = container.format.name
    indices = [avi.index_of(each) for each in chosen] if name == "avi" else []
    columns, look = _read(container, stream, streams, traits)
    tracks = {number: found.track() for number, found in columns.items()}
    video = tracks.pop(stream.index, None) or _Columns(stream.time_base).track()
    heard = tracks.get(audio.index) if audio is not None else None
    counted = avi.truth(stream, indices, [video, heard]) if indices else avi.Truth()
    one = counted.clock
    if not indices:
        one = clock.of_container(name, path, video, heard, slack=NEAR_BYTES)
    if note := one.note():
        traits.warnings.append(note)
    video = clock.shifted(video, one.video)
    if heard is not None and audio is not None:
        tracks[audio.index] = clock.shifted(heard, one.audio)
    one = clock.with_seams(one, video, tracks.get(chosen[-1].index), look.keys(), slack=NEAR_BYTES)
    packets = PacketTable(video.pts, video.duration, look.keys(), look.shown(one.video))
    damaged = look.damaged - {number for number in look.flagged if one.video.tears(number)}
    if look.codec in losses.EVEN:
        damaged |= losses.behind_gaps(packets, round(clock.PAUSE / stream.time_base))
    extents = [track.extent() for track in (video, *tracks.values()) if len(track)]
    for start, end in extents:
        file_checks.check_length(path, float(end - start), limits)
    return Demuxed(
        packets,
        traits,
        one,
        damaged=tuple(sorted(damaged.union(counted.damaged))),
        first=min((start for start, _ in extents), default=None),
        last=max((end for _, end in [*extents, *counted.extent(stream.time_base)]), default=None),
        has_audio=heard is not None,
        declared_seconds=declared_seconds(container) if declared is None else declared,
        # Of Matroska it may be the last block of a recording that was broken off.
        cut=look.lost_end and name == "ogg",
        guessed=math.inf if counted.missing else OGG_PAGE if name == "ogg" else 0.0,
        packed=avi.packed_times(video, look.frames()) if indices and look.counts else None,
        counted=counted,
        audio_end=columns[audio.index].shown_until(one.audio) if audio and heard else None,
    )


def _read(
    container: Any, stream: Any, streams: list[Any], traits: Traits
) -> tuple[dict[int, _Columns], _Look]:
    """The packets of the streams by their indices, and what those of ``stream`` look like."""
    for other in container.streams:
        if other not in streams:
            other.discard = Discard.all
    columns: dict[int, _Columns] = {}
    look = _Look(stream, traits)
    with complaints() as said:
        for packet in packets_of(container, streams, traits.warnings):
            if packet.stream_index == stream.index:
                look(packet, damaged_before=_has_lost(said))
                said.clear()
            if packet.stream_index not in columns:
                columns[packet.stream_index] = _Columns(packet.time_base)
            columns[packet.stream_index].take(packet)
        look.end(damaged_before=_has_lost(said))
    traits.reorders = bool(stream.codec_context.has_b_frames)
    return columns, look


def _has_lost(said: list[tuple[int, str, str]]) -> bool:
    return any(name in SAY for _, name, _ in said)


def _others(container: Any, chosen: list[Any]) -> list[Any]:
    """Tracks that may be as long as the container says: its length is that of the longest."""
    return [
        other
        for other in container.streams
        if other.type in ("video", "audio", "subtitle", "data")
        and other not in chosen
        and not other.disposition & Disposition.attached_pic
    ]


class _Columns:
    """The packets of one stream as they come."""

    def __init__(self, time_base: Fraction) -> None:
        self._time_base = time_base
        self._columns = array("q"), array("q"), array("q"), array("q")
        self._hidden = array("b")

    def take(self, packet: Any) -> None:
        pts, dts, duration, place = self._columns
        pts.append(MISSING if packet.pts is None else packet.pts)
        dts.append(MISSING if packet.dts is None else packet.dts)
        duration.append(packet.duration or 0)
        place.append(-1 if packet.pos is None else packet.pos)
        self._hidden.append(packet.is_discard)

    def shown_until(self, shifts: Shifts) -> float | None:
        """Second at which the last packet ends that is not hidden."""
        track = clock.shifted(self.track(), shifts)
        ends = (track.starts() + track.duration)[np.array(self._hidden) == 0]
        return float(int(ends.max()) * self._time_base) if len(ends) else None

    def track(self) -> Track:
        pts, dts, duration, place = (np.array(column, np.int64) for column in self._columns)
        # A packet that another one was cut from has no place of its own.
        return Track(pts, dts, duration, np.maximum.accumulate(place), self._time_base)


class _Look:
    """Looks into the bits of each packet for what planning must know."""

    def __init__(self, stream: Any, traits: Traits) -> None:
        codec = stream.codec_context
        self.codec: str = codec.codec.canonical_name
        self._length_size = bitstream.nal_length_size(codec.extradata, self.codec)
        self._traits = traits
        self._keys, self._shown, self._hidden = array("b"), array("b"), array("b")
        self._frames = array("q")
        self.counts = self.codec == "mpeg4"
        self.damaged: set[int] = set()
        self.flagged: set[int] = set()
        """Those of them that FFmpeg alone calls so."""
        self.lost_end = False

    def __call__(self, packet: Any, *, damaged_before: bool) -> None:
        """Note what the packet is.

        Args:
            packet: the next one of the stream.
            damaged_before: whether something was lost since the one before.
        """
        number = len(self._keys)
        data = memoryview(packet)
        if damaged_before and number:
            self.damaged.add(number - 1)
        zeros = bitstream.holds_zeros(data, self.codec, self._length_size)
        if packet.is_corrupt and not zeros:
            self.flagged.add(number)
        if packet.is_corrupt or zeros:
            self.damaged.add(number)
        if zeros and number and not any(data[:4]):  # they may begin in the one before
            self.damaged.add(number - 1)
        self._keys.append(packet.is_keyframe)
        self._hidden.append(packet.is_discard)
        self._shown.append(self._is_shown(packet, data))

    def end(self, *, damaged_before: bool) -> None:
        """Note whether something was lost behind the last packet."""
        self.lost_end = damaged_before
        if damaged_before and self._keys:
            self.damaged.add(len(self._keys) - 1)

    def frames(self) -> NDArray[np.int64]:
        """[N] how many frames there are in each packet, if that is counted."""
        return np.array(self._frames, np.int64)

    def keys(self) -> Any:
        """[N] whether decoding may start there."""
        return np.array(self._keys, np.bool_)

    def shown(self, shifts: Shifts) -> Any:
        """[N] whether a frame of it is shown; an edit list hides nothing of later parts."""
        hidden = np.array(self._hidden, np.bool_) & (shifts.all(len(self._hidden)) == 0)
        return np.array(self._shown, np.bool_) & ~hidden

    def _is_shown(self, packet: Any, data: memoryview) -> bool:
        if self.codec == "h264":
            if packet.is_keyframe and not self._traits.gradual:
                clean = bitstream.h264_starts_clean(data, self._length_size)
                self._traits.gradual = not clean
        elif self.codec == "hevc":
            if not self._traits.layered:
                layered = bitstream.hevc_has_layers(data, self._length_size)
                self._traits.layered = layered
        elif self.counts:
            self._frames.append(bitstream.mpeg4_frames(data))
        elif self.codec == "vp8":
            return not bitstream.vp8_is_hidden(data)
        return True


@contextmanager
def complaints() -> Iterator[list[tuple[int, str, str]]]:
    """Level, name and text of the errors that the library speaks of in the meantime.

    A demuxer goes on behind damage; that it has lost something it only says.
    """
    av.logging.set_level(av.logging.ERROR)
    av.logging.set_skip_repeated(False)
    try:
        with av.logging.Capture() as said:
            yield said
    finally:
        av.logging.set_level(None)


def packets_of(
    container: Any,
    streams: list[Any],
    warnings: list[str],
    shifts: Mapping[int, Shifts] | None = None,
) -> Iterator[Any]:
    """All packets with content, going on after reading errors.

    ``shifts`` puts those of the streams with these indices on one clock.
    """
    errors = 0
    shifts = {i: shift for i, shift in (shifts or {}).items() if shift.starts or shift.seams}
    numbers = dict.fromkeys(shifts, 0)
    while True:
        try:
            for packet in container.demux(*streams):
                if not packet.size:
                    continue
                errors = 0
                if packet.stream_index in shifts:
                    number = numbers[packet.stream_index]
                    numbers[packet.stream_index] += 1
                    packet = _on_one_clock(packet, shifts[packet.stream_index], number)
                yield packet
            return
        except FFmpegMemoryError:
            raise
        except BlockingIOError:  # some kilobytes in which no packet begins: go on behind them
            continue
        except OSError as error:
            raise file_checks.disk_fails(container.name, error) from error
        except FFmpegError as error:
            errors += 1
            if errors == 1:
                warnings.append(f"reading error: {error.strerror}")
            if errors > BAD_PACKETS:
                return


def _on_one_clock(packet: Any, shifts: Shifts, number: int) -> Any:
    """Packet ``number``, shifted; without flags that are about what lies before or behind."""
    ticks = shifts.of(number)
    if (packet.is_discard and ticks) or (packet.is_corrupt and shifts.tears(number)):
        whole = av.Packet(bytes(packet))
        whole.time_base, whole.duration = packet.time_base, packet.duration
        whole.pts, whole.dts, whole.is_keyframe = packet.pts, packet.dts, packet.is_keyframe
        packet = whole
    if packet.pts is not None:
        packet.pts += ticks
    if packet.dts is not None:
        packet.dts += ticks
    return packet
