"""AVI, which counts its frames: cut files, empty chunks, packed B frames, lost frames."""

import struct
from pathlib import Path

import av
import numpy as np
import pytest
from helpers.media import clips

from avqa.extract.media.grid import build_grid
from avqa.extract.media.types import Limits, Reader, Report

FPS, SECONDS = 25, 6
STARTS = [0, 25, 50, 75, 100, 125]
MIDDLES = [12, 37, 62, 87, 112, 137]


def base(**options) -> bytes:
    given = {"codec": "mpeg4", "fps": FPS, "seconds": SECONDS, "extra": ("-q:v", "2", "-g", "25")}
    return clips.cached_clip("a.avi", **{**given, **options}).read_bytes()


def read(reader: Reader, path: Path, mode: str = "start") -> tuple[list[int | None], Report]:
    """The number of each row's frame, None for a lost one."""
    probe = reader.probe(str(path), Limits())
    index = build_grid(probe.times, mode, probe.average_fps).index.tolist()
    report = Report()
    frames = {f.index: f.rgb for f in reader.frames(probe, sorted(set(index)), report)}
    return [clips.read_number(frames[i]) if i in frames else None for i in index], report


@pytest.fixture(autouse=True)
def not_decord(reader):
    if reader.name == "decord":
        pytest.skip("its library reads AVI by itself")


def test_cut_at_60_percent(reader, tmp_path):
    content = base()
    path = tmp_path / "a.avi"
    path.write_bytes(content[: len(content) * 6 // 10])
    rows, report = read(reader, path)
    if reader.name == "pyav":
        assert reader.probe(str(path), Limits()).declared_seconds == SECONDS
    assert rows == STARTS[: len(rows)]
    assert len(rows) < SECONDS
    assert report.partial


def with_empty_chunks(content: bytes, first: int) -> bytes:
    """The same file; from frame ``first`` on, the chunks are empty: the frame before goes on."""
    movi = content.index(b"movi")
    place, number, chunks, index = movi + 4, 0, bytearray(), bytearray()
    while content[place : place + 4] == b"00dc":
        (size,) = struct.unpack_from("<I", content, place + 4)
        body = content[place + 8 : place + 8 + size + size % 2] if number < first else b""
        length = size if number < first else 0
        flags = 0 if number % FPS else 16
        index += b"00dc" + struct.pack("<III", flags, 4 + len(chunks), length)
        chunks += b"00dc" + struct.pack("<I", length) + body
        place += 8 + size + size % 2
        number += 1
    assert number == FPS * SECONDS
    made = bytearray(content[: movi - 8])
    made += b"LIST" + struct.pack("<I", 4 + len(chunks)) + b"movi" + chunks
    made += b"idx1" + struct.pack("<I", len(index)) + index
    struct.pack_into("<I", made, 4, len(made) - 8)
    return bytes(made)


def test_empty_chunks_at_the_end_repeat_a_frame(reader, tmp_path):
    path = tmp_path / "a.avi"
    path.write_bytes(with_empty_chunks(base(), 75))
    rows, report = read(reader, path)
    if reader.name == "ffmpeg":  # it does not print what the index says
        assert (rows, report.partial) == (STARTS[:3], True)
        return
    assert rows == [0, 25, 50, 74, 74, 74]
    assert (report.partial, report.corrupt) == (False, 0)


def test_empty_chunks_on_the_way_repeat_a_frame(reader, tmp_path):
    path = tmp_path / "a.avi"
    filters = "select='lt(n,50)+gte(n,100)'"
    extra = ("-fps_mode", "passthrough", "-q:v", "2", "-g", "25")
    path.write_bytes(base(filters=filters, extra=extra))
    rows, report = read(reader, path)
    assert rows == [0, 25, 49, 49, 100, 125]
    assert (report.partial, report.corrupt) == (False, 0)


def test_packed_b_frames(reader, tmp_path):
    path = tmp_path / "a.avi"
    path.write_bytes(base(codec="libxvid", extra=("-bf", "2", "-q:v", "2", "-g", "25")))
    probe = reader.probe(str(path), Limits())
    frames = reader.frames(probe, range(len(probe.times.pts)), Report())
    numbers = [clips.read_number(frame.rgb) for frame in frames]
    assert len(numbers) == FPS * SECONDS - 2  # that its encoder holds back for good
    assert numbers == list(range(len(numbers)))
    seen = (probe.times.seconds() * FPS).round(3) - np.array(numbers)
    assert np.abs(seen).max() <= (0 if reader.name == "pyav" else 1)


@pytest.mark.parametrize("sound", [None, "pcm_s16le"])
def test_behind_lost_frames_the_index_tells_the_time(reader, sound, tmp_path):
    content = bytearray(base(sound_codec=sound))
    path = tmp_path / "a.avi"
    path.write_bytes(content)
    with av.open(str(path)) as container:
        places = [packet.pos for packet in container.demux(video=0) if packet.size]
    content[places[58] : places[66]] = bytes(places[66] - places[58])
    path.write_bytes(content)
    rows, report = read(reader, path, "mid")
    assert rows[:2] == MIDDLES[:2]
    assert rows[2] is None
    assert report.corrupt
    assert all(row in (None, MIDDLES[k]) for k, row in enumerate(rows)), rows
    if reader.name == "pyav":
        assert rows[-3:] == MIDDLES[-3:]
