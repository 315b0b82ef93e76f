"""A store with everything that can happen to a video, and its packed copy."""

import pytest
from helpers.store.packed import SHARD_VIDEOS
from helpers.store.stored import SPECS, add_videos, extract, failure, make_store, record
from helpers.store.written import add_texts, copied, named

import avqa.store.packing.pack as packing
from avqa.store.commit import Store
from avqa.store.format.records import FeatureRecord, Status
from avqa.store.lock import Lock
from avqa.store.packing.pack import pack
from avqa.store.writer import ChunkWriter


@pytest.fixture(scope="module")
def few_videos_per_shard():
    """Two, so that small stores have many shards."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(packing, "videos_per_shard", lambda seconds, size: SHARD_VIDEOS)
        yield


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    path = make_store(tmp_path_factory.mktemp("working") / "S", {"a": 12, "gone": 9, "long": 42})
    with Lock.acquire(path.path, "second") as lock:
        store = Store.open(path.path, lock)
        store.start_run({})
        writer = ChunkWriter(path.path, SPECS, 5)
        rows = store.add_rows(["waiting", "b", "silent", "bad", "c", "half"])
        audio = FeatureRecord("vggish/audio", Status.ABSENT, 0)
        silent = extract(writer, "silent", rows["silent"], 7, SPECS[:2])
        store.commit([record("silent", rows["silent"], (*silent.features, audio), 7, 0)])
        store.commit([failure("b", rows["b"]), failure("bad", rows["bad"])])
        add_videos(store, {"b": 3, "c": 5})
        store.commit([extract(writer, "half", rows["half"], 4, SPECS[:1])])
        # One feature of c is wanted again; its length stays in the column.
        store.set_pending([(rows["c"], "clip/patch")])
        store.delete(["gone"])
        store.finish_run({})
    add_texts(path.path, named(3))
    return path.path


@pytest.fixture(scope="module")
def made(tmp_path_factory, original, few_videos_per_shard):
    out = tmp_path_factory.mktemp("packed") / "P"
    return pack(original, out)


@pytest.fixture
def source(original, tmp_path):
    """A working store to be harmed."""
    return copied(original, tmp_path / "S")


@pytest.fixture
def packed(made, tmp_path):
    """A packed copy to be harmed."""
    return copied(made.out, tmp_path / "P")
