"""The driver's side: rows, growth, features, re-extraction, deletion, recipes, full disks."""

import csv
import errno
import os
import subprocess

import numpy as np
import pytest
import xarray
import zarr
from helpers.store.stored import (
    CHUNK_SECONDS,
    EXTRA,
    FEATURES,
    RECIPES,
    SPECS,
    add_videos,
    extract,
    failure,
    make_store,
    new_store,
    values_of,
)
from helpers.store.stores import store_bytes

from avqa.errors import RecipeMismatch, StorageFailure, StoreError, StoreNotFound, UnknownName
from avqa.store.checks.verify import verify
from avqa.store.commit import Store
from avqa.store.format import layout
from avqa.store.format.columns import Column
from avqa.store.format.records import Status
from avqa.store.format.schema import FeatureSpec
from avqa.store.lock import Lock
from avqa.store.places.files import LocalPath
from avqa.store.reader import FeatureStore
from avqa.store.writer import ChunkWriter

CLIPS = {"a": 3, "b": 5, "ünï ∞": 4}


def stored(path, video_id, spec):
    return FeatureStore(path).read(video_id, spec.name)


def expect(video_id, spec, seconds, version=0):
    return values_of(spec, video_id, seconds, version).astype(np.float16)


def test_long_videos_join_a_store_of_short_clips(tmp_path):
    path = make_store(tmp_path / "S", CLIPS).path
    with Lock.acquire(path, "second") as lock:
        store = Store.open(path, lock)
        add_videos(store, {"minute": 60, "long": 420})
    reader = FeatureStore(path)
    for video_id, seconds in {**CLIPS, "minute": 60, "long": 420}.items():
        for spec in SPECS:
            values = reader.read(video_id, spec.name)
            np.testing.assert_array_equal(values, expect(video_id, spec, seconds))
        np.testing.assert_array_equal(reader.pts(video_id), np.arange(seconds) + 0.5)
        assert reader.length(video_id) == seconds
    shapes = {zarr.open_array(path / "features.zarr" / f).shape[:2] for f in FEATURES}
    assert shapes == {(5, 420)}
    assert zarr.open_array(path / "features.zarr/index/pts").shape == (5, 420)
    assert verify(path).problems == []


def test_xarray_shows_every_feature_as_data(tmp_path):
    path = make_store(tmp_path / "S", CLIPS).path
    root = path / "features.zarr"
    clip = xarray.open_zarr(root, group="clip", consolidated=False)
    assert set(clip.data_vars) == {"frame", "patch"}
    assert clip["patch"].dims == ("video", "second", "position", "channel")
    np.testing.assert_array_equal(clip["frame"][1].values, expect("b", SPECS[0], 5))
    index = xarray.open_zarr(root, group="index", consolidated=False)
    names = {"video_id", "duration", "pts", "audio_start", "audio_end", "row_flags"}
    assert set(index.data_vars) == names
    assert index["video_id"].values.tolist() == list(CLIPS)
    status = xarray.open_zarr(root, group="status/vggish", consolidated=False)
    assert status["audio"].values.tolist() == [1, 1, 1]


def test_taps_of_an_encoder_agree_on_the_size_of_a_dimension(tmp_path):
    path = make_store(tmp_path / "S", CLIPS).path
    other = FeatureSpec("clip/token", (4,), ("channel",), False)
    with Lock.acquire(path, "second") as lock:
        with pytest.raises(ValueError, match="clip/token: channel=4, but channel=8 in clip/frame"):
            Store.open(path, lock).add_features([other], {other.name: {}})
    assert Store.open(path).features() == FEATURES


def test_ids_of_any_length(tmp_path):
    long = "é" * 700
    path = make_store(tmp_path / "S", {"a": 1, long: 2}).path
    assert Store.open(path).rows() == {"a": 0, long: 1}


@pytest.mark.parametrize("name", ["", "a\udcff"])
def test_ids_that_cannot_be_stored_are_refused(tmp_path, name):
    with Lock.acquire(tmp_path / "S", "run") as lock:
        with pytest.raises(ValueError, match="must be valid text and not empty"):
            new_store(tmp_path / "S", lock).add_rows([name])


def test_rows_are_kept_and_appended(tmp_path):
    path = make_store(tmp_path / "S", CLIPS).path
    with Lock.acquire(path, "second") as lock:
        assert Store.open(path, lock).add_rows(["b", "new", "b"]) == {"b": 1, "new": 3}
    assert Store.open(path).rows() == {"a": 0, "b": 1, "ünï ∞": 2, "new": 3}
    assert Store.open(path).status("clip/frame").tolist() == [1, 1, 1, 0]


def test_rows_beyond_the_first_chunk_of_the_columns(tmp_path, monkeypatch):
    monkeypatch.setattr("avqa.store.format.schema.CAPACITY", 2)
    path = make_store(tmp_path / "S", {"a": 1, "b": 2, "c": 3, "d": 4, "e": 5}).path
    store = Store.open(path)
    assert list(store.rows()) == ["a", "b", "c", "d", "e"]
    assert store.length("clip/frame").tolist() == [1, 2, 3, 4, 5]
    assert (path / "features.zarr/index/video_id/c.2").exists()


def test_a_commit_writes_the_chunks_of_the_columns_that_it_touched(tmp_path, monkeypatch):
    monkeypatch.setattr("avqa.store.format.schema.CAPACITY", 2)
    path = make_store(tmp_path / "S", {"a": 1, "b": 2, "c": 3, "d": 4, "e": 6}).path
    columns = [f"features.zarr/{name}" for name in ("status", "length", "index")]

    def written():
        files = [file for name in columns for file in (path / name).rglob("c.?")]
        return {str(file.relative_to(path)): os.stat(file).st_ino for file in files}

    before = written()
    with Lock.acquire(path, "second") as lock:
        store, writer = Store.open(path, lock), ChunkWriter(path, SPECS, CHUNK_SECONDS)
        store.commit([extract(writer, "c", 2, 9, version=1)])
    changed = {name for name, inode in written().items() if before.get(name) != inode}
    assert len(changed) > len(SPECS)  # a status and a length of each, and the index
    assert {name.rpartition("/c.")[2] for name in changed} == {"1"}


def test_new_feature_leaves_other_arrays_alone(tmp_path):
    path = make_store(tmp_path / "S", CLIPS).path
    before = store_bytes(path)
    with Lock.acquire(path, "second") as lock:
        store = Store.open(path, lock)
        store.add_features([EXTRA], {EXTRA.name: RECIPES[EXTRA.name]})
        assert store.status(EXTRA.name).tolist() == [0, 0, 0]
        writer = ChunkWriter(path, [EXTRA], CHUNK_SECONDS)
        store.commit([extract(writer, "b", 1, 5, (EXTRA,))])
        with pytest.raises(StoreError, match=f"has features={EXTRA.name} already; expected new"):
            store.add_features([EXTRA], {EXTRA.name: RECIPES[EXTRA.name]})
    after = store_bytes(path)
    changed = {name for name in before if after[name] != before[name]}
    assert changed == {"zarr.json"}
    store = Store.open(path)
    assert store.features() == (*FEATURES[:2], EXTRA.name, FEATURES[2])
    assert store.status(EXTRA.name).tolist() == [0, 1, 0]
    assert store.recipes()[EXTRA.name] == RECIPES[EXTRA.name]
    np.testing.assert_array_equal(stored(path, "b", EXTRA), expect("b", EXTRA, 5))


def test_a_failed_new_feature_keeps_what_is_known_of_the_video(tmp_path):
    path = make_store(tmp_path / "S", CLIPS).path
    with Lock.acquire(path, "second") as lock:
        store = Store.open(path, lock)
        store.add_features([EXTRA], {EXTRA.name: RECIPES[EXTRA.name]})
        store.commit([failure("b", 1, (EXTRA,))])
    reader = FeatureStore(path)
    assert reader.status("b", EXTRA.name) == Status.FAILED
    assert reader.duration("b") == 5
    assert reader.pts("b").tolist() == [0.5, 1.5, 2.5, 3.5, 4.5]
    assert reader.audio_extent("b") == (0.25, 4.75)


@pytest.mark.parametrize(("old", "new"), [(12, 3), (3, 12), (12, 12)])
def test_extracting_again_leaves_what_a_first_extraction_would(tmp_path, old, new):
    path = make_store(tmp_path / "S", {"x": 4, "a": old, "long": 12}).path
    with Lock.acquire(path, "second") as lock:
        add_videos(Store.open(path, lock), {"a": new}, version=1)
    np.testing.assert_array_equal(stored(path, "a", SPECS[0]), expect("a", SPECS[0], new, 1))
    with Lock.acquire(tmp_path / "fresh", "first") as lock:
        store = new_store(tmp_path / "fresh", lock)
        store.add_rows(["x", "a", "long"])
        add_videos(store, {"x": 4})
        add_videos(store, {"a": new}, version=1)
        add_videos(store, {"long": 12})
    assert store_bytes(path) == store_bytes(tmp_path / "fresh")
    assert Store.open(path).fingerprints()[1].size == 1001


def test_failure_after_success_removes_the_old_objects(tmp_path):
    path = make_store(tmp_path / "S", {"a": 12, "b": 3}).path
    with Lock.acquire(path, "second") as lock:
        store = Store.open(path, lock)
        store.commit([failure("a", 0)])
        report = store.write_report([failure("a", 0)])
    names = [p.name for p in (path / "features.zarr/clip/frame").glob("c.*")]
    assert names == ["c.1.0.0"]
    assert Store.open(path).length("clip/frame").tolist() == [0, 3]
    assert np.isnan(FeatureStore(path).duration("a"))
    assert verify(path).problems == []
    rows = list(csv.DictReader(report.read_text(encoding="utf-8").splitlines()))
    assert [(r["video_id"], r["feature"], r["reason"]) for r in rows] == [
        ("a", feature, "corrupt") for feature in FEATURES
    ]
    assert report.name == "second-failures.csv"


def test_pending_is_on_disk_when_the_call_returns(tmp_path):
    path = make_store(tmp_path / "S", CLIPS).path
    with Lock.acquire(path, "second") as lock:
        Store.open(path, lock).set_pending([(1, "clip/frame"), (2, "vggish/audio")])
        assert Store.open(path).status("clip/frame").tolist() == [1, 0, 1]
        assert Store.open(path).status("vggish/audio").tolist() == [1, 1, 0]
        assert Store.open(path).status("clip/patch").tolist() == [1, 1, 1]


def test_delete(tmp_path):
    path = make_store(tmp_path / "S", {"a": 12, "b": 3}).path
    with Lock.acquire(path, "second") as lock:
        store = Store.open(path, lock)
        with pytest.raises(UnknownName, match="no video 'bb' in store .* did you mean 'b'"):
            store.delete(["bb"])
        store.delete(["a"])
        assert store.status("clip/patch").tolist() == [3, 1]
    assert FeatureStore(path).video_ids == ("b",)
    assert not list((path / "features.zarr/clip/frame").glob("c.0.*"))
    assert verify(path).problems == []


def test_other_recipe_is_refused_with_every_key(tmp_path):
    store = make_store(tmp_path / "S", {"a": 1})
    asked = {name: {**RECIPES[name]} for name in (FEATURES[0], FEATURES[2], EXTRA.name)}
    store.check_recipes(asked, shared=("grid",))
    for name in asked:
        asked[name]["grid"] = {"frame_at": "start", "chunk_seconds": CHUNK_SECONDS}
    asked[FEATURES[2]]["encoder"] = {"name": "other"}
    with pytest.raises(RecipeMismatch) as caught:
        store.check_recipes(asked, shared=("grid",))
    text = str(caught.value)
    everywhere = f"({FEATURES[0]}, {FEATURES[2]}, {EXTRA.name})"
    assert f'grid.frame_at: store="mid" asked="start" {everywhere}' in text
    assert f'encoder.name: store="vggish/audio" asked="other" ({FEATURES[2]})' in text


def test_messages_of_opening(tmp_path):
    with pytest.raises(StoreNotFound, match=r"no store at '.*nowhere'; expected a folder"):
        Store.open(tmp_path / "nowhere")
    path = make_store(tmp_path / "S", {"a": 1}).path
    with Lock.acquire(path, "x") as lock:
        with pytest.raises(StoreError, match="exists; expected none"):
            new_store(path, lock)
    with pytest.raises(UnknownName, match="no feature 'clip/fram'; did you mean 'clip/frame'"):
        Store.open(path).status("clip/fram")
    file = path / "features.zarr/zarr.json"
    file.write_text(
        file.read_text(encoding="utf-8").replace("avqa.features/1", "avqa.features/9"),
        encoding="utf-8",
    )
    with pytest.raises(StoreError, match="has schema='avqa.features/9'; expected"):
        Store.open(path)


def test_records_that_do_not_fit_are_refused_before_anything_is_written(tmp_path):
    path = make_store(tmp_path / "S", {"a": 3, "b": 3}).path
    with Lock.acquire(path, "second") as lock:
        store = Store.open(path, lock)
        before = store_bytes(path)
        with pytest.raises(ValueError, match="row=1 is not that of video 'a'"):
            store.commit([failure("b", 1), failure("a", 1)])
        assert store_bytes(path) == before
        assert store.ledger.last == 2


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EROFS, errno.ESTALE])
def test_a_heartbeat_that_cannot_be_written_is_a_storage_failure(tmp_path, monkeypatch, code):
    path = make_store(tmp_path / "S", {"a": 3}).path
    with Lock.acquire(path, "second") as lock:
        store = Store.open(path, lock)

        def refuse(*args, **kwargs):
            raise OSError(code, os.strerror(code))

        monkeypatch.setattr(LocalPath, "write_json", refuse)
        for beat in (lambda: store.commit([]), store.heartbeat):
            with pytest.raises(StorageFailure, match=errno.errorcode[code]):
                beat()


def test_an_empty_commit_on_a_full_disk_uses_the_reserve_and_says_so(tmp_path, monkeypatch):
    path = make_store(tmp_path / "S", {"a": 3}).path
    with Lock.acquire(path, "second") as lock:
        store = Store.open(path, lock)
        layout.allocate_reserve(path)
        monkeypatch.setattr(LocalPath, "write_json", until_freed(path))
        with pytest.raises(StorageFailure, match="ENOSPC; disk or quota is full"):
            store.commit([])
        store.commit([])


def test_a_reserve_that_a_kill_cut_short_is_filled_up(tmp_path):
    path = make_store(tmp_path / "S", {"a": 3}).path
    os.truncate(path / layout.RESERVE, 4096)
    layout.allocate_reserve(path)
    assert (path / layout.RESERVE).stat().st_size == layout.RESERVE_BYTES


def test_nothing_is_ok_before_its_length_is_on_the_disk(tmp_path, monkeypatch):
    """Repeated when the reserve is freed, and failing again: the second try flushed the status."""
    path = make_store(tmp_path / "S", {"a": 3, "b": 12}).path
    flush, full = Column.flush, [True]

    def refuse_lengths(column, **options):
        if full and column.name.startswith("length/"):
            raise OSError(errno.ENOSPC, "full")
        flush(column, **options)

    with Lock.acquire(path, "second") as lock:
        store = Store.open(path, lock)
        store.set_pending([(1, spec.name) for spec in SPECS])
        writer = ChunkWriter(path, SPECS, CHUNK_SECONDS)
        records = [extract(writer, "b", 1, 5, version=1)]
        monkeypatch.setattr(Column, "flush", refuse_lengths)
        for _ in range(2):
            with pytest.raises(StorageFailure, match="ENOSPC"):
                store.commit(records)
        reader = FeatureStore(path)
        assert {reader.status("b", spec.name) for spec in SPECS} == {Status.PENDING}
        full.clear()
        with pytest.raises(StorageFailure, match="ENOSPC"):
            store.commit(records)  # it is committed, and said that the reserve is spent
    assert verify(path).problems == []  # also none of the objects that it had more before
    assert FeatureStore(path).length("b") == 5


def until_freed(path):
    def write(*args, **kwargs):
        if (path / layout.RESERVE).exists():
            raise OSError(errno.ENOSPC, "full")

    return write


def test_a_passing_error_of_the_fence_is_tried_again(tmp_path, monkeypatch):
    path = make_store(tmp_path / "S", {"a": 3}).path
    with Lock.acquire(path, "second") as lock:
        store = Store.open(path, lock)
        check, left = lock.check, [errno.ESTALE, errno.EIO]

        def stale():
            if left:
                raise OSError(left.pop(), "passing")
            check()

        monkeypatch.setattr(lock, "check", stale)
        store.commit([])
        assert not left


def test_a_damaged_run_file_is_named_and_the_ledger_read_again(tmp_path):
    path = make_store(tmp_path / "S", {"a": 3, "b": 5}).path
    good = store_bytes(path)
    for name, content in {"first": "{half", "list": "[]", "other": "{}"}.items():
        (path / f"runs/{name}.json").write_text(content, encoding="utf-8")
    runs = {run["run_id"]: run["state"] for run in Store.open(path).runs.all()}
    assert runs == {"first": "damaged", "list": "damaged", "other": "damaged"}
    with Lock.acquire(path, "second") as lock:
        store = Store.open(path, lock)
        assert store.recover().replayed == 2
        assert store.recover().replayed == 0
    assert store_bytes(path) == good


def test_after_a_damaged_run_file_old_rows_are_checked_too(tmp_path):
    """Its checkpoint is lost, so rows that an unfinished run made pending are replayed as ok."""
    path = make_store(tmp_path / "S", {"a": 3, "b": 5}).path
    with Lock.acquire(path, "second") as lock:
        store = Store.open(path, lock)
        store.set_pending([(0, "clip/frame")])
        ChunkWriter(path, SPECS, CHUNK_SECONDS).write("clip/frame", 0, 0, np.ones((2, 8)))
    old = path / "ledger/first/000001.jsonl"
    os.utime(old, (old.stat().st_mtime - 5000,) * 2)
    (path / "runs/first.json").write_text("", encoding="utf-8")
    with Lock.acquire(path, "third") as lock:
        store = Store.open(path, lock)
        assert store.recover().bad == [(0, "clip/frame")]
        assert store.status("clip/frame").tolist() == [0, 1]


@pytest.fixture
def small_disk(tmp_path, monkeypatch):
    """An 8 MB file system that can really be full."""
    monkeypatch.setattr(layout, "RESERVE_BYTES", 2**20)
    mount = tmp_path / "small"
    mount.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(mount)]
    if os.geteuid() != 0 or subprocess.run(command, capture_output=True).returncode != 0:
        pytest.skip("mounting a small tmpfs needs root")
    yield mount
    subprocess.run(["umount", str(mount)], check=True)


def test_full_disk_keeps_everything_and_commits_with_the_reserve(small_disk):
    path = small_disk / "S"
    with Lock.acquire(path, "first") as lock:
        store = new_store(path, lock)
        add_videos(store, {"a": 5})
        rows = store.add_rows(["b", "c"])
        writer = ChunkWriter(path, SPECS, CHUNK_SECONDS)
        done = extract(writer, "b", rows["b"], 5)
        fill(small_disk / "other")
        with pytest.raises(StorageFailure, match="disk or quota is full"):
            extract(writer, "c", rows["c"], 5)
        with pytest.raises(StorageFailure, match="nothing stored is lost"):
            store.commit([done])
        assert not (path / layout.RESERVE).exists()
    (small_disk / "other").unlink()
    with Lock.acquire(path, "second") as lock:
        store = Store.open(path, lock)
        store.recover()
        assert store.status("clip/frame").tolist() == [1, 1, 0]
        assert (path / layout.RESERVE).stat().st_size == 2**20
    np.testing.assert_array_equal(stored(path, "b", SPECS[0]), expect("b", SPECS[0], 5))
    assert verify(path).problems == []
    assert not list(path.rglob("*.partial"))


def fill(path):
    """Take the last byte of the disk."""
    with path.open("wb", buffering=0) as file:
        while not is_full(file):
            pass


def is_full(file):
    try:
        file.write(bytes(4096))
    except OSError as error:
        return error.errno == errno.ENOSPC
    return False


def test_read_only_folder(small_disk):
    path = make_store(small_disk / "S", {"a": 5}).path
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    try:
        with pytest.raises(StorageFailure, match="EROFS; the folder is not writable"):
            Lock.acquire(path, "second")
        with pytest.raises(StorageFailure, match="EROFS"):
            Lock.acquire(small_disk / "new", "second")
        writer = ChunkWriter(path, SPECS, CHUNK_SECONDS)
        with pytest.raises(StorageFailure, match="EROFS"):
            extract(writer, "a", 0, 5)
        assert stored(path, "a", SPECS[0]).shape == (5, 8)
        assert verify(path).problems == []
    finally:
        subprocess.run(["mount", "-o", "remount,rw", str(small_disk)], check=True)


def test_store_of_float32(tmp_path):
    spec = FeatureSpec("clip/frame", (8,), ("channel",), False, "float32")
    with Lock.acquire(tmp_path / "S", "run") as lock:
        recipes = {"clip/frame": RECIPES["clip/frame"]}
        store = Store.create(tmp_path / "S", recipes, [spec], CHUNK_SECONDS, lock=lock)
        rows = store.add_rows(["a"])
        writer = ChunkWriter(tmp_path / "S", [spec], CHUNK_SECONDS)
        store.commit([extract(writer, "a", rows["a"], 7, (spec,))])
    values = stored(tmp_path / "S", "a", spec)
    np.testing.assert_array_equal(values, values_of(spec, "a", 7))
    assert values.dtype == np.float32
