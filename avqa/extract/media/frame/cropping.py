"""What a container cuts off its frames: ``clap`` of MP4 and QuickTime, PixelCrop of Matroska.

Players and ffmpeg do so. FFmpeg's libraries hand it on with the stream, where PyAV does not look,
so it is read from the file. What a bitstream cuts off its decoder has cut off already.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from fractions import Fraction
from math import floor
from typing import BinaryIO, NamedTuple

from av.filter import Graph
from av.video.frame import VideoFrame

_VIDEO_TRACK = 1
_SEGMENT, _TRACKS, _ENTRY, _TYPE, _VIDEO = 0x18538067, 0x1654AE6B, 0xAE, 0x83, 0xE0
_ID_BYTES = 4
"""At most; where more seem to follow, or zeros, is no element."""
_WIDTH, _HEIGHT = 0xB0, 0xBA
_CROPS = {"left": 0x54CC, "right": 0x54DD, "top": 0x54BB, "bottom": 0x54AA}
_SAMPLE_ENTRY_BYTES = 78
"""Of a picture's sample entry, between its head and the boxes in it."""
Span = tuple[int, int]
"""Begin and end of something in a file, in bytes."""


class Crop(NamedTuple):
    """Columns and rows of the coded frame that are not shown."""

    left: int = 0
    right: int = 0
    top: int = 0
    bottom: int = 0

    def fits(self, width: int, height: int) -> bool:
        """Whether something is left of a frame of this size."""
        return min(self) >= 0 and self.left + self.right < width and self.top + self.bottom < height


def crop_of(path: str, container: str, track_id: int, place: int) -> Crop:
    """What the container cuts off the frames of one track; nothing if it says so wrongly.

    Args:
        path: of the file.
        container: FFmpeg's names of its kind.
        track_id: of the track, in MP4.
        place: of the track among those of frames, in Matroska.
    """
    kinds = container.split(",")
    with open(path, "rb") as file:
        whole = 0, file.seek(0, 2)
        try:
            if "mov" in kinds:
                return _clean_aperture(file, whole, track_id)
            if "matroska" in kinds:
                return _pixel_crop(file, whole, place)
        except (struct.error, IndexError, ZeroDivisionError):
            pass  # a library that is less strict has opened it
    return Crop()


def _clean_aperture(file: BinaryIO, whole: Span, track_id: int) -> Crop:
    for track in _boxes(file, whole, b"moov", b"trak"):
        for begin, _ in _boxes(file, track, b"tkhd"):
            version = _read(file, begin, 1)[0]
            found = struct.unpack(">I", _read(file, begin + (20 if version else 12), 4))[0]
            if found == track_id:
                return _of_track(file, track)
    return Crop()


def _of_track(file: BinaryIO, track: Span) -> Crop:
    for begin, end in _boxes(file, track, b"mdia", b"minf", b"stbl", b"stsd"):
        for entry, stop in _boxes(file, (begin + 8, end), None):  # the first one counts
            width, height = struct.unpack(">HH", _read(file, entry + 24, 4))
            for clap, _ in _boxes(file, (entry + _SAMPLE_ENTRY_BYTES, stop), b"clap"):
                return aperture_crop(
                    struct.unpack(">IIIIiIiI", _read(file, clap, 32)), width, height
                )
            return Crop()
    return Crop()


def aperture_crop(fields: tuple[int, ...], width: int, height: int) -> Crop:
    """What lies outside a clean aperture; nothing if that is not within the frame.

    Args:
        fields: numerator and denominator of its width, height, and its centre's distance to the
            right of and below that of the frame.
        width: of the frame.
        height: of the frame.
    """
    wide, high, right, down = (Fraction(*fields[i : i + 2]) for i in range(0, 8, 2))
    centre_x, centre_y = Fraction(width - 1, 2) + right, Fraction(height - 1, 2) + down
    crop = Crop(
        left=floor(centre_x - (wide - 1) / 2),
        right=width - 1 - floor(centre_x + (wide - 1) / 2),
        top=floor(centre_y - (high - 1) / 2),
        bottom=height - 1 - floor(centre_y + (high - 1) / 2),
    )
    return crop if crop.fits(width, height) else Crop()


def _boxes(file: BinaryIO, within: Span, *path: bytes | None) -> Iterator[Span]:
    """Contents of the boxes of MP4 along a path of kinds; None is any."""
    start, end = within
    kind, *rest = path
    while start + 8 <= end:
        head = _read(file, start, min(16, end - start))
        size, found = struct.unpack(">I4s", head[:8])
        begin = start + 8
        if size == 1:
            size, begin = struct.unpack(">Q", head[8:])[0], start + 16
        stop = min(start + size, end) if size else end
        if stop < begin:
            return
        if kind is None or found == kind:
            yield from _boxes(file, (begin, stop), *rest) if rest else [(begin, stop)]
        start = stop


def _pixel_crop(file: BinaryIO, whole: Span, place: int) -> Crop:
    frames = (
        entry
        for entry in _elements(file, whole, _SEGMENT, _TRACKS, _ENTRY)
        if _number(file, entry, _TYPE) == _VIDEO_TRACK
    )
    for number, entry in enumerate(frames):
        if number == place:
            crop = Crop(**{k: _number(file, entry, _VIDEO, v) for k, v in _CROPS.items()})
            size = (_number(file, entry, _VIDEO, _WIDTH), _number(file, entry, _VIDEO, _HEIGHT))
            return crop if crop.fits(*size) else Crop()
    return Crop()


def _number(file: BinaryIO, within: Span, *path: int) -> int:
    """An unsigned element; 0, which is the default of those asked for, if it is not there."""
    for begin, end in _elements(file, within, *path):
        return int.from_bytes(_read(file, begin, min(8, end - begin)), "big")
    return 0


def _elements(file: BinaryIO, within: Span, *path: int) -> Iterator[Span]:
    """Contents of the elements of Matroska along a path of ids."""
    start, end = within
    wanted, *rest = path
    while start < end:
        head = _read(file, start, min(12, end - start))
        id_bytes = 9 - head[0].bit_length()
        if id_bytes > _ID_BYTES:
            return
        size_bytes = 9 - head[id_bytes].bit_length()
        begin = start + id_bytes + size_bytes
        size = int.from_bytes(head[id_bytes : id_bytes + size_bytes], "big")
        size -= 1 << 7 * size_bytes
        unknown = size == (1 << 7 * size_bytes) - 1
        stop = end if unknown else min(begin + size, end)
        if int.from_bytes(head[:id_bytes], "big") == wanted:
            yield from _elements(file, (begin, stop), *rest) if rest else [(begin, stop)]
        start = max(stop, begin)


def _read(file: BinaryIO, begin: int, count: int) -> bytes:
    file.seek(begin)
    return file.read(count)


class Cropper:
    """Cuts frames to whole samples of colour, as ffmpeg does: 2 × 2 pixels in most videos."""

    def __init__(self, crop: Crop) -> None:
        """Take what is cut off."""
        self._crop = crop
        self._made_for: tuple[int, int, str] | None = None
        self._graph = Graph()

    def __call__(self, frame: VideoFrame) -> VideoFrame:
        """The rest of a frame, with all that is known of it."""
        if not any(self._crop) or not self._crop.fits(frame.width, frame.height):
            return frame
        kind = frame.width, frame.height, frame.format.name
        if kind != self._made_for:
            self._graph, self._made_for = self._graph_for(frame), kind
        self._graph.vpush(frame)
        return self._graph.vpull()

    def _graph_for(self, frame: VideoFrame) -> Graph:
        left, right, top, bottom = self._crop
        graph = Graph()
        source = graph.add_buffer(
            width=frame.width,
            height=frame.height,
            format=frame.format,
            time_base=frame.time_base or Fraction(1),
        )
        size = f"w=iw-{left + right}:h=ih-{top + bottom}"
        crop = graph.add("crop", f"{size}:x={left}:y={top}")
        source.link_to(crop)
        crop.link_to(graph.add("buffersink"))
        graph.configure()
        return graph
