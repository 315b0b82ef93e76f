"""Killed at any moment and run again, a store's arrays end up byte for byte the same."""

import pathlib
import random
import signal

import pytest
from helpers.killed import exit_code, start
from helpers.store import crashing
from helpers.store.stored import (
    CHUNK_SECONDS,
    SPECS,
    add_videos,
    extract,
    failure,
    make_store,
    new_store,
)
from helpers.store.stores import store_bytes
from helpers.store.written import copied

from avqa.errors import StoreError, StoreNotFound
from avqa.store.checks.verify import verify
from avqa.store.commit import Store
from avqa.store.format.ledger import Ledger
from avqa.store.format.records import Status
from avqa.store.lock import Lock
from avqa.store.places.files import LocalPath, read_json
from avqa.store.reader import FeatureStore
from avqa.store.writer import ChunkWriter


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The bytes of a store that nobody interrupted."""
    path = tmp_path_factory.mktemp("whole") / "S"
    assert exit_code(crashing.run, path, "only") == 0
    assert Store.open(path).status("clip/frame").tolist() == [1, 1, 2, 1, 1]
    return store_bytes(path)


def test_killed_before_changes_of_the_disk(tmp_path, whole):
    """Every 29th of the about 240 changes of a run, from making the store to closing the run."""
    for change in range(0, 1000, 29):
        path = tmp_path / str(change)
        ended = exit_code(crashing.run_and_die, str(path), "killed", change)
        if ended == 0:
            break
        assert ended == -signal.SIGKILL
        assert exit_code(crashing.run, path, "resumed") == 0, f"resume after change {change}"
        assert store_bytes(path) == whole, f"after change {change}"
        assert verify(path).problems == [], f"after change {change}"
        assert not list(path.rglob("*.partial")), f"after change {change}"
    assert change > 150


class Cut(Exception):
    """The process ends here, as far as the store can tell."""


def test_commit_cut_before_each_change_is_healed_by_recover(tmp_path, monkeypatch, step):
    """A longer video grows the second axis, another one fails that was ok before."""
    base = make_store(tmp_path / "base", {"a": 3, "b": 5, "x": 4}).path
    with Lock.acquire(base, "second") as lock:
        store = Store.open(base, lock)
        store.set_pending((row, spec.name) for row in (0, 1) for spec in SPECS)
        writer = ChunkWriter(base, SPECS, CHUNK_SECONDS)
        records = [extract(writer, "a", 0, 12, version=1), failure("b", 1)]
    seen: set[tuple[bool, int]] = set()
    healed = []
    for change in range(0, 200, step):
        path = copied(base, tmp_path / str(change))
        if commit_until(path, records, change, monkeypatch):
            break
        with Lock.acquire(path, "next") as lock:
            store = Store.open(path, lock)
            replayed = store.recover().replayed
            statuses = store.status("clip/frame").tolist()
            # Either the segment is in the ledger and all of it counts, or nothing happened.
            in_ledger = store.ledger.last == 4
            assert statuses == ([1, 2, 1] if in_ledger else [0, 0, 1]), f"change {change}"
            seen.add((in_ledger, replayed))
            store.commit(records)
        assert verify(path).problems == [], f"after change {change}"
        healed.append(store_bytes(path))
    assert len(healed) * step > 20
    assert all(each == store_bytes(path) for each in healed)
    # Cut before the ledger; after it; after the checkpoint, before the heartbeat.
    assert seen | {(True, 0)} == {(False, 0), (True, 1), (True, 0)}
    assert step > 1 or (True, 0) in seen


def commit_until(path, records, change, monkeypatch):
    """Commit, cut off before a change of the disk; whether it came to its end."""
    left = [change]

    def count():
        if left[0] == 0:
            raise Cut
        left[0] -= 1

    lock = Lock.acquire(path, "cut")
    store = Store.open(path, lock)
    try:
        with monkeypatch.context() as patched:
            for name in ("replace", "rename", "unlink"):
                method = crashing.guarded(getattr(pathlib.Path, name), count)
                patched.setattr(pathlib.Path, name, method)
            store.commit(records)
    except Cut:
        return False
    finally:
        lock.release()
    return True


@pytest.mark.soak
def test_killed_again_and_again_at_random_times(tmp_path, whole):
    clock = random.Random(0)
    for number in range(8):
        child = start(crashing.run, tmp_path / "S", f"killed-{number}")
        child.join(0.1 + 0.25 * clock.random())
        child.kill()
        child.join()
    assert exit_code(crashing.run, tmp_path / "S", "last") == 0
    assert store_bytes(tmp_path / "S") == whole


def test_replay_takes_the_newest_record_of_a_feature(tmp_path):
    """Two segments after the checkpoint: the older failure must not delete the newer result."""
    path = make_store(tmp_path / "S", {"a": 3}).path
    with Lock.acquire(path, "second") as lock:
        store = Store.open(path, lock)
        rows = store.add_rows(["b"])
        writer = ChunkWriter(path, SPECS, CHUNK_SECONDS)
        store.ledger.append("second", [failure("b", rows["b"])])
        store.ledger.append("second", [extract(writer, "b", rows["b"], 12)])
    with Lock.acquire(path, "third") as lock:
        store = Store.open(path, lock)
        assert store.recover().replayed == 2
        assert store.status("clip/frame").tolist() == [1, 1]
        assert store.length("clip/frame").tolist() == [3, 12]
        assert store.recover().replayed == 0
    assert verify(path).problems == []


def unclean(path, video_id="b"):
    """A run that committed one video and then was cut off; its row."""
    with Lock.acquire(path, "cut-off") as lock:
        store = Store.open(path, lock)
        store.start_run({})
        add_videos(store, {video_id: 7})
        return store.rows()[video_id]


def test_rows_of_the_last_minutes_are_read_after_an_unclean_end(tmp_path):
    path = make_store(tmp_path / "S", {"a": 3}).path
    row = unclean(path)
    chunk = path / f"features.zarr/clip/patch/c.{row}.1.0.0"
    chunk.write_bytes(chunk.read_bytes()[:-7])
    (chunk.parent / "c.9.0.0.beef.partial").write_bytes(b"left over")
    with Lock.acquire(path, "next") as lock:
        store = Store.open(path, lock)
        found = store.recover()
        assert (found.bad, found.partials) == ([(row, "clip/patch")], 1)
        assert store.status("clip/patch").tolist() == [1, 0]
        assert store.status("clip/frame").tolist() == [1, 1]
        store.finish_run({})
    assert read_json(path / "runs/cut-off.json")["state"] == "interrupted"
    with Lock.acquire(path, "later") as lock:
        assert Store.open(path, lock).recover().bad == []


@pytest.mark.parametrize(("lost_power", "kinds"), [(False, ["size"]), (True, ["crc", "size"])])
def test_only_a_power_loss_makes_recent_rows_be_read(tmp_path, monkeypatch, lost_power, kinds):
    path = make_store(tmp_path / "S", {"a": 3}).path
    shortened, flipped = unclean(path, "b"), unclean(path, "c")
    for row, kind in ((shortened, "size"), (flipped, "crc")):
        chunk = path / f"features.zarr/clip/patch/c.{row}.1.0.0"
        raw = bytearray(chunk.read_bytes())
        raw[3] ^= 1
        chunk.write_bytes(raw if kind == "crc" else raw[:-7])
    monkeypatch.setattr(Lock, "no_power_loss", not lost_power)
    with Lock.acquire(path, "next") as lock:
        bad = Store.open(path, lock).recover().bad
    expected = {"size": (shortened, "clip/patch"), "crc": (flipped, "clip/patch")}
    assert sorted(bad) == sorted(expected[kind] for kind in kinds)


@pytest.mark.parametrize("name", ["index/video_id", "status/clip/frame", "length/clip/patch"])
@pytest.mark.parametrize("content", [b"", b"short", None])
def test_column_damaged_by_a_power_loss_comes_back_from_the_ledger(tmp_path, name, content):
    path = make_store(tmp_path / "S", {"a": 3, "b": 12, "c": 5}).path
    before = store_bytes(path)
    chunk = path / "features.zarr" / name / "c.0"
    raw = bytearray(chunk.read_bytes())
    raw[20] ^= 1
    chunk.write_bytes(raw if content is None else content)
    assert [p.kind for p in verify(path, "size").problems if p.row < 0] == ["index"]
    with Lock.acquire(path, "next") as lock:
        Store.open(path, lock).recover()
    assert store_bytes(path) == before


def test_objects_of_columns_that_were_never_written_are_no_loss(tmp_path, monkeypatch):
    """Rows beyond those of the first object are pending: nothing is rebuilt, readers read."""
    monkeypatch.setattr("avqa.store.format.schema.CAPACITY", 2)
    path = tmp_path / "S"
    with Lock.acquire(path, "cut-off") as lock:
        store = new_store(path, lock)
        store.add_rows(["a", "b", "c", "d", "e"])
        add_videos(store, {"a": 3, "b": 5})
    assert not (path / "features.zarr/length/clip/frame/c.1").exists()
    assert FeatureStore(path).read("b", "clip/frame").shape == (5, 8)
    monkeypatch.setattr(Ledger, "require_sound", lambda self: pytest.fail("rebuilt"))
    with Lock.acquire(path, "next") as lock:
        store = Store.open(path, lock)
        assert (store.damaged, store.recover().replayed) == ([], 0)
        assert store.status("clip/frame").tolist() == [1, 1, 0, 0, 0]
        add_videos(store, {"e": 4})
    (path / "features.zarr/length/clip/frame/c.2").unlink()
    with pytest.raises(StoreError, match=r"c\.2 is gone; expected a length of what is ok"):
        FeatureStore(path)
    assert Store.open(path, tolerant=True).damaged == ["length/clip/frame"]


def test_a_row_that_was_pending_stays_so_through_recovery(tmp_path):
    path = make_store(tmp_path / "S", {"a": 3, "b": 5}).path
    with Lock.acquire(path, "second") as lock:
        Store.open(path, lock).set_pending([(0, "clip/frame")])
    with Lock.acquire(path, "third") as lock:
        store = Store.open(path, lock)
        store.recover()
        assert store.status("clip/frame").tolist() == [Status.PENDING, Status.OK]


@pytest.mark.parametrize("left", [1, 2, 20])
def test_a_creation_cut_short_makes_no_store(tmp_path, monkeypatch, left):
    written, write = [], LocalPath.write
    with Lock.acquire(tmp_path / "S", "cut-off") as lock:
        monkeypatch.setattr(LocalPath, "write", lambda path, data: written.append((path, data)))
        with pytest.raises(StoreNotFound):
            new_store(tmp_path / "S", lock)  # nothing was written
    for path, data in written[:-left]:
        write(path, data)
    monkeypatch.undo()
    assert not Store.exists(tmp_path / "S")
    whole = make_store(tmp_path / "whole", {"a": 3}).path
    assert store_bytes(make_store(tmp_path / "S", {"a": 3}).path) == store_bytes(whole)
