"""What a container or a bitstream cuts off is not shown, by any reader."""

from __future__ import annotations

import struct
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from helpers.media import clips

from avqa.errors import MediaError
from avqa.extract.media.frame.cropping import Crop, aperture_crop, crop_of
from avqa.extract.media.types import Limits, Reader, Report

WIDTH, HEIGHT = 160, 96
PATH = (b"moov", b"trak", b"mdia", b"minf", b"stbl", b"stsd")
ODD = (121, 79, 0.5, -1.5)
"""Width, height and offset of the centre: columns 20 to 140 and rows 7 to 85, of which whole
samples of colour are 20 to 139 and 6 to 83."""
ODD_SHOWN = (20, 120, 6, 78)
BITSTREAM = "crop_top=2:crop_right=6:crop_bottom=8"


def run_ffmpeg(*arguments: str | Path, data: bytes | None = None) -> None:
    command = [clips.program(), "-v", "error", "-y", *(() if data else ("-nostdin",))]
    subprocess.run([*command, *map(str, arguments)], check=True, input=data)


def ramps(path: Path, *more: str) -> Path:
    """Two frames without loss: the first says its column at every place, the second its row."""
    column = np.broadcast_to(np.arange(WIDTH, dtype=np.uint8), (HEIGHT, WIDTH))
    row = np.broadcast_to(np.arange(HEIGHT, dtype=np.uint8)[:, None], (HEIGHT, WIDTH))
    colour = np.full(WIDTH * HEIGHT // 2, 128, np.uint8)
    frames = b"".join((plane + 16).tobytes() + colour.tobytes() for plane in (column, row))
    source = ("-f", "rawvideo", "-pix_fmt", "yuv420p", "-s", f"{WIDTH}x{HEIGHT}", "-r", "1")
    run_ffmpeg(*source, "-i", "-", "-c:v", "libx264", "-qp", "0", *more, path, data=frames)
    return path


def with_clap(path: Path, *aperture: float) -> Path:
    """Put a clean aperture into the first track of a file whose header comes last."""
    data = bytearray(path.read_bytes())
    box = struct.pack(">I4s", 40, b"clap")
    box += b"".join(struct.pack(">iI", round(2 * value), 2) for value in aperture)
    place, sizes = 0, []
    for kind in PATH:
        while data[place + 4 : place + 8] != kind:
            place += int.from_bytes(data[place : place + 4], "big")
        sizes.append(place)
        place += 8
    sizes.append(place + 8)  # the sample entry itself
    end = sizes[-1] + int.from_bytes(data[sizes[-1] : sizes[-1] + 4], "big")
    data[end:end] = box
    for at in sizes:
        size = int.from_bytes(data[at : at + 4], "big") + len(box)
        data[at : at + 4] = size.to_bytes(4, "big")
    path.write_bytes(data)
    return path


def aperture(*values: float, file: str = "", remux: tuple[str, ...] = ()) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        made = with_clap(ramps(folder / "clap.mp4"), *values)
        if file:
            run_ffmpeg("-i", made, "-c", "copy", *remux, folder / file)
        return folder / (file or "clap.mp4")

    return make


def second_track(file: str) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        cut = with_clap(ramps(folder / "clap.mp4"), *ODD)
        whole = ramps(folder / "whole.mp4")
        sound = ("-f", "lavfi", "-i", "sine=d=1")
        flags = ("-disposition:v:0", "0", "-disposition:v:1", "default")
        order = ("-map", "2", "-map", "0", "-map", "1", "-c:v", "copy", *flags)
        run_ffmpeg("-i", whole, "-i", cut, *sound, *order, folder / file)
        return folder / file

    return make


def bitstream(file: str, crops: str = BITSTREAM) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        made = ramps(folder / "whole.mp4")
        run_ffmpeg("-i", made, "-c", "copy", "-bsf:v", f"h264_metadata={crops}", folder / file)
        return folder / file

    return make


FRAGMENTS = ("-movflags", "+empty_moov+frag_keyframe")
BY_CONTAINER = {
    "four sides, mp4": (aperture(120, 80, 4, -2), (24, 120, 6, 80)),
    "odd and half pixels, mp4": (aperture(*ODD), ODD_SHOWN),
    "odd, mov": (aperture(*ODD, file="a.mov", remux=("-movflags", "+faststart")), ODD_SHOWN),
    "odd, fragments": (aperture(*ODD, file="a.mp4", remux=FRAGMENTS), ODD_SHOWN),
    "odd, mkv": (aperture(*ODD, file="a.mkv"), ODD_SHOWN),
    "odd, mkv of a live stream": (aperture(*ODD, file="a.mkv", remux=("-live", "1")), ODD_SHOWN),
    "the second of two tracks, mp4": (second_track("a.mp4"), ODD_SHOWN),
    "the second of two tracks, mkv": (second_track("a.mkv"), ODD_SHOWN),
}
OTHERS = {
    "by the bitstream, mp4": (bitstream("a.mp4"), (0, 154, 2, 86)),
    "by the bitstream, mkv": (bitstream("a.mkv", f"{BITSTREAM}:crop_left=4"), (4, 150, 2, 86)),
    "an aperture beyond the frame": (aperture(200, 80, 0, 0), (0, WIDTH, 0, HEIGHT)),
    "an aperture of the whole frame": (aperture(WIDTH, HEIGHT, 0, 0), (0, WIDTH, 0, HEIGHT)),
}


def shown(reader: Reader, path: Path) -> list[np.ndarray]:
    probe = reader.probe(str(path), Limits())
    return [frame.rgb for frame in reader.frames(probe, [0, 1], Report())]


def read_ramp(rgb: np.ndarray) -> np.ndarray:
    return np.rint(rgb[..., 0].astype(float) * 219 / 255).astype(int)


@pytest.mark.parametrize("case", [*BY_CONTAINER, *OTHERS])
def test_what_is_cut_off_is_not_shown(reader: Reader, case: str, tmp_path: Path) -> None:
    make, (left, width, top, height) = (BY_CONTAINER | OTHERS)[case]
    path = make(tmp_path)
    if reader.name == "decord" and left:
        how = "a crop by the container" if case in BY_CONTAINER else "a bitstream that is cut"
        with pytest.raises(MediaError, match=how):
            reader.probe(str(path), Limits())
        return
    columns, rows = (read_ramp(rgb) for rgb in shown(reader, path))
    assert columns.shape == rows.shape == (height, width)
    off = 2 if reader.name == "decord" else 0  # its colours are a little darker
    assert np.abs(columns - np.arange(left, left + width)).max() <= off
    assert np.abs(rows - np.arange(top, top + height)[:, None]).max() <= off


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv"])
def test_it_is_cut_off_before_it_is_turned_and_stretched(
    reader: Reader, name: str, tmp_path: Path
) -> None:
    if reader.name == "decord":
        pytest.skip("it refuses them")
    made = with_clap(ramps(tmp_path / "clap.mp4", "-vf", "setsar=2"), *ODD)
    run_ffmpeg("-display_rotation", "90", "-i", made, "-c", "copy", tmp_path / name)
    columns, rows = (np.rot90(read_ramp(rgb), -1) for rgb in shown(reader, tmp_path / name))
    left, width, top, height = ODD_SHOWN
    assert columns.shape == rows.shape == (height, 2 * width)
    assert np.abs(columns - (left + np.arange(2 * width) // 2)).max() <= 1
    assert np.abs(rows - np.arange(top, top + height)[:, None]).max() <= 1


# What the file says


def test_half_pixels_belong_to_the_frame_that_they_begin() -> None:
    def crop(*values: float) -> Crop:
        return aperture_crop(tuple(x for v in values for x in (round(4 * v), 4)), WIDTH, HEIGHT)

    assert crop(121, 79, 0.5, -1.5) == (20, 19, 7, 10)
    assert crop(121, 79, 0, 0) == (19, 20, 8, 9)
    assert crop(120.5, 80.5, 0, 0) == (19, 20, 7, 8)
    assert crop(120, 80, 100, 0) == crop(161, 96, 0, 0) == crop(-4, 96, 0, 0) == Crop()


def box(kind: bytes, content: bytes, *, long: bool = False) -> bytes:
    size = len(content) + (16 if long else 8)
    return (
        struct.pack(">I4sQ", 1, kind, size) if long else struct.pack(">I4s", size, kind)
    ) + content


def header(aperture: bytes, *, long: bool = False, version: int = 0) -> bytes:
    """The first bytes of an MP4 whose second track, 7, has an aperture."""
    entry = bytes(24) + struct.pack(">HH", WIDTH, HEIGHT) + bytes(50)
    tracks = b""
    for number, more in ((3, b""), (7, box(b"clap", aperture))):
        description = bytes(8) + box(b"avc1", entry + more)
        inner = box(b"stsd", description)
        for kind in (b"stbl", b"minf", b"mdia"):
            inner = box(kind, inner, long=long)
        place = 20 if version else 12
        head = bytes([version]) + bytes(place - 1) + struct.pack(">I", number)
        tracks += box(b"trak", box(b"tkhd", head) + inner)
    return box(b"ftyp", b"isom") + box(b"mdat", bytes(9), long=long) + box(b"moov", tracks)


APERTURE = struct.pack(">IIIIiIiI", 121, 1, 79, 1, 1, 2, -3, 2)


@pytest.mark.parametrize("long", [False, True])
@pytest.mark.parametrize("version", [0, 1])
def test_an_aperture_is_that_of_its_track(tmp_path: Path, long: bool, version: int) -> None:
    path = tmp_path / "a.mp4"
    path.write_bytes(header(APERTURE, long=long, version=version))
    assert crop_of(str(path), "mov,mp4,m4a", 7, 0) == (20, 19, 7, 10)
    assert crop_of(str(path), "mov,mp4,m4a", 3, 0) == crop_of(str(path), "avi", 7, 0) == Crop()


def test_what_is_cut_short_or_no_number_crops_nothing(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    whole = header(APERTURE)
    for end in range(0, len(whole), 7):
        path.write_bytes(whole[:end])
        assert crop_of(str(path), "mov", 7, 0) == Crop()
    path.write_bytes(header(bytes(32)))
    assert crop_of(str(path), "mov", 7, 0) == Crop()
    for data in (b"\x00" * 40, b"\xff" * 40, b"\x1a\x45\xdf\xa3\x80\x18\x53\x80\x67\xff\x16\x54"):
        path.write_bytes(data)
        assert crop_of(str(path), "matroska,webm", 1, 0) == Crop()
