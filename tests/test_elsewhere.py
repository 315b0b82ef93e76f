"""The real commands on a system that is no Linux: same rows, a trained head, an answer.

`helpers.elsewhere` takes Linux away; what is promised where is in ``docs/install.md``.
"""

import json
import os
import pkgutil
import signal
import subprocess
import sys
from dataclasses import asdict

import numpy as np
import pytest
from helpers import elsewhere
from helpers.extraction.light import AUDIO, POOL
from helpers.old_version import unpack

import avqa
from avqa.store.checks.verify import verify
from avqa.store.lock import LOCK, Holder, process_start
from avqa.store.reader import open_store

pytestmark = pytest.mark.filterwarnings("ignore::avqa.store.reader.RandomWeightsWarning")

PROBE = """
import multiprocessing, os
from pathlib import Path
import psutil
from avqa.extract import parent_death
from avqa.extract.decoder import child
from avqa.store.lock import process_start
def is_there(look):
    try:
        look()
    except FileNotFoundError:
        return False
    return True
print(
    is_there(lambda: open("/proc/self/stat")), Path("/proc/self/stat").exists(),
    is_there(lambda: os.listdir("/proc")), hasattr(os, "memfd_create"), parent_death._PRCTL,
    child._data_bytes(), multiprocessing.get_start_method(),
)
print(psutil.Process().status(), len(psutil.Process().cmdline()) > 1)
print(process_start(os.getpid()) == f":{psutil.Process().create_time():.0f}")
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Videos, questions about them, and what the commands made of them."""
    return unpack(tmp_path_factory.mktemp("elsewhere"), "videos", "annotations")


@pytest.fixture(scope="module")
def store(folder):
    made = folder / "store"
    code, out, err = elsewhere.avqa(
        *("extract", "--videos", folder / "videos", "--out", made, "--weights", "random:0"),
        *("--features", f"{POOL},{AUDIO}"),
    )
    assert code == 0, err
    assert "4 videos: 4 extracted, 0 already there; 8 rows" in out
    return made


def test_linux_is_gone_for_avqa_and_there_for_its_libraries():
    assert elsewhere.python(PROBE).splitlines() == [
        "False False False False None None spawn",
        "running True",
        "True",
    ]


def test_every_module_can_be_imported_but_the_reader_without_a_wheel():
    modules = [
        each.name
        for each in pkgutil.walk_packages(avqa.__path__, "avqa.")
        if not each.name.endswith("__main__")
    ]
    assert len(modules) > 150
    code = """
import importlib
for name in sys.argv[1:]:
    try:
        importlib.import_module(name)
    except Exception as error:
        print(name, type(error).__name__, error)
"""
    failed = elsewhere.python(code, *modules).splitlines()
    missing = "ModuleNotFoundError No module named 'decord'"
    # The first is read by mypy alone.
    assert sorted(failed) == [
        f"avqa.{name} {missing}" for name in ("_contracts", "extract.readers.decord")
    ]


@pytest.mark.usefixtures("light", "reused_children")
def test_rows_are_those_of_linux(folder, store):
    """Extracted through Dask, with decoders that nobody limits and a ring in a plain file."""
    assert verify(store).problems == []
    assert (store / "ledger" / ".reserve").stat().st_blocks * 512 >= 64 * 2**20
    here, there = open_store(avqa_store(folder)), open_store(store)
    assert list(here.video_ids) == list(there.video_ids)
    for video in here.video_ids:
        for feature in (POOL, AUDIO):
            np.testing.assert_array_equal(here.read(video, feature), there.read(video, feature))


def avqa_store(folder):
    avqa.extract(
        *(folder / "videos", folder / "here"),
        features=(POOL, AUDIO), weights="random:0", scheduler="sync",
    )  # fmt: skip
    return folder / "here"


def test_a_reader_without_a_wheel_is_refused_and_the_others_work(folder):
    given = ("--videos", folder / "videos", "--out", folder / "by_program", "--limit", 1)
    given = (*given, "--features", POOL, "--weights", "random:0", "--scheduler", "sync")
    code, _, err = elsewhere.avqa("extract", *given, "--decoder", "decord")
    assert code == 5, err
    assert "decord" in err
    code, out, err = elsewhere.avqa("extract", *given, "--decoder", "ffmpeg")
    assert code == 0, err
    assert "1 video: 1 extracted" in out


def test_a_head_is_trained_and_asked(folder, store):
    chosen = ("visual=light", "audio=light", "question=lstm", "width=8", "epochs=1", "workers=0")
    code, _, err = elsewhere.avqa(
        *("train-head", "mcd", "--store", store, "--dataset", "music-avqa"),
        *("--annotations", folder / "annotations", "--out", folder / "run", "--device", "auto"),
        *(word for each in chosen for word in ("--set", each)),
    )
    assert code == 0, err
    assert "mcd default seed 0: epoch 1/1 done" in err
    assert json.loads(
        (folder / "run" / "default" / "seed-0" / "config.json").read_text(encoding="utf-8")
    )
    video = min((folder / "videos").iterdir())
    asked = ("ask", folder / "run", video, "Is the flute always playing?")
    cache = {"AVQA_CACHE": str(folder / "cache")}
    code, out, err = elsewhere.avqa(*asked, **cache)
    assert code == 0, err
    assert "features from the store" in out
    store.rename(folder / "away")
    code, out, err = elsewhere.avqa(*asked, **cache)
    (folder / "away").rename(store)
    assert code == 0, err
    assert "light/audio, light/pool extracted" in out
    code, out, _ = elsewhere.avqa("table", folder / "run")
    assert (code, out.splitlines()[1][:31]) == (0, "!! random weights (random:0) ma"), out


HOLD = """
from pathlib import Path
import time
from avqa.store.lock import Lock
with Lock.acquire(Path(sys.argv[1]), "theirs"):
    print("held", flush=True)
    time.sleep(60)
"""
TAKE = """
from pathlib import Path
from avqa.errors import StoreLocked
from avqa.store.lock import Lock
try:
    with Lock.acquire(Path(sys.argv[1]), "mine") as lock:
        print(lock.took_over, lock.no_power_loss)
except StoreLocked:
    print("refused")
"""


def test_a_lock_is_held_while_its_process_lives(tmp_path):
    holder = subprocess.Popen(
        [sys.executable, "-c", f"import sys\n{HOLD}", str(tmp_path)],
        stdout=subprocess.PIPE, env=elsewhere.environment(),
    )  # fmt: skip
    try:
        assert holder.stdout.readline() == b"held\n"
        # The holder, run from a string, is no code of avqa, but what it calls is.
        assert json.loads((tmp_path / LOCK).read_text(encoding="utf-8"))[
            "process_start"
        ].startswith(":")
        assert elsewhere.python(TAKE, tmp_path) == "refused\n"
        holder.send_signal(signal.SIGKILL)
        os.waitid(os.P_PID, holder.pid, os.WEXITED | os.WNOWAIT)  # dead, not yet reaped
        # Whether the machine was restarted is not known there: what was written is checked.
        assert elsewhere.python(TAKE, tmp_path) == "True False\n"
    finally:
        holder.kill()
        holder.wait()
        holder.stdout.close()


@pytest.mark.parametrize(
    ("start", "said"),
    [(":1000000000", "True False\n"), ("", "refused\n")],
    ids=["another process", "nobody can tell"],
)
def test_a_number_that_another_process_got_is_told_by_its_start(tmp_path, start, said):
    me = Holder.me("theirs")
    assert process_start(me.pid)
    (tmp_path / LOCK).write_text(
        json.dumps({**asdict(me), "process_start": start}), encoding="utf-8"
    )
    assert elsewhere.python(TAKE, tmp_path) == said
