"""Chunk objects: content, padding, refusals, errors of the disk."""

import errno
import os
import struct

import google_crc32c
import numpy as np
import pytest
import zarr
from helpers.store.stored import CHUNK_SECONDS, RECIPES, SPECS, make_store, new_store

from avqa.errors import MediaError, StorageFailure, StoreError
from avqa.store.commit import Store
from avqa.store.format.schema import FeatureSpec, bytes_needed, check_spec, num_chunks
from avqa.store.lock import Lock
from avqa.store.writer import ChunkWriter


@pytest.fixture
def store(tmp_path):
    with Lock.acquire(tmp_path / "S", "run") as lock:
        new_store(tmp_path / "S", lock).add_rows(["a", "b"])
    return tmp_path / "S"


@pytest.fixture
def writer(store):
    return ChunkWriter(store, SPECS, CHUNK_SECONDS)


def test_dense_object_is_float16_padded_and_checksummed(store, writer):
    values = np.linspace(-2, 2, 24, dtype=np.float32).reshape(3, 8)
    record = writer.write("clip/frame", 1, 0, values)
    raw = (store / "features.zarr/clip/frame/c.1.0.0").read_bytes()
    body = np.zeros((CHUNK_SECONDS, 8), "<f2")
    body[:3] = values
    assert raw[:-4] == body.tobytes()
    assert struct.unpack("<I", raw[-4:])[0] == google_crc32c.value(body.tobytes())
    assert (record.n_bytes, record.crc32c) == (len(raw), struct.unpack("<I", raw[-4:])[0])


def test_sparse_object_is_compressed_and_reads_back(store, writer):
    values = np.zeros((CHUNK_SECONDS, 6), np.float32)
    values[2, 3] = 1.5
    record = writer.write("vggish/audio", 0, 0, values)
    assert record.n_bytes < CHUNK_SECONDS * 6 * 2
    array = zarr.open_array(store / "features.zarr/vggish/audio", mode="r")
    np.testing.assert_array_equal(array[0], values)


def test_all_zero_chunk_exists(store, writer):
    writer.write("clip/frame", 0, 0, np.zeros((CHUNK_SECONDS, 8), np.float32))
    assert (store / "features.zarr/clip/frame/c.0.0.0").exists()


def test_rows_and_seconds_beyond_the_shape_become_readable_when_the_array_grows(store, writer):
    values = np.full((2, 3, 8), 7, np.float16)
    writer.write("clip/patch", 40, 9, values)
    metadata = (store / "features.zarr/clip/patch/zarr.json").read_text(encoding="utf-8")
    assert '"shape": [\n    2,\n    5,' in metadata
    array = zarr.open_array(store / "features.zarr/clip/patch", mode="r+")
    array.resize((41, 50, 3, 8))
    np.testing.assert_array_equal(array[40, 45:47], values)
    np.testing.assert_array_equal(array[40, 47:], 0)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_not_finite_is_refused(store, writer, bad):
    values = np.ones((2, 8), np.float32)
    values[1, 3] = bad
    with pytest.raises(MediaError, match="NaN or infinity .*; expected finite values; ") as caught:
        writer.write("clip/frame", 0, 0, values)
    assert (caught.value.reason, caught.value.stage) == ("not_finite", "write")
    assert not (store / "features.zarr/clip/frame/c.0.0.0").exists()


def test_overflow_is_refused_at_the_limit(writer):
    writer.write("clip/frame", 0, 0, np.full((1, 8), -65504, np.float32))
    with pytest.raises(MediaError, match=r"largest=65505 does not fit float16 .* --dtype float32"):
        writer.write("clip/frame", 0, 0, np.full((1, 8), -65505, np.float32))


def test_float32_store_keeps_large_values(tmp_path):
    spec = FeatureSpec("clip/frame", (8,), ("channel",), False, "float32")
    with Lock.acquire(tmp_path / "S", "run") as lock:
        recipes = {"clip/frame": RECIPES["clip/frame"]}
        Store.create(tmp_path / "S", recipes, [spec], CHUNK_SECONDS, lock=lock).add_rows(["a"])
    writer = ChunkWriter(tmp_path / "S", [spec], CHUNK_SECONDS)
    writer.write("clip/frame", 0, 0, np.full((1, 8), 1e30, np.float32))
    array = zarr.open_array(tmp_path / "S/features.zarr/clip/frame", mode="r")
    assert array[0, 0, 0] == np.float32(1e30)


@pytest.mark.parametrize("shape", [(0, 8), (6, 8), (2, 7)])
def test_wrong_shapes_are_refused(writer, shape):
    with pytest.raises(ValueError, match=r"clip/frame: values must be .* got shape="):
        writer.write("clip/frame", 0, 0, np.zeros(shape, np.float32))


def test_writer_for_other_shapes_is_refused(store):
    with pytest.raises(StoreError, match=r"chunks=\(1, 5, 8\).*expected chunks=\(1, 6, 8\)"):
        ChunkWriter(store, SPECS[:1], 6)


def test_trim_removes_only_later_chunks_of_this_row_past_a_gap(store, writer):
    values = np.ones((CHUNK_SECONDS, 8), np.float32)
    for row in (0, 1):
        for chunk in range(4):
            writer.write("clip/frame", row, chunk, values)
    folder = store / "features.zarr/clip/frame"
    writer.trim("clip/frame", 0, 2)
    names = sorted(p.name for p in folder.glob("c.*"))
    assert names == ["c.0.0.0", "c.0.1.0", *(f"c.1.{k}.0" for k in range(4))]
    writer.trim("clip/frame", 1, 0)
    assert sorted(p.name for p in folder.glob("c.*")) == ["c.0.0.0", "c.0.1.0"]


def failing(monkeypatch, code, times):
    """Make the rename that ends a write fail."""
    calls = []
    replace = os.replace

    def refuse(self, target):
        calls.append(target)
        if len(calls) <= times:
            raise OSError(code, os.strerror(code))
        replace(self, target)
        return target

    monkeypatch.setattr("pathlib.Path.replace", refuse)
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    return calls


@pytest.mark.parametrize(
    ("code", "text"),
    [
        (errno.ENOSPC, "ENOSPC; disk or quota is full; free space"),
        (errno.EDQUOT, "EDQUOT; disk or quota is full; free space"),
        (errno.EROFS, "EROFS; the folder is not writable; choose another --out"),
        (errno.EACCES, "EACCES; the folder is not writable"),
    ],
)
def test_a_refusing_disk_stops_the_run_at_once(monkeypatch, store, writer, code, text):
    calls = failing(monkeypatch, code, 9)
    with pytest.raises(StorageFailure, match=f"cannot write clip/frame row=0 chunk=0: {text}"):
        writer.write("clip/frame", 0, 0, np.ones((1, 8), np.float32))
    assert len(calls) == 1
    assert [p.name for p in (store / "features.zarr/clip/frame").iterdir()] == ["zarr.json"]


@pytest.mark.parametrize("code", [errno.EIO, errno.ESTALE])
def test_passing_errors_are_tried_three_times(monkeypatch, writer, code):
    calls = failing(monkeypatch, code, 2)
    assert writer.write("clip/frame", 0, 0, np.ones((1, 8), np.float32)).n_bytes == 84
    assert len(calls) == 3
    calls = failing(monkeypatch, code, 9)
    with pytest.raises(StorageFailure, match="failed 3 times; check the disk"):
        writer.write("clip/frame", 0, 0, np.ones((1, 8), np.float32))
    assert len(calls) == 3


@pytest.mark.parametrize(
    ("spec", "text"),
    [
        (FeatureSpec("frame", (8,), ("channel",), False), "<encoder>/<tap>"),
        (FeatureSpec("index/frame", (8,), ("channel",), False), "<encoder>/<tap>"),
        (FeatureSpec("clip/frame", (8, 2), ("channel",), False), "one name per axis"),
        (FeatureSpec("clip/frame", (8,), ("frame",), False), "dimension names must be new"),
        (FeatureSpec("clip/frame", (8,), ("second",), False), "dimension names must be new"),
    ],
)
def test_specs_that_xarray_would_not_show_are_refused(spec, text):
    with pytest.raises(ValueError, match=text):
        check_spec(spec)


def test_sizes():
    assert [num_chunks(n, 5) for n in (0, 1, 5, 6)] == [0, 1, 1, 2]
    # clip/frame 2 chunks x 5 s x 8 x 2 B, vggish half of 2 x 5 x 6 x 2.
    assert bytes_needed((SPECS[0], SPECS[2]), [4.6, 2.0], 5) == 160 + 60


def test_two_writers_make_the_same_bytes(tmp_path):
    from helpers.store.stores import store_bytes

    first = make_store(tmp_path / "A", {"x": 7, "y": 3})
    second = make_store(tmp_path / "B", {"x": 7, "y": 3})
    assert store_bytes(first.path) == store_bytes(second.path)
