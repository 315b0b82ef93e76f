"""The command line where its surroundings lack something; none of these commands needs torch."""

import errno
import os
import shutil
import subprocess
import sys

import pytest
import typer
from helpers.media import clips
from typer.testing import CliRunner

from avqa.cli import app
from avqa.commands import reporting
from avqa.commands.reporting import reports_errors

FULL = pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")


def avqa(*arguments, before="", after="", options="", **variables):
    """Run a command in a shell; gives exit code, output and errors."""
    words = " ".join([before, sys.executable, options, "-m", "avqa", *arguments, after])
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(os.path.isabs, sys.path))}
    done = subprocess.run(
        ["sh", "-c", words], capture_output=True, env=environment | variables, timeout=120
    )
    return done.returncode, done.stdout, done.stderr.decode("utf-8")


def test_python_without_assertions_is_refused():
    code, _, said = avqa("encoders", options="-O")
    assert code == 2
    assert said == (
        "avqa: Python runs with -O (optimize=1); expected assert statements to be kept, since zarr"
        " needs them to read a store; leave -O out, or unset PYTHONOPTIMIZE\n"
    )


@pytest.mark.parametrize("command", ["ask run clip.mp4 'is it?'", "extract --videos . --out s"])
def test_a_current_folder_that_was_removed_is_named(tmp_path, command):
    gone = tmp_path / "gone"
    gone.mkdir()
    code, _, said = avqa(command, before=f"cd {gone}; rmdir {gone};")
    assert code == 5
    assert said == (
        f"avqa: the current folder '{gone}' was removed; expected one that is there; go to another"
        " one with cd\n"
    )


@FULL
def test_messages_that_cannot_be_written_change_no_outcome():
    assert avqa("status", "nowhere", after="2> /dev/full")[0] == 2


@FULL
def test_a_result_that_cannot_be_written_is_a_failure_of_the_machine():
    code, _, said = avqa("encoders", after="> /dev/full")
    assert code == 5
    assert said == (
        "avqa: cannot write: [Errno 28] No space left on device; expected room to write; make"
        " some\n"
    )


@pytest.mark.parametrize("encoding", ["latin-1", "ascii"])
def test_help_on_any_terminal(encoding):
    code, printed, said = avqa("train-head", "--help", PYTHONIOENCODING=encoding)
    assert (code, said) == (0, "")
    assert "head" in printed.decode(encoding)


def test_what_an_encoding_lacks():
    error = UnicodeEncodeError("ascii", "caf\udce9\u2026", 3, 5, "")
    assert reporting._shown(error) == (b"\xe9?", 5)


@pytest.mark.parametrize("closed", ["<&-", "<&- >&- 2>&-"])
def test_closed_streams(closed, tmp_path):
    clip = clips.cached_clip("plain.mp4", seconds=3)
    code, _, said = avqa("frames", str(clip), "--out", str(tmp_path / "out"), after=closed)
    assert (code, said) == (0, "")
    assert len(list((tmp_path / "out").glob("*.png"))) == 3


@pytest.mark.skipif(
    os.geteuid() != 0 or shutil.which("unshare") is None, reason="needs root and unshare"
)
def test_a_machine_without_loopback(tmp_path):
    script = (
        "from avqa.commands.reporting import reports_errors\n"
        "from avqa.pipelines.cluster.on_dask import connect_local\n"
        "try: reports_errors(lambda: connect_local(None, ()))()\n"
        "except BaseException as ended: raise SystemExit(ended.exit_code)\n"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(os.path.isabs, sys.path))}
    done = subprocess.run(
        ["unshare", "--net", sys.executable, "-c", script],
        capture_output=True,
        env=environment,
        timeout=60,
    )
    assert done.returncode == 5
    assert done.stderr.decode() == (
        "avqa: worker processes cannot start on this machine: [Errno 101] Network is unreachable;"
        " expected the loopback device (127.0.0.1), and files, processes and threads to spare; use"
        " --scheduler sync, which does without, or raise the limits (ulimit -n, ulimit -u)\n"
    )


def test_no_thread_left_is_no_ctrl_c(monkeypatch, capsys):
    """OpenBLAS raises SIGINT in its own process where it gets no thread.

    Here the handler's error stands for it: libraries of other tests may have set another handler.
    """

    def interrupt():
        raise KeyboardInterrupt

    def refuse(thread):
        raise RuntimeError("can't start new thread")

    command = reports_errors(interrupt)
    with pytest.raises(typer.Exit) as pressed:
        command()
    monkeypatch.setattr("threading.Thread.start", refuse)
    with pytest.raises(typer.Exit) as limited:
        command()
    assert (pressed.value.exit_code, limited.value.exit_code) == (130, 5)
    assert "the system gives no more: can't start new thread; expected" in capsys.readouterr().err


def test_a_name_that_no_file_system_takes(tmp_path):
    done = CliRunner().invoke(app, ["synth", str(tmp_path / ("é" * 128)), "--videos", "4"])
    assert done.exit_code == 2
    assert done.stderr.endswith(
        "has 256 bytes; expected at most 255, and at most 4095 for a whole path; choose a shorter"
        " one\n"
    )


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (
            ImportError("libx.so: failed to map segment from shared object"),
            "a library does not load: libx.so: failed to map",
        ),
        (OSError(errno.EFBIG, "File too large"), "raise the size of files (`ulimit -f`)"),
        (
            FileNotFoundError(errno.ENOENT, "No usable temporary directory found in []"),
            "no place for temporary files: ",
        ),
    ],
)
def test_what_the_machine_lacks_is_no_internal_error(error, said, capsys):
    def fail():
        raise error

    with pytest.raises(typer.Exit) as ended:
        reports_errors(fail)()
    assert ended.value.exit_code == 5
    assert said in capsys.readouterr().err
