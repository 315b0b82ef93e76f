"""Files that are no video, hostile, damaged or unusual: each reader says why, in one line."""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
import sys
from pathlib import Path

import av
import numpy as np
import pytest
from helpers.media import clips
from helpers.media.cases import PYRAMID

from avqa.errors import MediaError, UnknownName
from avqa.extract import readers
from avqa.extract.media import file_checks
from avqa.extract.media.grid import build_grid
from avqa.extract.media.types import Limits, Probe, Reader, Report


def refused(reader: Reader, path: Path, limits: Limits | None = None) -> MediaError:
    with pytest.raises(MediaError) as caught:
        reader.probe(str(path), limits or Limits())
    assert "\n" not in str(caught.value)
    assert caught.value.stage == "probe"
    return caught.value


def run_ffmpeg(*arguments: str | Path) -> None:
    command = [clips.program(), "-v", "error", "-y", "-nostdin"]
    subprocess.run([*command, *map(str, arguments)], check=True)


def test_names_are_the_files() -> None:
    files = {file.stem for file in Path(readers.__file__).parent.glob("[!_]*.py")}
    assert files <= set(readers.names())


def test_a_reader_has_the_name_it_was_asked_for_by(
    reader: Reader, request: pytest.FixtureRequest
) -> None:
    assert reader.name == request.node.callspec.params["reader"]
    assert reader.version().startswith(reader.name)


def test_a_wrong_name_is_refused() -> None:
    with pytest.raises(UnknownName, match="no decoder 'pyaf'; did you mean 'pyav'"):
        readers.load("pyaf")


def test_empty(reader: Reader, tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    path.touch()
    error = refused(reader, path)
    assert (error.reason, "has 0 bytes; expected a video" in str(error)) == ("empty", True)


def test_missing_and_folder(reader: Reader, tmp_path: Path) -> None:
    error = refused(reader, tmp_path / "no.mp4")
    assert error.reason == "unreadable"
    assert "No such file or directory; expected a readable file" in str(error)
    assert refused(reader, tmp_path).reason == "unreadable"


@pytest.mark.parametrize("data", [b"hello, this is text\n" * 300, bytes(range(256)) * 40])
def test_not_media(reader: Reader, data: bytes, tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    path.write_bytes(data)
    error = refused(reader, path)
    assert error.reason == "not_media"
    assert "is not a video we read" in str(error)


def test_audio_alone_is_no_video(reader: Reader, tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    run_ffmpeg("-f", "lavfi", "-i", "sine=d=1", "-c:a", "aac", path)
    assert refused(reader, path).reason == "no_video"


def test_cover_image_is_no_video(reader: Reader, tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    run_ffmpeg(
        "-f", "lavfi", "-i", "sine=d=1", "-f", "lavfi", "-i", "testsrc=d=0.04:r=25:s=64x64",
        "-map", "0", "-map", "1", "-c:a", "aac", "-c:v", "mjpeg", "-pix_fmt", "yuvj420p",
        "-disposition:v:0", "attached_pic", path,
    )  # fmt: skip
    error = refused(reader, path)
    assert (error.reason, "a cover image is none" in str(error)) == ("no_video", True)


def playlists(folder: Path) -> dict[str, bytes]:
    target = clips.cached_clip("a.ts", seconds=1.0)
    shutil.copy(target, folder / "target.ts")
    return {
        "ffconcat script": b"ffconcat version 1.0\nfile 'target.ts'\n",
        "HLS playlist": b"#EXTM3U\n#EXT-X-VERSION:3\n#EXT-X-TARGETDURATION:1\n#EXT-X-MEDIA-"
        b"SEQUENCE:0\n#EXTINF:1.0,\ntarget.ts\n#EXT-X-ENDLIST\n",
        "DASH playlist": b'<?xml version="1.0"?>\n<MPD type="static"></MPD>',
        "SDP session": b"v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\n",
    }


@pytest.mark.parametrize(
    "kind", ["ffconcat script", "HLS playlist", "DASH playlist", "SDP session"]
)
def test_playlist_is_refused(reader: Reader, kind: str, tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    path.write_bytes(playlists(tmp_path)[kind])
    error = refused(reader, path)
    assert error.reason == "refused_protocol"
    assert f"is a {kind}, not a video; expected the frames in the file itself" in str(error)


@pytest.mark.parametrize("kind", ["ffconcat script", "HLS playlist"])
@pytest.mark.parametrize("name", ["pyav", "ffmpeg"])
def test_white_list_holds_without_recognition(
    name: str, kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The playlist really plays, and the white list alone is enough to stop it."""
    # Newer FFmpeg takes HLS only under its own extension.
    path = tmp_path / ("a.m3u8" if kind == "HLS playlist" else "a.mp4")
    path.write_bytes(playlists(tmp_path)[kind])
    run_ffmpeg("-i", path, "-f", "null", "-")
    monkeypatch.setattr(file_checks, "_script_kind", lambda head: "")
    assert refused(readers.load(name).READER, path).reason == "not_media"


def gigantic(path: Path) -> Path:
    """A small H.264 file whose parameter set claims 16000×16000 pixels."""
    run_ffmpeg(
        "-f", "lavfi", "-i", "color=s=16000x16000:r=1:d=1", "-c:v", "libx264", "-preset",
        "ultrafast", "-threads", "1", path,
    )  # fmt: skip
    return path


@pytest.fixture(scope="module")
def gigantic_clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return gigantic(tmp_path_factory.mktemp("gigantic") / "a.mp4")


MEASURE = """
import resource, sys
from avqa.errors import MediaError
from avqa.extract import readers
from avqa.extract.media.types import Limits
reader = readers.load(sys.argv[1]).READER
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
try:
    reader.probe(sys.argv[2], Limits())
except MediaError as error:
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    print(error.reason, grown, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
"""


def test_gigantic_picture_is_refused_in_little_memory(reader: Reader, gigantic_clip: Path) -> None:
    assert gigantic_clip.stat().st_size < 2_000_000
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, reader.name, str(gigantic_clip)],
        capture_output=True, text=True, cwd=Path(__file__).parents[3],
    encoding="utf-8")  # fmt: skip
    reason, grown_kb, child_kb = done.stdout.split()
    assert reason == "too_large", done.stderr
    # One such frame takes 384 MB.
    assert int(grown_kb) < 100_000
    assert reader.name != "ffmpeg" or int(child_kb) < 250_000


def test_size_limit_names_the_numbers(reader: Reader) -> None:
    path = clips.cached_clip("a.mp4", seconds=1.0)
    error = refused(reader, path, Limits(max_pixels=160 * 96 - 1))
    assert error.reason == "too_large"
    assert (
        "claims width=160, height=96; expected at most max_pixels=15359; use --max-pixels to"
        in str(error)
    )
    allowed = reader.probe(str(path), Limits(max_pixels=160 * 96))
    assert len(list(reader.frames(allowed, [15], Report()))) == 1


def test_the_largest_limit_refuses_nothing(reader: Reader) -> None:
    path = clips.cached_clip("a.mp4", seconds=1.0)
    probe = reader.probe(str(path), Limits(max_pixels=2**31 - 1))
    assert len(list(reader.frames(probe, [15], Report()))) == 1


def test_stretched_size_counts(reader: Reader) -> None:
    path = clips.cached_clip("a.mp4", size=(80, 96), seconds=1.0, filters="setsar=50")
    assert refused(reader, path, Limits(max_pixels=100_000)).reason == "too_large"


def test_too_long(reader: Reader) -> None:
    path = clips.cached_clip("a.mp4", seconds=2.0)
    error = refused(reader, path, Limits(max_length_seconds=1.5))
    assert error.reason == "too_long"
    assert "lasts seconds=2.0; expected at most max_length=2; use --max-length to" in str(error)


def read(reader: Reader, path: Path) -> tuple[list[tuple[int, int]], int, Report]:
    """(place, number) of the frames of the rows, T, and the report."""
    probe = reader.probe(str(path), Limits())
    grid = build_grid(probe.times, "mid", probe.average_fps)
    report = Report()
    wanted = sorted(set(grid.index.tolist()))
    found = [(p.index, clips.read_number(p.rgb)) for p in reader.frames(probe, wanted, report)]
    return found, len(grid), report


def test_half_a_file_is_partial(reader: Reader, tmp_path: Path) -> None:
    whole = clips.cached_clip(
        "a.mp4", seconds=8.0, extra=[*PYRAMID, "-movflags", "+faststart"], sound_codec="aac"
    )
    path = tmp_path / "a.mp4"
    path.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    if reader.name == "decord":
        error = refused(reader, path)
        assert (error.reason, "to its end" in str(error)) == ("truncated", True)
        return
    found, rows, report = read(reader, path)
    assert report.partial
    assert 2 <= rows <= 6
    assert found == [(30 * k + 15, 30 * k + 15) for k in range(len(found))]
    assert report.decoded_seconds is not None
    assert report.decoded_seconds < 6


def test_whole_file_is_not_partial(reader: Reader) -> None:
    for options in ({}, {"sound_codec": "aac"}, {"sound_codec": "aac", "sound_until": 6.0}):
        path = clips.cached_clip("a.mp4", seconds=4.0, extra=PYRAMID, **options)
        assert not read(reader, path)[2].partial


@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize("seed", range(6))
def test_damage_in_the_middle_is_passed_over(tmp_path: Path, seed: int, full: bool) -> None:
    """Every frame given is the undamaged one; one group of frames at most is left out."""
    whole = clips.cached_clip("a.mkv", seconds=8.0, extra=[*PYRAMID, "-g", "30"])
    path = tmp_path / "a.mkv"
    _damage(whole, path, seed)
    reader = readers.load("pyav").READER
    wanted = list(range(240))
    right = {p.index: p.rgb for p in reader.frames(_probe(whole), wanted, Report(), full=True)}
    report = Report()
    found = {p.index: p.rgb for p in reader.frames(_probe(path), wanted, report, full=full)}
    for index, rgb in found.items():
        np.testing.assert_array_equal(rgb, right[index])
    missing = sorted(set(wanted) - set(found))
    assert report.corrupt > 0
    assert missing
    assert missing[-1] - missing[0] < 60


def _probe(path: Path) -> Probe:
    return readers.load("pyav").READER.probe(str(path), Limits())


def _damage(whole: Path, path: Path, seed: int) -> None:
    """Copy the clip with noise inside one packet near its middle, behind the slice's head."""
    with av.open(str(whole)) as container:
        packets = [bytes(p) for p in container.demux(video=0) if p.size]
    packet = max(packets[100:140], key=len) if seed % 2 else packets[110 + seed]
    data = whole.read_bytes()
    assert data.count(packet) == 1
    half = len(packet) // 2
    noise = np.random.default_rng(seed).bytes(min(40, len(packet) - half))
    at = data.index(packet) + half
    path.write_bytes(data[:at] + noise + data[at + len(noise) :])


def test_default_flag_chooses_the_stream(tmp_path: Path) -> None:
    first = clips.cached_clip("a.mkv", seconds=2.0)
    second = clips.cached_clip("a.mkv", seconds=1.0)
    path = tmp_path / "a.mkv"
    run_ffmpeg(
        "-i", first, "-i", second, "-map", "0", "-map", "1", "-c", "copy",
        "-disposition:v:0", "0", "-disposition:v:1", "default", path,
    )  # fmt: skip
    for name in ("pyav", "ffmpeg"):
        assert len(readers.load(name).READER.probe(str(path), Limits()).times.pts) == 30


def test_no_sound(reader: Reader) -> None:
    probe = reader.probe(str(clips.cached_clip("a.mp4", seconds=1.0)), Limits())
    assert not probe.has_audio
    with pytest.raises(MediaError, match="has no audio stream; expected one; ask for") as caught:
        list(reader.audio(probe, Report()))
    assert (caught.value.reason, caught.value.stage) == ("no_sound", "sound")


@pytest.mark.parametrize("codec", ["pcm_s16le", "pcm_u8", "pcm_f32le", "pcm_s32le"])
def test_sound_is_handed_on_by_channel(reader: Reader, codec: str, tmp_path: Path) -> None:
    path = tmp_path / "a.mkv"
    source = "aevalsrc=0.5|0.25:d=1:s=16000:c=stereo"
    frame = "testsrc=d=1:r=5:s=64x64"
    run_ffmpeg("-f", "lavfi", "-i", frame, "-f", "lavfi", "-i", source, "-c:a", codec, path)
    runs = list(reader.audio(reader.probe(str(path), Limits()), Report()))
    samples = np.concatenate([run.samples for run in runs], axis=1)
    assert samples.dtype == np.float32
    assert samples.shape == (2, 16_000)
    assert {run.sample_rate for run in runs} == {16_000}
    within = 0.004 if codec == "pcm_u8" else 1e-4
    np.testing.assert_allclose(samples[0], 0.5, atol=within)
    np.testing.assert_allclose(samples[1], 0.25, atol=within)


def test_abandoned_pictures_end_the_program() -> None:
    """Leaving the frames early must not leave the ffmpeg program running."""
    reader = readers.load("ffmpeg").READER
    probe = reader.probe(str(clips.cached_clip("a.mp4", seconds=8.0)), Limits())
    frames = reader.frames(probe, list(range(240)), Report())
    next(frames)
    frames.close()
    children = Path(f"/proc/self/task/{os.getpid()}/children")
    assert not children.exists() or b"ffmpeg" not in children.read_bytes()
    assert resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss > 0


def test_pictures_of_another_reader_are_a_mistake() -> None:
    probe = readers.load("pyav").READER.probe(
        str(clips.cached_clip("a.mp4", seconds=1.0)), Limits()
    )
    with pytest.raises(TypeError, match="expected one made by 'ffmpeg'"):
        list(readers.load("ffmpeg").READER.frames(probe, [0], Report()))
