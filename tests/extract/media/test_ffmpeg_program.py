"""A user's own ffmpeg: too old or missing is said before any video; a crash is told as one."""

import re
import shutil
from pathlib import Path

import imageio_ffmpeg
import pytest
from helpers.media import clips
from typer.testing import CliRunner

from avqa.cli import app
from avqa.errors import EnvironmentFailure, LibraryMissing, MediaError
from avqa.extract import readers
from avqa.extract.media import ffmpeg_program
from avqa.extract.media.types import Limits, Report


@pytest.fixture(scope="module")
def clip():
    """Made before the program is another."""
    return clips.cached_clip("a.mp4", seconds=1.0, sound_codec="aac")


@pytest.fixture
def own(clip, tmp_path, monkeypatch):
    """Make a shell script the program."""

    def write(script):
        path = tmp_path / "ffmpeg"
        path.write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
        path.chmod(0o755)
        monkeypatch.setenv("IMAGEIO_FFMPEG_EXE", str(path))
        return path

    return write


@pytest.mark.parametrize("version", ["4.2.2-static", "5.1.9-0+deb12u1", "n6.1.1", "6.1"])
def test_a_program_that_is_too_old_is_named(own, version):
    path = own(f"echo ffmpeg version {version} Copyright")
    with pytest.raises(LibraryMissing) as caught:
        readers.load("ffmpeg").READER.version()
    assert str(caught.value) == (
        f"ffmpeg program {str(path)!r} is version {version}; expected ffmpeg 7.1 or newer; unset"
        " IMAGEIO_FFMPEG_EXE or let it name another, or choose another --decoder"
    )


@pytest.mark.parametrize("version", ["7.1.1-static", "n9.0.2-17-g2a57", "N-118-gab", "10.1"])
def test_newer_ones_and_builds_of_a_day_are_taken(own, version):
    own(f"echo ffmpeg version {version} Copyright")
    assert readers.load("ffmpeg").READER.version() == f"ffmpeg {version}"


def test_a_program_that_does_not_run_is_named(own, tmp_path, monkeypatch):
    own("true")
    with pytest.raises(LibraryMissing, match="does not run: list index out of range; expected"):
        ffmpeg_program.version()
    monkeypatch.setenv("IMAGEIO_FFMPEG_EXE", "/nowhere/ffmpeg")
    with pytest.raises(LibraryMissing) as caught:
        ffmpeg_program.version()
    assert str(caught.value) == (
        "ffmpeg program '/nowhere/ffmpeg' is not there or may not be run; expected one that may;"
        " unset IMAGEIO_FFMPEG_EXE, or let it name another"
    )
    done = CliRunner().invoke(app, ["synth", str(tmp_path / "out"), "--videos", "4"])
    assert done.exit_code == 5
    assert "avqa: ffmpeg program '/nowhere/ffmpeg' is not there or may not be run" in done.stderr


def test_a_platform_without_a_program_is_named(monkeypatch):
    def none():
        raise RuntimeError("No ffmpeg exe could be found.")

    monkeypatch.setattr(imageio_ffmpeg, "get_ffmpeg_exe", none)
    with pytest.raises(LibraryMissing, match="^ffmpeg program '' is not there or may not be run;"):
        ffmpeg_program.version()


def test_no_video_is_tried_with_it(own, clip, tmp_path):
    own("echo ffmpeg version 4.2.2-static Copyright")
    (tmp_path / "videos").mkdir()
    shutil.copy(clip, tmp_path / "videos")
    options = ("--decoder", "ffmpeg", "--features", "resnet18/pool", "--weights", "random:0")
    where = ("--videos", str(tmp_path / "videos"), "--out", str(tmp_path / "store"))
    done = CliRunner().invoke(app, ["extract", *where, *options])
    assert done.exit_code == 5
    assert "is version 4.2.2-static; expected ffmpeg 7.1 or newer;" in done.stderr
    assert not (tmp_path / "store").exists()
    listed = CliRunner().invoke(app, ["decoders"]).stdout
    assert "not usable here: ffmpeg program" in listed


def test_a_crash_is_no_fault_of_the_file(own, clip):
    path = own("kill -SEGV $$")
    with pytest.raises(MediaError) as caught:
        readers.load("ffmpeg").READER.probe(str(clip), Limits())
    assert caught.value.reason == "crash"
    assert str(caught.value) == (
        f"the ffmpeg program {str(path)!r} died by SIGSEGV at path={str(Path(clip))!r}; expected"
        " it to read or refuse the file; let IMAGEIO_FFMPEG_EXE name another, or choose another"
        " --decoder"
    )


def test_a_crash_while_decoding_is_one_too(own, clip):
    bundled = next((Path(imageio_ffmpeg.__file__).parent / "binaries").glob("ffmpeg-*"))
    own(f'case "$*" in *debug_ts*) kill -SEGV $$;; *) exec {bundled} "$@";; esac')
    with pytest.raises(MediaError) as caught:
        readers.load("ffmpeg").READER.probe(str(clip), Limits())
    assert caught.value.reason == "crash"


NO_THREAD = "[out#0 @ 0x1] [error] pthread_create() failed: Resource temporarily unavailable"
NO_SCALER = "[swscaler @ 0x1] [error] Failed initializing scaling graph (Resource temporarily un"
OUTSIDE = {
    "killed": ("kill -KILL $$", "died by SIGKILL at path="),
    "no more processor time": ("kill -XCPU $$", "died by SIGXCPU at path="),
    "a library is gone": ("exit 127", "does not run any more: exit code 127; expected ffmpeg"),
    "no threads": (f"echo '{NO_THREAD}' >&2; exit 245", "pthread_create() failed: Resource"),
    "no threads to scale": (f"echo '{NO_SCALER}' >&2; exit 245", "Failed initializing scaling"),
}


@pytest.mark.parametrize("when", ["", "*debug_ts", "*image2pipe", "*f32le"])
@pytest.mark.parametrize(("act", "said"), OUTSIDE.values(), ids=OUTSIDE)
def test_what_the_machine_does_to_it_is_no_fault_of_the_video(own, clip, when, act, said):
    bundled = next((Path(imageio_ffmpeg.__file__).parent / "binaries").glob("ffmpeg-*"))
    reader = readers.load("ffmpeg").READER
    own(f'case "$*" in {when}*) {act};; *) exec {bundled} "$@";; esac')
    with pytest.raises(EnvironmentFailure, match=re.escape(said)):
        read_all(reader, clip)


def read_all(reader, clip):
    probe = reader.probe(str(clip), Limits())
    return list(reader.frames(probe, [0], Report())), list(reader.audio(probe, Report()))
