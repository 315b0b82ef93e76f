"""What is checked of a file before any media library sees it, and what all readers refuse."""

from __future__ import annotations

import math
import os
import struct

from avqa.errors import MediaError, VideoLeft
from avqa.extract.media.grid import widest_gap
from avqa.extract.media.types import Limits, TimeTable
from avqa.faults import is_limit, is_of_disk

FORMATS = (
    "mov", "matroska", "avi", "mpegts", "mpeg", "mpegvideo", "flv", "gif", "ogg", "asf",
    # Audio alone is no video, but "no video" is the better answer than "not media".
    "wav", "mp3", "aac", "flac",
)  # fmt: skip
"""FFmpeg's names of the containers that may be opened. None of them points to other files."""
PROTOCOLS = ("file",)
DECLARES_LENGTH = frozenset({"mov", "matroska", "avi", "flv", "asf", "gif"})
"""Containers whose header says how long they are; others are measured from what is there."""

_HEAD_BYTES = 4096
_SCRIPTS = {
    b"#EXTM3U": "HLS playlist",
    b"ffconcat": "ffconcat script",
    b"v=0": "SDP session",
    b"[Reference]": "ASF playlist",
    b"[playlist]": "PLS playlist",
    b"RTSPtext": "RTSP link",
    b"rtsp://": "RTSP link",
    b"http://": "link",
    b"https://": "link",
}
_MARKUP = {b"<MPD": "DASH playlist", b"<SmoothStreamingMedia": "playlist", b"<asx": "ASX playlist",
           b"<smil": "SMIL playlist", b"<playlist": "XSPF playlist"}  # fmt: skip


def check_file(path: str) -> str:
    """Refuse what is no readable file of media; return the absolute path.

    An absolute path cannot be taken for an option or for an address.

    Raises:
        MediaError: ``unreadable``, ``empty``, or ``refused_protocol`` for text that points
            elsewhere (a playlist or script), which media libraries would follow.
        VideoLeft: the disk or mount fails.
    """
    try:
        with open(path, "rb") as file:
            head = file.read(_HEAD_BYTES)
    except OSError as error:
        if is_limit(error):
            raise
        if is_of_disk(error):
            raise disk_fails(path, error) from error
        raise MediaError(
            "unreadable",
            f"cannot read path={path!r}: {error.strerror}; expected a readable file; "
            "look at its permissions",
            stage="probe",
        ) from error
    if not head:
        raise MediaError(
            "empty",
            f"path={path!r} has 0 bytes; expected a video; copy or download it again",
            stage="probe",
        )
    script = _script_kind(head)
    if script:
        raise MediaError(
            "refused_protocol",
            f"path={path!r} is a {script}, not a video; expected the frames in the file itself; "
            "give the file that it points to",
            stage="probe",
        )
    return os.path.abspath(path)


def _script_kind(head: bytes) -> str:
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    for mark, kind in _SCRIPTS.items():
        if text.lower().startswith(mark.lower()):
            return kind
    if text.startswith(b"<"):
        for mark, kind in _MARKUP.items():
            if mark.lower() in text.lower():
                return kind
    return ""


def not_media(path: str, detail: object) -> MediaError:
    """The error for a file that no allowed container explains."""
    return MediaError(
        "not_media",
        f"path={path!r} is not a video we read: {_one_line(detail)}; expected one of the "
        "containers mp4, mkv, webm, avi, ts, mpg, flv, gif, ogv, wmv; convert or remove it",
        stage="probe",
    )


def no_video(path: str) -> MediaError:
    """The error for a file of audio, perhaps with a cover image."""
    return MediaError(
        "no_video",
        f"path={path!r} has no video stream (a cover image is none); expected a video; "
        "remove it from the folder",
        stage="probe",
    )


def no_decoder(path: str, reader: str, codec: str) -> MediaError:
    """The error for a codec that the reader's library does not know."""
    return MediaError(
        "no_decoder",
        f"reader={reader!r} has no decoder for codec={codec!r} of path={path!r}; expected a codec "
        "it knows; convert the file or choose another --decoder",
        stage="probe",
    )


def no_frames(path: str, detail: object = "no frame decodes") -> MediaError:
    """The error for a video stream without one decodable frame."""
    return MediaError(
        "no_frames",
        f"path={path!r} has a video stream but no frame: {_one_line(detail)}; expected at "
        "least one; the file is damaged",
        stage="probe",
    )


def no_audio(path: str) -> MediaError:
    """The error for asking for the audio of a silent file."""
    return MediaError(
        "no_sound",
        f"path={path!r} has no audio stream; expected one; "
        "ask for features of frames only or give the file its audio",
        stage="sound",
    )


def disk_fails(path: str, error: OSError) -> VideoLeft:
    """The error for a file that a disk or mount does not give."""
    return VideoLeft(
        f"cannot read path={path!r}: {error.strerror}; expected a disk or mount that is well;"
        " look at it, or take this file out"
    )


def too_much_memory(where: str) -> str:
    """What is said when a decoder process needs more memory than it may have."""
    return (
        f"decoding needs too much memory: {where}; expected to fit the limit; "
        "use --decoder-memory to allow more gigabytes, or look at the file"
    )


def gif_size(path: str) -> tuple[int, int] | None:
    """Width and height in a GIF's header, which FFmpeg only learns by decoding; else None."""
    with open(path, "rb") as file:
        head = file.read(10)
    if head[:6] not in (b"GIF87a", b"GIF89a") or len(head) < 10:
        return None
    width, height = struct.unpack("<HH", head[6:])
    return width, height


def is_fragmented(path: str) -> bool:
    """Whether an MP4 has movie fragments: each of them tells its own time."""
    with open(path, "rb") as file:
        while len(head := file.read(16)) >= 8:
            size, name = struct.unpack_from(">I4s", head)
            if name == b"moof":
                return True
            if size == 1 and len(head) == 16:
                (size,) = struct.unpack_from(">Q", head, 8)
            if size < 8:
                return False
            file.seek(size - len(head), 1)
    return False


def check_size(path: str, width: int, height: int, limits: Limits) -> None:
    """Refuse a frame size over the limit, before a decoder allocates it.

    Raises:
        MediaError: ``too_large``.
    """
    if width * height > limits.max_pixels:
        raise MediaError(
            "too_large",
            f"path={path!r} claims width={width}, height={height}; expected at most "
            f"max_pixels={limits.max_pixels}; use --max-pixels to allow more",
            stage="probe",
        )


def check_keys(path: str, times: TimeTable, limits: Limits) -> None:
    """Refuse a video whose key frames are too far apart to stand for seconds.

    Raises:
        MediaError: ``sparse_keys``.
    """
    if (gap := widest_gap(times)) <= limits.max_gap_seconds:
        return
    found = f"{gap:.1f} s without a key frame" if gap < math.inf else "no key frame"
    raise MediaError(
        "sparse_keys",
        f"path={path!r} has {found}; expected at most max_gap={limits.max_gap_seconds:g} s with"
        " --frame-at key; use --max-gap to allow more, or --frame-at mid",
        stage="probe",
    )


def check_length(path: str, seconds: float | None, limits: Limits) -> None:
    """Refuse a length over the limit.

    Raises:
        MediaError: ``too_long``.
    """
    if seconds is not None and seconds > limits.max_length_seconds:
        raise MediaError(
            "too_long",
            f"path={path!r} lasts seconds={seconds:.1f}; expected at most "
            f"max_length={limits.max_length_seconds:.0f}; use --max-length to allow more, or cut "
            "the file",
            stage="probe",
        )


def codec_pixels(limits: Limits) -> int:
    """Limit for a decoder's own check, against headers that lie; it counts padded frames."""
    return min(2 * limits.max_pixels + 65_536, 2**31 - 1)  # more is no number to libavcodec


def _one_line(detail: object) -> str:
    return " ".join(str(detail).split())
