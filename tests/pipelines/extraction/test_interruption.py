"""Real runs of the command, stopped and killed: nothing is lost, nothing lives on."""

import contextlib
import os
import random
import signal
import subprocess
import sys
import time

import psutil
import pytest
from helpers.ended import SECONDS
from helpers.extraction.light import POOL, environment, finished
from helpers.media import fake_reader
from helpers.store.stores import store_bytes

import avqa
from avqa.demo.sample import render_sample
from avqa.extract.settings import DEFAULT_FEATURES
from avqa.store.checks.verify import verify
from avqa.store.format.records import Status

pytestmark = pytest.mark.filterwarnings("ignore::avqa.store.reader.RandomWeightsWarning")


def command(folder, store, *, features=POOL, decoder=fake_reader.DECODER, scheduler="local"):
    return [
        *(sys.executable, "-m", "avqa.cli", "extract", "--videos", str(folder)),
        *("--out", str(store), "--features", features, "--decoder", decoder),
        *("--weights", "random:0", "--scheduler", scheduler),
    ]


def start(arguments, log):
    """Run the command in a process group of its own, as a shell does."""
    with log.open("w", encoding="utf-8") as output:
        return subprocess.Popen(
            arguments,
            env=environment(),
            stdout=output,
            stderr=subprocess.STDOUT,
            process_group=0,
        )


def members(group):
    """Live processes of a process group."""
    found = []
    for process in psutil.process_iter():
        try:
            if os.getpgid(process.pid) == group and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except (ProcessLookupError, psutil.NoSuchProcess):
            continue
    return found


def family(pid):
    """A process and everything below it."""
    parent = psutil.Process(pid)
    return [parent, *parent.children(recursive=True)]


def assert_all_gone(processes, seconds=SECONDS):
    gone, alive = psutil.wait_procs(processes, timeout=seconds)
    assert not alive, [process.cmdline() for process in alive]


def wait_until(so, run, timeout=90):
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        ended = run.poll() is not None  # asked first: what it did last counts as well
        if so():
            return
        assert not ended, "the run ended too early"
        time.sleep(0.01)
    raise AssertionError("it never came")


def wait_for_chunks(store, count, run):
    wait_until(lambda: len(list((store / "features.zarr").glob(f"{POOL}/c.*"))) >= count, run)


def wait_for_text(log, text, run):
    wait_until(lambda: text in log.read_text(encoding="utf-8"), run)


@pytest.fixture(scope="module")
def slow_videos(tmp_path_factory):
    """Videos that take a while, so that there is something to interrupt."""
    folder = tmp_path_factory.mktemp("slow") / "videos"
    for seed in range(6):
        fake_reader.write_video(folder / f"v{seed}.mp4", seconds=12, seed=seed, act="slow")
    return folder


@pytest.fixture(scope="module")
def uninterrupted(slow_videos):
    """Bytes of the store that `slow_videos` give in one go."""
    store = slow_videos.parent / "store"
    complete(command(slow_videos, store, scheduler="sync"))
    return store_bytes(store)


def complete(arguments):
    """Run the command to its end; its standard output."""
    code, out, err = finished(arguments)
    assert code == 0, err
    return out


def kill_at_random(arguments, log, times, chooser, latest):
    """Start the command ``times`` times and kill its whole process group, unannounced."""
    for _ in range(times):
        run = start(arguments, log)
        time.sleep(chooser.uniform(0.5, latest))
        everyone = members(run.pid)
        os.killpg(run.pid, signal.SIGKILL)
        run.wait()
        assert_all_gone(everyone)


@pytest.mark.parametrize(
    ("signum", "code"),
    [(signal.SIGTERM, 143), pytest.param(signal.SIGINT, 130, marks=pytest.mark.soak)],
)
def test_a_signal_drains_and_a_resume_completes(tmp_path, slow_videos, uninterrupted, signum, code):
    store, log = tmp_path / "store", tmp_path / "log"
    run = start(command(slow_videos, store), log)
    wait_for_chunks(store, 1, run)
    everyone = members(run.pid)
    os.killpg(run.pid, signum)  # a terminal and most batch systems signal the whole group
    assert run.wait(timeout=SECONDS) == code
    assert_all_gone(everyone)
    assert f"stopped by {signal.Signals(signum).name} after draining" in log.read_text(
        encoding="utf-8"
    )
    read = avqa.open_store(store)
    finished = [name for name in read.video_ids if read.status(name, POOL) == Status.OK]
    assert 1 <= len(finished) < 6
    assert not (store / "lock.json").exists()
    if signum == signal.SIGINT:
        return  # resuming is the same
    assert f"{len(finished)} already there" in complete(command(slow_videos, store))
    assert store_bytes(store) == uninterrupted


def test_a_second_signal_aborts_at_once(tmp_path):
    folder, gate, log = tmp_path / "videos", tmp_path / "gate", tmp_path / "log"
    gate.touch()  # the video is on its way until the end: there is something to abort
    fake_reader.write_video(folder / "v.mp4", act="gated", gate=str(gate))
    run = start(command(folder, tmp_path / "store"), log)
    wait_until(gate.with_suffix(".reached").exists, run)
    everyone = members(run.pid)
    os.kill(run.pid, signal.SIGINT)
    wait_for_text(log, "once more to abort", run)
    os.kill(run.pid, signal.SIGINT)
    assert run.wait(timeout=SECONDS) == 130
    assert "aborted by a second signal" in log.read_text(encoding="utf-8")
    assert_all_gone(everyone)


def test_a_signal_while_the_process_ends_ends_it_at_once(tmp_path, slow_videos):
    store, log = tmp_path / "store", tmp_path / "log"
    run = start(command(slow_videos, store), log)
    wait_for_chunks(store, 1, run)
    os.kill(run.pid, signal.SIGINT)
    wait_for_text(log, "avqa: stopped by SIGINT", run)  # the last line: all of it is written
    for _ in range(100):  # over all of the interpreter's end
        with contextlib.suppress(ProcessLookupError):
            os.kill(run.pid, signal.SIGINT)
        if run.poll() is not None:
            break
        time.sleep(0.01)
    assert run.wait(timeout=SECONDS) == 130
    assert "Traceback" not in log.read_text(encoding="utf-8")


def test_killing_the_driver_alone_ends_everything_below_it(tmp_path, slow_videos):
    store = tmp_path / "store"
    run = start(command(slow_videos, store), tmp_path / "log")
    wait_for_chunks(store, 1, run)
    everyone = family(run.pid)
    assert len(everyone) >= 2  # driver, decoder
    run.kill()
    run.wait()
    assert_all_gone(everyone)


@pytest.mark.timeout(3000)  # ten runs of all networks, on a machine that may be busy
@pytest.mark.usefixtures("ffmpeg")
@pytest.mark.parametrize(
    ("kills", "features"),
    [(1, ("resnet18/pool",)), pytest.param(10, DEFAULT_FEATURES, marks=pytest.mark.soak)],
)
def test_kills_with_the_real_encoders_leave_the_same_bytes(tmp_path, kills, features):
    folder = tmp_path / "videos"
    for clip in render_sample(folder)[:3]:
        clip.unlink()
    features = ",".join(features)
    whole = command(folder, tmp_path / "whole", features=features, decoder="pyav")
    started = time.monotonic()
    complete(whole)
    latest = time.monotonic() - started  # kills fall everywhere, from start-up to the last commit
    torn = command(folder, tmp_path / "torn", features=features, decoder="pyav")
    kill_at_random(torn, tmp_path / "log", kills, random.Random(0), latest)
    complete(torn)
    assert store_bytes(tmp_path / "torn") == store_bytes(tmp_path / "whole")
    assert not verify(tmp_path / "torn").problems


def fill(path):
    """Write zeros until nothing more fits."""
    with path.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(bytes(4096))


def test_a_full_disk_stops_the_run_and_loses_nothing(tmp_path, slow_videos, uninterrupted):
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=66m", "tmpfs", str(disk)], capture_output=True
    )
    if mounted.returncode:
        pytest.skip("mounting a small file system needs root")
    try:
        store = disk / "store"
        run = start(command(slow_videos, store), tmp_path / "log")
        wait_for_chunks(store, 1, run)
        fill(disk / "ballast")
        assert run.wait(timeout=SECONDS) == 5
        text = (tmp_path / "log").read_text(encoding="utf-8")
        assert "ENOSPC; disk or quota is full; free space and run the same command again" in text
        (disk / "ballast").unlink()
        complete(command(slow_videos, store))
        assert store_bytes(store) == uninterrupted
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=True)
