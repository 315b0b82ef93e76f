"""Tasks of an array job that write shards, which `avqa finalize` moves into the store."""

import json
import os
import shutil
import signal

import numpy as np
import pytest
import zarr
from helpers.extraction import stub_extraction as stub
from helpers.extraction.as_typed import avqa as typed_here
from helpers.extraction.dying_finalize import SHARDED, run_and_die, task_and_die
from helpers.killed import exit_code
from helpers.media import fake_reader
from helpers.store import s3_server
from helpers.store.packed import damage
from helpers.store.stores import store_bytes
from helpers.store.written import copied

import avqa
from avqa.errors import FeatureMissing
from avqa.pipelines.extraction import array_job, driver
from avqa.pipelines.extraction.array_job import Partition, Videos, read_videos
from avqa.pipelines.extraction.finalize import finalize
from avqa.pipelines.extraction.remove import remove_videos
from avqa.pipelines.extraction.stores import pack_whole, status
from avqa.store.checks.verify import verify
from avqa.store.commit import Store
from avqa.store.format.records import Status
from avqa.store.lock import Lock
from avqa.store.places.files import store_path

pytestmark = pytest.mark.filterwarnings("ignore::avqa.store.reader.RandomWeightsWarning")
POOL, AUDIO = stub.POOL, stub.AUDIO
NAMES = ["bad", "mute", *(f"v{seed}" for seed in range(6))]


def write(folder, name, **content):
    return fake_reader.write_video(folder / f"{name}.mp4", **content)


def write_all(folder):
    """Eight videos in chunks of 2 s: shards of 2, so that each of two tasks has two blocks."""
    for seed in range(6):
        write(folder, f"v{seed}", seconds=1 + seed, seed=seed)
    write(folder, "mute", seconds=3, seed=8, audio=False)
    write(folder, "bad", act="corrupt")


def sharded(monkeypatch):
    stub.install(monkeypatch)
    for name, value in SHARDED.items():
        monkeypatch.setattr(array_job, name, value)


@pytest.fixture(autouse=True)
def stubbed(monkeypatch):
    sharded(monkeypatch)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Finished parts in shards, the store they make, and that of a run of all videos."""
    folder = tmp_path_factory.mktemp("made")
    write_all(folder / "videos")
    with pytest.MonkeyPatch.context() as monkeypatch:
        sharded(monkeypatch)
        stub.extract(folder / "videos", folder / "whole")
        stub.extract_parts(folder / "videos", folder / "S", 2)
        finalize(copied(folder / "S", folder / "final"))
    return folder


@pytest.fixture
def parts(made, tmp_path):
    return copied(made / "S", tmp_path / "S")


@pytest.fixture
def final(made, tmp_path):
    return copied(made / "final", tmp_path / "final")


@pytest.fixture
def again(made, tmp_path):
    """A folder of videos and the store in shards that was made of it, to be changed."""
    videos, store = (
        copied(made / "videos", tmp_path / "videos"),
        copied(made / "final", tmp_path / "T"),
    )
    known = store / "collection.json"
    moved = known.read_text(encoding="ascii").replace(str(made / "videos"), str(videos))
    known.write_text(moved, encoding="ascii")
    return videos, store


def shards(store):
    """Names of the shards and of what is in none."""
    found = [
        str(file.relative_to(store))
        for file in store.rglob("c.*")
        if file.parent.parent.name in {"resnet18", "vggish"} and "status" not in file.parts
    ]
    return sorted(name for name in found if "length" not in name)


def content(store):
    """What a store says of its videos, wherever it lies."""
    found = avqa.open_store(store)
    values = {}
    for name in found.video_ids:
        for feature in found.features:
            try:
                values[name, feature] = found.read(name, feature).tolist()
            except FeatureMissing:
                values[name, feature] = found.status(name, feature)
    return values


def columns(store):
    names = ("index", "status", "length")
    return {file: data for file, data in store_bytes(store).items() if file.startswith(names)}


def test_a_task_leaves_nothing_but_shards_of_its_own(parts):
    head, *_ = (parts / "parts/videos.jsonl").read_text(encoding="ascii").splitlines()
    assert json.loads(head) == {"tasks": 2, "block": 2}
    assert read_videos(parts).share(Partition(1, 2)) == [
        (name, f"{name}.mp4") for name in ("v0", "v1", "v4", "v5")
    ]
    # v0, v1 with a chunk each, v4 and v5 with three; no shard holds what failed.
    assert shards(parts / "parts/1-of-2") == [
        f"features.zarr/{feature}/c.{block}.{number}.0"
        for feature in (POOL, AUDIO)
        for block, number in ((0, 0), (1, 0), (1, 1), (1, 2))
    ]
    assert verify(parts / "parts/1-of-2").problems == []
    assert shards(parts / "parts/0-of-2")[-2:] == [
        f"features.zarr/{AUDIO}/c.1.{number}.0" for number in (0, 1)
    ]


def test_the_shards_are_moved_and_say_what_one_run_says(made, parts):
    before = {
        file.stat().st_ino for file in parts.rglob("c.*") if file.parent.parent.name == "resnet18"
    }
    said = []
    report = finalize(parts, said.append)
    assert (report.extracted, report.failed, report.pending, said) == (7, 1, 0, [])
    moved = [parts / name for name in shards(parts) if POOL in name]
    assert {file.stat().st_ino for file in moved} < before
    assert len(moved) == 2 + 1 + 2 + 3  # blocks of 2 videos, of so many chunks at most
    assert content(parts) == content(made / "whole")
    assert columns(parts) == columns(made / "whole")
    assert Store.open(parts).fingerprints() == Store.open(made / "whole").fingerprints()
    for level in ("size", "crc"):
        assert verify(parts, level).problems == []
        assert [verify(parts, level, part=(i, 3)).problems for i in range(3)] == [[], [], []]
    assert sum(verify(parts, part=(i, 3)).objects for i in range(3)) == len(shards(parts))
    assert sorted(path.name for path in parts.iterdir()) == sorted(
        ["collection.json", "features.zarr", "ledger", "loose.zarr", "runs"]
    )
    assert any("resnet18/pool" in line for line in status(parts).lines())
    # Any Zarr tool reads it.
    array = zarr.open_array(parts / "features.zarr" / POOL, mode="r")
    assert array.shards == (2, 2, 512)
    row = Store.open(parts).rows()["v5"]
    assert np.array_equal(array[row, :6], avqa.open_store(parts).read("v5", POOL))


def test_as_typed(made, tmp_path):
    """Also that jobs of few videos write no shards."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(array_job, "LEAST_VIDEOS", 100_000)
        typed = stub.arguments(made / "videos", tmp_path / "S", "--partition", "0/1")
        assert typed_here(*typed)[0] == 3  # one failed
    head = (tmp_path / "S/parts/videos.jsonl").read_text(encoding="ascii").splitlines()[0]
    assert json.loads(head) == {"parts": 1}
    assert typed_here("finalize", tmp_path / "S")[0] == 3
    assert store_bytes(tmp_path / "S") == store_bytes(made / "whole")
    copied(made / "S", tmp_path / "T")
    code, out, _ = stub.complete("finalize", tmp_path / "T")
    assert (code, out.startswith("8 videos: 7 from 2 parts, 0 already there, 1 failed")) == (
        3,
        True,
    )
    assert store_bytes(tmp_path / "T") == store_bytes(made / "final")
    for typed in (("verify",), ("verify", "--partition", "1/2"), ("status",)):
        code, out, _ = typed_here(typed[0], tmp_path / "T", *typed[1:])
        assert (code, "problem" not in out or "no problem" in out) == (0, True)


@pytest.mark.parametrize(
    ("part", "kills"), [("1/2", 6), pytest.param("0/2", 40, marks=pytest.mark.soak)]
)
def test_a_task_killed_before_changes_of_the_disk(made, tmp_path, part, kills):
    counted = tmp_path / "counted"
    whole = copied(made / "S", tmp_path / "whole")
    folder = f"parts/{part.replace('/', '-of-')}"
    shutil.rmtree(whole / folder)
    assert exit_code(task_and_die, made / "videos", whole, part, -1, counted) == 0
    expected = store_bytes(made / "S" / folder)
    assert store_bytes(whole / folder) == expected
    total = int(counted.read_text(encoding="utf-8"))
    assert total > 100
    for change in range(5, total, total // kills):
        path = copied(made / "S", tmp_path / str(change))
        shutil.rmtree(path / folder)
        assert exit_code(task_and_die, made / "videos", path, part, change) == -signal.SIGKILL
        stub.extract(made / "videos", path, part=part)
        assert store_bytes(path / folder) == expected, change
        finalize(path)
        assert store_bytes(path) == store_bytes(made / "final"), change
        assert shards(path) == shards(made / "final"), change
        assert verify(path).problems == [], change
        shutil.rmtree(path)


@pytest.mark.parametrize("every", [31, pytest.param(3, marks=pytest.mark.soak)])
def test_finalize_killed_before_changes_of_the_disk(made, tmp_path, every):
    counted = tmp_path / "counted"
    assert exit_code(run_and_die, copied(made / "S", tmp_path / "S"), -1, counted) == 0
    total = int(counted.read_text(encoding="utf-8"))
    for change in [*range(0, total, every), total - 2]:
        path = copied(made / "S", tmp_path / str(change))
        assert exit_code(run_and_die, path, change) == -signal.SIGKILL
        if (path / "parts/videos.jsonl").exists() or (path / "parts/finished.json").exists():
            assert finalize(path).pending == 0, change
        assert store_bytes(path) == store_bytes(made / "final"), change
        assert shards(path) == shards(made / "final"), change
        assert verify(path).problems == [], change
        shutil.rmtree(path)


def test_a_task_may_be_run_again_after_a_killed_finalize(made, tmp_path):
    """Its shards are in the store already: its videos are extracted again, to the same bytes."""
    counted = tmp_path / "counted"
    exit_code(run_and_die, copied(made / "S", tmp_path / "T"), -1, counted)
    path = copied(made / "S", tmp_path / "S")
    for change in range(40, int(counted.read_text(encoding="utf-8"))):
        assert exit_code(run_and_die, path, change) == -signal.SIGKILL
        if len(shards(path / "features.zarr")) > 4:
            break
    assert (path / "parts/videos.jsonl").exists()
    for index in range(2):
        stub.extract(made / "videos", path, part=f"{index}/2")
    assert finalize(path).pending == 0
    assert store_bytes(path) == store_bytes(made / "final")
    assert shards(path) == shards(made / "final")


def test_loose_objects_are_few_at_any_time(made, tmp_path, monkeypatch):
    monkeypatch.setattr(driver, "CHECKPOINT_RECORDS", 1)
    most, commit = [], Store.commit

    def counted(self, records):
        commit(self, records)
        most.append(len(list(self.path.glob("loose.zarr/*/*/c.*"))))

    monkeypatch.setattr(Store, "commit", counted)
    monkeypatch.setattr(array_job, "BLOCKS_PER_TASK", 4)
    stub.extract(made / "videos", tmp_path / "S", part="0/1")
    assert len(most) > 4
    assert max(most) <= 2 * 2 * 3  # a block of 2 videos, 2 features, 3 chunks
    assert most[-1] == 0
    assert len(shards(tmp_path / "S")) == 14  # one video has no sound


def test_failed_videos_are_tried_again_into_their_shards(again, tmp_path):
    videos, final = again
    write(videos, "bad", seconds=5, seed=50)
    assert stub.extract(videos, final, retry_failed=True).extracted == 1
    assert verify(final).problems == []
    assert not list(final.glob("loose.zarr/*/*/c.*"))
    stub.extract_parts(videos, tmp_path / "S", 2)
    finalize(tmp_path / "S")
    assert store_bytes(final) == store_bytes(tmp_path / "S")


def test_a_changed_a_shorter_and_a_new_file(again, tmp_path):
    videos, final = again
    write(videos, "v5", seconds=1, seed=60)  # one chunk instead of three
    write(videos, "v1", act="corrupt")
    write(videos, "w", seconds=3, seed=61)
    stub.extract(videos, final)
    stub.extract_parts(videos, tmp_path / "S", 2)
    finalize(tmp_path / "S")
    assert verify(final).problems == []
    assert store_bytes(final) == store_bytes(tmp_path / "S")


def test_a_removed_video_leaves_its_shard(final, tmp_path):
    ids = tmp_path / "ids"
    ids.write_text("v5\n", encoding="utf-8")
    store = Store.open(final)
    array = zarr.open_array(final / "features.zarr" / POOL, mode="r")
    value = array[store.rows()["v5"], :2].tobytes()
    assert any(value in (final / name).read_bytes() for name in shards(final))
    report = remove_videos(final, ids)
    assert report.n_bytes == 3 * (2 * 512 * 2 + 4) + 3 * 2 * 128 * 2 or report.n_bytes > 6000
    assert not any(value in (final / name).read_bytes() for name in shards(final))
    assert verify(final).problems == []
    with pytest.raises(FeatureMissing, match="it was removed"):
        avqa.open_store(final).read("v5", POOL)
    assert avqa.open_store(final).read("v4", POOL).shape == (5, 512)


def test_a_renamed_file_keeps_its_features(made, again):
    videos, final = again
    (videos / "v3.mp4").rename(videos / "x3.mp4")
    expected = content(made / "final")["v3", POOL]
    report = stub.extract(videos, final)
    assert (report.renamed, report.extracted) == (1, 0)
    assert content(final)["x3", POOL] == expected
    assert verify(final).problems == []
    assert not list(final.glob("loose.zarr/*/*/c.*"))


@pytest.mark.parametrize("harm", ["gone", "chunk", "index"])
def test_what_a_shard_of_a_part_lacks_is_pending(parts, harm):
    """Of v4 and v5, whose first chunks are in it; a chunk is known by its end."""
    shard = parts / "parts/1-of-2/features.zarr" / POOL / "c.1.0.0"
    if harm == "gone":
        shard.unlink()
    else:
        first = len(avqa.store.format.chunks.FeatureObjects(shard.parents[2], POOL).read(2, 0))
        damage(shard, first - 1 if harm == "chunk" else -9)
    harmed = ["v4"] if harm == "chunk" else ["v4", "v5"]
    said = []
    report = finalize(parts, said.append)
    assert (report.extracted, report.pending) == (7 - len(harmed), len(harmed))
    assert [line.split(",")[0] for line in said] == [f"pending: video={name}" for name in harmed]
    rows = Store.open(parts).rows()
    status = {name: int(Store.open(parts).status(POOL)[row]) for name, row in rows.items()}
    assert {name for name, is_ in status.items() if is_ == Status.PENDING} == set(harmed)


def test_an_array_job_into_a_store_in_shards(again, tmp_path):
    """The store has 8 videos; 7 new ones lie across its blocks, and the rest of them is moved."""
    videos, final = again
    write(videos, "bad", seconds=5, seed=50)
    stub.extract(videos, final, retry_failed=True)
    for seed in range(7):
        write(videos, f"w{seed}", seconds=1 + seed, seed=70 + seed)
    for index in (1, 0):
        stub.extract(videos, final, part=f"{index}/2")
    said = []
    report = finalize(final, said.append)
    assert (report.extracted, report.finished_before, report.pending) == (7, 8, 0)
    stub.extract(videos, tmp_path / "whole")
    assert sorted(content(final).items()) == sorted(content(tmp_path / "whole").items())
    assert verify(final).problems == []
    assert not list(final.glob("loose.zarr/*/*/c.*"))


@pytest.mark.parametrize(("gone", "copied"), [(False, 2), (True, 10)])
def test_shards_that_are_none_of_the_store_are_copied(tmp_path, monkeypatch, gone, copied):
    """The last one of five videos has a block of its own, which then gets the first new one.

    Where the task does not know the old ones, all its shards begin within one of the store.
    """
    monkeypatch.setattr(array_job, "LEAST_VIDEOS", 1)
    videos, store = tmp_path / "videos", tmp_path / "S"
    for name in ("a", "b"):
        for seed in range(5):
            write(videos, f"{name}{seed}", seconds=2, seed=seed)
        stub.extract(videos, store, part="0/1")
        said = []
        report = finalize(store, said.append)
        assert (report.extracted, report.pending) == (5, 0)
        for old in videos.glob("a*") if gone else ():
            old.unlink()
    assert said == [
        f"copied: {copied} chunks, since the rows of their shards are not those of whole shards of"
        " the store; all others were moved"
    ]
    assert len(shards(store)) == 2 * 5
    assert verify(store).problems == []


def test_a_store_in_objects_stays_one(made, tmp_path):
    whole = copied(made / "whole", tmp_path / "whole")
    videos = copied(made / "videos", tmp_path / "videos")
    write(videos, "w", seconds=3, seed=61)
    stub.extract(videos, whole, part="0/1")
    assert read_videos(whole) == Videos(1, {n: f"{n}.mp4" for n in [*NAMES, "w"]})
    finalize(whole)
    assert Store.open(whole).shard_videos == {}
    assert not (whole / "loose.zarr").exists()
    assert verify(whole).problems == []


def test_damage_is_found_repaired_and_filled(made, final):
    shard = final / "features.zarr" / POOL / "c.3.0.0"
    damage(shard)
    report = verify(final)
    assert [(p.kind, p.video_id, p.detail.split(":")[0]) for p in report.problems] == [
        ("crc", "v4", "chunk=0")
    ]
    with pytest.raises(avqa.errors.StoreError, match="is damaged"):
        avqa.open_store(final).read("v4", POOL)
    kept = verify(final, repair=True).removed
    # Its shard keeps its chunks until it is written anew; this is where they are then.
    assert sorted(f.name for f in kept.rglob("c.*")) == ["c.6.0.0", "c.6.1.0", "c.6.2.0"]
    assert Store.open(final).status(POOL).tolist() == [2, 1, 1, 1, 1, 1, 0, 1]
    assert verify(final).problems == []
    stub.extract(made / "videos", final)
    assert store_bytes(final) == store_bytes(made / "final")


def test_a_damaged_index_costs_the_videos_of_its_shard(made, final):
    shard = final / "features.zarr" / POOL / "c.3.0.0"
    damage(shard, -9)
    for level, kind in (("size", "missing"), ("crc", "crc")):
        found = verify(final, level)
        assert found.counts == {"crc": 1} | {kind: found.counts[kind]}
        assert {p.video_id for p in found.problems} == {"v4", "v5", ""}
        assert "shard c.3.0.0: its index is damaged" in "\n".join(found.lines())
    report = verify(final, repair=True)
    assert list(report.removed.rglob("c.3.0.0"))
    assert verify(final).problems == []
    stub.extract(made / "videos", final, ids=("v4",))  # v5, of the same shard, stays pending
    assert not list(final.glob("loose.zarr/*/*/c.*"))
    assert avqa.open_store(final).read("v4", POOL).shape == (5, 512)
    stub.extract(made / "videos", final)
    assert store_bytes(final) == store_bytes(made / "final")


def test_what_is_beside_the_shards_is_found(final):
    root = final / "features.zarr"
    (root / POOL / "c.9.0.0").write_bytes(b"no row is in it")
    (root / POOL / "notes.txt").write_bytes(b"foreign")
    (final / "loose.zarr" / AUDIO / "c.0.0.0").write_bytes(b"of a failed video")
    (final / "loose.zarr" / AUDIO / "c.3.0.0.feed.partial").write_bytes(b"half")
    assert verify(final).counts == {"orphan": 2, "foreign": 1, "partial": 1}
    verify(final, repair=True)
    assert verify(final).counts == {"foreign": 1}


def test_metadata_of_arrays_in_shards_is_rebuilt(made, final):
    (final / "features.zarr" / POOL / "zarr.json").unlink()
    assert verify(final).counts == {"metadata": 1}
    verify(final, repair=True)
    assert store_bytes(final) == store_bytes(made / "final")
    shutil.rmtree(final / "loose.zarr")
    assert verify(final).problems == []
    assert any("resnet18/pool" in line for line in status(final).lines())
    stub.extract(made / "videos", final, retry_failed=True)
    assert (final / "loose.zarr" / POOL / "zarr.json").exists()


def test_it_is_packed_as_any_store(final, tmp_path):
    pack_whole(final, str(tmp_path / "P"), print)
    assert content(tmp_path / "P") == content(final)
    assert verify(tmp_path / "P").problems == []


def test_versions_that_know_no_such_store_refuse_it(final, parts):
    attributes = json.loads((final / "features.zarr/zarr.json").read_text(encoding="ascii"))
    assert attributes["attributes"]["schema"] == "avqa.features/2"
    head = (parts / "parts/videos.jsonl").read_text(encoding="ascii").splitlines()[0]
    assert "parts" not in json.loads(head)


def test_what_is_in_no_shard_yet_is_read_from_beside_it(made, final):
    """As a reader sees a store that is being written."""
    with Lock.acquire(final, "run") as lock:
        store = Store.open(final, lock)
        row = store.rows()["v3"]
        shard = final / "features.zarr" / POOL / f"c.{row // 2}.0.0"
        reader = avqa.open_store(final)
        expected = reader.read("v3", POOL)
        objects = avqa.store.format.chunks.FeatureObjects(store.root, POOL)
        objects.path(row, 0).write(objects.read(row, 0))
        objects.forget({row: 0}, 1)
        assert shard.exists()
        later = avqa.open_store(final)
        assert later.read("v2", POOL).shape == (3, 512)  # which knows the shard without v3 then
        for each in (reader, later):
            assert np.array_equal(each.read("v3", POOL), expected)
        assert verify(final).problems == []
        store.start_run({})
        store.finish_run({})
    for each in (reader, later):
        assert np.array_equal(each.read("v3", POOL), expected)
    assert store_bytes(final) == store_bytes(made / "final")
    assert Store.open(final).status(POOL)[row] == Status.OK
    assert os.listdir(final / "loose.zarr" / POOL) == ["zarr.json"]


def test_in_a_bucket(s3, made):
    store = store_path(f"s3://{s3_server.BUCKET}/shards")
    stub.extract_parts(made / "videos", store, 2)
    assert finalize(store).pending == 0
    assert content(store) == content(made / "final")
    assert verify(store).problems == []
    names = (store / "features.zarr" / POOL).sizes()
    assert len(names) == 8 + 1  # and its metadata
    assert (store / "loose.zarr" / POOL).sizes().keys() == {"zarr.json"}
