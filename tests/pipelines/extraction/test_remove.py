"""`avqa remove`: what goes, what stays, and that a kill leaves nothing in between."""

import json
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from helpers.extraction import stub_extraction as stub
from helpers.media import fake_reader
from helpers.store import crashing, s3_server
from helpers.store.stored import (
    CHUNK_SECONDS,
    FEATURES,
    RECIPES,
    SPECS,
    extract,
    make_store,
    values_of,
)
from helpers.store.stores import store_bytes
from helpers.store.written import add_texts, copied

from avqa.errors import ConfigError, FeatureMissing, StoreError, StoreLocked, StoreNotFound
from avqa.pipelines.extraction.finalize import finalize
from avqa.pipelines.extraction.remove import remove_videos
from avqa.store.checks.summary import summary
from avqa.store.checks.verify import verify
from avqa.store.commit import Store
from avqa.store.format.ledger import Ledger
from avqa.store.format.records import Status, removed
from avqa.store.lock import Lock
from avqa.store.packing.pack import pack
from avqa.store.places.files import store_path
from avqa.store.reader import FeatureStore
from avqa.store.writer import ChunkWriter

LENGTHS = {"a": 3, "b": 12, "c": 4, "d": 5}


@pytest.fixture
def store(tmp_path):
    return make_store(tmp_path / "S", LENGTHS).path


@pytest.fixture
def listed(tmp_path):
    """Write a list of ids."""

    def write(*names):
        path = tmp_path / "ids"
        path.write_text("\n".join(names) + "\n", encoding="utf-8")
        return path

    return write


def chunks(store, row):
    """Bytes of the chunk objects of a row."""
    found = (p for f in FEATURES for p in (store / "features.zarr" / f).glob(f"c.{row}.*"))
    return [path.stat().st_size for path in found]


def untouched(digests):
    """Those of the texts and of the chunk objects of rows 0 and 2."""
    columns = ("index/", "length/", *(f"status/{feature}" for feature in FEATURES))
    return {
        name: digest
        for name, digest in digests.items()
        if not name.startswith(columns) and name.split("/")[-1][:4] not in ("c.1.", "c.3.")
    }


def test_space_is_given_back_and_nothing_else_changes(store, listed):
    add_texts(store, ["who", "what"])
    before, bytes_before = FeatureStore(store), store_bytes(store)
    expected = sum(chunks(store, 1) + chunks(store, 3))
    report = remove_videos(store, listed("  b", "", "d"))
    assert (report.removed, report.rows, report.n_bytes, report.left) == (2, 17, expected, 2)
    assert report.summary() == (
        f"2 videos: 2 removed; 17 rows, {expected / 1e3:.1f} kB given back; 2 left in '{store}'"
    )
    assert chunks(store, 1) == chunks(store, 3) == []
    after = FeatureStore(store)
    assert after.video_ids == ("a", "c")
    for name in after.video_ids:
        assert after.pts(name).tolist() == before.pts(name).tolist()
        for feature in FEATURES:
            np.testing.assert_array_equal(
                after.read(name, feature), before.read(name, feature), strict=True
            )
    with pytest.raises(FeatureMissing, match="is deleted; expected ok; it was removed; `avqa ext"):
        after.read("b", FEATURES[0])
    assert after.pts("b").shape == (0,)
    assert untouched(store_bytes(store)) == untouched(bytes_before)
    assert len(untouched(bytes_before)) > 20
    assert verify(store).problems == []
    assert (verify(store).videos, summary(store).videos) == (2, 2)


def test_what_was_removed_before_is_said_and_left(store, listed):
    remove_videos(store, listed("b"))
    before, segments = store_bytes(store), len(Ledger(store / "ledger").segments())
    report = remove_videos(store, listed("b"))
    assert report.summary() == (
        f"1 video: 0 removed, 1 removed before; 0 rows, 0 B given back; 3 left in '{store}'"
    )
    assert store_bytes(store) == before
    assert len(Ledger(store / "ledger").segments()) == segments


def files(folder):
    return {str(p): p.read_bytes() for p in folder.rglob("*") if p.is_file() and p.suffix}


def test_what_cannot_be_removed_is_refused_before_anything_changes(store, listed, tmp_path):
    before = files(store)
    with pytest.raises(ConfigError) as refused:
        remove_videos(store, listed("a", "dd"))
    assert str(refused.value) == (
        f"1 of 2 ids in '{tmp_path}/ids' are no videos of store '{store}', the first is 'dd'; did"
        " you mean 'd'? expected its video ids; nothing was removed; correct --ids"
    )
    with pytest.raises(ConfigError, match="list of ids .* cannot be read: No such file"):
        remove_videos(store, tmp_path / "none")
    with pytest.raises(StoreNotFound, match="no store at"):
        remove_videos(tmp_path / "none", listed("a"))
    assert not (tmp_path / "none").exists()
    with Lock.acquire(store, "other"), pytest.raises(StoreLocked, match="run_id=other"):
        remove_videos(store, listed("a"))
    pack(store, tmp_path / "packed")
    with pytest.raises(StoreError, match="is a packed copy, which never changes"):
        remove_videos(tmp_path / "packed", listed("a"))
    (store / "parts").mkdir()
    (store / "parts/videos.jsonl").write_text('{"parts": 2}\n', encoding="utf-8")
    with pytest.raises(StoreError, match="is being extracted in 2 parts; expected none"):
        remove_videos(store, listed("a"))
    shutil.rmtree(store / "parts")
    assert files(store) == before


def test_a_removed_video_is_extracted_again_in_its_old_row(tmp_path, monkeypatch, listed):
    stub.install(monkeypatch)
    videos, store = tmp_path / "videos", tmp_path / "S"
    for seed, name in enumerate("abc"):
        fake_reader.write_video(videos / f"{name}.mp4", seconds=3 + seed, seed=seed)
    stub.extract(videos, store)
    whole = store_bytes(store)
    assert remove_videos(store, listed("b")).removed == 1
    said = []
    (videos / "b.mp4").rename(tmp_path / "b.mp4")
    assert stub.extract(videos, store, say=said.append).extracted == 0  # the file is gone too
    assert FeatureStore(store).video_ids == ("a", "c")
    (tmp_path / "b.mp4").rename(videos / "b.mp4")
    assert stub.extract(videos, store, say=said.append).extracted == 1
    assert store_bytes(store) == whole
    assert verify(store).problems == []
    # The same by an array job.
    remove_videos(store, listed("a", "c"))
    reports = stub.extract_parts(videos, store, 2, say=said.append)
    assert sorted(report.extracted for report in reports) == [0, 2]
    assert finalize(store).extracted == 2
    assert store_bytes(store) == whole
    assert verify(store).problems == []
    assert not [line for line in said if "changed since" in line]


def test_a_packed_copy_leaves_it_out(store, listed, tmp_path):
    remove_videos(store, listed("b"))
    report = pack(store, tmp_path / "packed")
    assert (report.videos, report.deleted) == (3, 1)
    packed = FeatureStore(tmp_path / "packed")
    assert packed.video_ids == ("a", "c", "d")
    np.testing.assert_array_equal(
        packed.read("c", FEATURES[0]), values_of(SPECS[0], "c", 4).astype(np.float16)
    )


def test_a_video_with_a_feature_of_later_is_still_removed(store, listed):
    """An import may bring back one feature of a removed video: then it is there again."""
    remove_videos(store, listed("b"))
    columns = {feature: Store.open(store).status(feature) for feature in FEATURES}
    for status, there in ((Status.PENDING, False), (Status.OK, True)):
        columns[FEATURES[0]][1] = status
        assert bool(removed(columns.values())[1]) != there


def small_store(path):
    """Of two features: what a removal does is done for each."""
    specs = SPECS[:2]
    with Lock.acquire(path, "first") as lock:
        recipes = {spec.name: RECIPES[spec.name] for spec in specs}
        store = Store.create(path, recipes, specs, CHUNK_SECONDS, lock=lock)
        rows, writer = store.add_rows(list(LENGTHS)), ChunkWriter(path, specs, CHUNK_SECONDS)
        store.commit([extract(writer, n, rows[n], t, specs) for n, t in LENGTHS.items()])
        store.finish_run({})
    return path


class Cut(BaseException):
    """The process ends here, as far as the store can tell."""


def removed_until(path, ids, change, monkeypatch):
    """Remove, but change nothing any more from a change of the disk on; whether it ended before."""
    left = [change]

    def count():
        if left[0] == 0:
            raise Cut
        left[0] -= 1

    with monkeypatch.context() as patched:
        for name in ("replace", "rename", "unlink"):
            patched.setattr(Path, name, crashing.guarded(getattr(Path, name), count))
        try:
            remove_videos(path, ids)
        except Cut:
            lock = path / "lock.json"
            if lock.exists():  # as the system leaves it: its process is dead
                lock.write_text(
                    json.dumps({**json.loads(lock.read_text(encoding="utf-8")), "pid": 2**22 + 1}),
                    encoding="utf-8",
                )
            return False
    return True


def test_killed_before_each_change_it_is_there_or_gone_and_the_next_run_ends_it(
    tmp_path, monkeypatch, step
):
    ids, store = tmp_path / "ids", small_store(tmp_path / "S")
    ids.write_text("b\nc\n", encoding="utf-8")
    copied(store, tmp_path / "whole")
    remove_videos(tmp_path / "whole", ids)
    whole = store_bytes(tmp_path / "whole")
    expected = {n: values_of(SPECS[0], n, t).astype(np.float16) for n, t in LENGTHS.items()}
    seen = set()
    for change in range(0, 200, step):
        path = tmp_path / "killed"
        copied(store, path)
        ended = removed_until(path, ids, change, monkeypatch)
        reader = FeatureStore(path)
        for name in LENGTHS:
            if name in "bc" and reader.status(name, FEATURES[0]) == Status.DELETED:
                seen.add(name)
                continue
            np.testing.assert_array_equal(reader.read(name, FEATURES[0]), expected[name])
            assert len(reader.pts(name)) == LENGTHS[name], f"change {change}"
        if ended:
            break
        remove_videos(path, ids)
        assert store_bytes(path) == whole, f"change {change}"
        assert verify(path, "size").problems == [], f"change {change}"
        shutil.rmtree(path)
    assert change > 25
    assert seen == {"b", "c"}


def test_the_command_killed_by_the_system(store, tmp_path):
    """A real ``kill -9`` of the real command while it deletes chunk objects."""
    ids = tmp_path / "ids"
    ids.write_text("b\n", encoding="utf-8")
    code = (
        "import os, pathlib, signal, sys; from avqa.cli import main; own = pathlib.Path.unlink\n"
        "def unlink(path, **options):\n"
        "    if path.name.startswith('c.1.'): print('here', flush=True); signal.pause()\n"
        "    own(path, **options)\n"
        "pathlib.Path.unlink = unlink; sys.argv[0] = 'avqa'; main()"
    )
    command = [sys.executable, "-c", code, "remove", str(store), "--ids", str(ids)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, encoding="utf-8") as child:
        assert child.stdout.readline() == "here\n"
        child.kill()
    assert child.returncode == -signal.SIGKILL
    assert chunks(store, 1)
    assert FeatureStore(store).video_ids == ("a", "c", "d")
    done = subprocess.run(
        [sys.executable, "-m", "avqa.cli", *command[3:]],
        capture_output=True,
        text=True,
        encoding="utf-8",
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("1 video: 0 removed, 1 removed before; 0 rows")
    assert chunks(store, 1) == []
    assert verify(store).problems == []


def test_in_a_bucket(s3, tmp_path, listed):
    place = store_path(f"s3://{s3_server.BUCKET}/remove")
    make_store(place, {"a": 3, "b": 12})
    report = remove_videos(place, listed("b"))
    assert (report.removed, report.left) == (1, 1)
    assert FeatureStore(place).video_ids == ("a",)
    assert not [*(place / "features.zarr").glob("clip/frame/c.1.*")]
    assert verify(place).problems == []
