"""Sound whose stamps wobble, or whose rate and channels change on the way, stays whole."""

import random
import struct
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from helpers.media import clips

from avqa.extract.media.audio.frame_clock import FrameClockAudio
from avqa.extract.media.types import Limits, Reader, Report

SECONDS, RATE = 6, 16_000


def heard(reader: Reader, path: Path) -> tuple[np.ndarray, Report]:
    """16 kHz mono of the clip, as encoders get it."""
    probe = reader.probe(str(path), Limits())
    report = Report()
    start = int(probe.times.pts[0]) * probe.times.time_base
    audio = FrameClockAudio(
        reader.audio(probe, report),
        start_seconds=Fraction(start),
        num_seconds=SECONDS,
        resample="soxr_hq",
        mix="mean",
        report=report,
    )
    return np.concatenate(list(audio.blocks())), report


def likeness(wave: np.ndarray, begin: int, end: int) -> float:
    """Correlation with what was rendered, from one second to another."""
    made = clips.audio(begin, end, RATE)
    return float(np.corrcoef(wave[begin * RATE : end * RATE], made)[0, 1])


def audio_blocks(data: bytes) -> Iterator[int]:
    """Bytes of a Matroska file at which the blocks of its second track begin."""
    place = data.index(bytes.fromhex("1f43b675"))
    while place < len(data):
        kind, length = _number(data, place)
        size, more = _number(data, place + length)
        body = place + length + more
        if kind in (0x1F43B675, 0xA0):  # a cluster, a group: look inside
            place = body
            continue
        if kind in (0xA1, 0xA3) and data[body] == 0x82:
            yield body
        place = body + (size & ~(1 << (7 * more)))


def _number(data: bytes, place: int) -> tuple[int, int]:
    length = 9 - data[place].bit_length()
    return int.from_bytes(data[place : place + length], "big"), length


@pytest.fixture(scope="module")
def wobbling(tmp_path_factory):
    path = tmp_path_factory.mktemp("wobbling") / "a.mkv"
    clips.numbered_clip(path, fps=10, seconds=SECONDS, sound_codec="libopus")
    data, draw = bytearray(path.read_bytes()), random.Random(7)
    places = list(audio_blocks(bytes(data)))
    assert len(places) > SECONDS * 45
    for place in places:
        (stamp,) = struct.unpack_from(">h", data, place + 1)
        struct.pack_into(">h", data, place + 1, max(0, stamp + draw.randint(-15, 15)))
    path.write_bytes(data)
    return path


def test_stamps_that_wobble(reader, wobbling):
    wave, report = heard(reader, wobbling)
    assert likeness(wave, 0, SECONDS) > 0.999
    assert report.warnings == []


@pytest.fixture(scope="module")
def changing(tmp_path_factory):
    """A transport stream: 3 s of stereo at 48 kHz, then mono at 44.1 kHz."""
    folder = tmp_path_factory.mktemp("changing")
    source = clips.numbered_clip(folder / "source.mkv", fps=10, seconds=SECONDS, sound_codec="flac")
    path, half = folder / "a.ts", SECONDS // 2
    kinds = ("-af", "pan=stereo|c0=c0|c1=c0", "-ar", "48000"), ("-ac", "1", "-ar", "44100")
    for k, kind in enumerate(kinds):
        command = [clips.program(), "-v", "error", "-y", "-ss", str(k * half), "-i", str(source)]
        options = ("-t", str(half), "-c:v", "libx264", "-bf", "0", "-c:a", "aac", *kind)
        clips._run([*command, *options, str(folder / f"{k}.ts")])
    path.write_bytes(b"".join((folder / f"{k}.ts").read_bytes() for k in (0, 1)))
    return path


def test_rate_and_channels_that_change(reader, changing):
    if reader.name == "decord":
        pytest.skip("it refuses every transport stream")
    wave, _ = heard(reader, changing)
    half = SECONDS // 2
    assert likeness(wave, 0, half) > 0.99
    assert likeness(wave, half, SECONDS) > 0.99
    loud = [float(np.std(wave[k * half * RATE :][: half * RATE])) for k in (0, 1)]
    assert loud[1] == pytest.approx(loud[0], rel=0.03)
