"""The skeleton of every run: healed first, and how it ended is written down."""

import json
import os
import signal

import pytest
from helpers.store.stored import make_store, new_store

from avqa import __version__
from avqa.errors import ConfigError, Stopped, StorageFailure, StoreError, StoreNotFound
from avqa.faults import traceback_of
from avqa.store.checks.summary import summary
from avqa.store.checks.verify import verify
from avqa.store.commit import Store
from avqa.store.lock import Lock
from avqa.store.running import running


def test_a_run_is_written_down_from_its_start_to_its_end(tmp_path):
    path = tmp_path / "S"
    make_store(path, {"a": 1})
    with Lock.acquire(path, "second") as lock:
        with running(path, lock, {"argv": ["x"]}, lambda reason: {"reason": reason, "n": 3}) as s:
            assert s.runs.all()[-1]["state"] == "running"
            assert s.runs.all()[-1]["argv"] == ["x"]
        run = Store.open(path).runs.all()[-1]
    assert (run["run_id"], run["state"]) == ("second", "done")
    assert run["summary"] == {"reason": "done", "n": 3}


@pytest.mark.parametrize(
    ("error", "state", "reason"),
    [
        (StoreError("no room; expected some"), "refused", "no room; expected some"),
        (ConfigError("no; expected yes"), "refused", "no; expected yes"),
        (StorageFailure("disk full"), "failed", "disk full"),
        (Stopped(2, "stopped by SIGINT"), "interrupted", "stopped by SIGINT"),
        (KeyboardInterrupt(), "interrupted", "stopped by Ctrl-C"),
        (ValueError("x"), "failed", "internal error: ValueError"),
    ],
)
def test_what_ended_it_is_its_state_and_reason(tmp_path, error, state, reason):
    path = tmp_path / "S"
    make_store(path, {"a": 1})
    with (
        pytest.raises(type(error)),
        Lock.acquire(path, "second") as lock,
        running(path, lock, {}),
    ):
        raise error
    run = Store.open(path).runs.all()[-1]
    assert (run["state"], run["summary"]) == (state, {"reason": reason})
    assert f"run second: {state}, {reason}" in summary(path).lines()


@pytest.mark.parametrize(
    ("error", "raised", "state"),
    [
        (Stopped(2, "stopped by SIGINT"), Stopped, "interrupted"),
        (StorageFailure("disk full"), StorageFailure, "failed"),
        (None, KeyboardInterrupt, "running"),  # shards to seal may take long: they can be stopped
    ],
    ids=["stopped", "failed", "done"],
)
def test_a_signal_amid_its_last_words_leaves_them_whole(
    tmp_path, monkeypatch, error, raised, state
):
    path, finish = tmp_path / "S", Store.finish_run
    make_store(path, {"a": 1})

    def signalled(store, *words):
        os.kill(os.getpid(), signal.SIGINT)
        finish(store, *words)

    def run():
        with Lock.acquire(path, "second") as lock, running(path, lock, {}):
            if error is not None:
                raise error

    monkeypatch.setattr(Store, "finish_run", signalled)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises((raised, KeyboardInterrupt)) as caught:
            run()
    finally:
        signal.signal(signal.SIGINT, before)
    assert caught.type is raised
    assert json.loads((path / "runs/second.json").read_text(encoding="utf-8"))["state"] == state


def test_a_run_that_ends_as_it_heals_is_not_left_running(tmp_path, monkeypatch):
    path = tmp_path / "S"
    make_store(path, {"a": 1})

    def broken(store):
        store.runs.update("second", checkpoint=0)
        raise StoreError("damaged")

    monkeypatch.setattr(Store, "recover", broken)
    with Lock.acquire(path, "second") as lock, pytest.raises(StoreError, match="damaged"):
        with running(path, lock, {}):
            pytest.fail("it is not healed")
    assert Store.open(path).runs.all()[-1]["state"] == "refused"


def test_the_traceback_of_a_defect_lies_beside_the_runs_file(tmp_path):
    path = tmp_path / "S"
    make_store(path, {"a": 1})
    with pytest.raises(ZeroDivisionError) as caught, Lock.acquire(path, "second") as lock:
        with running(path, lock, {}):
            1 / 0  # noqa: B018
    file = path / "runs/second-traceback.txt"
    assert traceback_of(caught.value) == str(file)
    text = file.read_text(encoding="utf-8")
    assert text.startswith(f"avqa {__version__}\n")
    assert text.endswith("ZeroDivisionError: division by zero\n")
    assert "1 / 0  # noqa" in text
    assert not verify(path).problems
    with pytest.raises(StoreError), Lock.acquire(path, "third") as lock, running(path, lock, {}):
        raise StoreError("on purpose")
    assert not (path / "runs/third-traceback.txt").exists()


def test_a_run_is_running_as_long_as_it_lives(tmp_path):
    path = tmp_path / "S"
    make_store(path, {"a": 1})
    with Lock.acquire(path, "second") as lock, running(path, lock, {}):
        assert "run second: running" in summary(path).lines()
        Store.open(path).runs.update("killed", state="running")
        assert "run killed: interrupted" in summary(path).lines()
    assert "run second: done" in summary(path).lines()
    lock = Lock.acquire(path, "third")
    Store.open(path).runs.update("third", state="running")
    assert "run third: running" in summary(path).lines()
    lock.release()
    assert "run third: interrupted" in summary(path).lines()


@pytest.mark.parametrize(
    ("reason", "state"),
    [
        ("done", "done"),
        ("repaired problems=2", "done"),
        ("stopped by SIGINT after draining: 2 videos finished, 1 left", "interrupted"),
        ("aborted by a second signal; resume with the same command", "interrupted"),
        ("disk full", "failed"),
    ],
)
def test_runs_of_version_0_1_are_told_apart_by_their_reason(tmp_path, reason, state):
    path = tmp_path / "S"
    make_store(path, {"a": 1})
    before = {"run_id": "old", "state": "finished", "started": "2020", "checkpoint": 0}
    text = json.dumps(before | {"summary": {"reason": reason}})
    (path / "runs/old.json").write_text(text, encoding="utf-8")
    shown = state if reason == "done" else f"{state}, {reason}"
    assert f"run old: {shown}" in summary(path).lines()


def test_a_run_file_of_a_later_version_is_refused_by_name(tmp_path):
    path = tmp_path / "S"
    make_store(path, {"a": 1})
    file = path / "runs/first.json"
    assert json.loads(file.read_text(encoding="utf-8"))["format"] == 1
    Store.open(path).runs.update("first", format=2)
    with pytest.raises(StoreError, match=r"first\.json' has format=2; expected 1 at most; it was"):
        summary(path)


def test_a_store_that_is_there_is_healed_and_not_made_again(tmp_path):
    path = tmp_path / "S"
    with (
        Lock.acquire(path, "first") as lock,
        running(path, lock, {}, create=lambda: new_store(path, lock)) as store,
    ):
        store.add_rows(["a"])
    (path / "runs/x.partial").write_bytes(b"left")
    Lock.acquire(path, "dead")
    (path / "lock.json").write_text(
        (path / "lock.json").read_text(encoding="utf-8").replace('"pid": ', '"pid": 9'),
        encoding="utf-8",
    )
    with Lock.acquire(path, "next") as lock:
        assert lock.took_over
        with running(path, lock, {}, create=pytest.fail) as store:
            assert store.rows() == {"a": 0}
            assert not (path / "runs/x.partial").exists()
    with Lock.acquire(tmp_path / "none", "run") as lock, pytest.raises(StoreNotFound):
        with running(tmp_path / "none", lock, {}):
            pytest.fail("there is no store")
