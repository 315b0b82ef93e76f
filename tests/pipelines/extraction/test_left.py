"""What the machine does to a decoder is not booked on its video: the next run takes it."""

import os
import resource

import pytest
from helpers.extraction.light import POOL
from helpers.media import clips
from typer.testing import CliRunner

from avqa.cli import app
from avqa.extract.decoder.child import Memory
from avqa.faults import is_from_outside
from avqa.store.format.records import Status
from avqa.store.reader import FeatureStore

pytestmark = pytest.mark.usefixtures("light")


@pytest.fixture
def videos(tmp_path):
    folder = tmp_path / "videos"
    folder.mkdir()
    for name in ("a", "b"):
        (folder / f"{name}.mp4").write_bytes(clips.cached_clip("two.mp4", seconds=2).read_bytes())
    return folder


def arguments(videos, *more):
    out = videos.parent / "store"
    return [
        *("extract", "--videos", str(videos), "--out", str(out), "--weights", "random:0"),
        *("--features", POOL, "--scheduler", "sync", *more),
    ]


def statuses(videos):
    store = FeatureStore(videos.parent / "store")
    return [store.status(name, POOL) for name in ("a", "b")]


KILLED = """
import os, signal, sys
from avqa.extract.readers import pyav
frames = pyav.PyavReader.frames
def killed(self, probe, *arguments, **options):
    if "a.mp4" in probe.path:
        os.kill(os.getpid(), signal.{name})
    return frames(self, probe, *arguments, **options)
pyav.PyavReader.frames = killed
"""


def test_the_others_are_extracted_where_one_decoder_is_killed(videos, tmp_path, monkeypatch):
    """As the system does where memory is short: the decoder is a process, killed twice."""
    (tmp_path / "hook").mkdir()
    (tmp_path / "hook" / "killing.py").write_text(
        KILLED.format(name="SIGKILL") + "READER = pyav.READER\n", encoding="utf-8"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "hook"))
    monkeypatch.syspath_prepend(str(tmp_path / "hook"))
    from avqa.extract.decoder import spawn

    start = spawn._popen
    monkeypatch.setattr(spawn, "_popen", lambda reader, *pipes: start("killing:READER", *pipes))
    done = CliRunner().invoke(app, arguments(videos))
    assert done.exit_code == 5
    assert (
        "avqa: 1 of 2 videos are left as they were, for the machine: the decoder process was"
        " killed by SIGKILL: reader='pyav', stage='decode', path="
    ) in done.stderr
    assert done.stderr.rstrip().endswith("then run the same command again, which takes them")
    monkeypatch.setattr(spawn, "_popen", start)
    assert statuses(videos) == [Status.PENDING, Status.OK]
    done = CliRunner().invoke(app, arguments(videos))
    assert (done.exit_code, statuses(videos)) == (0, [Status.OK, Status.OK])


def test_what_ends_a_process_from_outside():
    ended = {name for name in range(1, 32) if is_from_outside(-name)}
    assert {9, 15, 24} <= ended
    assert not {11, 6, 8} & ended  # SIGSEGV, SIGABRT, SIGFPE: what the process itself did
    assert not is_from_outside(1)


@pytest.mark.skipif(not os.path.exists("/proc/self/statm"), reason="Linux counts memory")
def test_limits_that_leave_a_video_less_than_it_may_have(monkeypatch):
    memory = Memory()
    none = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
    limits = {resource.RLIMIT_AS: none, resource.RLIMIT_DATA: none}
    monkeypatch.setattr(resource, "getrlimit", limits.get)
    assert not memory.is_short(2**40)
    limits[resource.RLIMIT_AS] = (2**37, resource.RLIM_INFINITY)
    assert (memory.is_short(2**30), memory.is_short(2**38)) == (False, True)
    limits[resource.RLIMIT_AS], limits[resource.RLIMIT_DATA] = none, (2**38, 2**37)
    assert (memory.is_short(2**30), memory.is_short(2**38)) == (False, True)
