"""Reading: values, refusals, warnings, other processes."""

import multiprocessing
import os
import pickle
import re
import warnings
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import pytest
from helpers.store.stored import (
    RECIPES,
    SPECS,
    add_videos,
    failure,
    make_store,
    new_store,
    record,
    values_of,
)

from avqa.errors import FeatureMissing, StoreError, StoreNotFound, UnknownName
from avqa.store.checks.summary import summary, warned
from avqa.store.checks.verify import verify
from avqa.store.commit import Store
from avqa.store.format.recipe_diff import recipe_hash
from avqa.store.format.records import FeatureRecord, Status
from avqa.store.lock import Lock
from avqa.store.reader import RandomWeightsWarning, has_random_weights, open_store

LENGTHS = {"a": 12, "b": 3}


@pytest.fixture
def path(tmp_path):
    return make_store(tmp_path / "S", LENGTHS).path


def test_reads_what_was_written_without_padding(path):
    store = open_store(path)
    assert store.video_ids == ("a", "b")
    assert store.features == tuple(sorted(spec.name for spec in SPECS))
    for name, seconds in LENGTHS.items():
        for spec in SPECS:
            values = store.read(name, spec.name)
            assert values.dtype == np.float16
            np.testing.assert_array_equal(values, values_of(spec, name, seconds).astype("f2"))
    assert store.pts("b").tolist() == [0.5, 1.5, 2.5]
    assert (store.duration("b"), store.length("b")) == (3, 3)
    assert store.audio_extent("a") == (0.25, 11.75)
    assert store.recipe("clip/frame") == RECIPES["clip/frame"]
    assert store.recipe_hash("clip/frame") == recipe_hash(RECIPES["clip/frame"])


def test_unknown_names(path, tmp_path):
    store = open_store(path)
    with pytest.raises(StoreNotFound, match="no store at"):
        open_store(tmp_path / "nothing")
    with pytest.raises(FileNotFoundError):
        open_store(tmp_path / "nothing")
    with pytest.raises(UnknownName, match="no video 'aa' in store '.*'; .*; did you mean 'a'"):
        store.read("aa", "clip/frame")
    with pytest.raises(LookupError, match="no video 'zzz' in store .*; `video_ids` lists them"):
        store.pts("zzz")
    with pytest.raises(UnknownName, match="no feature 'clip/pach'; did you mean 'clip/patch'"):
        store.read("a", "clip/pach")


def test_features_that_are_not_there_say_why_and_what_to_run(path):
    with Lock.acquire(path, "second") as lock:
        store = Store.open(path, lock)
        store.add_rows(["pending", "failed", "silent", "gone"])
        silent = FeatureRecord("vggish/audio", Status.ABSENT, 0)
        store.commit([failure("failed", 3), record("silent", 4, (silent,), 0, 0)])
        store.delete(["gone"])
    reader = open_store(path)
    for name, text in {
        "pending": "is pending; expected ok; run `avqa extract` on this store",
        "failed": f"is failed; expected ok; see `avqa status {path}`; try again with `avqa ext",
        "silent": "is absent; expected ok; the video has no such stream",
        "gone": "is deleted; expected ok; it was removed",
    }.items():
        with pytest.raises(FeatureMissing) as caught:
            reader.read(name, "vggish/audio")
        assert f"video '{name}': vggish/audio {text}" in str(caught.value)
        assert reader.length(name) == 0
        assert reader.pts(name).shape == (0,)
    with pytest.raises(KeyError):
        reader.read("silent", "vggish/audio")
    assert reader.audio_extent("silent") is None
    assert "gone" not in reader.video_ids


def test_statuses_that_are_gone_do_not_read_as_pending(path):
    """Who skips what is pending, as exports and trainings do, would leave out all of it."""
    (path / "features.zarr/status/clip/frame/c.0").unlink()
    with pytest.raises(StoreError) as caught:
        open_store(path)
    assert str(caught.value) == (
        "array status/clip/frame: c.0 is gone; expected a status of what has a length; rebuild it"
        " from the ledger with: avqa verify --repair"
    )
    verify(path, repair=True)
    assert open_store(path).status("a", "clip/frame") == Status.OK


@pytest.mark.parametrize("name", ["c.0.0.0", "c.0.1.0", "c.0.2.0"])
def test_a_missing_object_is_refused_and_never_read_as_values(path, name):
    (path / "features.zarr/clip/frame" / name).unlink()
    with pytest.raises(FeatureMissing, match=r"an object of it is gone; .* `avqa verify --repair`"):
        open_store(path).read("a", "clip/frame")


def test_a_damaged_object_is_refused(path):
    chunk = path / "features.zarr/vggish/audio/c.0.1.0"
    raw = bytearray(chunk.read_bytes())
    raw[3] ^= 128
    chunk.write_bytes(raw)
    with pytest.raises(StoreError, match="video 'a': vggish/audio is damaged"):
        open_store(path).read("a", "vggish/audio")


def test_random_weights_warn(tmp_path, path):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        open_store(path)
    recipes = {s.name: {**RECIPES[s.name], "weights": {"w": {"source": "random:0"}}} for s in SPECS}
    assert has_random_weights(recipes["clip/frame"])
    with Lock.acquire(tmp_path / "R", "run") as lock:
        Store.create(tmp_path / "R", recipes, SPECS, 5, lock=lock)
    with pytest.warns(RandomWeightsWarning, match="random weights made clip/frame, clip/patch"):
        open_store(tmp_path / "R")


def total(store):
    return os.getpid(), float(store.read("a", "clip/frame").astype("f8").sum())


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_other_processes_read_after_the_parent_did(path, method):
    store = open_store(path)
    here, expected = total(store)
    with ProcessPoolExecutor(1, multiprocessing.get_context(method)) as pool:
        there, found = pool.submit(total, store).result(timeout=60)
    assert there != here
    assert found == expected


def test_a_forked_child_reads_with_arrays_of_its_own(path):
    store = open_store(path)
    _, expected = total(store)
    opened = store._array("clip/frame")
    receive, send = os.pipe()
    with warnings.catch_warnings():
        # Python 3.12 warns of any fork with threads; that it works here is what is tested.
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if child == 0:
        same = store._array("clip/frame") is opened
        os.write(send, f"{total(store)[1]} {same}".encode())
        os._exit(0)
    os.waitpid(child, 0)
    assert os.read(receive, 100).decode() == f"{expected} False"
    os.close(receive)
    os.close(send)
    assert store._array("clip/frame") is opened


def test_pickle_holds_no_open_arrays(path):
    store = open_store(path)
    total(store)
    again = pickle.loads(pickle.dumps(store))
    assert again._arrays == {}
    assert total(again) == total(store)


def test_relative_path_survives_a_change_of_directory(path, monkeypatch):
    monkeypatch.chdir(path.parent)
    store = open_store("S")
    monkeypatch.chdir("/")
    assert store.read("b", "clip/frame").shape == (3, 8)


def test_reload_sees_new_videos(path):
    store = open_store(path)
    with Lock.acquire(path, "second") as lock:
        add_videos(Store.open(path, lock), {"long": 30})
    assert "long" not in store.video_ids
    store.reload()
    assert store.read("long", "clip/frame").shape == (30, 8)


def test_summary(path):
    with Lock.acquire(path, "second") as lock:
        store = Store.open(path, lock)
        store.start_run({})
        store.add_rows(["c", "d"])
        store.commit([failure("c", 2)])
        found = summary(path)
        assert found.holder.run_id == "second"
    frame = found.features[0]
    assert (found.videos, frame.name, frame.seconds) == (4, "clip/frame", 15)
    assert frame.counts == {"pending": 1, "ok": 2, "failed": 1, "deleted": 0, "absent": 0}
    # 3 objects of a and 1 of b: 5 seconds, 8 values of 2 bytes, 4 of checksum.
    assert frame.n_bytes == 4 * 84
    text = "\n".join(found.lines())
    assert re.search(r"^clip/frame +2 +1 +1 +0 +0 +15 +0\.0 ", text, re.MULTILINE)
    assert f"  {recipe_hash(RECIPES['clip/frame'])[:12]}" in text
    assert "lock: run_id=second" in text
    assert "run first: done" in text
    assert "run second: running" in text
    assert summary(path).lines()[-3] == "lock: free"


def test_summary_lists_what_failed(path):
    with Lock.acquire(path, "second") as lock:
        store = Store.open(path, lock)
        store.start_run({})
        names = [f"f{k:02}" for k in range(21)]
        rows = store.add_rows(names)
        store.commit([failure(name, rows[name]) for name in names[1:]])
        store.commit([failure("f00", 2, SPECS[1:2])])
        # A later success is no failure, a later failure replaces the first.
        again = failure("f01", 3, SPECS[:1])
        other = replace(again.features[0], reason="timeout", message="over\n9 s")
        store.commit([replace(again, features=(other,)), failure("f02", 4)])
        add_videos(store, {"f02": 3})
        assert not [line for line in summary(path).lines() if "failures of" in line]
        table = store.write_report([again])
    text = summary(path).lines()
    start = text.index("failed: 'f00' clip/patch: corrupt: no frame")
    assert text[start + 1 : start + 4] == [
        "failed: 'f01' clip/frame: timeout: over 9 s",
        "failed: 'f01' clip/patch, vggish/audio: corrupt: no frame",
        "failed: 'f03' all features: corrupt: no frame",
    ]
    assert text[start + 20 : start + 23] == [
        "failed: 'f20' all features: corrupt: no frame",
        f"failures of the last run that had any: {str(table)!r}",
        "lock: free",
    ]
    with Lock.acquire(path, "third") as lock:
        store = Store.open(path, lock)
        rows = store.add_rows(["g1", "g2"])
        store.commit([failure(name, row) for name, row in rows.items()])
    assert "failed: and 2 more" in summary(path).lines()


def told(video_id, row, specs, *warnings):
    """A failed reading of some features that warned."""
    return replace(failure(video_id, row, specs), report={"warnings": list(warnings)})


def test_warnings_are_those_of_the_readings_that_count(path):
    with Lock.acquire(path, "second") as lock:
        store = Store.open(path, lock)
        store.commit([told("a", 0, SPECS, "old"), told("b", 1, SPECS[:1], "one")])
        store.commit([told("a", 0, SPECS[:1], "frames", "both"), told("b", 1, SPECS[1:], "two")])
        store.commit([told("a", 0, SPECS[1:], "both", "sound"), told("b", 1, SPECS[:1])])
    found = open_store(path)
    assert found.warnings("a") == ("frames", "both", "sound")
    assert found.warnings("b") == ("two",)
    assert warned(path)[-1] == {"video_id": "b", "warning": "two"}
    with Lock.acquire(path, "third") as lock:
        Store.open(path, lock).delete(["b"])
    found.reload()
    assert found.warnings("b") == ()


def test_summary_shows_damaged_run_files(path):
    (path / "runs/broken.json").write_text("{", encoding="utf-8")
    text = summary(path).lines()
    assert "run broken: damaged, broken.json cannot be read; remove it" in text


def test_files_that_vanish_while_they_are_counted(path, monkeypatch):
    folder = path / "features.zarr/clip/frame"
    (folder / "c.0.0.feed.partial").write_bytes(b"half")
    scan = os.scandir

    @contextmanager
    def renamed_meanwhile(where):
        with scan(where) as entries:
            listed = list(entries)
        for entry in listed:
            if entry.name.endswith(".partial"):
                os.unlink(entry.path)
        yield listed

    monkeypatch.setattr(os, "scandir", renamed_meanwhile)
    assert summary(path).features[0].n_bytes == 4 * 84
    (folder / "c.0.0.feed.partial").write_bytes(b"half")
    assert verify(path).problems == []


def test_store_without_rows(tmp_path):
    with Lock.acquire(tmp_path / "S", "run") as lock:
        new_store(tmp_path / "S", lock)
    assert open_store(tmp_path / "S").video_ids == ()
    assert summary(tmp_path / "S").videos == 0
