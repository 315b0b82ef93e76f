"""Sound that damage has taken is told: how many seconds and where, and no more than that."""

import subprocess
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace

import imageio_ffmpeg
import pytest
from helpers.media import clips
from helpers.media.damage import without_packets

from avqa.extract import readers
from avqa.extract.decoder.work import Work
from avqa.extract.media.audio import lost_sound
from avqa.extract.media.grid import build_grid
from avqa.extract.media.types import Limits, Reader, Report
from avqa.extract.settings import Settings

SECONDS = 4
LIMITS = Limits()
PACKET = 188
"""Bytes of a packet of an MPEG transport stream."""


@pytest.fixture(params=["pyav", "ffmpeg"])
def reader(request: pytest.FixtureRequest) -> Reader:
    """Those that read sound in their own way; decord reads it as pyav does."""
    return readers.load(request.param).READER


def ffmpeg(*arguments: str | Path) -> None:
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-y", "-nostdin"]
    subprocess.run([*command, *map(str, arguments)], check=True)


def made(path: Path, *codec: str, seconds: float = SECONDS) -> Path:
    """A clip whose sound never pauses and is no silence."""
    sound = ("-f", "lavfi", "-i", f"anoisesrc=r=48000:a=0.3:d={seconds}:seed=1")
    frames = clips.cached_clip("frames.mp4", seconds=SECONDS, fps=25, extra=("-g", "25"))
    ffmpeg("-i", frames, *sound, "-c:v", "copy", "-ac", "2", "-c:a", *codec, path)
    return path


def report_of(reader: Reader, path: Path) -> Report:
    """What the decoder process reports of the sound, all of which is read."""
    work = Work(SimpleNamespace(send=lambda *_, **__: None), reader, str(path), Settings(), LIMITS)
    probe = reader.probe(str(path), LIMITS)
    num_rows = len(build_grid(probe.times, "mid", probe.average_fps))
    assert num_rows == SECONDS
    work._audio(probe, num_rows, lambda blocks: [*blocks])
    return work._report


def near(start: float, end: float) -> object:
    return pytest.approx((start, end), abs=0.1)


CODECS = {
    "aac.mp4": ("aac",),
    "mp3.mkv": ("libmp3lame",),
    "mp3.avi": ("libmp3lame",),
    "opus.webm.mkv": ("libopus",),
    "vorbis.mkv": ("libvorbis",),
    "ac3.mp4": ("ac3",),
    "wma.asf": ("wmav2",),
    "alac.mov": ("alac",),
    "mulaw.mov": ("pcm_mulaw",),
}


@pytest.mark.parametrize("name", CODECS)
def test_packets_of_zeros(reader, name, tmp_path):
    """A parser may have them in one packet, and that at the end of the file."""
    good = made(tmp_path / name, *CODECS[name])
    report = report_of(reader, good)
    assert (report.lost_sound, report.warnings) == ([], [])
    bad = without_packets(good, tmp_path / f"bad-{name}", (1, 1.6), (2.5, SECONDS))
    report = report_of(reader, bad)
    assert report.lost_sound == [near(1, 1.6), near(2.5, SECONDS)]
    assert report.warnings == [
        f"sound is lost: {lost_sound.in_words(report.lost_sound, SECONDS)}; silence stands there"
    ]


@pytest.mark.parametrize("codec", ["aac", "libmp3lame", "ac3"])
def test_a_stream_whose_sound_is_zeros_to_the_end(reader, codec, tmp_path):
    """No parser finds a packet in it, so that the sound seems to end there."""
    data = bytearray(made(tmp_path / "a.ts", codec).read_bytes())
    sound = [p for p in range(0, len(data), PACKET) if data[p + 1] & 0x1F == 1 and data[p + 2] == 1]
    for place in sound[len(sound) // 2 :]:
        head = 4 + (1 + data[place + 4] if data[place + 3] & 0x20 else 0)
        if data[place + 1] & 0x40:  # a stamp comes first
            head += 9 + data[place + head + 8]
        data[place + head : place + PACKET] = bytes(PACKET - head)
    bad = tmp_path / "bad.ts"
    bad.write_bytes(data)
    (stretch,) = report_of(reader, bad).lost_sound
    assert stretch == pytest.approx((SECONDS / 2, SECONDS), abs=0.3)


HOLES = {
    "a.mkv": ("aac",),
    "a.ts": ("libmp3lame",),
    "a.flv": ("aac",),
    "a.ogv": ("libvorbis", "-c:v", "libtheora"),
    "a.mp4": ("aac",),
}


ELSEWHERE = {"a.ogv": (0.4, 0.6)}
"""Where a page of sound lies, behind which there is another than the last."""


@pytest.mark.parametrize("name", HOLES)
def test_a_hole_in_the_file(name, tmp_path):
    data = made(tmp_path / name, *HOLES[name]).read_bytes()
    start, end = (round(share * len(data)) for share in ELSEWHERE.get(name, (0.5, 0.7)))
    bad = tmp_path / f"bad-{name}"
    bad.write_bytes(data[:start] + bytes(end - start) + data[end:])
    report = report_of(readers.load("pyav").READER, bad)
    assert lost_sound.total(report.lost_sound) == pytest.approx(0.2 * SECONDS, abs=0.5)
    assert 0.9 < report.lost_sound[0][0] < 2.5


def with_pause(path: Path) -> Path:
    """Sound from 0.5 to 1 s and from 2 to 4 s."""
    pause = ("-af", "aselect='between(t,0.5,1)+gte(t,2)'")
    return made(path, "aac", *pause)


@pytest.mark.parametrize("name", ["a.mkv", "a.ts", "a.mp4"])
def test_what_the_file_leaves_silent_is_not_lost(reader, name, tmp_path):
    good = with_pause(tmp_path / name)
    report = report_of(reader, good)
    assert (report.lost_sound, report.warnings) == ([], [])


def test_a_pause_in_a_damaged_file_is_none_of_the_damage(tmp_path):
    bad = without_packets(with_pause(tmp_path / "a.mkv"), tmp_path / "b.mkv", (3, 3.5))
    report = report_of(readers.load("pyav").READER, bad)
    assert report.lost_sound == [near(3, 3.5)]


@pytest.mark.parametrize(("seconds", "said"), [(SECONDS + 0.4, False), (SECONDS + 3, True)])
def test_sound_that_goes_on_after_the_last_frame(reader, seconds, said, tmp_path):
    report = report_of(reader, made(tmp_path / "a.mkv", "libopus", seconds=seconds))
    words = "sound goes on after the last frame: 3.00 s, at 4.00 to 7.00 s, are left out"
    assert report.warnings == ([words] if said else [])


@pytest.mark.parametrize("name", [*CODECS, "flac.mkv", "aac.ts"])
def test_sound_that_begins_in_silence_and_ends_early_is_all_there(reader, name, tmp_path):
    """Its first packets are tiny beside those that follow."""
    path = tmp_path / name
    sound = ("-f", "lavfi", "-i", "aevalsrc='(random(0)-0.5)*gt(t,1)':d=3:s=48000")
    frames = clips.cached_clip("frames.mp4", seconds=SECONDS, fps=25, extra=("-g", "25"))
    codec = CODECS.get(name, (Path(name).stem,))
    ffmpeg("-i", frames, *sound, "-c:v", "copy", "-ac", "2", "-c:a", *codec, path)
    report = report_of(reader, path)
    assert (report.lost_sound, report.corrupt) == ([], 0)


@pytest.mark.parametrize(("later", "lost"), [(0.4, [(3.5, 6.0)]), (0.7, [])])
def test_a_hole_soon_after_damage_is_damage(later, lost, tmp_path):
    """Up to half a second after it; a pause later on is the recorder's."""
    path, stretches = tmp_path / "a.ts", []
    path.write_bytes(b"\1" * 20_000)
    note = lost_sound.LostSound(str(path), stretches)
    end = 3.5
    for start, duration in ((2.0, end - later - 2.0), (end - later, later), (6.0, 1.0)):
        packet = SimpleNamespace(
            pts=round(start * 1000), time_base=Fraction(1, 1000), duration=round(duration * 1000),
            size=100, pos=round(start * 1000), is_corrupt=start == 2.0,
        )  # fmt: skip
        note.take(packet, lost=False, hollow=False)
    note.finish()
    assert stretches == lost
