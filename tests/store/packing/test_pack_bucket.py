"""Packed copies out of, into and between buckets, on a real S3 server on loopback."""

import multiprocessing
import signal

import numpy as np
import pytest
from helpers.store import packkill, s3_server
from helpers.store.stored import FEATURES, add_videos, new_store
from helpers.store.written import add_texts, named

from avqa.errors import StoreError, StoreLocked
from avqa.store.checks.summary import summary
from avqa.store.checks.verify import verify
from avqa.store.lock import LOCK, Lock
from avqa.store.packing.pack import pack
from avqa.store.places.files import store_path
from avqa.store.reader import open_store

LENGTHS = {"a": 12, "b": 3}


@pytest.fixture
def bucket(s3, request):
    """A prefix of its own in the bucket."""
    return store_path(f"s3://{s3_server.BUCKET}/{request.node.name}")


def working(path):
    with Lock.acquire(path, "first") as lock:
        store = new_store(path, lock)
        add_videos(store, LENGTHS)
        store.finish_run({})
    add_texts(path, named(2))
    return path


def content(path):
    """Name → bytes of all that is in a copy."""
    if hasattr(path, "listed"):
        names = [entry["path"].removeprefix(f"{path.key}/") for entry in path.listed()]
    else:
        names = [str(file.relative_to(path)) for file in path.rglob("*") if file.is_file()]
    found = {}
    for name in names:
        place = path
        for part in name.split("/"):
            place = place / part
        found[name] = place.read_bytes()
    return found


def test_folder_and_bucket_give_the_same_copy(bucket, tmp_path):
    source = working(bucket / "S")
    pack(source, tmp_path / "P")
    report = pack(source, str(bucket / "P"))
    assert content(bucket / "P") == content(tmp_path / "P")
    arrays = content(bucket / "P" / "features.zarr")
    assert report.files[1] == len(arrays)
    assert report.n_bytes[1] == sum(map(len, arrays.values()))
    assert report.lines()[0].endswith(f" into {str(bucket / 'P')!r}: 2 videos, read back and equal")
    copy, store = open_store(bucket / "P"), open_store(source)
    for name in LENGTHS:
        for feature in FEATURES:
            np.testing.assert_array_equal(copy.read(name, feature), store.read(name, feature))
    np.testing.assert_array_equal(
        copy.read_texts(named(2), "clip/word"), store.read_texts(named(2), "clip/word")
    )
    assert summary(bucket / "P").lines()[0].endswith("; a packed copy, read-only")
    assert verify(bucket / "P").problems == []
    shard = bucket / "P" / "features.zarr" / "clip" / "frame" / "c.0.1.0"
    good = shard.read_bytes()
    shard.write(bytes([good[0] ^ 1]) + good[1:])
    (problem,) = verify(bucket / "P").problems
    assert str(problem).startswith("crc: clip/frame video='a' row=0: chunk=1: does not decode")
    with pytest.raises(StoreError, match="OUT='s3://.*' exists; expected a new folder"):
        pack(source, bucket / "P")
    with pytest.raises(StoreError, match="is a packed copy, which never changes"):
        Lock.acquire(bucket / "P", "run")


def test_killed_into_a_bucket(bucket, tmp_path):
    """Before its last object there is no store; the next run removes what was left."""
    source = working(tmp_path / "S")
    out = bucket / "P"
    # Spawned: a fork server that began earlier has another environment.
    child = multiprocessing.get_context("spawn").Process(
        target=packkill.pack_and_die_in_a_bucket, args=(source, str(out))
    )
    child.start()
    child.join()
    assert child.exitcode == -signal.SIGKILL
    left = content(out)
    assert "features.zarr/clip/frame/c.0.0.0" in left
    assert "features.zarr/zarr.json" not in left
    (out / "features.zarr" / "clip" / "frame" / "c.9.0.0").write(b"of another store")
    said = []

    def say(line):
        with pytest.raises(StoreLocked) as caught:
            pack(source, out)
        said.append(str(caught.value))

    pack(source, out, say=say)
    assert said[0].endswith(f"known to be dead, remove {str(out / LOCK)!r}")
    pack(source, tmp_path / "P")
    assert content(out) == content(tmp_path / "P")
