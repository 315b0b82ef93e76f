"""A packed copy is whole or does not exist: damage, full disks, kills and other runs."""

import errno
import json
import shutil
import signal
from pathlib import Path

import pytest
import zarr
from helpers.killed import exit_code
from helpers.store import crashing, mutations, packkill
from helpers.store.packed import damage
from helpers.store.stored import add_videos, make_store
from helpers.store.stores import store_bytes

import avqa.store.packing.pack as packing
from avqa.errors import (
    ConfigError,
    StorageFailure,
    StoreError,
    StoreLocked,
    StoreNotFound,
)
from avqa.store.checks.verify import verify
from avqa.store.commit import Store
from avqa.store.format.lines import to_line
from avqa.store.format.records import video_from
from avqa.store.format.shards import videos_per_shard
from avqa.store.lock import Lock
from avqa.store.packing.pack import pack
from avqa.store.places.files import LocalPath, write_json

pytestmark = pytest.mark.usefixtures("few_videos_per_shard")


def nothing_made(out):
    return not out.exists() and not out.with_name(f"{out.name}.packing").exists()


def harm_chunk(source):
    damage(source / "features.zarr/clip/patch/c.0.1.0.0")


def harm_checksum(source):
    damage(source / "features.zarr/clip/patch/c.0.1.0.0", -1)


def remove_chunk(source):
    (source / "features.zarr/clip/patch/c.0.1.0.0").unlink()


def cut_chunk(source):
    (source / "features.zarr/clip/patch/c.0.1.0.0").write_bytes(b"short")


def other_chunk(source):
    folder = source / "features.zarr/clip/patch"
    (folder / "c.0.1.0.0").write_bytes((folder / "c.0.0.0.0").read_bytes())


def other_status(source):
    zarr.open_array(source / "features.zarr/status/clip/patch", mode="r+")[0] = 4


def lose_status(source):
    (source / "features.zarr/status/clip/patch/c.0").unlink()


def other_duration(source):
    zarr.open_array(source / "features.zarr/index/duration", mode="r+")[0] = 4


def harm_times(source):
    damage(source / "features.zarr/index/pts/c.0.0")


def harm_texts(source):
    damage(source / "features.zarr/clip/word/c.0.0.0")


def other_video(source):
    first = next((source / "ledger/first").glob("*.jsonl"))
    line = first.read_text(encoding="utf-8").replace('"video_id":"a"', '"video_id":"stranger"')
    (source / "ledger/first/000099.jsonl").write_text(line, encoding="utf-8")


def other_record(source):
    """As `other_video`, and the line is in order."""
    other_video(source)
    (segment,) = source.glob("ledger/first/000099.jsonl")
    plain = json.loads(segment.read_bytes())
    segment.write_bytes(to_line(video_from(plain)) + b"\n")


@pytest.mark.parametrize(
    ("harm", "text"),
    [
        (other_video, "ledger: "),
        (other_record, "video 'a' clip/frame: is ok, the ledger differs; "),
        (harm_chunk, "video 'a' clip/patch chunk=1: its checksum is not "),
        (harm_checksum, "video 'a' clip/patch chunk=1: its checksum is not "),
        (remove_chunk, "video 'a' clip/patch chunk=1: no object; "),
        (cut_chunk, "video 'a' clip/patch chunk=1: 5 bytes, ledger says 244; "),
        (other_chunk, "video 'a' clip/patch chunk=1: its checksum is not "),
        (other_status, "video 'a' clip/patch: is absent, the ledger differs; "),
        (other_duration, "video 'a' index/duration: is 4.0, ledger says 12.0; "),
        (lose_status, "status/clip/patch: an object of it is gone; "),
        (harm_times, "index/pts: c.0.0 cannot be read; "),
        (harm_texts, "clip/word: chunk=0 of 3 texts: does not decode"),
    ],
)
def test_a_damaged_store_is_not_packed(source, tmp_path, harm, text):
    harm(source)
    with pytest.raises(StoreError) as caught:
        pack(source, tmp_path / "out")
    assert str(caught.value).startswith(f"store {str(source)!r}: {text}")
    assert "; nothing was published; run `avqa verify --repair` on it, then `avqa " in str(
        caught.value
    )
    assert caught.value.exit_code == 4
    assert nothing_made(tmp_path / "out")


def test_nothing_is_written_to_the_store(source, tmp_path):
    before = {path: path.stat().st_mtime_ns for path in source.rglob("*")}
    pack(source, tmp_path / "out")
    assert {path: path.stat().st_mtime_ns for path in source.rglob("*")} == before


def test_refusals(source, packed, tmp_path):
    with pytest.raises(StoreError, match="OUT='.*P' exists; expected a new folder; give another"):
        pack(source, packed)
    with pytest.raises(ConfigError, match="is in the store; expected a place beside it"):
        pack(source, source / "deep" / "copy")
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(ConfigError, match="goes through a file, '.*'; expected folders"):
        pack(source, tmp_path / "file" / "copy")
    with pytest.raises(StoreError, match="is a packed copy; expected a working store; copy its"):
        pack(packed, tmp_path / "out")
    with pytest.raises(StoreNotFound, match="no store at"):
        pack(tmp_path / "nothing", tmp_path / "out")
    assert nothing_made(tmp_path / "out")


def test_a_store_without_a_finished_video(tmp_path):
    path = make_store(tmp_path / "S", {}).path
    with Lock.acquire(path, "second") as lock:
        Store.open(path, lock).add_rows(["waiting"])
    with pytest.raises(StoreError, match="has no finished video; expected one; run `avqa extract"):
        pack(path, tmp_path / "out")
    assert nothing_made(tmp_path / "out")


def test_a_running_extraction_is_waited_for(source, tmp_path):
    with Lock.acquire(source, "live"):
        with pytest.raises(StoreLocked, match="is in use by run_id=live host=.*; expected no run;"):
            pack(source, tmp_path / "out")
    assert nothing_made(tmp_path / "out")


def test_a_crashed_run_is_no_obstacle(source, packed, tmp_path):
    """Its lock is still there; what it had committed is packed."""
    lock = Lock.acquire(source, "dead")
    holder = json.loads((source / "lock.json").read_text(encoding="utf-8"))
    write_json(source / "lock.json", {**holder, "process_start": "another process"})
    pack(source, tmp_path / "out")
    assert store_bytes(tmp_path / "out") == store_bytes(packed)
    lock.release()


def extraction(path):
    with Lock.acquire(path, "third") as lock:
        store = Store.open(path, lock)
        store.recover()
        add_videos(store, {"b": 8}, version=1)
        store.finish_run({})


def killed_extraction(path):
    """A run that died after it had taken the lock and before it changed anything else."""
    Lock.acquire(path, "third")
    holder = json.loads((path / "lock.json").read_text(encoding="utf-8"))
    write_json(path / "lock.json", {**holder, "process_start": "another process"})


@pytest.mark.parametrize("meanwhile", [extraction, killed_extraction])
def test_a_run_meanwhile_is_noticed(source, tmp_path, meanwhile):
    def say(line):
        if line.startswith("clip/frame"):
            meanwhile(source)

    with pytest.raises(StoreLocked, match="was changed by a run while it was packed; expected no"):
        pack(source, tmp_path / "out", say=say)
    assert nothing_made(tmp_path / "out")


def test_two_at_once(source, tmp_path):
    texts = []

    def say(line):
        with pytest.raises(StoreLocked) as caught:
            pack(source, tmp_path / "out")
        texts.append(str(caught.value))

    pack(source, tmp_path / "out", say=say)
    assert texts[0] == (
        f"{str(tmp_path / 'out')!r} is being packed already; expected no other run; wait for it to"
        f" end, or, if it is known to be dead, remove {str(tmp_path / 'out.packing/lock.json')!r}"
    )
    assert verify(tmp_path / "out").problems == []


def test_a_full_disk(source, tmp_path, monkeypatch):
    write = LocalPath.write
    left = [5]

    def full(path, data, **options):
        left[0] -= 1
        if left[0] < 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        write(path, data, **options)

    monkeypatch.setattr(LocalPath, "write", full)
    with pytest.raises(StorageFailure, match="cannot write packed copy '.*out': ENOSPC; disk or"):
        pack(source, tmp_path / "out")
    assert nothing_made(tmp_path / "out")


def test_a_chunk_that_cannot_be_read(source, tmp_path):
    path = source / "features.zarr/clip/patch/c.0.1.0.0"
    path.unlink()
    path.mkdir()
    with pytest.raises(StorageFailure, match="video 'a' clip/patch chunk=1 cannot be read: Is a d"):
        pack(source, tmp_path / "out")
    assert nothing_made(tmp_path / "out")


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("clip/frame/c.0.1.0", "clip/frame chunk=1: does not decode"),
        ("clip/word/c.0.0.0", "clip/word/c.0.0.0 reads back otherwise than written"),
        ("status/clip/frame/c.0", "array status/clip/frame: a chunk is damaged"),
    ],
)
def test_what_is_read_back_must_be_what_was_written(source, tmp_path, monkeypatch, name, text):
    write = LocalPath.write

    def forgetful(path, data, **options):
        write(path, data, **options)
        if str(path).endswith(name):
            damage(path)

    def say(line):
        if name.startswith("status"):
            damage(tmp_path / "out.packing/store/features.zarr" / name, 2)

    monkeypatch.setattr(LocalPath, "write", forgetful)
    with pytest.raises((StorageFailure, StoreError), match=text):
        pack(source, tmp_path / "out", say=say)
    assert nothing_made(tmp_path / "out")


def test_killed_at_any_moment(original, tmp_path, monkeypatch):
    """Nothing is at OUT; the next run makes the same copy and leaves nothing beside it."""
    monkeypatch.setattr(packing, "videos_per_shard", videos_per_shard)
    changes = []
    with pytest.MonkeyPatch.context() as patch:
        for name in ("replace", "rename", "unlink"):
            method = crashing.guarded(getattr(Path, name), lambda: changes.append(1))
            patch.setattr(Path, name, method)
        pack(original, tmp_path / "whole")
    out = tmp_path / "out"
    last = len(changes) - 1
    assert last > 100

    for change in (0, last // 3, 2 * last // 3, last - 1):
        assert exit_code(packkill.pack_and_die, original, out, change) == -signal.SIGKILL
        assert not out.exists(), change
    pack(original, out)
    assert store_bytes(out) == store_bytes(tmp_path / "whole")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["out", "whole"]
    # Once it is there, it is there whole; the next run refuses, and removes the lock beside it.
    shutil.rmtree(out)
    assert exit_code(packkill.pack_and_die, original, out, last) == -signal.SIGKILL
    assert store_bytes(out) == store_bytes(tmp_path / "whole")
    assert (tmp_path / "out.packing/lock.json").exists()
    with pytest.raises(StoreError, match="exists; expected a new folder"):
        pack(original, out)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["out", "whole"]


def test_an_array_that_is_not_what_the_attributes_say_is_not_copied(tmp_path):
    source = mutations.build(tmp_path / "S")
    file = source / "features.zarr/clip/word/zarr.json"
    whole = json.loads(file.read_bytes())
    for shape in ([16, *whole["shape"][1:]], [*whole["shape"][:-1], 1]):
        file.write_text(json.dumps({**whole, "shape": shape}), encoding="utf-8")
        with pytest.raises(
            StoreError, match=r"array clip/word: .*; expected what its attributes say; nothing was"
        ):
            pack(source, tmp_path / "out")
        assert nothing_made(tmp_path / "out")
    file.write_text(json.dumps(whole), encoding="utf-8")
    pack(source, tmp_path / "out")
