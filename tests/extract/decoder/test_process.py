"""The decoder process with readers that misbehave in every way we know of."""

import os
import re
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import psutil
import pytest
from helpers.ended import wait_until_gone

from avqa.errors import ConfigError, EnvironmentFailure, MediaError
from avqa.extract.decoder import spawn
from avqa.extract.decoder.process import Block, DecoderProcess, Footer, Header, Request
from avqa.extract.media.types import Limits
from avqa.extract.settings import Settings

HERE = Path(__file__).parents[2] / "helpers" / "media"
FRAME, AUDIO = "fake_encoder/frame", "fake_encoder/audio"


@pytest.fixture(autouse=True)
def fakes_importable(monkeypatch: pytest.MonkeyPatch) -> None:
    """The child imports what we can import."""
    monkeypatch.syspath_prepend(str(HERE))


@pytest.fixture(scope="module")
def decoder() -> Iterator[DecoderProcess]:
    """One for all tests: each leaves it usable, whatever it does to the child."""
    with DecoderProcess("fake_readers:READER") as process:
        yield process


def request(path: str, *inputs: str, full: bool = False, **limits: float) -> Request:
    return Request(path, inputs, Settings(), replace(Limits(), **limits), full)


def read(decoder: DecoderProcess, path: str, *inputs: str, **limits: float) -> tuple:
    items = list(decoder.decode(request(path, *inputs, **limits)))
    assert isinstance(items[0], Header)
    assert isinstance(items[-1], Footer)
    return items[0], items[1:-1], items[-1]


def test_pictures_and_sound_of_a_video(decoder: DecoderProcess) -> None:
    header, blocks, footer = read(decoder, "/x/40_ok", FRAME, AUDIO)

    # 10 frames a second: `mid` shows frame 10k + 5 at 0.5 s after second k.
    assert header.num_rows == 40
    np.testing.assert_array_equal(header.index, 10 * np.arange(40) + 5)
    np.testing.assert_allclose(header.pts, np.arange(40) + 0.5)
    assert (header.duration, header.declared_seconds, header.has_audio) == (40.0, 40.0, True)
    assert (header.width, header.height, header.codec) == (8, 8, "raw")

    frames = [b for b in blocks if b.input == FRAME]
    assert [(b.first_row, len(b.rows)) for b in frames] == [(0, 16), (16, 16), (32, 8)]
    rows = np.concatenate([b.rows for b in frames])
    assert rows.dtype == np.uint8
    np.testing.assert_array_equal(rows, np.repeat((header.index % 256)[:, None], 2, axis=1))

    (audio,) = [b for b in blocks if b.input == AUDIO]
    assert (audio.first_row, audio.rows.dtype) == (0, np.float32)
    # First and last of 1000 samples from second k on, worth k / 100.
    np.testing.assert_allclose(audio.rows, np.repeat(np.arange(40)[:, None] / 100, 2, axis=1))
    assert (footer.audio_start, footer.audio_end, footer.audio_error) == (0.0, 40.0, None)
    assert footer.report.planned
    assert footer.report.packets == 40
    assert set(footer.seconds) == {"probe", "decode", "prepare", "sound", "write"}
    assert all(value >= 0 for value in footer.seconds.values())


def test_blocks_are_the_receivers_own(decoder: DecoderProcess) -> None:
    _, blocks, _ = read(decoder, "/x/80_ok", FRAME)
    first = blocks[0].rows.copy()
    blocks[1].rows[:] = 99
    read(decoder, "/x/80_ok", FRAME)
    np.testing.assert_array_equal(blocks[0].rows, first)


def test_more_than_a_minute_of_sound_comes_in_blocks(decoder: DecoderProcess) -> None:
    _, blocks, _ = read(decoder, "/x/130_ok", AUDIO)
    assert [(b.first_row, len(b.rows)) for b in blocks] == [(0, 60), (60, 60), (120, 10)]
    np.testing.assert_allclose(
        np.concatenate([b.rows[:, 0] for b in blocks]), np.arange(130) / 100, rtol=1e-6
    )


def test_one_child_serves_many_videos(decoder: DecoderProcess) -> None:
    read(decoder, "/x/2_ok", FRAME)
    pid = decoder.pid
    with pytest.raises(MediaError):
        read(decoder, "/x/9_unreadable", FRAME)
    with pytest.raises(MediaError):
        read(decoder, "/x/9_corrupt", FRAME)
    read(decoder, "/x/2_ok", FRAME)
    assert decoder.pid == pid


def test_sound_alone_is_judged_by_the_frames_too(decoder: DecoderProcess) -> None:
    _, blocks, footer = read(decoder, "/x/9_ok", AUDIO)
    assert [b.input for b in blocks] == [AUDIO]
    assert not footer.report.partial
    with pytest.raises(MediaError, match="unexpected KeyError in the decoder process"):
        read(decoder, "/x/9_raise", AUDIO)


def test_nothing_asked_gives_header_and_footer(decoder: DecoderProcess) -> None:
    header, blocks, footer = read(decoder, "/x/9_raise_audioraise")
    assert (header.num_rows, blocks, footer.audio_error) == (9, [], None)


def test_no_sound_is_no_error(decoder: DecoderProcess) -> None:
    header, blocks, footer = read(decoder, "/x/9_mute", FRAME, AUDIO)
    assert not header.has_audio
    assert {b.input for b in blocks} == {FRAME}
    assert (footer.audio_start, footer.audio_end, footer.audio_error) == (None, None, None)


def test_full_is_passed_on(decoder: DecoderProcess) -> None:
    *_, footer = decoder.decode(request("/x/9_ok", FRAME, full=True))
    assert isinstance(footer, Footer)
    assert not footer.report.planned


def test_probe_gives_the_header_alone(decoder: DecoderProcess) -> None:
    header = decoder.probe("/x/300_raise", Settings(), Limits())
    assert (header.num_rows, header.duration) == (300, 300.0)


def test_names_are_bytes(decoder: DecoderProcess) -> None:
    odd = os.fsdecode(b"/x/3_\xff\xfe\n -name")
    assert read(decoder, odd, FRAME)[0].num_rows == 3


def test_version_comes_from_the_child(decoder: DecoderProcess) -> None:
    assert decoder.version() == "fake 1.0"


def test_published_grid_that_comes_back_to_earlier_pictures(decoder: DecoderProcess) -> None:
    settings = Settings(frame_at="music-avqa")
    items = list(decoder.decode(Request("/x/40_odd", (FRAME,), settings, Limits())))
    header = items[0]
    assert isinstance(header, Header)
    assert (np.diff(header.index) < 0).any()
    rows = np.concatenate([b.rows for b in items if isinstance(b, Block)])
    np.testing.assert_array_equal(rows[:, 0], header.index % 256)


def test_rows_on_either_side_of_a_gap_are_sent(decoder: DecoderProcess) -> None:
    _, blocks, footer = read(decoder, "/x/40_gap", FRAME)
    assert [(b.first_row, len(b.rows)) for b in blocks] == [(0, 3), (4, 16), (20, 16), (36, 4)]
    assert (footer.report.partial, footer.report.lost_rows) == (True, [3])
    assert footer.report.warnings == ["decoded 39 of 40 rows; lost seconds: 3"]


def test_frames_on_either_side_of_a_gap_are_written(
    decoder: DecoderProcess, tmp_path: Path
) -> None:
    *_, footer = decoder.write_frames("/x/6_gap_mute", str(tmp_path), Settings(), Limits())
    assert isinstance(footer, Footer)
    assert (footer.report.partial, footer.report.lost_rows) == (True, [3])
    assert sorted(p.name for p in tmp_path.iterdir()) == [f"0000{k}.png" for k in (0, 1, 2, 4, 5)]


# Failures. Each is followed by a good video.

FAILURES = [
    ("9_segfault", "crash", r"killed by SIGSEGV: .*stage='decode'.*last words"),
    ("4_hang", "timeout", r"took too long: .*stage='decode'.*at most 5 s .*; use --video-timeout"),
    ("4_spin", "timeout", r"took too long"),
    ("9_hog", "memory", r"too much memory: .*'decode', path='/x/9_hog'.*; use --decoder-memory"),
    ("9_raise", "crash", r"unexpected KeyError in the decoder process: .*no such thing"),
    ("9_corrupt", "corrupt", r"^it is broken$"),
    ("9_unreadable", "not_media", r"no container: path='/x/9_unreadable'"),
]


@pytest.mark.parametrize(("name", "reason", "message"), FAILURES)
def test_a_bad_video_costs_itself_only(
    decoder: DecoderProcess, name: str, reason: str, message: str
) -> None:
    read(decoder, "/x/3_ok", FRAME)
    with pytest.raises(MediaError, match=message) as caught:
        read(decoder, f"/x/{name}", FRAME, timeout_seconds=1, memory_bytes=500_000_000)
    assert caught.value.reason == reason
    assert caught.value.stage == ("probe" if name == "9_unreadable" else "decode")
    assert "\n" not in str(caught.value)
    assert read(decoder, "/x/3_ok", FRAME)[0].num_rows == 3


@pytest.mark.parametrize(
    ("name", "reason", "message"), [(f, r, m) for f, r, m in FAILURES if "unreadable" not in f]
)
def test_bad_sound_never_harms_pictures(
    decoder: DecoderProcess, name: str, reason: str, message: str
) -> None:
    seconds, _, act = name.partition("_")
    path = f"/x/{seconds}_audio{act}"
    _, blocks, footer = read(
        decoder, path, FRAME, AUDIO, timeout_seconds=1, memory_bytes=500_000_000
    )
    assert sum(len(b.rows) for b in blocks if b.input == FRAME) == int(seconds)
    assert footer.audio_error is not None
    assert footer.audio_error.reason == reason
    assert re.search(
        message.replace("'decode'", "'sound'").replace("9_hog", "9_audiohog"),
        str(footer.audio_error),
    )
    assert footer.report.packets == int(seconds)
    assert read(decoder, "/x/3_ok", FRAME)[0].num_rows == 3


def test_the_limit_is_what_fails_the_hog(decoder: DecoderProcess) -> None:
    """It allocates 3 GB, untouched."""
    header, blocks, _ = read(decoder, "/x/9_hog", FRAME, memory_bytes=4_000_000_000)
    assert header.num_rows == sum(len(b.rows) for b in blocks) == 9


def test_noise_on_stdout_and_stderr_disturbs_nothing() -> None:
    with DecoderProcess("fake_readers:NOISY") as decoder:
        _, blocks, _ = read(decoder, "/x/9_ok", FRAME)
        assert sum(len(b.rows) for b in blocks) == 9
        with pytest.raises(MediaError, match=r"printed last: .{1,300}\)$"):
            read(decoder, "/x/9_segfault", FRAME)


def test_waiting_for_us_does_not_count(decoder: DecoderProcess) -> None:
    rows = 0
    for item in decoder.decode(request("/x/1_ok", FRAME, AUDIO, timeout_seconds=1.0)):
        if isinstance(item, Block):
            time.sleep(1.2)  # twice: more than the second allowed and the second of the video
            rows += len(item.rows)
    assert rows == 2


def test_a_long_video_may_take_its_length_longer(decoder: DecoderProcess) -> None:
    """Two seconds of work: beyond the limit alone, within the limit and the video's length."""
    _, blocks, _ = read(decoder, "/x/9_doze", FRAME, timeout_seconds=1.0)
    assert sum(len(b.rows) for b in blocks) == 9


def test_child_waits_when_two_blocks_are_full(decoder: DecoderProcess) -> None:
    items = decoder.decode(request("/x/2000_ok", FRAME))
    assert isinstance(next(items), Header)
    assert isinstance(next(items), Block)
    time.sleep(0.5)
    child = psutil.Process(decoder.pid)
    before = child.cpu_times().user
    time.sleep(0.5)
    assert child.cpu_times().user - before < 0.1
    assert sum(len(i.rows) for i in items if isinstance(i, Block)) == 2000 - 16


def test_abandoned_video_leaves_the_process_usable(decoder: DecoderProcess) -> None:
    items = decoder.decode(request("/x/2000_ok", FRAME))
    assert isinstance(next(items), Header)
    items.close()  # type: ignore[attr-defined]
    assert read(decoder, "/x/3_ok", FRAME)[0].num_rows == 3


def test_kill_reaches_programs_the_reader_started(decoder: DecoderProcess) -> None:
    items = decoder.decode(request("/x/4_grandchild", FRAME, timeout_seconds=1.0))
    next(items)
    time.sleep(0.5)
    (program,) = psutil.Process(decoder.pid).children()
    with pytest.raises(MediaError, match="took too long"):
        list(items)
    assert wait_until_gone(program.pid)


def test_killed_while_idle_is_replaced(decoder: DecoderProcess) -> None:
    read(decoder, "/x/3_ok", FRAME)
    pid = decoder.pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    assert wait_until_gone(pid)
    assert read(decoder, "/x/3_ok", FRAME)[0].num_rows == 3
    assert decoder.pid != pid


def test_interrupts_are_left_to_the_parent(decoder: DecoderProcess) -> None:
    """Ctrl-C and a batch system's SIGTERM reach the whole group; we drain, the child works on."""
    items = decoder.decode(request("/x/100_ok", FRAME))
    next(items)
    assert decoder.pid is not None
    os.kill(decoder.pid, signal.SIGINT)
    os.kill(decoder.pid, signal.SIGTERM)
    assert sum(len(i.rows) for i in items if isinstance(i, Block)) == 100


def test_close_ends_the_child(decoder: DecoderProcess) -> None:
    decoder.start()
    pid = decoder.pid
    assert pid is not None
    decoder.close()
    assert decoder.pid is None
    assert wait_until_gone(pid, 0.5)


def test_descriptors_are_given_back() -> None:
    with DecoderProcess("fake_readers:READER") as decoder:
        read(decoder, "/x/3_ok", FRAME)
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(3):
        with DecoderProcess("fake_readers:READER") as decoder:
            read(decoder, "/x/3_ok", FRAME)
    assert len(os.listdir("/proc/self/fd")) == before


@pytest.mark.parametrize("name", ["300_ok", "9_hang", "9_spin"])
def test_child_dies_with_its_parent(name: str) -> None:
    """By kill -9, even while a native loop holds the interpreter lock."""
    program = f"""
        import sys, time
        sys.path.insert(0, {str(HERE)!r})
        from avqa.extract.decoder.process import DecoderProcess, Request
        from avqa.extract.media.types import Limits
        from avqa.extract.settings import Settings
        decoder = DecoderProcess("fake_readers:READER")
        items = decoder.decode(Request("/x/{name}", ({FRAME!r},), Settings(), Limits()))
        next(items)
        print(decoder.pid, flush=True)
        time.sleep(100)
    """
    with _parent(program) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        time.sleep(0.5)
        assert psutil.Process(pid).is_running()
        parent.kill()
        assert wait_until_gone(pid)


@pytest.mark.usefixtures("ffmpeg")
def test_program_of_the_ffmpeg_reader_dies_with_its_parent() -> None:
    """By kill -9, one that reads and writes no pipe that its parent's end would break."""
    program = """
        import sys, time
        from avqa import programs
        from avqa.extract.media import ffmpeg_program
        command = [programs.ffmpeg(), "-loglevel", "quiet", "-re", "-f", "lavfi", "-i",
                   "testsrc=r=1", "-f", "null", "-"]
        with ffmpeg_program.running(command, print) as running:
            print(running._process.pid, flush=True)
            time.sleep(100)
    """
    with _parent(program) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        time.sleep(0.5)
        assert psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
        parent.kill()
        assert wait_until_gone(pid)


def test_child_survives_the_thread_that_asked_for_it() -> None:
    """The parent-death signal fires at the end of the starting thread; ours never ends."""
    program = f"""
        import sys, threading, time
        sys.path.insert(0, {str(HERE)!r})
        from avqa.extract.decoder.process import DecoderProcess
        decoder = DecoderProcess("fake_readers:READER")
        thread = threading.Thread(target=decoder.start)
        thread.start()
        thread.join()
        time.sleep(0.3)
        print(decoder._child.alive(), flush=True)
    """
    with _parent(program) as parent:
        assert parent.stdout is not None
        assert parent.stdout.readline() == b"True\n"


def test_end_of_input_ends_the_child(decoder: DecoderProcess) -> None:
    """Where the kernel has no parent-death signal, the closed pipe tells."""
    decoder.start()
    assert decoder._child is not None
    assert decoder._child._popen.stdin is not None
    pid = decoder._child.pid
    os.dup2(os.open("/dev/null", os.O_WRONLY), decoder._child._popen.stdin.fileno())
    assert wait_until_gone(pid)


def _parent(program: str) -> subprocess.Popen[bytes]:
    path = os.pathsep.join([str(Path(spawn.__file__).parents[3]), *filter(None, sys.path)])
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(program)],
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": path},
    )


# Requests that cannot be served.


def test_unknown_input(decoder: DecoderProcess) -> None:
    with pytest.raises(ConfigError, match=r"no encoder 'nobody'"):
        read(decoder, "/x/3_ok", "nobody/knows")
    with pytest.raises(ConfigError, match=r"no input of fake_encoder 'frames'; did you mean"):
        read(decoder, "/x/3_ok", "fake_encoder/frames")
    assert read(decoder, "/x/3_ok", FRAME)[0].num_rows == 3


def test_encoder_that_breaks_its_declaration(decoder: DecoderProcess) -> None:
    message = (
        r"encoder 'fake_encoder' \(/.*/fake_encoder.py\): input 'fake_encoder/broken' prepared as"
        r" \(1, 2\) uint8; expected \(1, 3\) uint8; see /.*/docs/plugins.md$"
    )
    with pytest.raises(ConfigError, match=message):
        read(decoder, "/x/3_ok", "fake_encoder/broken")


def test_what_cannot_be_loaded_is_no_videos_fault(decoder: DecoderProcess) -> None:
    with pytest.raises(EnvironmentFailure) as caught:
        read(decoder, "/x/3_ok", FRAME, "fake_encoder/unloadable")
    assert str(caught.value) == (
        "the decoder process cannot prepare fake_encoder/frame, fake_encoder/unloadable:"
        " RuntimeError: cannot cache function: no locator available; expected its libraries to"
        " load; repair the installation, or set AVQA_CACHE to a folder that can be written"
    )
    assert read(decoder, "/x/3_ok", FRAME)[0].num_rows == 3


def test_unknown_reader() -> None:
    with DecoderProcess("nosuch") as decoder, pytest.raises(ConfigError, match="'nosuch'"):
        decoder.start()


def test_reader_whose_library_is_missing() -> None:
    message = r"decoder 'no_such_module:READER' cannot be loaded: .*choose another --decoder"
    with DecoderProcess("no_such_module:READER") as decoder:
        with pytest.raises(EnvironmentFailure, match=message):
            decoder.start()


def test_child_that_does_not_start() -> None:
    message = r"did not start: reader='fake_readers:NOBODY', exited with code 1;.*NOBODY"
    with DecoderProcess("fake_readers:NOBODY") as decoder:
        with pytest.raises(EnvironmentFailure, match=message):
            decoder.start()
