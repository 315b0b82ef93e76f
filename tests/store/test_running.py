"""The skeleton of every run: healed first, and how it ended is written down."""

import pytest
from helpers.store.stored import make_store, new_store

from avqa.errors import StoreError, StoreNotFound
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
    assert (run["run_id"], run["state"]) == ("second", "finished")
    assert run["summary"] == {"reason": "done", "n": 3}


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (StoreError("no room; expected some"), "no room; expected some"),
        (KeyboardInterrupt(), "internal error: KeyboardInterrupt"),
        (ValueError("x"), "internal error: ValueError"),
    ],
)
def test_what_ended_it_is_its_reason(tmp_path, error, reason):
    path = tmp_path / "S"
    make_store(path, {"a": 1})
    with (
        pytest.raises(type(error)),
        Lock.acquire(path, "second") as lock,
        running(path, lock, {}),
    ):
        raise error
    run = Store.open(path).runs.all()[-1]
    assert (run["state"], run["summary"]) == ("finished", {"reason": reason})


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
