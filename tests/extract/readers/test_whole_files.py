"""Whole files that look short or broken: other tracks, clocks that begin late, zeros between."""

import subprocess
from pathlib import Path

import av
import imageio_ffmpeg
import pytest
from helpers.media import clips

from avqa.extract import readers
from avqa.extract.media.grid import build_grid
from avqa.extract.media.types import Limits, Report

FPS, SECONDS, LATER = 25, 4, 9
MIDDLES = [12, 37, 62, 87]
"""Numbers of the frames in the middle of each second."""
PACKET = 188
"""Bytes of a packet of an MPEG transport stream."""


def ffmpeg(*arguments: str | Path) -> None:
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-y", "-nostdin"]
    subprocess.run([*command, *map(str, arguments)], check=True)


def base(extension: str) -> Path:
    options = {"seconds": SECONDS, "fps": FPS, "sound_codec": "aac", "extra": ("-g", "25")}
    return clips.cached_clip(f"base{extension}", **options)


def subtitles(folder: Path) -> list[str | Path]:
    """Options that add a track whose last cue ends long after all others."""
    path = folder / "late.srt"
    path.write_text(
        f"1\n00:00:00,500 --> 00:00:01,000\na\n\n2\n00:00:03,0 --> 00:00:0{LATER},0\nb\n",
        encoding="utf-8",
    )
    return ["-i", path]


def sound(folder: Path) -> list[str | Path]:
    return ["-f", "lavfi", "-i", f"sine=d={LATER}"]


def picture(folder: Path) -> list[str | Path]:
    return ["-f", "lavfi", "-i", f"testsrc=d={LATER}:s=64x64:r=5"]


CODECS = {
    subtitles: {".mkv": ["-c:s", "srt"], ".mp4": ["-c:s", "mov_text"]},
    sound: {ext: ["-c:a:1", "aac"] for ext in (".mkv", ".mp4", ".mov")},
    picture: {ext: ["-c:v:1", "libx264"] for ext in (".mkv", ".mp4", ".mov")},
}
TRACKS = [(track, extension) for track, codecs in CODECS.items() for extension in codecs]
INDEPENDENT = [name for name in readers.names() if name != "decord"]
"""Decord reads no TS to its end."""


def read(reader: str, path: Path) -> tuple[list[int], Report]:
    """The numbers of the rows' frames, and the report; the sound is read, too."""
    loaded = readers.load(reader).READER
    probe = loaded.probe(str(path), Limits())
    report = Report()
    index = build_grid(probe.times, "mid", probe.average_fps).index.tolist()
    frames = {f.index: f for f in loaded.frames(probe, sorted(set(index)), report)}
    seconds = sum(len(run.samples) / run.sample_rate for run in loaded.audio(probe, report))
    assert seconds == pytest.approx(SECONDS, abs=0.1)
    return [clips.read_number(frames[i].rgb) for i in index], report


@pytest.mark.parametrize(("track", "extension"), TRACKS)
@pytest.mark.parametrize("reader", readers.names())
def test_another_track_is_longer(reader, track, extension, tmp_path):
    path = tmp_path / f"a{extension}"
    codecs = CODECS[track][extension]
    tracks = ("-map", "0", "-map", "1", "-c", "copy", *codecs)
    ffmpeg("-i", base(".mp4"), *track(tmp_path), *tracks, path)
    numbers, report = read(reader, path)
    assert numbers == MIDDLES
    assert (report.partial, report.corrupt) == (False, 0)


@pytest.mark.parametrize("extension", [".mkv", ".mp4", ".mov"])
@pytest.mark.parametrize("reader", readers.names())
def test_a_muted_recording_is_a_video_without_audio(reader, extension, tmp_path):
    path = tmp_path / f"a{extension}"
    declared = () if extension == ".mkv" else ("-movflags", "empty_moov+frag_keyframe")
    ffmpeg("-i", base(".mp4"), "-c", "copy", "-bsf:a", "noise=drop=1", *declared, path)
    with av.open(str(path)) as container:
        assert len(container.streams.audio) == 1
    loaded = readers.load(reader).READER
    probe = loaded.probe(str(path), Limits())
    assert not probe.has_audio
    report = Report()
    assert len(list(loaded.frames(probe, [12, 37], report))) == 2
    assert not report.partial


@pytest.mark.parametrize("reader", readers.names())
def test_of_two_audio_streams_the_one_that_decodes_is_read(reader, tmp_path):
    whole, path = tmp_path / "whole.mp4", tmp_path / "a.mp4"
    tracks = ("-map", "1", "-map", "0", "-c", "copy", "-c:a:0", "ac3", "-disposition:a", "0")
    ffmpeg("-i", base(".mp4"), *sound(tmp_path), *tracks, whole)
    content = whole.read_bytes()
    assert content.count(b"ac-3") == 1
    path.write_bytes(content.replace(b"ac-3", b"zz-9"))
    numbers, report = read(reader, path)
    assert numbers == MIDDLES
    if reader == "pyav":
        assert report.warnings == ["an audio stream has no decoder: stream 2 is read in its place"]


@pytest.mark.parametrize("reader", readers.names())
def test_half_of_it_is_still_half(reader, tmp_path):
    whole, half = tmp_path / "whole.mkv", tmp_path / "half.mkv"
    tracks = ("-map", "0", "-map", "1", "-c", "copy", "-c:a:1", "aac")
    ffmpeg("-i", base(".mp4"), *sound(tmp_path), *tracks, whole)
    half.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    loaded = readers.load(reader).READER
    report = Report()
    list(loaded.frames(loaded.probe(str(half), Limits()), [0], report))
    assert report.partial


@pytest.mark.parametrize("extension", [".mkv", ".webm"])
@pytest.mark.parametrize("reader", readers.names())
def test_a_cut_from_a_live_stream_begins_at_3_hours(reader, extension, tmp_path):
    path = tmp_path / f"a{extension}"
    codecs = ("-c", "copy") if extension == ".mkv" else ("-c:v", "libvpx", "-c:a", "libopus")
    ffmpeg("-i", base(".mp4"), *codecs, "-output_ts_offset", "10800", path)
    numbers, report = read(reader, path)
    assert numbers == MIDDLES
    assert not report.partial
    probe = readers.load(reader).READER.probe(str(path), Limits(max_length_seconds=SECONDS + 1))
    assert probe.declared_seconds == pytest.approx(SECONDS, abs=0.1)


@pytest.mark.parametrize("place", ["middle", "end"])
@pytest.mark.parametrize("zeros", [1_400 * PACKET, 300_000])
@pytest.mark.parametrize("reader", INDEPENDENT)
def test_zeros_between_packets_are_passed_over(reader, zeros, place, tmp_path):
    content = base(".ts").read_bytes()
    cut = len(content) // PACKET // 2 * PACKET if place == "middle" else len(content)
    path = tmp_path / "a.ts"
    path.write_bytes(content[:cut] + bytes(zeros) + content[cut:])
    numbers, report = read(reader, path)
    assert numbers == MIDDLES
    assert (report.partial, report.corrupt) == (False, 0)
