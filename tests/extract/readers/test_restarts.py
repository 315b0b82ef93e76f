"""Recordings joined: the clock goes back, or jumps; what players show is what rows show."""

import functools
import json
from pathlib import Path

import numpy as np
import pytest
from helpers.media import clips
from helpers.media.cases import picture_clock
from typer.testing import CliRunner

from avqa.cli import app
from avqa.errors import MediaError
from avqa.extract.media.grid import build_grid
from avqa.extract.media.types import Limits, Probe, Reader, Report

FPS, SECONDS, LATER = 25, 3, 10
"""The second part's frames and sound are those of second `LATER` on."""
FIRST, SECOND = [0, 25, 50], [250, 275, 300]
H264 = ("-c:v", "libx264", "-preset", "veryfast", "-crf", "14", "-c:a", "aac")
MPEG2 = ("-c:v", "mpeg2video", "-q:v", "2", "-bf", "2", "-c:a", "mp2")
VP8 = ("-c:v", "libvpx", "-crf", "10", "-b:v", "2M", "-c:a", "libopus")
FRAGMENTS = (*H264, "-g", "25", "-movflags", "frag_keyframe+empty_moov+default_base_moof")
LATE = ("-output_ts_offset", "603")


def whole(content: bytes) -> bytes:
    return content


def tags(content: bytes) -> bytes:
    """What follows the header of FLV."""
    return content[13:]


def fragments(content: bytes) -> bytes:
    return content[content.index(b"moof") - 4 :]


JOINED = {
    "ts": (".ts", H264, (), whole),
    "ts, 600 s later": (".ts", H264, LATE, whole),
    "ps": (".mpg", MPEG2, (), whole),
    "vob": (".vob", MPEG2, (), whole),
    "flv": (".flv", H264, (), tags),
    "flv, 600 s later": (".flv", H264, LATE, tags),
    "mkv": (".mkv", H264, (), whole),
    "webm": (".webm", VP8, (), whole),
    "fragmented mp4": (".mp4", FRAGMENTS, (), fragments),
    "fragmented mp4, 600 s later": (".mp4", FRAGMENTS, LATE, fragments),
}
DROPS = {"ffmpeg": {"fragmented mp4", "fragmented mp4, 600 s later"}, "decord": set(JOINED)}
"""What these refuse: their libraries drop the frames, or show others."""


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    path = tmp_path_factory.mktemp("source") / "source.mkv"
    return clips.numbered_clip(path, fps=FPS, seconds=LATER + SECONDS + 1, sound_codec="flac")


def part(source: Path, path: Path, start: int, *options: str) -> bytes:
    command = [clips.program(), "-v", "error", "-y", "-nostdin", "-ss", str(start), "-i"]
    clips._run([*command, str(source), "-t", str(SECONDS), *options, str(path)])
    return path.read_bytes()


@pytest.fixture(scope="module")
def joined(source, tmp_path_factory):
    """The files of `JOINED` by name, each made once."""

    @functools.cache
    def make(name: str) -> Path:
        extension, codecs, late, cut = JOINED[name]
        folder = tmp_path_factory.mktemp("joined")
        one = part(source, folder / f"one{extension}", 0, *codecs)
        two = part(source, folder / f"two{extension}", LATER, *codecs, *late)
        path = folder / f"joined{extension}"
        path.write_bytes(one + cut(two))
        return path

    return make


def rows(reader: Reader, path: Path) -> tuple[list[int | None], Report, Probe]:
    """The number of the frame at the beginning of each second, None for a lost one."""
    probe = reader.probe(str(path), Limits(max_length_seconds=20))
    index = build_grid(probe.times, "start", probe.average_fps).index.tolist()
    report = Report()
    frames = {f.index: f.rgb for f in reader.frames(probe, sorted(set(index)), report)}
    return [clips.read_number(frames[i]) if i in frames else None for i in index], report, probe


def heard(reader: Reader, probe: Probe, seconds: int) -> list[int | None]:
    """Which second's tone sounds in each."""
    wave, rate = picture_clock(reader, probe, seconds)
    starts = (int((k + 0.1) * rate) for k in range(seconds))
    return [clips.read_second(wave[start : start + rate // 2], rate) for start in starts]


@pytest.mark.parametrize("name", JOINED)
def test_parts_follow_each_other(reader, name, joined):
    path = joined(name)
    if name in DROPS.get(reader.name, ()):
        with pytest.raises(MediaError, match="; use --decoder pyav, or convert the file") as caught:
            reader.probe(str(path), Limits())
        assert caught.value.reason == "no_decoder"
        return
    numbers, report, probe = rows(reader, path)
    assert numbers == FIRST + SECOND
    assert (report.partial, report.corrupt) == (False, 0)
    assert report.restarts == [SECONDS]
    assert report.warnings == [
        "the file's clock restarts or jumps (1 times): its parts follow each other, new ones begin"
        " at 3.000 s"
    ]
    assert heard(reader, probe, 2 * SECONDS) == [0, 1, 2, 10, 11, 12]


EVEN = (*H264, "-bf", "0")
"""Without frames out of order both parts begin at the same time of their clocks."""
GO_ON = {
    "at once": (3, 3, [0, 25, 50, 75, 100, 125], [0, 1, 2, 3, 4, 5]),
    "5 s later": (LATER, 8, [*FIRST, *[74] * 5, *SECOND], [0, 1, 2, *[None] * 5, 10, 11, 12]),
}


@pytest.mark.parametrize("pause", GO_ON)
def test_recordings_whose_clock_goes_on_are_no_damage(reader, pause, source, tmp_path):
    """As the segments of a stream: FFmpeg misses packets there, since each counts its own."""
    if reader.name == "decord":
        pytest.skip("it refuses every transport stream")
    second, offset, expected, tones = GO_ON[pause]
    one = part(source, tmp_path / "one.ts", 0, *EVEN)
    two = part(source, tmp_path / "two.ts", second, *EVEN, "-output_ts_offset", str(offset))
    path = tmp_path / "joined.ts"
    path.write_bytes(one + two)
    numbers, report, probe = rows(reader, path)
    assert numbers == expected
    assert (report.partial, report.corrupt, report.restarts) == (False, 0, [])
    assert heard(reader, probe, len(expected)) == tones


@pytest.mark.parametrize("extension", [".ts", ".flv"])
def test_a_picture_that_stands_for_12_seconds_is_no_jump(reader, extension, source, tmp_path):
    """The sound goes on beside it."""
    if reader.name == "decord" and extension == ".ts":
        pytest.skip("decord refuses every transport stream")
    path = tmp_path / f"a{extension}"
    frozen = "select='lt(t,1)+gt(t,13)'"
    command = [clips.program(), "-v", "error", "-y", "-nostdin", "-i", str(source)]
    video = ("-vf", frozen, "-fps_mode", "passthrough", *H264)
    clips._run([*command, *video, str(path)])
    numbers, report, _ = rows(reader, path)
    assert numbers[:13] == [0] + [24] * 12
    assert report.restarts == []


def test_frames_says_where(joined, tmp_path):
    options = ("--out", str(tmp_path / "out"), "--frame-at", "start")
    done = CliRunner().invoke(app, ["frames", str(joined("ts")), *options])
    assert done.exit_code == 0
    assert "warning: the file's clock restarts or jumps (1 times)" in done.stdout
    index = json.loads((tmp_path / "out" / "frames.json").read_text(encoding="utf-8"))
    assert index["T"] == 2 * SECONDS
    assert np.allclose(index["restarts"], [SECONDS])
