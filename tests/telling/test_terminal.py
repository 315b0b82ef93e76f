"""The bar on a real terminal: one line that fits, failures above it, nothing left behind."""

import contextlib
import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import termios

import pytest
from helpers.extraction.light import POOL, environment
from helpers.media import fake_reader

MOVES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


def on_terminal(command, columns, **environ):
    """Exit code, standard output, and all that the terminal of standard error got."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    env = {**environment(), "TERM": "xterm-256color", **environ}
    env.pop("COLUMNS", None)
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=theirs, env=env) as process:
        os.close(theirs)
        told = b""
        with contextlib.suppress(OSError):  # EIO: the other end is closed
            while block := os.read(ours, 65536):
                told += block
        out = process.stdout.read().decode()
    os.close(ours)
    return process.returncode, out, told.decode()


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("videos")
    for seed in range(3):
        fake_reader.write_video(folder / f"v{seed}.mp4", seconds=6, seed=seed, act="slow")
    (folder / "bad.mp4").write_bytes(b"no video")
    return folder


@pytest.mark.parametrize("columns", [80, 200])
def test_extract_draws_one_bar_that_fits(tmp_path, videos, columns):
    command = [
        *(sys.executable, "-m", "avqa", "extract", "--videos", str(videos), "--out"),
        *(str(tmp_path / "S"), "--features", POOL, "--decoder", fake_reader.DECODER),
        *("--weights", "random:0", "--scheduler", "sync"),
    ]
    code, out, told = on_terminal(command, columns)
    assert code == 3
    assert out.startswith("4 videos: 3 extracted, 0 already there, 1 failed; 18 rows")
    plain = MOVES.sub("", told)
    bars = [line for line in re.split(r"[\r\n]+", plain) if "videos |" in line]
    assert bars
    assert max(map(len, bars)) < columns
    assert any("GB | " in line for line in bars) == (columns == 200)
    assert re.search(r"━.* +\d+% \| \d/4 videos \| ", plain)
    assert len(re.findall(r"^failed: video=bad", plain.replace("\r", "\n"), re.M)) == 1
    assert told.rstrip().splitlines()[-1].startswith("avqa: 1 of 4 videos failed")
    again = on_terminal(command, columns)[2]
    assert "━" not in again  # nothing to do, nothing to draw


@pytest.mark.parametrize(("name", "value"), [("TERM", "dumb"), ("NO_COLOR", "1")])
def test_what_the_user_wants_of_a_terminal_is_heeded(tmp_path, videos, name, value):
    command = [
        *(sys.executable, "-m", "avqa", "extract", "--videos", str(videos), "--out"),
        *(str(tmp_path / "S"), "--features", POOL, "--decoder", fake_reader.DECODER),
        *("--weights", "random:0", "--scheduler", "sync"),
    ]
    _, _, told = on_terminal(command, 80, **{name: value})
    if name == "TERM":
        assert "\x1b" not in told
    else:
        assert "━" in told
        assert not re.search(r"\x1b\[[0-9;]*3[0-9][;m]", told)  # moves, but no colour
