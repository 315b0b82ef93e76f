"""Opening a file with PyAV: white lists, choice of streams, limits, declared length."""

from __future__ import annotations

import errno
import re
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from typing import Any

import av
from av.error import FFmpegError
from av.error import MemoryError as FFmpegMemoryError
from av.stream import Disposition

from avqa.extract.media import file_checks
from avqa.extract.media.frame import cropping, tone
from avqa.extract.media.frame.cropping import Crop
from avqa.extract.media.types import Limits
from avqa.faults import is_limit

MICROSECONDS = 1_000_000
CONTAINER_LENGTHS = frozenset({"asf", "flv", "gif"})
"""Containers whose streams are given the length of the whole."""


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
        if isinstance(error, OSError) and is_limit(error):
            raise
        if isinstance(error, OSError) and error.errno in (errno.EIO, errno.ESTALE):
            raise file_checks.disk_fails(path, error) from error
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
    return default_of(real)


def audio_stream(container: Any) -> Any:
    """The audio stream flagged as default, else the first, else None.

    One that has no decoder is passed over where another has one.
    """
    streams = list(container.streams.audio)
    known = [stream for stream in streams if stream.codec_context is not None]
    return default_of(known or streams) if streams else None


def default_of(streams: list[Any]) -> Any:
    """The stream flagged as default, else the first."""
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
    if container.format.name.split(",")[0] in file_checks.DECLARES_LENGTH:
        file_checks.check_length(path, declared_seconds(container), limits)
    # The declared size may be a lie; the decoder itself refuses larger frames then.
    codec.options = {"max_pixels": str(file_checks.codec_pixels(limits))}
    codec.thread_count = 1


def aspect_of(stream: Any) -> Fraction:
    """Width of a pixel divided by its height."""
    found = stream.sample_aspect_ratio or stream.codec_context.sample_aspect_ratio
    return Fraction(found) if found else Fraction(1)


def crop_of(container: Any, stream: Any) -> Crop:
    """What the container cuts off the frames of a stream."""
    place = container.streams.video.index(stream)
    return cropping.crop_of(container.name, container.format.name, stream.id, place)


def hdr_of(stream: Any) -> str:
    """FFmpeg's name of a stream's transfer if it is HDR, else nothing."""
    return tone.TRANSFERS.get(stream.codec_context.color_trc, "")


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
