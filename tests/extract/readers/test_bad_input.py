"""Damaged, hostile and merely odd files, through the decoder process with the default reader."""

import os
import shutil
import struct
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import pytest
from helpers.media import clips
from helpers.media.moved_sound import move_sound

from avqa.errors import MediaError
from avqa.extract.decoder.process import Block, DecoderProcess, Footer, Header, Request
from avqa.extract.media.audio.frame_clock import write_wav
from avqa.extract.media.types import Limits
from avqa.extract.settings import Settings

HERE = Path(__file__).parents[2] / "helpers" / "media"
FRAME, AUDIO = "fake_encoder/whole", "fake_encoder/tone"


@pytest.fixture(scope="module")
def decoder() -> Iterator[DecoderProcess]:
    """PyAV, found through the fakes so that the child knows their encoder too."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(HERE))
        with DecoderProcess("fake_readers:PYAV") as process:
            process.start()
            yield process


@pytest.fixture(scope="module")
def clip() -> Path:
    return clips.cached_clip("clip.mp4", sound_codec="aac")


class Video:
    """What came of one file."""

    def __init__(self, decoder: DecoderProcess, path: Path | str, **limits: float) -> None:
        request = Request(str(path), (FRAME, AUDIO), Settings(), replace(Limits(), **limits))
        items = list(decoder.decode(request))
        assert isinstance(items[0], Header)
        assert isinstance(items[-1], Footer)
        self.header, self.footer = items[0], items[-1]
        blocks = [b for b in items if isinstance(b, Block)]
        self.frames = [clips.read_number(p) for b in blocks if b.input == FRAME for p in b.rows]
        self.seconds = [
            clips.read_second(s, 16_000) for b in blocks if b.input == AUDIO for s in b.rows
        ]


def refusal(decoder: DecoderProcess, path: Path | str, **limits: float) -> MediaError:
    with pytest.raises(MediaError) as caught:
        Video(decoder, path, **limits)
    error = caught.value
    assert "\n" not in str(error)
    assert repr(str(path)) in str(error)
    return error


def run_ffmpeg(*arguments: str | Path) -> None:
    command = [clips.program(), "-v", "error", "-y", "-nostdin"]
    subprocess.run([*command, *map(str, arguments)], check=True)


def test_a_good_clip(decoder: DecoderProcess, clip: Path) -> None:
    """What all the others are compared with."""
    video = Video(decoder, clip)
    assert video.frames == [15, 45, 75, 105]
    assert video.seconds == [0, 1, 2, 3]
    assert video.footer.audio_error is None
    assert not video.footer.report.partial


# No video.


def test_zero_bytes(decoder: DecoderProcess, tmp_path: Path) -> None:
    path = tmp_path / "empty.mp4"
    path.touch()
    error = refusal(decoder, path)
    assert (error.reason, error.stage) == ("empty", "probe")
    assert "has 0 bytes; expected a video" in str(error)


def test_gone(decoder: DecoderProcess, tmp_path: Path) -> None:
    error = refusal(decoder, tmp_path / "gone.mp4")
    assert error.reason == "unreadable"
    assert "No such file" in str(error)


def test_folder(decoder: DecoderProcess, tmp_path: Path) -> None:
    assert refusal(decoder, tmp_path).reason == "unreadable"


def test_text_renamed(decoder: DecoderProcess, tmp_path: Path) -> None:
    path = tmp_path / "readme.mp4"
    path.write_text("This is a text about videos.\n" * 100, encoding="utf-8")
    error = refusal(decoder, path)
    assert error.reason == "not_media"
    assert "convert or remove it" in str(error)


def test_random_bytes_renamed(decoder: DecoderProcess, tmp_path: Path) -> None:
    path = tmp_path / "noise.mp4"
    path.write_bytes(np.random.default_rng(0).bytes(100_000))
    assert refusal(decoder, path).reason in ("not_media", "no_video")


def test_wav_renamed(decoder: DecoderProcess, tmp_path: Path) -> None:
    path = tmp_path / "audio.mp4"
    write_wav(str(path), [clips.audio(0, 2, 16_000)])
    error = refusal(decoder, path)
    assert error.reason == "no_video"
    assert "has no video stream" in str(error)


def test_cover_image_only(decoder: DecoderProcess, clip: Path, tmp_path: Path) -> None:
    cover, path = tmp_path / "cover.png", tmp_path / "song.mp4"
    run_ffmpeg("-i", clip, "-frames:v", "1", cover)
    run_ffmpeg("-i", clip, "-i", cover, "-map", "0:a", "-map", "1:v", "-c", "copy",
           "-disposition:v:0", "attached_pic", path)  # fmt: skip
    with av.open(str(path)) as container:
        assert len(container.streams.video) == 1
    error = refusal(decoder, path)
    assert error.reason == "no_video"
    assert "a cover image is none" in str(error)


# Files that point elsewhere.


def plays(path: Path, **how: str) -> bool:
    """Whether the file really plays for whoever follows it."""
    try:
        with av.open(str(path), **how) as container:
            return next(container.decode(video=0)) is not None
    except (av.error.FFmpegError, StopIteration):
        return False


@pytest.fixture
def beside(clip: Path, tmp_path: Path) -> Path:
    """A folder with something for a script to point to."""
    shutil.copy(clip, tmp_path / "target.mp4")
    run_ffmpeg("-i", clip, "-c", "copy", "-f", "mpegts", tmp_path / "target.ts")
    return tmp_path


def test_ffconcat_renamed(decoder: DecoderProcess, beside: Path) -> None:
    path = beside / "script.mp4"
    path.write_text("ffconcat version 1.0\nfile target.mp4\n", encoding="utf-8")
    assert plays(path)
    error = refusal(decoder, path)
    assert error.reason == "refused_protocol"
    assert "is a ffconcat script, not a video" in str(error)


def test_hls_renamed(decoder: DecoderProcess, beside: Path) -> None:
    path = beside / "list.mp4"
    path.write_text(
        "#EXTM3U\n#EXT-X-TARGETDURATION:5\n#EXTINF:4,\ntarget.ts\n#EXT-X-ENDLIST\n",
        encoding="utf-8",
    )
    assert plays(path, format="hls")
    error = refusal(decoder, path)
    assert error.reason == "refused_protocol"
    assert "HLS playlist" in str(error)


def test_script_with_a_head_we_do_not_know(decoder: DecoderProcess, beside: Path) -> None:
    """The white list of containers is what refuses it, not the list of heads."""
    path = beside / "script.mp4"
    path.write_text("\n" * 5000 + "ffconcat version 1.0\nfile target.mp4\n", encoding="utf-8")
    assert refusal(decoder, path).reason in ("not_media", "refused_protocol")


def test_addresses_are_no_files(decoder: DecoderProcess, clip: Path) -> None:
    for path in (f"concat:{clip}", f"file:{clip}", "http://127.0.0.1:9/a.mp4", "pipe:0"):
        assert refusal(decoder, path).reason == "unreadable"


# Files that claim too much.


def peak_bytes(decoder: DecoderProcess) -> int:
    status = Path(f"/proc/{decoder.pid}/status").read_text(encoding="utf-8")
    (line,) = (line for line in status.splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) * 1024


def huge_gif() -> bytes:
    """One frame of 16000×16000 in 43 bytes."""
    size = struct.pack("<HH", 16_000, 16_000)
    head = b"GIF89a" + size + b"\x80\x00\x00" + bytes(6)
    return head + b"\x2c" + bytes(4) + size + b"\x00" + b"\x02\x02\x44\x01\x00\x3b"


def huge_avi(clip: Path, folder: Path) -> bytes:
    """Motion JPEG whose frames claim 16000×16000, unlike the container."""
    path = folder / "small.avi"
    run_ffmpeg("-i", clip, "-an", "-t", "1", "-c:v", "mjpeg", path)
    small, large = struct.pack(">HH", *clips.SIZE[::-1]), struct.pack(">HH", 16_000, 16_000)
    data = path.read_bytes()
    start_of_frame = data[(at := data.find(b"\xff\xc0")) : at + 5]
    assert data.count(start_of_frame + small) == 30
    return data.replace(start_of_frame + small, start_of_frame + large)


def huge_webm(clip: Path, folder: Path) -> bytes:
    """VP8 whose key frames claim 16000×16000, unlike the container."""
    path = folder / "small.webm"
    run_ffmpeg("-i", clip, "-an", "-t", "1", "-c:v", "libvpx", path)
    key = b"\x9d\x01\x2a"
    data = path.read_bytes()
    assert key + struct.pack("<HH", *clips.SIZE) in data
    return data.replace(
        key + struct.pack("<HH", *clips.SIZE), key + struct.pack("<HH", 16_000, 16_000)
    )


@pytest.mark.parametrize("kind", ["gif", "avi", "webm"])
def test_gigantic_picture(clip: Path, tmp_path: Path, kind: str) -> None:
    """768 MB in RGB; in a process of its own, so that the peak is this file's."""
    path = tmp_path / f"huge.{kind}"
    make = {"gif": lambda *_: huge_gif(), "avi": huge_avi, "webm": huge_webm}[kind]
    path.write_bytes(make(clip, tmp_path))
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(HERE))
        with DecoderProcess("fake_readers:PYAV") as decoder:
            Video(decoder, clip)
            before = peak_bytes(decoder)
            error = refusal(decoder, path)
            assert peak_bytes(decoder) - before < 100_000_000
    # Where the container does not say it, the decoder refuses every frame.
    assert error.reason == ("too_large" if kind == "gif" else "no_frames")
    if kind == "gif":
        assert (
            "width=16000, height=16000; expected at most max_pixels=64000000; use --max-pixels"
            in str(error)
        )


def test_memory_limit_holds_where_the_pixel_limit_is_raised(
    decoder: DecoderProcess, tmp_path: Path
) -> None:
    """A frame that may be large but costs more than the process may have."""
    path = tmp_path / "huge.gif"
    path.write_bytes(huge_gif())
    error = refusal(decoder, path, max_pixels=10**9, memory_bytes=200_000_000)
    assert error.reason == "memory"
    assert Video(decoder, clips.cached_clip("clip.mp4", sound_codec="aac")).frames[0] == 15


def test_too_long(decoder: DecoderProcess, clip: Path) -> None:
    error = refusal(decoder, clip, max_length_seconds=3.0)
    assert error.reason == "too_long"
    assert "expected at most max_length=3; use --max-length" in str(error)
    assert Video(decoder, clip, max_length_seconds=5.0).header.num_rows == 4


# Damage.


def test_half_a_file(decoder: DecoderProcess, clip: Path, tmp_path: Path) -> None:
    """The index in front promises 4 s, the frames end before: partial, and said so."""
    path, cut = tmp_path / "front.mp4", tmp_path / "cut.mp4"
    run_ffmpeg("-i", clip, "-c", "copy", "-movflags", "+faststart", path)
    data = path.read_bytes()
    cut.write_bytes(data[: data.index(b"mdat") + (len(data) - data.index(b"mdat")) // 2])
    video = Video(decoder, cut)
    assert video.footer.report.partial
    assert 1 <= len(video.frames) < 4
    assert video.frames == [15, 45, 75, 105][: len(video.frames)]
    assert video.header.declared_seconds == pytest.approx(4.0, abs=0.1)


def test_lost_index(decoder: DecoderProcess, clip: Path, tmp_path: Path) -> None:
    cut = tmp_path / "cut.mp4"
    cut.write_bytes(clip.read_bytes()[: clip.stat().st_size // 2])
    error = refusal(decoder, cut)
    assert error.reason == "not_media"


def test_damage_in_a_frame_costs_the_rows_to_the_next_key_frame(
    decoder: DecoderProcess, tmp_path: Path
) -> None:
    """One key frame of noise, at 4 s: no frame predicted from it is given."""
    good = clips.cached_clip(
        "good.mkv", seconds=8.0, extra=("-g", "60", "-bf", "0", "-sc_threshold", "0")
    )
    with av.open(str(good)) as container:
        keys = [bytes(p) for p in container.demux(video=0) if p.size and p.is_keyframe]
    data, key = good.read_bytes(), keys[2]
    assert data.count(key) == 1
    at = data.index(key) + len(key) // 2
    noise = np.random.default_rng(0).bytes(len(key) // 2)
    path = tmp_path / "bad.mkv"
    path.write_bytes(data[:at] + noise + data[at + len(noise) :])
    video = Video(decoder, path)
    assert video.frames == [15, 45, 75, 105, 195, 225]
    report = video.footer.report
    assert (video.header.num_rows, report.partial, report.corrupt) == (8, True, 1)
    assert report.lost_rows == [4, 5]
    assert report.warnings == [
        "1 packets or frames were corrupt and passed over",
        "decoded 6 of 8 rows; lost seconds: 4 to 5",
    ]


def with_damaged_sound(clip: Path, folder: Path, damaged: slice) -> Path:
    """FLAC in Matroska, some packets all zeros."""
    good, bad = folder / "good.mkv", folder / "bad.mkv"
    run_ffmpeg("-i", clip, "-c:v", "copy", "-c:a", "flac", good)
    with av.open(str(good)) as container:
        packets = [bytes(p) for p in container.demux(container.streams.audio[0]) if p.size]
    data = good.read_bytes()
    for packet in packets[damaged]:
        assert packet in data
        data = data.replace(packet, bytes(len(packet)))
    bad.write_bytes(data)
    return bad


def test_dead_sound_leaves_the_pictures(
    decoder: DecoderProcess, clip: Path, tmp_path: Path
) -> None:
    video = Video(decoder, with_damaged_sound(clip, tmp_path, slice(None)))
    assert video.frames == [15, 45, 75, 105]
    assert video.footer.audio_error is not None
    assert video.footer.audio_error.reason == "corrupt"
    assert video.footer.audio_error.stage == "sound"
    assert "does not decode" in str(video.footer.audio_error)


def test_hole_in_the_sound_is_silence_and_said(
    decoder: DecoderProcess, clip: Path, tmp_path: Path
) -> None:
    """1024 samples of 48 kHz a packet: 0.98 to 1.81 s, the tone of second 1."""
    path = with_damaged_sound(clip, tmp_path, slice(46, 85))
    video = Video(decoder, path)
    assert video.footer.audio_error is None
    assert video.seconds == [0, None, 2, 3]
    (warning,) = video.footer.report.warnings
    lost = "sound is lost: 0.83 of 4 s, at 0.98 to 1.81 s; silence stands there"
    assert warning == lost


# Odd but valid.


def test_no_sound(decoder: DecoderProcess) -> None:
    video = Video(decoder, clips.cached_clip("mute.mp4"))
    assert not video.header.has_audio
    assert video.frames == [15, 45, 75, 105]
    assert video.seconds == []
    assert (video.footer.audio_start, video.footer.audio_error) == (None, None)


def test_silent_is_not_absent(decoder: DecoderProcess, clip: Path, tmp_path: Path) -> None:
    path = tmp_path / "silent.mp4"
    run_ffmpeg("-i", clip, "-c:v", "copy", "-c:a", "aac", "-af", "volume=0", path)
    video = Video(decoder, path)
    assert video.header.has_audio
    assert video.seconds == [None] * 4
    assert video.footer.audio_start == pytest.approx(0, abs=0.05)
    assert video.footer.audio_end == pytest.approx(4, abs=0.05)


def test_a_third_of_a_second(decoder: DecoderProcess) -> None:
    video = Video(decoder, clips.cached_clip("short.mp4", seconds=0.3, sound_codec="aac"))
    assert video.header.num_rows == 1
    assert video.header.duration == pytest.approx(0.3)
    assert video.frames == [8]  # the last one before 0.5 s
    assert video.seconds == [0]


@pytest.mark.parametrize(
    "name", [b"\xff\xfe.mp4", b"new\nline.mp4", b"-dash.mp4", b" .mp4", b"a" * 251 + b".mp4",
             b"%d.mp4", b"http:a.mp4", b"'\"$(x);.mp4"]
)  # fmt: skip
def test_names(decoder: DecoderProcess, clip: Path, tmp_path: Path, name: bytes) -> None:
    path = tmp_path / os.fsdecode(name)
    shutil.copy(clip, path)
    video = Video(decoder, path)
    assert video.frames == [15, 45, 75, 105]
    assert video.seconds == [0, 1, 2, 3]


@pytest.mark.parametrize("suffix", ["mp4", "mkv"])
def test_late_sound(decoder: DecoderProcess, clip: Path, tmp_path: Path, suffix: str) -> None:
    video = Video(decoder, move_sound(clip, tmp_path / f"late.{suffix}", 2.0))
    assert video.frames == [15, 45, 75, 105]
    assert video.seconds == [None, None, 0, 1]
    assert video.footer.audio_start == pytest.approx(2, abs=0.05)
    assert video.footer.audio_end == pytest.approx(6, abs=0.05)


def test_late_picture(decoder: DecoderProcess, clip: Path, tmp_path: Path) -> None:
    """The frame starts 2 s into the file: its first second is what was heard from 2 s on."""
    late = ["-itsoffset", "2", "-i", clip, "-i", clip, "-map", "0:v", "-map", "1:a"]
    run_ffmpeg(*late, "-c", "copy", tmp_path / "late.mkv")
    video = Video(decoder, tmp_path / "late.mkv")
    assert video.frames == [15, 45, 75, 105]
    assert video.seconds == [2, 3, None, None]
    assert video.footer.audio_start == pytest.approx(-2, abs=0.05)


def test_edit_list(decoder: DecoderProcess, tmp_path: Path) -> None:
    """Cut at 1 s without encoding: what comes before is in the file, but is not shown."""
    clip = clips.cached_clip(
        "edited.mp4", sound_codec="aac", remux_input=("-ss", "1"), remux=(), extra=("-g", "250")
    )
    with av.open(str(clip)) as container:
        assert sum(p.is_discard for p in container.demux(container.streams.video[0])) == 30
    video = Video(decoder, clip)
    assert video.frames == [45, 75, 105]
    assert video.seconds == [1, 2, 3]
