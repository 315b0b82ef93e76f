"""Damage of every kind is found, named, and repaired."""

import json
import os
import time

import numpy as np
import pytest
import zarr
from helpers.store.stored import (
    CHUNK_SECONDS,
    SPECS,
    add_videos,
    extract,
    failure,
    make_store,
    values_of,
)
from helpers.store.stores import store_bytes

from avqa.errors import StoreLocked
from avqa.store.checks.verify import verify
from avqa.store.commit import Store
from avqa.store.lock import LOCK, Lock
from avqa.store.writer import ChunkWriter

LENGTHS = {"a": 12, "b": 3, "c": 5}


@pytest.fixture
def path(tmp_path):
    return make_store(tmp_path / "S", LENGTHS).path


def chunk_of(path, feature="clip/frame", name="c.0.1.0"):
    return path / "features.zarr" / feature / name


def flip(path):
    raw = bytearray(chunk_of(path).read_bytes())
    raw[17] ^= 4
    chunk_of(path).write_bytes(raw)


def truncate(path):
    chunk_of(path).write_bytes(chunk_of(path).read_bytes()[:40])


def remove(path):
    chunk_of(path).unlink()


def replace_by_other(path):
    """A valid object, but not the one that was recorded."""
    chunk_of(path).write_bytes(chunk_of(path, name="c.0.0.0").read_bytes())


def rewrite(path, values):
    """A valid object with another content, and its record too."""
    array = zarr.open_array(path / "features.zarr/clip/frame", mode="r+")
    array[0, 5:10] = values
    raw = chunk_of(path).read_bytes()
    crc = int.from_bytes(raw[-4:], "little")
    for segment in (path / "ledger").glob("*/*.jsonl"):
        plain = json.loads(segment.read_text(encoding="utf-8"))
        for feature in plain["features"]:
            if plain["row"] == 0 and feature["feature"] == "clip/frame":
                feature["chunks"][1] = [len(raw), crc]
        segment.write_text(json.dumps(plain) + "\n", encoding="utf-8")


def infinite(path):
    rewrite(path, np.full((5, 8), np.inf, np.float16))


def flags_of(kind):
    return {"kind": kind, "array": "clip/frame", "video_id": "a", "row": 0}


@pytest.mark.parametrize(
    ("damage", "kind", "text"),
    [
        (flip, "crc", "chunk=1: does not decode: Stored and computed checksum do not match"),
        (truncate, "size", "chunk=1: 40 bytes, ledger says 84"),
        (remove, "missing", "chunk=1: no object"),
        (replace_by_other, "crc", "ledger says"),
        (infinite, "not_finite", "chunk=1: NaN or infinity in the first 5 seconds"),
    ],
)
def test_damage_is_found_and_repaired(path, damage, kind, text):
    good = store_bytes(path)
    damage(path)
    report = verify(path)
    assert [(p.kind, p.array, p.video_id, p.row) for p in report.problems] == [
        (kind, "clip/frame", "a", 0)
    ]
    assert text in report.problems[0].detail
    assert report.lines()[0].startswith(f"{kind}: clip/frame video='a' row=0: chunk=1: ")
    assert report.lines()[-1].endswith(f"; 1 problem (1 {kind})")

    repaired = verify(path, repair=True)
    assert repaired.counts == {kind: 1}
    assert "repaired, run `avqa extract` again" in repaired.lines()[-1]
    assert Store.open(path).status("clip/frame").tolist() == [0, 1, 1]
    assert verify(path).problems == []
    with Lock.acquire(path, "again") as lock:
        add_videos(Store.open(path, lock), {"a": 12})
    assert verify(path).problems == []
    assert store_bytes(path) == good


def test_padding_must_be_zero(path):
    array = zarr.open_array(path / "features.zarr/clip/patch", mode="r+")
    values = np.zeros((5, 3, 8), np.float16)
    values[:2] = array[0, 10:12]
    values[4, 2, 7] = 1e-3
    array[0, 10:15] = values
    raw = chunk_of(path, "clip/patch", "c.0.2.0.0").read_bytes()
    for segment in (path / "ledger").glob("*/*.jsonl"):
        plain = json.loads(segment.read_text(encoding="utf-8"))
        if plain["row"] == 0:
            plain["features"][1]["chunks"][2] = [len(raw), int.from_bytes(raw[-4:], "little")]
        segment.write_text(json.dumps(plain) + "\n", encoding="utf-8")
    report = verify(path)
    assert [str(p) for p in report.problems] == [
        "padding: clip/patch video='a' row=0: chunk=2: values other than zero after second 2"
    ]


@pytest.mark.parametrize(
    ("damage", "found"), [(truncate, ["size"]), (remove, ["missing"]), (flip, [])]
)
def test_level_size_lists_only(path, damage, found):
    damage(path)
    assert [p.kind for p in verify(path, "size").problems] == found


def test_a_clean_store_is_counted(path):
    report = verify(path)
    # 3 + 1 + 1 objects for each of three features.
    assert (report.videos, report.objects, report.problems) == (3, 15, [])
    sizes = [f.stat().st_size for f in path.glob("features.zarr/[cv]*/*/c.*")]
    assert report.n_bytes == sum(sizes)
    assert report.lines()[-1].endswith("checked; no problem")


def test_objects_that_do_not_belong(path):
    folder = path / "features.zarr/clip/frame"
    (folder / "c.1.1.0").write_bytes(b"beyond the end")
    (folder / "c.7.0.0").write_bytes(b"no such row")
    (folder / "c.0.0.feed.partial").write_bytes(b"half")
    (folder / "notes.txt").write_bytes(b"foreign")
    with Lock.acquire(path, "second") as lock:
        store = Store.open(path, lock)
        store.add_rows(["d", "e"])
        writer = ChunkWriter(path, SPECS, CHUNK_SECONDS)
        extract(writer, "d", 3, 5)
        store.commit([failure("e", 4)])
        (folder / "c.4.0.0").write_bytes(b"of a failed video")
        store.finish_run({})
    report = verify(path)
    assert report.counts == {"orphan": 3, "partial": 1, "foreign": 1}
    assert report.uncommitted == 3
    assert {p.detail for p in report.problems if p.kind == "orphan"} == {
        "c.1.1.0: beyond the video's end",
        "c.4.0.0: the row is failed",
        "c.7.0.0: the row is deleted",
    }
    repaired = verify(path, repair=True)
    by_hand = "; avqa never removes foreign files: remove 1 by hand"
    (place,) = (path / "removed").iterdir()
    told = (
        f"repaired, nothing is pending by it; what was taken away lies in {str(place)!r}{by_hand};"
    )
    assert told in repaired.lines()[-1]
    assert {file.name: file.read_bytes() for file in place.rglob("c.*")} == {
        "c.1.1.0": b"beyond the end",
        "c.7.0.0": b"no such row",
        "c.4.0.0": b"of a failed video",
        "c.0.0.feed.partial": b"half",
    }
    again = verify(path, repair=True)
    assert again.counts == {"foreign": 1}
    assert not again.repaired
    assert f"; 1 problem (1 foreign){by_hand};" in again.lines()[-1]


def test_leftovers_of_a_live_run_are_not_reported(path, monkeypatch):
    monkeypatch.setattr(time, "time", lambda: 4e9)  # this machine's clock is ahead of the disk's
    (path / "features.zarr/clip/frame/c.0.0.feed.partial").write_bytes(b"half")
    (path / "features.zarr/index/pts/c.0.feed.partial").write_bytes(b"half")
    with Lock.acquire(path, "live"):
        assert verify(path).problems == []
        remove(path)
        with pytest.raises(StoreLocked, match="run_id=live"):
            verify(path, repair=True)
        old = (path / LOCK).stat().st_mtime - 4000
        os.utime(path / "features.zarr/clip/frame/c.0.0.feed.partial", (old, old))
        assert verify(path).counts == {"partial": 1, "missing": 1}  # no write takes an hour
    assert verify(path).counts == {"partial": 1, "missing": 1}


def test_arrays_that_contradict_the_ledger(path):
    good = store_bytes(path)
    zarr.open_array(path / "features.zarr/status/clip/frame", mode="r+")[1] = 4
    zarr.open_array(path / "features.zarr/length/clip/patch", mode="r+")[2] = 4
    report = verify(path)
    assert [str(p) for p in report.problems if p.kind != "orphan"] == [
        "status: clip/frame video='b' row=1: is absent, ledger says ok",
        "length: clip/patch video='c' row=2: is 4, ledger says 5",
    ]
    verify(path, repair=True)
    assert store_bytes(path) == good  # the objects say that the ledger is right
    assert verify(path).problems == []


@pytest.mark.parametrize("level", ["size", "crc"])
@pytest.mark.parametrize(
    ("name", "where", "value", "text"),
    [
        ("index/duration", 1, 4, "is 4.0, ledger says 3.0"),
        ("index/duration", 1, np.nan, "is nan, ledger says 3.0"),
        ("index/audio_start", 1, 0.5, "is 0.5, ledger says 0.25"),
        ("index/audio_end", 1, np.nan, "is nan, ledger says 2.75"),
        ("index/row_flags", 1, 3, "is 3, ledger says 1"),
        ("index/pts", (1, 2), 9, "second=2 is 9.0, ledger says 2.5"),
        ("index/pts", (1, 0), np.nan, "second=0 is nan, ledger says 0.5"),
        ("index/pts", (1, 2), np.nan, "has 2 time stamps, ledger says 3"),
        ("index/pts", (1, 7), 7.5, "has 8 time stamps, ledger says 3"),
    ],
)
def test_index_that_contradicts_the_ledger(path, level, name, where, value, text):
    good = store_bytes(path)
    zarr.open_array(path / "features.zarr" / name, mode="r+")[where] = value
    assert [str(p) for p in verify(path, level).problems] == [
        f"index: {name} video='b' row=1: {text}"
    ]
    verify(path, level, repair=True)
    assert store_bytes(path) == good
    assert verify(path, level).problems == []


def test_index_is_compared_with_the_record_that_described_the_video(path):
    """Failures and deletions say nothing of a video; a file that changed is described anew."""
    with Lock.acquire(path, "second") as lock:
        store = Store.open(path, lock)
        writer = ChunkWriter(path, SPECS, CHUNK_SECONDS)
        store.commit([failure("a", 0, SPECS[:1]), failure("c", 2)])
        store.commit([extract(writer, "b", 1, 4, SPECS[:1])])
        assert verify(path).problems == []
        # Now nothing that the last description came with is ok any more.
        store.commit([failure("b", 1, SPECS[:1])])
        assert verify(path).problems == []
        store.recover(rebuild=True)
        assert verify(path).problems == []
        store.delete(["a"])
        assert verify(path).problems == []


@pytest.mark.parametrize("name", ["index/pts/c.0.1", "status/clip/frame/c.0", "index/video_id/c.0"])
def test_damaged_index_is_rebuilt_from_the_ledger(path, name):
    good = store_bytes(path)
    (path / "features.zarr" / name).write_bytes(b"nonsense")
    assert verify(path).counts["index"] >= 1
    verify(path, repair=True)
    assert store_bytes(path) == good
    assert verify(path).problems == []


def test_sample_extracts_again_and_compares_rows(path):
    asked = []

    def again(video_id, relpath, features):
        asked.append((video_id, relpath))
        by_name = {spec.name: spec for spec in SPECS}
        made = {f: values_of(by_name[f], video_id, LENGTHS[video_id]) for f in features}
        if video_id == "b":
            made["vggish/audio"][2] = -made["vggish/audio"][2]
        if video_id == "c":
            made["clip/frame"] = made["clip/frame"][:-1]
        return made

    report = verify(path, "sample", extract=again)
    assert sorted(asked) == [("a", "a.mp4"), ("b", "b.mp4"), ("c", "c.mp4")]
    assert sorted(str(p) for p in report.problems) == [
        "sample: clip/frame video='c' row=2: shape (5, 8), extracted again (4, 8)",
        "sample: vggish/audio video='b' row=1: second=2 has cosine=-1.0000, expected 0.999",
    ]
    asked.clear()
    verify(path, "sample", extract=again, num_sample=1)
    assert len(asked) == 1
    with pytest.raises(ValueError, match="needs extract"):
        verify(path, "sample")
