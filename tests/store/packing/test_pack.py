"""A packed copy holds what the store holds; nobody changes it."""

import json
import multiprocessing
import os
import random
import re
import warnings
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace

import google_crc32c
import numpy as np
import pytest
import xarray
import zarr
from helpers.store.packed import LENGTHS, SHARD_VIDEOS, damage
from helpers.store.stored import FEATURES, SPECS, failure, make_store
from helpers.store.stores import store_bytes
from helpers.store.written import TEXT_SPECS, named
from hypothesis import given
from hypothesis import strategies as st

import avqa.store.packing.pack as packing
from avqa.errors import (
    FeatureMissing,
    StoreError,
)
from avqa.store.checks.summary import summary
from avqa.store.checks.verify import verify
from avqa.store.commit import Store
from avqa.store.format.chunks import chunk_path
from avqa.store.format.records import ChunkRecord, Status
from avqa.store.format.shards import Shard, videos_per_shard
from avqa.store.lock import Lock
from avqa.store.packing.pack import pack
from avqa.store.reader import open_store

pytestmark = pytest.mark.usefixtures("few_videos_per_shard")


def test_every_video_and_feature_reads_the_same(original, made):
    working, copy = open_store(original), open_store(made.out)
    assert copy.packed
    assert not working.packed
    assert copy.video_ids == tuple(LENGTHS)
    assert set(working.video_ids) - set(copy.video_ids) == {"waiting"}
    assert copy.features == working.features
    read = 0
    for name in LENGTHS:
        assert copy.length(name) == working.length(name) == LENGTHS[name]
        np.testing.assert_array_equal(copy.pts(name), working.pts(name))
        np.testing.assert_equal(copy.duration(name), working.duration(name))
        assert copy.audio_extent(name) == working.audio_extent(name)
        for feature in FEATURES:
            assert copy.status(name, feature) == working.status(name, feature)
            if copy.status(name, feature) == Status.OK:
                values = copy.read(name, feature)
                assert values.dtype == np.float16
                np.testing.assert_array_equal(values, working.read(name, feature))
                read += 1
    assert read == 3 * 3 + 2 + 2 + 1
    assert copy.status("bad", "clip/frame") == Status.FAILED
    assert copy.status("silent", "vggish/audio") == Status.ABSENT
    assert copy.status("c", "clip/patch") == Status.PENDING
    assert copy.recipe("clip/frame") == working.recipe("clip/frame")


def test_all_warnings_are_in_the_one_record(tmp_path):
    path = make_store(tmp_path / "S", {"a": 3}).path
    with Lock.acquire(path, "second") as lock:
        store = Store.open(path, lock)
        for spec in SPECS:
            warned = {"warnings": [spec.name], "packets": 7}
            store.commit([replace(failure("a", 0, (spec,)), report=warned)])
    pack(path, tmp_path / "P")
    assert open_store(tmp_path / "P").warnings("a") == tuple(spec.name for spec in SPECS)


def test_texts_read_the_same(original, made):
    working, copy = open_store(original), open_store(made.out)
    assert copy.texts == working.texts == tuple(named(3))
    for spec in TEXT_SPECS:
        rows = copy.read_texts(named(3)[::-1], spec.name)
        np.testing.assert_array_equal(rows, working.read_texts(named(3)[::-1], spec.name))
    assert copy.eot(named(3)[1]) == working.eot(named(3)[1])


def test_inside_are_the_chunks_of_the_working_store(original, made):
    """Zarr's own reading of the index leads to the same bytes."""
    rows = Store.open(original).rows()
    left = {p.name for p in (made.out / "features.zarr/clip/frame").glob("c.*")}
    for block, names in enumerate((("a", "long"), ("b", "silent"), ("bad", "c"), ("half",))):
        for chunk in range(9):
            held = [-(-LENGTHS[name] // 5) > chunk for name in names]
            path = made.out / f"features.zarr/clip/frame/c.{block}.{chunk}.0"
            if not any(held):
                assert not path.exists()
                continue
            left.remove(path.name)
            data = path.read_bytes()
            assert int.from_bytes(data[-4:], "little") == google_crc32c.value(data[-36:-4])
            index = np.frombuffer(data[-36:-4], "<u8").reshape(2, 2).tolist()
            for number, name in enumerate(names):
                offset, size = index[number]
                if held[number]:
                    chunk_file = chunk_path(
                        original / "features.zarr", "clip/frame", rows[name], chunk, 1
                    )
                    assert data[offset : offset + size] == chunk_file.read_bytes()
                else:
                    assert offset == size == 2**64 - 1
    assert not left
    array = zarr.open_array(made.out / "features.zarr/clip/frame", mode="r")
    assert (array.shape, array.shards, array.chunks) == ((7, 45, 8), (2, 5, 8), (1, 5, 8))
    assert np.isnan(array[4]).all()  # bad


def test_report_and_status_say_what_was_done(original, made):
    assert (made.videos, made.deleted, made.unfinished, made.partly) == (7, 1, 1, 2)
    lines = made.lines()
    assert lines[0] == (
        f"packed {str(original)!r} into {str(made.out)!r}: 7 videos, read back and equal"
    )
    assert lines[1].startswith(f"files {made.files[0]} -> {made.files[1]}, ")
    assert lines[2:] == [
        "left out: 1 deleted videos, 1 not begun",
        "videos with a feature that is pending, here too: 2",
    ]
    files = [p for p in (made.out / "features.zarr").rglob("*") if p.is_file()]
    assert made.files[1] == len(files)
    assert made.n_bytes[1] == sum(p.stat().st_size for p in files)
    assert {p.name for p in made.out.iterdir()} == {"features.zarr", "ledger"}
    text = summary(made.out).lines()
    assert text[0].endswith(": 7 videos, chunks of 5 s; a packed copy, read-only")
    assert re.search(r"^clip/patch +4 +2 +1 +0 +0 +64 ", "\n".join(text), re.MULTILINE)
    assert text[-1] == "failed: 'bad' all features: corrupt: no frame"


def test_fewer_files(tmp_path, monkeypatch):
    monkeypatch.setattr(packing, "videos_per_shard", videos_per_shard)
    path = make_store(tmp_path / "S", {f"v{k}": 4 for k in range(12)}).path
    report = pack(path, tmp_path / "P")
    for spec in SPECS:
        folder = tmp_path / "P/features.zarr" / spec.name
        assert len(list(folder.glob("c.*"))) == 1
    assert report.files[0] - report.files[1] == 11 * 3


def test_same_store_same_bytes(original, made, tmp_path):
    pack(original, tmp_path / "again")
    assert store_bytes(tmp_path / "again") == store_bytes(made.out)


def test_xarray_reads_it(original, made):
    names = {"group": "clip", "consolidated": False}
    with (
        xarray.open_zarr(made.out / "features.zarr", **names) as copy,
        xarray.open_zarr(original / "features.zarr", **names) as working,
    ):
        # The texts' features are in the same group.
        assert set(copy.data_vars) == {"frame", "patch", "sentence", "word"}
        assert copy["patch"].dims == ("video", "second", "position", "channel")
        np.testing.assert_array_equal(copy["patch"][1], working["patch"][2])
        np.testing.assert_array_equal(copy["word"], working["word"])


def total(store):
    return os.getpid(), float(store.read("long", "clip/frame").astype("f8").sum())


def test_spawned_and_forked_processes_read_after_the_parent_did(made):
    store = open_store(made.out)
    here, expected = total(store)
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        there, found = pool.submit(total, store).result(timeout=60)
    assert there != here
    assert found == expected
    receive, send = os.pipe()
    with warnings.catch_warnings():
        # Python 3.12 warns of any fork with threads; that it works here is what is tested.
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if child == 0:
        os.write(send, str(total(store)[1]).encode())
        os._exit(0)
    os.waitpid(child, 0)
    assert float(os.read(receive, 100)) == expected
    os.close(receive)
    os.close(send)


@given(seconds=st.integers(1, 4000), size=st.integers(1, 10**11))
def test_shards_stay_of_one_size(seconds, size):
    videos = videos_per_shard(seconds, size)
    assert videos >= 1
    assert videos & (videos - 1) == 0
    assert videos == 1 or videos * size <= 10**9
    # No fewer than asked for unless it would be too much, no more unless it is too little.
    assert videos * 2 * seconds > 64 * 60 or videos * 2 * size > 10**9
    assert videos * seconds <= 64 * 60 or videos == 1 or videos // 2 * size < 50_000_000


def test_shards_of_the_known_features():
    sizes = {"frame": 512, "patch": 49 * 512, "map": 14 * 14 * 512, "audio": 128}
    minute = {name: videos_per_shard(60, 60 * 2 * size) for name, size in sizes.items()}
    ten = {name: videos_per_shard(10, 10 * 2 * size) for name, size in sizes.items()}
    assert minute == {"frame": 1024, "patch": 64, "map": 64, "audio": 1024}
    assert ten == {"frame": 1024, "patch": 256, "map": 256, "audio": 1024}


def flip_chunk(packed):
    damage(packed / "features.zarr/clip/frame/c.0.1.0")


def flip_index(packed):
    damage(packed / "features.zarr/clip/frame/c.0.1.0", -20)


def truncate(packed):
    path = packed / "features.zarr/clip/frame/c.0.1.0"
    path.write_bytes(path.read_bytes()[:50])


def remove(packed):
    (packed / "features.zarr/clip/frame/c.0.1.0").unlink()


def exchange(packed):
    """Audio shards in each other's place."""
    folder = packed / "features.zarr/clip/frame"
    (folder / "c.0.3.0").replace(folder / "aside")
    (folder / "c.0.4.0").replace(folder / "c.0.3.0")
    (folder / "aside").replace(folder / "c.0.4.0")


def add(packed):
    (packed / "features.zarr/clip/frame/c.7.0.0").write_bytes(b"more")


@pytest.mark.parametrize(
    ("harm", "found", "by_size"),
    [
        (flip_chunk, ["crc: clip/frame video='a' row=0: chunk=1: does not decode: Stored"], False),
        (flip_index, ["crc: clip/frame: shard c.0.1.0 of 2 videos: its index is damaged"], False),
        (truncate, ["size: clip/frame: shard c.0.1.0 of 2 videos: 50 bytes, ledger says"], True),
        (remove, ["missing: clip/frame: shard c.0.1.0 of 2 videos: no object"], True),
        (
            exchange,
            [
                "crc: clip/frame video='long' row=1: chunk=3: checksum ",
                "crc: clip/frame video='long' row=1: chunk=4: checksum ",
            ],
            False,
        ),
        (add, ["foreign: clip/frame: c.7.0.0: not of this packed copy"], True),
    ],
)
def test_verify_finds_damage(packed, harm, found, by_size):
    assert verify(packed).problems == []
    harm(packed)
    problems = [str(problem) for problem in verify(packed).problems]
    assert len(problems) == len(found)
    for problem, text in zip(problems, found, strict=True):
        assert problem.startswith(text)
    assert len(verify(packed, "size").problems) == (len(found) if by_size else 0)
    with pytest.raises(StoreError, match="is a packed copy, which never changes; expected a wor"):
        verify(packed, repair=True)


def test_verify_finds_any_flipped_bit(packed):
    """One bit of every file, at a place drawn at random."""
    draw = random.Random(0)
    files = sorted(p for p in packed.rglob("c.*") if p.is_file())
    assert len(files) > 60
    for file in draw.sample(files, 12):
        good = file.read_bytes()
        damage(file, draw.randrange(len(good)))
        assert verify(packed).problems, file
        file.write_bytes(good)
    assert verify(packed).problems == []


def test_values_are_checked_too(packed):
    """A valid chunk whose record is right, but that is not what a chunk may hold."""
    folder = packed / "features.zarr/clip/frame"
    values = np.full((5, 8), np.nan, "<f2")
    chunk = values.tobytes() + google_crc32c.value(values.tobytes()).to_bytes(4, "little")
    crc = int.from_bytes(chunk[-4:], "little")
    (ledger,) = packed.glob("ledger/*/*.jsonl")
    records = [json.loads(line) for line in ledger.read_text(encoding="utf-8").splitlines()]
    records[1]["features"][0]["chunks"][8] = [len(chunk), crc]
    ledger.write_text("".join(json.dumps(plain) + "\n" for plain in records), encoding="utf-8")
    shard = Shard(0, 8, SHARD_VIDEOS, ((1, ChunkRecord(len(chunk), crc)),))
    (folder / "c.0.8.0").write_bytes(chunk + shard.index())
    assert [str(problem) for problem in verify(packed).problems] == [
        "not_finite: clip/frame video='long' row=1: chunk=8: NaN or infinity in the first 2 seconds"
    ]


@pytest.mark.parametrize("harm", [flip_chunk, flip_index, truncate, remove])
def test_readers_refuse_damage(packed, harm):
    harm(packed)
    with pytest.raises(StoreError, match="video 'a': clip/frame .*; fetch this packed copy again"):
        open_store(packed).read("a", "clip/frame")
    assert open_store(packed).read("b", "clip/frame").shape == (3, 8)


def test_what_is_not_there_says_what_to_do(made):
    reader = open_store(made.out)
    for name, state in (("bad", "failed"), ("half", "pending")):
        with pytest.raises(FeatureMissing) as caught:
            reader.read(name, "clip/patch")
        assert str(caught.value) == (
            f"video {name!r}: clip/patch is {state}; expected ok; see `avqa status {made.out}`;"
            " in a packed copy it stays so; finish the working store and `avqa pack` it again"
        )
    with pytest.raises(FeatureMissing, match="is absent; expected ok; the video has no such"):
        reader.read("silent", "vggish/audio")


def test_nobody_writes_to_a_packed_copy(packed):
    before = sorted(packed.rglob("*"))
    with pytest.raises(StoreError, match="is a packed copy, which never changes") as caught:
        Lock.acquire(packed, "run")
    assert caught.value.exit_code == 4
    assert str(caught.value).endswith(
        "expected a working store; give the one that it was packed from, then pack that again"
        " with: avqa pack"
    )
    assert sorted(packed.rglob("*")) == before
