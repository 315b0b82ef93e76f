"""Opening a file with PyAV: white lists, choice of streams, limits, the packet table."""

from __future__ import annotations

import re
from array import array
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from math import inf
from typing import Any

import av
import numpy as np
from av.error import FFmpegError
from av.error import MemoryError as FFmpegMemoryError
from av.stream import Discard, Disposition

from avqa.errors import MediaError
from avqa.extract.media import bitstream, file_checks
from avqa.extract.media.packet_plan import MISSING, PacketTable, Traits
from avqa.extract.media.types import Limits

MICROSECONDS = 1_000_000
DECLARES_LENGTH = frozenset({"mov", "matroska", "avi", "flv", "asf", "gif"})
"""Containers whose header says how long they are; others are measured from what is there."""
CONTAINER_LENGTHS = frozenset({"asf", "flv", "gif"})
"""Containers whose streams are given the length of the whole."""
BAD_PACKETS = 100
"""Reading errors in a row after which the rest of a file is given up."""


@contextmanager
def opened(path: str, limits: Limits) -> Iterator[Any]:
    """Open with the white lists. Looking for streams may decode a frame: its size is limited.

    Raises:
        MediaError: ``not_media`` or ``unreadable``.
    """
    options = {
        "format_whitelist": ",".join(file_checks.FORMATS),
        "protocol_whitelist": ",".join(file_checks.PROTOCOLS),
        "max_pixels": str(file_checks.codec_pixels(limits)),
    }
    try:
        container = av.open(path, options=options, metadata_errors="replace")
    except FFmpegMemoryError:
        raise
    except FFmpegError as error:
        raise file_checks.not_media(path, error.strerror) from error
    with container:
        yield container


def video_stream(container: Any, path: str) -> Any:
    """The video stream flagged as default, else the first; cover images do not count.

    Raises:
        MediaError: ``no_video``.
    """
    real = [s for s in container.streams.video if not s.disposition & Disposition.attached_pic]
    if not real:
        raise file_checks.no_video(path)
    return _default(real)


def audio_stream(container: Any) -> Any:
    """The audio stream flagged as default, else the first, else None.

    One that has no decoder is passed over where another has one.
    """
    streams = list(container.streams.audio)
    known = [stream for stream in streams if stream.codec_context is not None]
    return _default(known or streams) if streams else None


def _default(streams: list[Any]) -> Any:
    return next((s for s in streams if s.disposition & Disposition.default), streams[0])


def check_stream(container: Any, stream: Any, path: str, reader: str, limits: Limits) -> None:
    """Refuse by what is declared, before the codec is opened.

    Raises:
        MediaError: ``no_decoder``, ``too_large`` or ``too_long``.
    """
    codec = stream.codec_context
    if codec is None:
        raise file_checks.no_decoder(path, reader, "unknown")
    aspect = aspect_of(stream)
    width, height = display_size(codec.width, codec.height, aspect)
    coded_width, coded_height = file_checks.gif_size(path) or (codec.width, codec.height)
    file_checks.check_size(path, coded_width, coded_height, limits)
    file_checks.check_size(path, width, height, limits)
    file_checks.check_length(path, declared_seconds(container), limits)
    # The declared size may be a lie; the decoder itself refuses larger frames then.
    codec.options = {"max_pixels": str(file_checks.codec_pixels(limits))}
    codec.thread_count = 1


def aspect_of(stream: Any) -> Fraction:
    """Width of a pixel divided by its height."""
    found = stream.sample_aspect_ratio or stream.codec_context.sample_aspect_ratio
    return Fraction(found) if found else Fraction(1)


def display_size(width: int, height: int, aspect: Fraction) -> tuple[int, int]:
    """Size with square pixels: one side is stretched, none is shrunk."""
    if aspect > 1:
        return max(1, round(width * aspect)), height
    return width, max(1, round(height / aspect))


def declared_seconds(container: Any) -> float | None:
    """Length as the container declares it, or as FFmpeg estimates it."""
    if container.duration is None:
        return None
    return _since_start(container, container.duration / MICROSECONDS)


def _since_start(container: Any, seconds: float) -> float:
    """Matroska's writers put the time of the end where the length belongs."""
    start = (container.start_time or 0) / MICROSECONDS
    late = "matroska" in container.format.name and 0 < start < seconds
    return seconds - start if late else seconds


def declared_of(container: Any, streams: list[Any]) -> float | None:
    """Length that the chosen streams declare themselves; None where one of them does not.

    Another track may be longer than they are, and the container as long as that.
    """
    lengths = [_own_seconds(container, stream) for stream in streams]
    known = [seconds for seconds in lengths if seconds is not None]
    return max(known) if len(known) == len(lengths) else None


def _own_seconds(container: Any, stream: Any) -> float | None:
    if stream.duration and container.format.name not in CONTAINER_LENGTHS:
        return float(stream.duration * stream.time_base)
    tags = (value for key, value in stream.metadata.items() if key.startswith("DURATION"))
    found = re.fullmatch(r"(\d+):(\d+):(\d+\.?\d*)", next(tags, ""))
    if found is None:
        return None
    hours, minutes, seconds = found.groups()
    return _since_start(container, int(hours) * 3600 + int(minutes) * 60 + float(seconds))


@dataclass
class Demuxed:
    """What one pass over all packets has found, without decoding."""

    packets: PacketTable
    traits: Traits
    first: Fraction | None
    """Start in seconds of the earliest packet of frame or audio."""
    last: Fraction | None
    """End of the latest one, in any track if the chosen ones do not declare their length."""
    has_audio: bool
    """Whether the audio has packets: a recording that was muted declares it and has none."""
    declared_seconds: float | None
    """Length of what ``last`` is about, as it is declared."""
    audio_end: float | None
    """End in seconds of the audio's last packet."""

    def is_short_of(self, container: Any) -> bool:
        """Whether packets end clearly before the length that the header declares."""
        name = container.format.name.split(",")[0]
        declared = self.declared_seconds
        if declared is None or name not in DECLARES_LENGTH or self.last is None:
            return False
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
    for other in container.streams:
        if other not in streams:
            other.discard = Discard.all
    columns = array("q"), array("q"), array("b"), array("b")
    traits = Traits()
    if audio is not None and audio is not _default(list(container.streams.audio)):
        traits.warnings.append(
            f"an audio stream has no decoder: stream {audio.index} is read in its place"
        )
    look = _Look(stream, traits)
    extents: dict[int, _Extent] = {}
    for packet in packets_of(container, streams, traits.warnings):
        index = packet.stream_index
        if index not in extents:
            extents[index] = _Extent(packet.time_base, limits)
        extents[index].take(packet, path, limits)
        if index == stream.index:
            columns[0].append(MISSING if packet.pts is None else packet.pts)
            columns[1].append(packet.duration or 0)
            columns[2].append(packet.is_keyframe)
            columns[3].append(not packet.is_discard and look(packet))
    traits.reorders = bool(stream.codec_context.has_b_frames)
    table = PacketTable(
        np.array(columns[0], np.int64),
        np.array(columns[1], np.int64),
        np.array(columns[2], np.bool_),
        np.array(columns[3], np.bool_),
    )
    timed = [extent for extent in extents.values() if extent.first is not None]
    return Demuxed(
        table,
        traits,
        first=min((e.first * e.time_base for e in timed if e.first is not None), default=None),
        last=max((e.last * e.time_base for e in timed), default=None),
        has_audio=audio is not None and audio.index in extents,
        declared_seconds=declared_seconds(container) if declared is None else declared,
        audio_end=extents[audio.index].shown_until if audio and audio.index in extents else None,
    )


def _others(container: Any, chosen: list[Any]) -> list[Any]:
    """Tracks that may be as long as the container says: its length is that of the longest."""
    return [
        other
        for other in container.streams
        if other.type in ("video", "audio", "subtitle", "data")
        and other not in chosen
        and not other.disposition & Disposition.attached_pic
    ]


class _Extent:
    """First and last tick of one stream's packets."""

    def __init__(self, time_base: Fraction, limits: Limits) -> None:
        self.time_base = time_base
        self.first: int | None = None
        self.last = 0
        self.shown_until: float | None = None
        """End in seconds of what an edit list leaves in."""
        self._most = int(limits.max_length_seconds / time_base)

    def take(self, packet: Any, path: str, limits: Limits) -> None:
        start = packet.dts if packet.pts is None else packet.pts
        if start is None:
            return
        end = start + (packet.duration or 0)
        if self.first is None:
            self.first, self.last = start, end
        self.first, self.last = min(self.first, start), max(self.last, end)
        if not packet.is_discard:
            self.shown_until = max(float(end * self.time_base), self.shown_until or -inf)
        if self.last - self.first > self._most:
            file_checks.check_length(path, float((self.last - self.first) * self.time_base), limits)


class _Look:
    """Looks into the bits of each packet for what planning must know."""

    def __init__(self, stream: Any, traits: Traits) -> None:
        codec = stream.codec_context
        self._codec: str = codec.codec.canonical_name
        self._length_size = bitstream.nal_length_size(codec.extradata, self._codec)
        self._traits = traits

    def __call__(self, packet: Any) -> bool:
        """Note the traits; false if the packet is never shown."""
        if self._codec == "h264":
            if packet.is_keyframe and not self._traits.gradual:
                clean = bitstream.h264_starts_clean(memoryview(packet), self._length_size)
                self._traits.gradual = not clean
        elif self._codec == "hevc":
            if not self._traits.layered:
                layered = bitstream.hevc_has_layers(memoryview(packet), self._length_size)
                self._traits.layered = layered
        elif self._codec == "vp8":
            return not bitstream.vp8_is_hidden(memoryview(packet))
        return True


def packets_of(container: Any, streams: list[Any], warnings: list[str]) -> Iterator[Any]:
    """All packets with content, going on after reading errors."""
    errors = 0
    while True:
        try:
            for packet in container.demux(*streams):
                if packet.size:
                    errors = 0
                    yield packet
            return
        except FFmpegMemoryError:
            raise
        except BlockingIOError:  # some kilobytes in which no packet begins: go on behind them
            continue
        except OSError as error:
            raise MediaError(
                "unreadable",
                f"reading fails midway: {error.strerror}; expected a readable file; "
                "look at the disk",
            ) from error
        except FFmpegError as error:
            errors += 1
            if errors == 1:
                warnings.append(f"reading error: {error.strerror}")
            if errors > BAD_PACKETS:
                return
