"""Stretches of a file overwritten or cut out: a row is right, or it is lost and that is said."""

import random
import struct
from pathlib import Path

import pytest
from helpers.media import clips

from avqa.errors import MediaError
from avqa.extract.media.grid import build_grid
from avqa.extract.media.types import Limits, Reader, Report

FPS, SECONDS = 25, 6
MIDDLES = [12, 37, 62, 87, 112, 137]
GROUPS = ("-g", "25")
CODECS: dict[str, tuple[str, tuple[str, ...]]] = {
    "h264.mp4": ("libx264", GROUPS),
    "h264.mkv": ("libx264", GROUPS),
    "h264.ts": ("libx264", GROUPS),
    "h264.avi": ("libx264", ("-bf", "0", *GROUPS)),
    "hevc.mp4": ("libx265", ("-x265-params", "log-level=none:keyint=25:pools=1:frame-threads=1")),
    "vp8.webm": ("libvpx", ("-auto-alt-ref", "1", "-lag-in-frames", "16", *GROUPS)),
    "vp9.webm": ("libvpx-vp9", ("-cpu-used", "8", *GROUPS)),
    "av1.mp4": ("libaom-av1", ("-cpu-used", "8", *GROUPS)),
    "mpeg4.avi": ("mpeg4", ("-q:v", "2", *GROUPS)),
    "mpeg2.mpg": ("mpeg2video", ("-q:v", "2")),
    "theora.ogv": ("libtheora", ("-q:v", "8", *GROUPS)),
    "qtrle.mov": ("qtrle", ()),
    "mjpeg.mov": ("mjpeg", ("-q:v", "2")),
    "flv1.flv": ("flv", ("-q:v", "2")),
}
PIXELS = {"qtrle.mov": "rgb24", "mjpeg.mov": "yuvj420p"}


def clip(name: str) -> bytes:
    codec, extra = CODECS[name]
    pix_fmt = PIXELS.get(name, "yuv420p")
    path = clips.cached_clip(
        name, codec=codec, fps=FPS, seconds=SECONDS, extra=extra, pix_fmt=pix_fmt
    )
    return path.read_bytes()


def frames_of(content: bytes, name: str) -> tuple[int, int]:
    """First and last byte of the part of the file in which frames lie."""
    if not name.endswith(("mp4", "mov")):
        return 3_000, len(content) - 1_000
    box = content.index(b"mdat")
    (size,) = struct.unpack_from(">I", content, box - 4)
    return box + 4, box - 4 + size


def half(name: str) -> bytes:
    """Zeros from the middle on, as of a download into a file of full length."""
    content = bytearray(clip(name))
    begin, end = frames_of(content, name)
    middle = (begin + end) // 2
    content[middle:end] = bytes(end - middle)
    return bytes(content)


def hole(name: str, seed: int) -> bytes:
    """A stretch of zeros or of noise, or one that is not there."""
    content = bytearray(clip(name))
    begin, end = frames_of(content, name)
    draw = random.Random(f"{name} {seed}")
    size = min(draw.choice([188, 1_000, 5_000]), (end - begin) // 4)
    place = draw.randrange(begin, end - size)
    kinds = [bytes(size)]
    if not name.startswith("qtrle"):  # whose decoder takes noise for a picture
        kinds.append(draw.randbytes(size))
    if not name.endswith(("mp4", "mov", "avi")):
        kinds.append(b"")
    content[place : place + size] = draw.choice(kinds)
    return bytes(content)


def read(reader: Reader, path: Path) -> tuple[list[int | None], Report]:
    """The number of each row's frame, -1 for one that cannot be read and None for a lost one."""
    probe = reader.probe(str(path), Limits())
    index = build_grid(probe.times, "mid", probe.average_fps).index.tolist()
    report = Report()
    frames = {f.index: f.rgb for f in reader.frames(probe, sorted(set(index)), report)}
    return [number(frames[i]) if i in frames else None for i in index], report


def number(rgb) -> int:
    try:
        return clips.read_number(rgb)
    except ValueError:
        return -1


@pytest.mark.parametrize("name", CODECS)
@pytest.mark.parametrize("seed", range(4))
def test_a_row_behind_a_hole_is_right_or_lost(name, seed, tmp_path, reader):
    if reader.name == "decord" or (reader.name == "ffmpeg" and seed):
        pytest.skip("decord does not say what it lost; ffmpeg is slow")
    path = tmp_path / name
    path.write_bytes(hole(name, seed))
    try:
        rows, report = read(reader, path)
    except MediaError:
        return
    assert all(row in (None, MIDDLES[k]) for k, row in enumerate(rows)), rows
    if rows != MIDDLES:
        assert report.corrupt or report.partial


DECLARED = [name for name in CODECS if name.endswith(("mp4", "mov"))]


@pytest.mark.parametrize("name", DECLARED)
def test_half_of_it_is_zeros(name, tmp_path, reader):
    if reader.name == "decord":
        pytest.skip("decord does not say what it lost")
    path = tmp_path / name
    path.write_bytes(half(name))
    rows, report = read(reader, path)
    assert len(rows) == SECONDS
    assert rows[:2] == MIDDLES[:2]
    assert rows[-2:] == [None, None]
    assert all(row in (None, MIDDLES[k]) for k, row in enumerate(rows)), rows
    assert report.corrupt


def test_encrypted_frames_are_none(tmp_path, reader):
    key = "76a6c65c5ea762046bd749a2e632ccbb"
    path = tmp_path / "a.mp4"
    source = clips.cached_clip("h264.mp4", fps=FPS, seconds=SECONDS)
    options = ("-encryption_scheme", "cenc-aes-ctr", "-encryption_key", key)
    command = [clips.program(), "-v", "error", "-i", str(source), "-c", "copy", *options]
    clips._run([*command, "-encryption_kid", key, str(path)])
    try:
        rows, _ = read(reader, path)
    except MediaError:
        return
    assert set(rows) == {None}
