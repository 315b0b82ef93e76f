"""`avqa finalize`: the parts of an array job give the bytes of one extraction, whatever happens."""

import json
import os
import random
import re
import shutil
import signal
import time

import pytest
from helpers.extraction import light, reused_children
from helpers.extraction import stub_extraction as stub
from helpers.extraction.dying_finalize import run_and_die
from helpers.killed import exit_code
from helpers.media import fake_reader
from helpers.store.stores import store_bytes
from helpers.store.written import add_texts, copied

import avqa
from avqa.errors import (
    PartialFailure,
    RecipeMismatch,
    Stopped,
    StoreError,
    StoreLocked,
    StoreNotFound,
)
from avqa.pipelines.extraction import finalize as module
from avqa.pipelines.extraction.array_job import Partition
from avqa.pipelines.extraction.finalize import finalize
from avqa.pipelines.extraction.stores import status
from avqa.store.checks.verify import verify
from avqa.store.commit import Store
from avqa.store.format.records import Status
from avqa.store.lock import Lock

STORE = ["collection.json", "features.zarr", "ledger", "runs"]
pytestmark = pytest.mark.filterwarnings("ignore::avqa.store.reader.RandomWeightsWarning")
WARNED = ["'v0': of v0", "'v1': of v1"]
POOL, AUDIO = stub.POOL, stub.AUDIO


def write(folder, name, **content):
    return fake_reader.write_video(folder / f"{name}.mp4", **content)


def write_all(folder):
    for seed in range(5):
        write(folder, f"v{seed}", seconds=1 + seed, seed=seed)
    write(folder, "mute", seconds=3, seed=8, audio=False)
    write(folder, "bad", act="corrupt")


@pytest.fixture(autouse=True)
def stubbed(monkeypatch):
    stub.install(monkeypatch)


@pytest.fixture
def videos(tmp_path):
    write_all(tmp_path / "videos")
    return tmp_path / "videos"


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Finished parts, three of them, one in many commits, and the store of an unpartitioned run."""
    folder = tmp_path_factory.mktemp("made")
    write_all(folder / "videos")
    with pytest.MonkeyPatch.context() as monkeypatch:
        stub.install(monkeypatch)
        stub.extract(folder / "videos", folder / "whole")
        stub.extract_parts(folder / "videos", folder / "S", 3)
        for _ in range(2):
            stub.extract(folder / "videos", folder / "S", part="0/3", retry_failed=True)
    return folder


@pytest.fixture
def parts(made, tmp_path):
    """A copy of the finished parts."""
    return copied(made / "S", tmp_path / "S")


def test_real_elements_give_the_bytes_of_one_run(tmp_path, extract, monkeypatch):
    monkeypatch.undo()  # extraction is no stub
    reused_children.install(monkeypatch)
    folder = tmp_path / "videos"
    for seed in range(2):
        write(folder, f"v{seed}", seconds=3, seed=seed, warn=[f"of v{seed}"])
    write(folder, "mute", seconds=2, audio=False)
    write(folder, "bad", act="bad_sound")  # then mute, v0, v1
    extract("whole", features=(light.AUDIO,))
    for index in (1, 0):
        extract(features=(light.AUDIO,), partition=Partition(index, 2))
    assert sorted(status(tmp_path / "store", ["warnings"]).lines()) == WARNED
    report = finalize(tmp_path / "store")
    assert report.summary().startswith(
        "4 videos: 3 from 2 parts, 0 already there, 1 failed, 1 without audio, 2 with warnings (see"
        f" {report.warnings_path}); 6 rows, "
    )
    assert report.warnings_path.read_text(encoding="utf-8").count(".mp4,of v") == 2
    assert status(tmp_path / "store", ["warnings"]).lines() == WARNED
    assert store_bytes(tmp_path / "store") == store_bytes(tmp_path / "whole")
    assert not verify(tmp_path / "store").problems
    assert avqa.open_store(tmp_path / "store").read("v1", light.AUDIO).shape == (3, 128)


def test_everything_of_the_parts_is_in_the_store(made, parts):
    runs = {path.name for path in parts.glob("parts/*/runs/*.json")}
    assert len(runs) == 5
    said = []
    report = finalize(parts, said.append)
    assert said == []
    whole = Store.open(made / "whole")
    assert store_bytes(parts) == store_bytes(made / "whole")
    assert sorted(path.name for path in parts.iterdir()) == STORE
    store = Store.open(parts)
    assert store.rows() == whole.rows()
    assert store.fingerprints() == whole.fingerprints()
    assert runs < {path.name for path in parts.glob("runs/*.json")}
    assert {run["state"] for run in store.runs.all()} == {"done"}
    assert store.runs.checkpoint() == store.ledger.last == 1
    assert report.summary().startswith(
        "7 videos: 6 from 3 parts, 0 already there, 1 failed, 1 without audio; 18 rows, 26."
    )
    assert report.summary().endswith("; done")
    with pytest.raises(PartialFailure) as caught:
        report.raise_if_failed()
    assert str(caught.value).startswith(f"1 of 7 videos failed; see {parts}/runs/{report.run_id}-f")
    assert "bad,bad.mp4,resnet18/pool,corrupt,decode,told so" in report.report_path.read_text(
        encoding="utf-8"
    )
    assert not verify(parts).problems


def test_the_command_says_the_same(made, tmp_path):
    store = copied(made / "S", tmp_path / "S")
    code, out, errors = stub.complete("finalize", store)
    assert code == 3
    assert out.startswith("7 videos: 6 from 3 parts, ")
    assert errors.startswith(f"avqa: 1 of 7 videos failed; see {store}/runs/")
    code, out, errors = stub.complete("finalize", store)
    assert (code, errors) == (0, "")
    assert out == (
        f"store '{store}' has no parts; expected some of `avqa extract --partition`; nothing to"
        " finalize\n"
    )


def test_neither_parts_nor_store(tmp_path):
    with pytest.raises(StoreNotFound, match="no store and no parts of one at '.*/S'; expected"):
        finalize(tmp_path / "S")
    assert not (tmp_path / "S").exists()


def test_a_store_that_has_videos_is_extended(tmp_path, videos):
    """Appended videos, a new feature, a changed, a shorter, a repaired and a vanished file."""
    whole, store = tmp_path / "whole", tmp_path / "S"
    write(videos, "long", seconds=9, seed=20)
    for path in (whole, store):
        stub.extract(videos, path, wanted=(POOL,))
    add_texts(whole, ["one text"])
    add_texts(store, ["one text"])
    write(videos, "a_new_one", seconds=11, seed=30)
    write(videos, "z_new_one", seconds=1, seed=31)
    write(videos, "long", seconds=2, seed=21)
    write(videos, "v3", act="corrupt")
    write(videos, "bad", seconds=4, seed=32)
    stub.extract(videos, whole)
    reports = stub.extract_parts(videos, store, 3)
    assert sum(report.taken for report in reports) == 10
    assert sum(report.extracted for report in reports) == 9
    report = finalize(store)
    assert store_bytes(store) == store_bytes(whole)
    assert (report.extracted, report.finished_before, report.failed) == (9, 0, 1)
    problems = verify(store).problems
    assert [p.kind for p in problems] == [p.kind for p in verify(whole).problems]
    # Another change: what was asked of it is extracted again, the rest of it is pending.
    write(videos, "v1", seconds=6, seed=40)
    for path in (whole, store):
        options = {"wanted": (AUDIO,), "retry_failed": True}
        if path == whole:
            stub.extract(videos, path, **options)
        else:
            stub.extract_parts(videos, path, 2, **options)
    report = finalize(store)
    assert (report.extracted, report.finished_before, report.failed) == (1, 8, 1)
    opened = Store.open(store)
    assert opened.status(POOL)[opened.rows()["v1"]] == Status.PENDING
    assert store_bytes(store) == store_bytes(whole)
    assert stub.extract(videos, store).finished_before == 8  # goes on as usual


def test_what_a_store_has_of_a_video_that_is_gone_stays(tmp_path, videos):
    whole, store = tmp_path / "whole", tmp_path / "S"
    for path in (whole, store):
        stub.extract(videos, path, wanted=(POOL,))
    stub.extract(videos, store, part="0/2")
    (videos / "v3.mp4").unlink()
    stub.extract(videos, store, part="1/2")
    assert finalize(store).failed == 2
    opened = Store.open(store)
    row = opened.rows()["v3"]
    assert (opened.status(POOL)[row], opened.status(AUDIO)[row]) == (Status.OK, Status.FAILED)


def test_an_element_run_again_in_other_ways(tmp_path, videos):
    """Failures tried again, a file that changed between, features asked for in turn."""
    whole, store = tmp_path / "whole", tmp_path / "S"
    stub.extract_parts(videos, store, 2, wanted=(POOL,))
    write(videos, "bad", seconds=2, seed=50)
    write(videos, "v2", seconds=8, seed=51)
    stub.extract_parts(videos, store, 2, retry_failed=True)
    stub.extract(videos, whole, wanted=(POOL,))
    stub.extract(videos, whole)
    assert finalize(store).failed == 0
    assert store_bytes(store) == store_bytes(whole)


def test_sound_never_stands_beside_pictures_of_another_file(tmp_path, videos):
    store = tmp_path / "S"
    stub.extract(videos, store, wanted=(POOL,))
    for seed, wanted in ((60, (POOL, AUDIO)), (61, (AUDIO,))):
        write(videos, "v1", seconds=2, seed=seed)
        stub.extract_parts(videos, store, 2, wanted=wanted)
    assert finalize(store).pending == 1
    opened = Store.open(store)
    row = opened.rows()["v1"]
    assert (opened.status(POOL)[row], opened.status(AUDIO)[row]) == (Status.PENDING, Status.OK)


def test_the_columns_have_the_room_of_one_run(tmp_path, videos, monkeypatch):
    monkeypatch.setattr("avqa.store.format.schema.CAPACITY", 2)
    stub.extract(videos, tmp_path / "whole")
    stub.extract_parts(videos, tmp_path / "S", 2)
    finalize(tmp_path / "S")
    assert store_bytes(tmp_path / "S") == store_bytes(tmp_path / "whole")


def test_unfinished_elements_are_named(parts):
    shutil.rmtree(parts / "parts/0-of-3")
    part = parts / "parts/2-of-3"
    with Lock.acquire(part, "repair") as lock:
        store = Store.open(part, lock)
        store.set_pending([(0, AUDIO)])
    newest = max((parts / "parts/1-of-3/runs").glob("*.json"))
    newest.write_text(
        json.dumps(json.loads(newest.read_text(encoding="utf-8")) | {"state": "running"}),
        encoding="utf-8",
    )
    with pytest.raises(StoreError) as caught:
        finalize(parts)
    assert caught.value.exit_code == 4
    assert str(caught.value) == (
        f"store '{parts}': 3 tasks are not finished: 0/3 (not begun), 1/3 (its last run did not"
        " come to its end), 2/3 (1 of 2 videos left); expected all to be; run tasks 0,1,2 of"
        " `avqa extract --partition` again, then `avqa finalize`"
    )
    assert sorted(path.name for path in parts.iterdir()) == ["parts"]


def test_an_element_that_runs_is_named(parts):
    with Lock.acquire(parts / "parts/1-of-3", "task"):
        with pytest.raises(StoreError) as caught:
            finalize(parts)
    message = f"1 tasks are not finished: 1/3 (in use by run_id=task host={os.uname().nodename}"
    assert message in str(caught.value)
    assert f" pid={os.getpid()}); expected all" in str(caught.value)
    with Lock.acquire(parts, "whole"), pytest.raises(StoreLocked, match="by run_id=whole"):
        finalize(parts)
    assert finalize(parts).extracted == 6


def test_an_earlier_try_on_a_clock_that_was_ahead_is_earlier(parts):
    """Its file says that it began in the year 2999 and never ended; the next one did."""
    runs = parts / "parts/1-of-3/runs"
    (finished,) = (json.loads(p.read_text(encoding="utf-8")) for p in runs.glob("*.json"))
    tried = finished | {"run_id": "tried", "number": 0, "state": "running", "summary": None}
    tried |= {"started": "2999-01-01T00:00:00.000+00:00"}
    assert finished["number"] == 1
    (runs / "tried.json").write_text(json.dumps(tried), encoding="utf-8")
    assert finalize(parts).extracted == 6


def test_an_old_lock_of_another_machine_is_taken_on_request(parts):
    dead = {"run_id": "dead", "host": "elsewhere", "pid": 1, "process_start": "", "started": ""}
    lock = json.dumps(dead | {"heartbeat": "2020-01-01T00:00:00+00:00"})
    for path in (parts / "parts/1-of-3/lock.json", parts / "lock.json"):
        path.write_text(lock, encoding="utf-8")
        os.utime(path, (time.time() - 900,) * 2)
    with pytest.raises(StoreError, match=r"1/3 \(in use by run_id=dead host=elsewhere pid=1\)"):
        finalize(parts)
    assert finalize(parts, steal_lock=True).extracted == 6


def test_parts_of_other_recipes_are_refused(tmp_path, videos):
    store = tmp_path / "S"
    stub.extract(videos, store, part="0/2")
    stub.extract(videos, store, part="1/2", frame_at="start")
    with pytest.raises(RecipeMismatch) as caught:
        finalize(store)
    assert str(caught.value) == (
        f"parts '{store}/parts/0-of-2' (first) and '{store}/parts/1-of-2' (second): another recipe:"
        ' grid.frame_at: first="mid" second="start" (resnet18/pool, vggish/audio);'
        " expected the same; remove the wrong one and run its task again"
    )
    shutil.rmtree(store / "parts/1-of-2")
    stub.extract(videos, store, part="1/2", wanted=(POOL,))
    with pytest.raises(RecipeMismatch, match=r"\(second\): only one has features=vggish"):
        finalize(store)
    stub.extract(videos, store, part="1/2")
    assert finalize(store).extracted == 6


def test_missing_and_damaged_chunks_leave_their_video_pending(made, parts):
    pool = parts / "parts/0-of-3/features.zarr/resnet18/pool"  # bad, v1, v4
    (pool / "c.1.0.0").unlink()
    audio = parts / "parts/2-of-3/features.zarr/vggish/audio"  # v0, v3
    with (audio / "c.1.1.0").open("r+b") as file:
        file.seek(-1, os.SEEK_END)
        file.write(b"\0" if file.read(1) != b"\0" else b"\1")
    (parts / "parts/1-of-3/features.zarr/resnet18/pool/c.0.1.0").write_bytes(b"")  # mute, v2
    said = []
    report = finalize(parts, said.append)
    assert (report.extracted, report.pending, report.failed) == (3, 3, 1)
    assert said == [
        f"pending: video={name}, its chunk objects were missing or damaged"
        for name in ("mute", "v1", "v3")
    ]
    assert "3 from 3 parts, 0 already there, 1 failed, 3 pending, 1 without" in report.summary()
    with pytest.raises(PartialFailure) as caught:
        report.raise_if_failed()
    assert str(caught.value) == (
        "3 of 7 videos are pending: chunk objects of their parts were missing or damaged; expected"
        f" all; extract them again with: avqa extract --videos {made}/videos --out {parts}"
    )
    store = Store.open(parts)
    assert store.status(POOL).tolist() == [2, 0, 1, 0, 1, 1, 1]
    assert store.status(AUDIO).tolist() == [2, 4, 1, 1, 1, 0, 1]


def test_chunks_that_moved_already_count_if_they_are_the_right_ones(made, parts):
    shutil.copytree(parts, parts.parent / "other")
    for name, wrong in (("S", False), ("other", True)):
        store = parts.parent / name
        source = store / "parts/0-of-3/features.zarr/resnet18/pool/c.1.0.0"  # v1
        target = store / "features.zarr/resnet18/pool/c.3.0.0"
        with Lock.acquire(store, "killed") as lock:
            part = Store.open(store / "parts/0-of-3")
            specs = [module._spec(part, feature) for feature in part.features()]
            Store.create(store, part.recipes(), specs, stub.CHUNK_SECONDS, lock=lock)
        source.replace(target)
        shutil.copy(target, target.with_name("c.3.1.0"))  # v1 has one chunk
        if wrong:
            shutil.copy(store / "parts/0-of-3/features.zarr/resnet18/pool/c.2.0.0", target)
    assert finalize(parts).pending == 0
    assert store_bytes(parts) == store_bytes(made / "whole")
    assert finalize(parts.parent / "other").pending == 1


def test_killed_before_changes_of_the_disk(made, tmp_path):
    """Every 23rd of them, and each of the last ones, in which the parts are removed."""
    whole = store_bytes(made / "whole")
    counted = tmp_path / "counted"
    assert exit_code(run_and_die, copied(made / "S", tmp_path / "S"), -1, counted) == 0
    total = int(counted.read_text(encoding="utf-8"))
    assert total > 120
    for change in [*range(0, total, 23), *range(total - 4, total)]:
        path = copied(made / "S", tmp_path / str(change))
        assert exit_code(run_and_die, path, change) == -signal.SIGKILL
        if (path / "parts/videos.jsonl").exists() or (path / "parts/finished.json").exists():
            report = finalize(path)
            assert (report.extracted, report.failed, report.pending) == (6, 1, 0), change
            assert "bad" in report.report_path.read_text(encoding="utf-8")
        assert finalize(path) is None
        assert store_bytes(path) == whole, change
        assert verify(path).problems == [], change
        assert not list(path.rglob("*.partial")), change
        shutil.rmtree(path)


@pytest.mark.soak
def test_the_command_killed_at_random_moments(made, tmp_path):
    path = copied(made / "S", tmp_path / "S")
    chooser = random.Random(1)
    for _ in range(3):
        run = stub.start("finalize", path)
        time.sleep(chooser.uniform(1, 3))
        os.killpg(run.pid, signal.SIGKILL)
        run.communicate()
    finalize(path)
    assert store_bytes(path) == store_bytes(made / "whole")


def test_what_is_damaged_after_its_commit_is_not_committed_again(made, tmp_path):
    path = copied(made / "S", tmp_path / "S")
    assert exit_code(run_and_die, path, 110) == -signal.SIGKILL
    assert (path / "parts/videos.jsonl").exists()
    store = Store.open(path)
    row = (store.status(AUDIO) == Status.OK).nonzero()[0][0]
    with (path / f"features.zarr/vggish/audio/c.{row}.0.0").open("r+b") as file:
        file.truncate(20)
    assert finalize(path).pending == 1
    assert Store.open(path).status(AUDIO)[row] == Status.PENDING


def test_an_element_may_be_run_again_after_a_killed_finalize(made, tmp_path):
    """What moved already is missing from its part: it is extracted again, to the same bytes."""
    path = copied(made / "S", tmp_path / "S")
    assert exit_code(run_and_die, path, 90) == -signal.SIGKILL
    moved = list(path.glob("features.zarr/*/*/c.*.*"))
    assert moved
    assert (path / "parts/videos.jsonl").exists()
    with pytest.raises(StoreError, match="in use by run_id=|in 3 parts; expected none"):
        stub.extract(made / "videos", path)
    stub.extract_parts(made / "videos", path, 3)
    report = finalize(path)
    assert report.extracted + report.finished_before == 6
    assert store_bytes(path) == store_bytes(made / "whole")


def test_a_removal_that_was_killed_refuses_everything_else(made, tmp_path):
    path = copied(made / "S", tmp_path / "S")
    exit_code(run_and_die, path, 3)
    shutil.rmtree(path)
    copied(made / "S", path)
    counted = tmp_path / "counted"
    exit_code(run_and_die, copied(made / "S", tmp_path / "T"), -1, counted)
    assert (
        exit_code(run_and_die, path, int(counted.read_text(encoding="utf-8")) - 3)
        == -signal.SIGKILL
    )
    assert (path / "parts/finished.json").exists()
    message = f"store '{path}': an `avqa finalize` that was killed left parts behind; expected none"
    for part in (None, "0/3", "0/4"):
        with pytest.raises(StoreError, match=re.escape(message)):
            stub.extract(made / "videos", path, part=part)
    report = finalize(path)
    assert report.summary().startswith("7 videos: 6 from 3 parts, ")
    with pytest.raises(PartialFailure, match="1 of 7 videos failed; see "):
        report.raise_if_failed()
    assert sorted(each.name for each in path.iterdir()) == STORE


def test_a_signal_stops_it_between_batches(made, parts, monkeypatch):
    monkeypatch.setattr(module, "BATCH", 3)
    commit = Store.commit

    def commit_and_signal(self, records):
        commit(self, records)
        os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(Store, "commit", commit_and_signal)
    with pytest.raises(Stopped) as caught:
        finalize(parts)
    assert caught.value.exit_code == 143
    assert str(caught.value) == (
        "stopped by SIGTERM: 3 of 7 videos moved; run `avqa finalize` again"
    )
    assert not list(parts.rglob("lock.json"))
    monkeypatch.undo()
    assert finalize(parts).extracted == 6
    assert store_bytes(parts) == store_bytes(made / "whole")
