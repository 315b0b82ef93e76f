"""Array jobs: which videos are whose, what tasks refuse, and that they touch only their part."""

import json
import os
import shutil
import signal
import threading
import time

import pytest
from helpers.extraction import stub_extraction as stub
from helpers.media import fake_reader
from helpers.store.stores import store_bytes
from hypothesis import given
from hypothesis import strategies as st

from avqa.errors import ConfigError, RecipeMismatch, StoreError, StoreLocked
from avqa.pipelines.extraction import array_job
from avqa.pipelines.extraction.array_job import (
    Partition,
    Videos,
    fix_videos,
    partition_of,
    progress,
    read_videos,
)
from avqa.pipelines.extraction.collection.sources import Source
from avqa.pipelines.extraction.finalize import finalize
from avqa.pipelines.extraction.plan import plan_folder
from avqa.store.commit import Store
from avqa.store.format.records import Status
from avqa.store.lock import Lock

POOL, AUDIO = stub.POOL, stub.AUDIO


@pytest.fixture
def videos(tmp_path, monkeypatch):
    """Seven of them, and extraction as a stub."""
    stub.install(monkeypatch)
    folder = tmp_path / "videos"
    for seed in range(5):
        write(folder, f"v{seed}", seconds=1 + seed, seed=seed)
    write(folder, "mute", seconds=3, seed=8, audio=False)
    write(folder, "bad", act="corrupt")
    return folder


def write(folder, name, **content):
    return fake_reader.write_video(folder / f"{name}.mp4", **content)


def ids(store):
    return [*Store.open(store).rows()]


@given(st.lists(st.integers(), unique=True), st.integers(1, 40))
def test_every_video_is_in_exactly_one_element(items, count):
    shares = [Partition(index, count).share(items) for index in range(count)]
    assert sorted(item for share in shares for item in share) == sorted(items)
    assert max(map(len, shares)) - min(map(len, shares)) <= 1
    assert all(items.index(item) % count == i for i, share in enumerate(shares) for item in share)


def test_a_partition_is_read_as_slurm_counts():
    assert partition_of("0/1") == Partition(0, 1)
    assert partition_of("15/16") == Partition(15, 16)
    assert str(partition_of("3/16")) == "3/16"


@pytest.mark.parametrize("text", ["16/16", "0/0", "3", "", "-1/3", "1/-3", "1/3/5", "a/b", "²/3"])
def test_other_partitions_are_refused(text):
    with pytest.raises(ConfigError) as caught:
        partition_of(text)
    assert str(caught.value) == (
        f"partition={text!r}; expected I/N with 0 <= I < N; in a SLURM script with --array=0-15"
        " give --partition $SLURM_ARRAY_TASK_ID/16"
    )


def test_of_many_first_elements_one_fixes_the_videos_for_all(tmp_path):
    count = 8
    barrier = threading.Barrier(count)
    seen = [None] * count

    def begin(index):
        mine = [Source(f"{index}-{k}", f"{index}-{k}\udcff.mp4", "") for k in range(50)]
        barrier.wait()
        seen[index] = fix_videos(tmp_path, Partition(index, count), mine)

    threads = [threading.Thread(target=begin, args=(index,)) for index in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(seen[0].ids) == 50
    assert all(each == seen[0] for each in seen)
    first = seen[0].ids[0].partition("-")[0]
    assert seen[0].relpaths[f"{first}-7"] == f"{first}-7\udcff.mp4"
    assert [path.name for path in (tmp_path / "parts").glob("*.*")] == ["videos.jsonl"]


def test_an_element_makes_a_whole_store_of_its_share(tmp_path, videos):
    said = []
    report = stub.extract(videos, tmp_path / "S", part="1/3", say=said.append)
    assert (report.taken, report.extracted, report.without_audio) == (2, 2, 1)
    assert said == ["task 1/3 is finished; when all are, run `avqa finalize`"]
    assert [path.name for path in (tmp_path / "S").iterdir()] == ["parts"]
    part = tmp_path / "S/parts/1-of-3"
    assert ids(part) == ["mute", "v2"]  # bad, MUTE, v0, v1, V2, v3, v4
    assert Store.open(part).status(POOL).tolist() == [Status.OK, Status.OK]
    assert stub.extract(videos, tmp_path / "S", part="1/3").finished_before == 2


def test_more_elements_than_videos(tmp_path, videos):
    whole = tmp_path / "whole"
    stub.extract(videos, whole)
    reports = stub.extract_parts(videos, tmp_path / "S", 9)
    assert [report.taken for report in reports] == [0, 0, 1, 1, 1, 1, 1, 1, 1]
    assert finalize(tmp_path / "S").taken == 7
    assert store_bytes(tmp_path / "S") == store_bytes(whole)


def test_videos_that_came_or_went_after_the_first_element(tmp_path, videos):
    stub.extract(videos, tmp_path / "S", part="0/2")
    write(videos, "a_late_one")
    (videos / "v0.mp4").unlink()
    said = []
    report = stub.extract(videos, tmp_path / "S", part="1/2", say=said.append)
    assert said[:2] == [
        "came after the first task began: 1 videos, one is 'a_late_one'; `avqa extract` takes"
        " them after `avqa finalize`",
        "gone since the first task began: 1 videos, one is 'v0'",
    ]
    assert (report.taken, report.extracted) == (3, 3)  # mute, v1, v3
    assert ids(tmp_path / "S/parts/1-of-2") == ["mute", "v1", "v3"]
    (videos / "v1.mp4").unlink()
    shutil.rmtree(tmp_path / "S/parts/1-of-2")
    report = stub.extract(videos, tmp_path / "S", part="1/2")
    assert (report.extracted, report.failed) == (2, 1)  # as a video that goes in mid-run


def test_another_choice_of_videos_is_refused(tmp_path, videos):
    stub.extract(videos, tmp_path / "S", part="0/2")
    with pytest.raises(ConfigError) as caught:
        stub.extract(videos, tmp_path / "S", part="1/2", limit=5)
    assert str(caught.value) == (
        "--ids or --limit leave out 2 of the 7 videos that the first task took, one is 'v3';"
        " expected its choice; give the same, or neither: the videos are fixed until"
        " `avqa finalize`"
    )
    other = tmp_path / "other"
    for name in ("v1", "v2", "v9"):
        write(other, name)
    with pytest.raises(ConfigError) as caught:
        stub.extract(other, tmp_path / "S", part="1/2")
    assert str(caught.value) == (
        f"videos folder '{other}' has 2 of the 7 videos that the first task found; expected the"
        " same folder; check --videos, --ext and --id"
    )
    assert not (tmp_path / "S/parts/1-of-2").exists()


def test_another_number_of_parts_is_refused(tmp_path, videos):
    store = tmp_path / "S"
    stub.extract(videos, store, part="0/2")
    with pytest.raises(StoreError) as caught:
        stub.extract(videos, store, part="0/3")
    assert str(caught.value) == (
        f"store '{store}' is being extracted in 2 parts; expected 3 as in --partition 0/3; give"
        f" I/2, or remove '{store}/parts' to drop what they have extracted"
    )


def test_a_store_in_parts_is_refused_to_plain_extraction(tmp_path, videos):
    store = tmp_path / "S"
    stub.extract(videos, store, part="0/2")
    message = (
        f"store '{store}' is being extracted in 2 parts; expected none; when all are finished run:"
        f" avqa finalize {store}; or remove '{store}/parts' to drop what they have extracted"
    )
    with pytest.raises(StoreError) as caught:
        stub.extract(videos, store)
    assert (caught.value.exit_code, str(caught.value)) == (4, message)
    assert not (store / "lock.json").exists()
    shutil.rmtree(store / "parts")
    assert stub.extract(videos, store).extracted == 6


def test_an_element_that_begins_at_the_same_moment_is_seen(tmp_path, videos, monkeypatch):
    store = tmp_path / "S"
    acquire = Lock.acquire

    def acquire_late(path, run_id, steal=False):
        fix_videos(store, Partition(0, 2), [])
        return acquire(path, run_id, steal)

    monkeypatch.setattr(Lock, "acquire", acquire_late)
    with pytest.raises(StoreError, match="is being extracted in 2 parts"):
        stub.extract(videos, store)
    assert not Store.exists(store)


def test_a_damaged_list_is_said(tmp_path, videos):
    stub.extract(videos, tmp_path / "S", part="0/2")
    path = tmp_path / "S/parts/videos.jsonl"
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(StoreError, match=r"list of videos '.*videos.jsonl' is damaged: .*remove"):
        stub.extract(videos, tmp_path / "S", part="1/2")


def test_a_run_on_the_whole_store_refuses_elements(tmp_path, videos):
    store = tmp_path / "S"
    with Lock.acquire(store, "whole"), pytest.raises(StoreLocked) as caught:
        stub.extract(videos, store, part="0/2")
    assert f"store '{store}' is in use by run_id=whole host=" in str(caught.value)
    assert "expected no run on the whole store while its parts are made; wait" in str(caught.value)
    assert read_videos(store) is None
    shutil.rmtree(store)
    (store / "runs").mkdir(parents=True)
    dead = {"run_id": "dead", "host": "elsewhere", "pid": 1, "process_start": "", "started": ""}
    for silent, steal, works in ((900, False, False), (0, True, False), (900, True, True)):
        (store / "lock.json").write_text(json.dumps(dead | {"heartbeat": ""}), encoding="utf-8")
        written = time.time() - silent
        os.utime(store / "lock.json", (written, written))
        if works:
            stub.extract(videos, store, part="0/2", steal_lock=steal)
        else:
            with pytest.raises(StoreLocked, match="run_id=dead host=elsewhere"):
                stub.extract(videos, store, part="0/2", steal_lock=steal)
    assert "dead" in (store / "lock.json").read_text(encoding="utf-8")  # no task touches it


def test_another_recipe_is_refused_before_anything_is_fixed(tmp_path, videos):
    store = tmp_path / "S"
    stub.extract(videos, store, limit=2)
    before = store_bytes(store)
    for wanted in ((POOL,), (AUDIO, "resnet18/map")):
        with pytest.raises(RecipeMismatch, match=r"grid.frame_at: store=.*set --frame-at as the"):
            stub.extract(videos, store, part="0/2", wanted=wanted, frame_at="start")
    assert not (store / "parts").exists()
    stub.extract(videos, store, part="0/2")
    assert store_bytes(store) == before


def test_an_element_leaves_out_what_the_store_has(tmp_path, videos):
    store = tmp_path / "S"
    write(videos, "torn", seconds=8, seed=5, act="half")
    stub.extract(videos, store, wanted=(POOL,))
    before = store_bytes(store)
    write(videos, "torn", seconds=8, seed=5, act="half")  # touched, not changed
    report = stub.extract(videos, store, part="0/1", wanted=(POOL,))
    assert (report.finished_before, report.failed_before, report.extracted) == (7, 1, 0)
    said = []
    write(videos, "v1", seconds=9, seed=77)
    report = stub.extract(videos, store, part="0/1", say=said.append)
    assert (report.extracted, report.failed) == (7, 1)
    assert "changed since they were extracted: 1 videos, done again" in said
    part = Store.open(store / "parts/0-of-1")
    rows = part.rows()
    # Only the audio is new, but for the changed video; the failed one's frames stay failed.
    own = {name: int(part.status(POOL)[row]) for name, row in rows.items()}
    assert [name for name, status in own.items() if status == Status.OK] == ["v1"]
    assert part.length(AUDIO)[rows["torn"]] == 4
    assert part.length(AUDIO)[rows["v1"]] == 9
    assert store_bytes(store) == before
    again = stub.extract(videos, store, part="0/1")
    assert (again.extracted, again.finished_before, again.failed_before) == (0, 7, 1)
    retried = stub.extract(videos, store, part="0/1", retry_failed=True)
    assert (retried.extracted, retried.failed, retried.finished_before) == (0, 1, 7)


def test_the_sound_of_a_damaged_video_is_no_longer_than_its_pictures(tmp_path, videos):
    """What the store has of a video bounds what a part adds to it."""
    store = tmp_path / "S"
    write(videos, "torn", seconds=8, seed=5, act="half")
    stub.extract(videos, store, wanted=(POOL,))
    old = (videos / "torn.mp4").stat()
    text = (videos / "torn.mp4").read_text(encoding="utf-8").replace('"half"', '"hole"')
    (videos / "torn.mp4").write_text(
        text, encoding="utf-8"
    )  # now all of it would be read, were it not bounded
    os.utime(videos / "torn.mp4", ns=(old.st_atime_ns, old.st_mtime_ns))
    stub.extract(videos, store, part="0/1")
    part = Store.open(store / "parts/0-of-1")
    assert part.length(AUDIO)[part.rows()["torn"]] == 4


def test_status_says_how_far_the_elements_are(tmp_path, videos):
    store = tmp_path / "S"
    assert progress(store) is None
    stub.extract(videos, store, part="1/3")
    with Lock.acquire(store / "parts/2-of-3", "running"):
        lines = progress(store).lines()
    assert lines[0] == f"parts of '{store}': 1 of 3 tasks are finished; 7 videos in all"
    assert lines[1].startswith("not finished: 0/3 (not begun), 2/3 (in use by run_id=running host=")
    code, out, _ = stub.complete("status", store)
    assert (code, out) == (0, f"{lines[0]}\nnot finished: 0/3 (not begun), 2/3 (not begun)\n")
    stub.extract_parts(videos, store, 3)
    (line,) = progress(store).lines()
    assert line.endswith(f"3 of 3 tasks are finished; 7 videos in all; next: avqa finalize {store}")


def test_the_plan_is_that_of_the_element(tmp_path, videos, monkeypatch):
    planned = []
    plan = "avqa.pipelines.extraction.plan."
    monkeypatch.setattr(plan + "_measure_networks", lambda settings, source: 0.0)
    monkeypatch.setattr(
        plan + "_measure_videos", lambda options, sources: (planned.append(sources), ([], 0.0))[1]
    )
    monkeypatch.setattr(
        "helpers.extraction.stub_extraction.extract_folder",
        lambda options, say: plan_folder(options, say).num_videos,
    )
    assert stub.extract(videos, tmp_path / "S", part="0/3") == 3
    assert [source.video_id for source in planned[0]] == ["bad", "v1", "v4"]
    assert not (tmp_path / "S").exists()
    monkeypatch.undo()
    stub.install(monkeypatch)
    stub.extract(videos, tmp_path / "S", part="0/3")
    monkeypatch.setattr(plan + "_measure_networks", lambda settings, source: 0.0)
    monkeypatch.setattr(plan + "_measure_videos", lambda options, sources: ([], 0.0))
    monkeypatch.setattr(
        "helpers.extraction.stub_extraction.extract_folder",
        lambda options, say: plan_folder(options, say).num_videos,
    )
    assert stub.extract(videos, tmp_path / "S", part="0/3") == 1  # the bad one
    with pytest.raises(StoreError, match="in 3 parts; expected 4 as in --partition 0/4"):
        stub.extract(videos, tmp_path / "S", part="0/4")


def test_healing_the_whole_store_leaves_what_elements_are_writing(tmp_path, videos):
    store = tmp_path / "S"
    stub.extract(videos, store)
    stub.extract(videos, store, part="0/2")
    writing = store / "parts/0-of-2/features.zarr/resnet18/pool/c.0.0.0.abc.partial"
    left = store / "features.zarr/resnet18/pool/c.0.0.0.abc.partial"
    for path in (writing, left):
        path.write_bytes(b"half")
    with Lock.acquire(store, "killed") as lock:
        Store.open(store, lock).start_run({})
    with Lock.acquire(store, "next") as lock:
        assert Store.open(store, lock).recover().partials == 1
    assert writing.exists()
    assert not left.exists()


def wait_for_chunk(store):
    deadline = time.monotonic() + 300
    while not list(store.glob("parts/0-of-2/features.zarr/*/*/c.*")):
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_an_element_that_was_killed_is_run_again(tmp_path, videos):
    store, whole = tmp_path / "S", tmp_path / "whole"
    line = stub.arguments(videos, store, "--partition", "0/2")
    run = stub.start(*line, pause=5)
    wait_for_chunk(store)
    code, _, errors = stub.complete(*line)  # twice at once
    assert code == 4
    assert f"avqa: store '{store}/parts/0-of-2' is in use by run_id=" in errors
    assert f" pid={run.pid} " in errors
    assert "expected no other run; wait for it to end" in errors
    os.killpg(run.pid, signal.SIGKILL)
    run.communicate()
    code, _, errors = stub.complete("finalize", store)
    assert code == 4
    assert (
        f"store '{store}': 2 tasks are not finished: 0/2 (4 of 4 videos left), 1/2 (not begun);"
        " expected all to be; run tasks 0,1 of `avqa extract --partition` again, then"
        " `avqa finalize`" in errors
    )
    reports = stub.extract_parts(videos, store, 2)
    assert [report.extracted for report in reports] == [3, 3]
    finalize(store)
    stub.extract(videos, whole)
    assert store_bytes(store) == store_bytes(whole)


@pytest.mark.parametrize(
    ("videos", "tasks", "block"),
    [
        (99_999, 1, 0),
        (100_000, 1, 1024),
        (100_000, 100, 64),
        (100_000, 200, 0),
        (10**7, 10**3, 1024),
    ],
)
def test_tasks_write_shards_of_very_many_videos(tmp_path, videos, tasks, block):
    """At least eight of them, so that no task has a block more than another and that is much."""
    assert array_job._block(tmp_path / "S", videos, tasks) == block
    many = Videos(tasks, dict.fromkeys(map(str, range(min(videos, 9000))), ""), block)
    shares = [[name for name, _ in many.share(task)] for task in list(many.tasks())[:200]]
    assert len(set().union(*shares)) == sum(map(len, shares))
