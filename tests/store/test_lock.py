"""One run per store: refusal, takeover, stealing, fencing."""

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from dataclasses import asdict, replace
from datetime import UTC, datetime, timedelta

import psutil
import pytest
from helpers.store.stored import make_store

from avqa.errors import StoreError, StoreLocked
from avqa.store.commit import Store
from avqa.store.lock import LOCK, Holder, Lock, heartbeat_age, process_start, read_holder
from avqa.store.places.files import LocalPath

HOLD = """
import sys, time
from pathlib import Path
from avqa.store.lock import Lock
with Lock.acquire(Path(sys.argv[1]), "theirs"):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def holder(tmp_path):
    """A live process that holds the lock."""
    child = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)],
        stdout=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(p for p in sys.path if p)},
    )
    assert child.stdout is not None
    assert child.stdout.readline() == b"held\n"
    yield child
    child.kill()
    child.wait()
    child.stdout.close()


def place(path, silent_minutes=0.0, **changes):
    """A lock file of another holder, written so long ago by the file system's clock."""
    held = replace(Holder.me("theirs"), **changes)
    (path / LOCK).write_text(json.dumps(asdict(held)), encoding="utf-8")
    written = time.time() - 60 * silent_minutes
    os.utime(path / LOCK, (written, written))
    return held


def minutes_ago(minutes):
    return (datetime.now(UTC) - timedelta(minutes=minutes)).isoformat()


def test_second_run_is_refused_and_told_by_whom(tmp_path, holder):
    with pytest.raises(StoreLocked) as caught:
        Lock.acquire(tmp_path, "mine")
    text = str(caught.value)
    assert f"in use by run_id=theirs host={socket.gethostname()} pid={holder.pid}" in text
    assert "started=" in text
    assert "heartbeat=" in text
    assert text.endswith("wait for it to end, or, if it is known to be dead, use --steal-lock")
    with pytest.raises(StoreLocked, match="waits until the heartbeat is 600 s old"):
        Lock.acquire(tmp_path, "mine", steal=True)


def test_killed_holder_is_taken_over_even_as_a_zombie(tmp_path, holder):
    holder.kill()
    os.waitid(os.P_PID, holder.pid, os.WEXITED | os.WNOWAIT)  # dead, not yet reaped
    with Lock.acquire(tmp_path, "mine") as lock:
        assert lock.took_over
        assert read_holder(tmp_path).run_id == "mine"
    assert not (tmp_path / LOCK).exists()
    assert [p.name for p in tmp_path.rglob("*")] == ["runs"]


def test_a_power_loss_is_told_from_a_kill(tmp_path, holder):
    holder.kill()
    holder.wait()
    with Lock.acquire(tmp_path, "mine") as lock:
        assert lock.no_power_loss
    before_the_restart = "another-boot:" + process_start(os.getpid()).rpartition(":")[2]
    place(tmp_path, pid=1, process_start=before_the_restart)
    with Lock.acquire(tmp_path, "mine") as lock:
        assert lock.took_over
        assert not lock.no_power_loss
    place(tmp_path, host="elsewhere", silent_minutes=20)
    with Lock.acquire(tmp_path, "mine", steal=True) as lock:
        assert not lock.no_power_loss
    with Lock.acquire(tmp_path, "mine") as lock:
        assert not lock.no_power_loss


def test_orderly_release_is_no_takeover(tmp_path):
    with Lock.acquire(tmp_path / "new" / "S", "one"):
        pass
    with Lock.acquire(tmp_path / "new" / "S", "two") as lock:
        assert not lock.took_over


def test_reused_pid_is_seen_by_its_start(tmp_path):
    place(tmp_path, pid=os.getpid(), process_start=f"{process_start(os.getpid())}0")
    with Lock.acquire(tmp_path, "mine") as lock:
        assert lock.took_over


def test_a_dead_process_of_another_container_is_not_taken_over(tmp_path):
    child = subprocess.Popen(["true"])
    child.wait()
    place(tmp_path, pid=child.pid, pid_namespace="another-boot:pid:[4026532999]")
    with pytest.raises(StoreLocked, match="run_id=theirs"):
        Lock.acquire(tmp_path, "mine")
    place(tmp_path, pid=child.pid)
    with Lock.acquire(tmp_path, "mine") as lock:
        assert lock.took_over


@pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() != 0 or shutil.which("unshare") is None,
    reason="needs root and unshare, to make a PID namespace",
)
def test_a_holder_in_another_pid_namespace_counts_as_alive(tmp_path):
    """Both have the same host's name, and no process in the one has the other's number."""
    command = ["unshare", "--pid", "--fork", "--mount-proc", sys.executable, "-c", HOLD]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    child = subprocess.Popen([*command, str(tmp_path)], stdout=subprocess.PIPE, env=environment)
    try:
        assert child.stdout.readline() == b"held\n"
        held = read_holder(tmp_path)
        assert held.host == Holder.me("mine").host
        assert held.pid_namespace != Holder.me("mine").pid_namespace
        with pytest.raises(StoreLocked, match=f"pid={held.pid}"):
            Lock.acquire(tmp_path, "mine", steal=True)
    finally:
        psutil.Process(child.pid).children()[0].kill()
        child.wait()
        child.stdout.close()


def test_other_host_is_never_taken_over_without_being_asked(tmp_path):
    place(tmp_path, host="elsewhere", pid=1, silent_minutes=60)
    with pytest.raises(StoreLocked, match="host=elsewhere pid=1"):
        Lock.acquire(tmp_path, "mine")


@pytest.mark.parametrize(("minutes", "allowed"), [(9.9, False), (10.1, True)])
def test_stealing_needs_an_old_heartbeat(tmp_path, minutes, allowed):
    # What the holder's clock says plays no role: it may be an hour ahead or behind.
    says = minutes_ago(60 if not allowed else -60)
    place(tmp_path, host="elsewhere", heartbeat=says, silent_minutes=minutes)
    if allowed:
        with Lock.acquire(tmp_path, "mine", steal=True) as lock:
            assert lock.took_over
    else:
        with pytest.raises(StoreLocked, match="elsewhere"):
            Lock.acquire(tmp_path, "mine", steal=True)


def test_fence_stops_a_run_whose_lock_was_stolen(tmp_path):
    make_store(tmp_path / "S", {"a": 3})
    lock = Lock.acquire(tmp_path / "S", "old")
    store = Store.open(tmp_path / "S", lock)
    place(tmp_path / "S")
    message = r"run_id=old lost its lock, now held by run_id=theirs"
    for action in (
        lambda: store.commit([]),
        lambda: store.add_rows(["b"]),
        lambda: store.set_pending([(0, "clip/frame")]),
        lambda: store.delete(["a"]),
        lambda: store.recover(),
        lock.heartbeat,
    ):
        with pytest.raises(StoreLocked, match=message):
            action()
    lock.release()
    assert read_holder(tmp_path / "S").run_id == "theirs"
    (tmp_path / "S" / LOCK).unlink()
    with pytest.raises(StoreLocked, match="now held by nobody"):
        lock.check()
    assert set(Store.open(tmp_path / "S").rows()) == {"a"}
    assert Store.open(tmp_path / "S").status("clip/frame").tolist() == [1]


def test_heartbeat_moves_and_keeps_the_start(tmp_path):
    with Lock.acquire(tmp_path, "mine") as lock:
        before = place(tmp_path, run_id="mine", heartbeat=minutes_ago(5))
        lock.heartbeat()
        after = read_holder(tmp_path)
        assert heartbeat_age(LocalPath(tmp_path) / LOCK) < 5
        assert after.heartbeat > before.heartbeat
        assert after.started <= before.started


def test_damaged_lock_is_refused(tmp_path):
    (tmp_path / LOCK).write_text("", encoding="utf-8")
    with pytest.raises(StoreLocked, match="is damaged; .* remove the file if no run is active"):
        Lock.acquire(tmp_path, "mine")


def test_file_system_without_hard_links(tmp_path, monkeypatch):
    def refuse(source, target):
        raise PermissionError(1, "no links here")

    monkeypatch.setattr("os.link", refuse)
    with Lock.acquire(tmp_path, "mine"):
        with pytest.raises(StoreLocked, match="run_id=mine"):
            Lock.acquire(tmp_path, "second")
    assert [p.name for p in tmp_path.rglob("*")] == ["runs"]


def test_writing_without_the_lock_is_refused(tmp_path):
    store = make_store(tmp_path / "S", {"a": 3})
    with pytest.raises(StoreError, match="was opened without its lock"):
        store.add_rows(["b"])


def test_a_lock_lost_while_taking_it_says_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setattr(LocalPath, "create", lambda path, content: True)
    place(tmp_path)
    with pytest.raises(StoreLocked, match="at this moment; expected no other run; wait for it"):
        Lock.acquire(tmp_path, "mine")
