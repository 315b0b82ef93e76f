"""Several processes in one run folder: tasks of an array job, and others that just help."""

import json
import os
import shutil
import time
from dataclasses import asdict, replace

import pytest
from helpers import killed
from helpers.runs import run_folders, training
from typer.testing import CliRunner

from avqa.cli import app
from avqa.errors import ConfigError, StoreLocked
from avqa.pipelines.train import members
from avqa.pipelines.train.members import hold_member, take_member
from avqa.pipelines.train.train import TrainOptions, train_head
from avqa.store.lock import Holder, read_holder
from avqa.store.places.files import read_json, store_path, write_json
from avqa.training.run import read_about, save_about

SEEDS = ("default/seed-0", "default/seed-1", "default/seed-2")
FILES = ("model.safetensors", "predictions.json", "config.json")


def words(data, out, *more):
    return [
        *("train-head", "question_only", "--store", str(data / "store"), "--dataset", "music-avqa"),
        *("--annotations", str(data / "annotations"), "--out", str(out), "--device", "cpu"),
        *("--seeds", "3", "--set", "epochs=2", "--set", "width=8", *more),
    ]


def typed(*words):
    done = CliRunner().invoke(app, [*map(str, words)])
    return done.exit_code, done.stderr, done.stdout


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """A store of three videos, a question about each, and a ``run`` that one process made."""
    folder = tmp_path_factory.mktemp("data")
    run_folders.write_three_videos(folder)
    code, said, _ = typed(*words(folder, folder / "run"))
    assert code == 0, said
    return folder


def assert_same(out, other):
    for name in ("table.csv", "table.txt", "table.md"):
        assert (out / name).read_bytes() == (other / name).read_bytes()
    for seed in SEEDS:
        for name in FILES:
            assert (out / seed / name).read_bytes() == (other / seed / name).read_bytes(), name


def test_tasks_beside_each_other_make_the_run_of_one(data, tmp_path):
    out, logs = tmp_path / "run", [tmp_path / "0", tmp_path / "1"]
    tasks = [
        killed.start(training.typed, log, *words(data, out, "--partition", f"{n}/2"))
        for n, log in enumerate(logs)
    ]
    for task in tasks:
        task.join()
    said = [log.read_text(encoding="utf-8") for log in logs]
    assert [task.exitcode for task in tasks] == [0, 0], said
    assert f"\ntask 0/2: 2 of 3 members: {SEEDS[0]}, {SEEDS[2]}\n" in said[0]
    assert f"\ntask 1/2: 1 of 3 members: {SEEDS[1]}\n" in said[1]
    tested = [{n for n in range(3) if f"seed {n}: test" in text} for text in said]
    assert tested == [{0, 2}, {1}]
    assert_same(out, data / "run")
    about = read_about(out, "")
    assert {k: v for k, v in about.items() if k != "command"} == {
        k: v for k, v in read_about(data / "run", "").items() if k != "command"
    }
    code, said, _ = typed(*words(data, out, "--partition", "3/4"))
    assert (code, "task 3/4: 0 of 3 members: nothing to do\n" in said) == (0, True)


def until(path):
    deadline = time.monotonic() + 120
    while not path.exists():
        assert time.monotonic() < deadline, f"waited in vain for {path}"
        time.sleep(0.05)


def test_another_process_takes_what_nobody_holds_and_what_a_dead_one_left(data, tmp_path):
    out, gate = tmp_path / "run", tmp_path / "gate"
    task = words(data, out, "--partition", "0/3")
    first = killed.start(training.typed_until, gate, "epoch 1/2", *task)
    try:
        until(gate)
        own = f"member {str(out / SEEDS[0])!r} is trained by another process (host="
        code, said, _ = typed(*words(data, out, "--partition", "0/3", "--resume"))
        assert (code, own in said.splitlines()[-1]) == (4, True), said
        assert f" pid={first.pid} heartbeat=" in said
        assert not (out / "table.txt").exists()  # nothing is finished
        code, said, table = typed(*words(data, out, "--resume"))
        assert code == 0, said
        assert own in said
        assert f"1 of 3 members are not finished: {SEEDS[0]}; expected all" in said
        assert [f"seed {n}: test" in said for n in range(3)] == [False, True, True]
        note = f"\nnot finished, and not in this table: {SEEDS[0]}\n"
        assert note in table
        assert note in (out / "table.txt").read_text(encoding="utf-8")
        assert note in typed("evaluate", out)[2]
        assert f"\nrun: {note[1:]}" in typed("table", out, data / "run")[2]
        code, said, _ = typed(*words(data, out, "--overwrite"))
        assert (code, f"avqa: --overwrite: {own}" in said) == (2, True), said
    finally:
        first.kill()
        first.join()
    code, said, table = typed(*words(data, out, "--partition", "0/3", "--resume"))
    assert code == 0, said
    assert "question_only default seed 0: going on after epoch 1/2" in said
    assert note not in table
    assert_same(out, data / "run")


def options(data, out, **more):
    return TrainOptions(
        head="question_only",
        store=store_path(data / "store"),
        dataset="music-avqa",
        annotations=data / "annotations",
        out=out,
        assignments={"epochs": "2", "width": "8", "device": "cpu"},
        seeds=3,
        **more,
    )


def test_who_lost_a_member_writes_no_more_of_it(data, tmp_path):
    out = tmp_path / "run"

    def lose(line):
        if "seed 1: epoch 1/2" in line:
            (out / "locks" / SEEDS[1] / "lock.json").unlink()

    with pytest.raises(StoreLocked) as caught:
        train_head(options(data, out), lose)
    assert str(caught.value) == (
        f"member {str(out / SEEDS[1])!r}: another process took its lock over; expected to hold it"
        " to the end; this one stops without writing; the other one goes on"
    )
    assert [(out / seed / "result.json").exists() for seed in SEEDS] == [True, False, False]


def test_who_comes_back_to_another_run_does_not_mix_with_it(data, tmp_path):
    out = tmp_path / "run"

    def replaced(line):
        if "seed 0: test" in line:
            about = read_about(out, "")
            save_about(out, about | {"settings": about["settings"] | {"epochs": 9}})

    with pytest.raises(ConfigError, match=r"epochs \(run: 9, now: 2\); expected what the run"):
        train_head(options(data, out), replaced)
    assert not (out / SEEDS[1]).exists()


def test_a_holder_on_another_machine_is_taken_over_when_silent_and_asked(data, tmp_path):
    out = shutil.copytree(data / "run", tmp_path / "run")
    shutil.rmtree(out / SEEDS[1])
    lock = out / "locks" / SEEDS[1] / "lock.json"
    write_json(lock, asdict(replace(Holder.me("run"), host="elsewhere")))
    code, said, _ = typed(*words(data, out, "--resume"))
    assert code == 0
    assert "is trained by another process (host=elsewhere pid=" in said
    assert f"dead, use --steal-lock or remove {str(lock)!r}\n" in said
    code, said, _ = typed(*words(data, out, "--resume", "--steal-lock"))
    assert "; expected none; --steal-lock waits until that is 600 s old\n" in said
    make_old(lock)
    code, said, _ = typed(*words(data, out, "--resume", "--steal-lock"))
    assert (code, "seed 1: test" in said) == (0, True), said
    assert_same(out, data / "run")


def make_old(lock):
    old = lock.stat().st_mtime - 601
    os.utime(lock, (old, old))


def test_a_held_member_gives_signs_of_life(tmp_path, monkeypatch):
    monkeypatch.setattr(members, "BEAT_SECONDS", 0.01)
    path = tmp_path / "default" / "seed-0"
    place = store_path(tmp_path / "locks" / "default" / "seed-0")
    with hold_member(path, take_member(path)) as held:
        first = read_holder(place).heartbeat
        deadline = time.monotonic() + 120
        while read_holder(place).heartbeat == first:
            assert time.monotonic() < deadline
        held.check()
    assert read_holder(place) is None


def test_overwrite_trains_another_run_in_place_of_the_old_one(data, tmp_path):
    out = shutil.copytree(data / "run", tmp_path / "run")
    other = words(data, out, "--set", "width=4", "--seeds", "1")
    code, said, _ = typed(*other)
    assert (code, "go on with it by --resume, replace it by --overwrite, or choose" in said) == (
        2,
        1,
    )
    code, said, _ = typed(*other, "--overwrite", "--partition", "0/2")
    assert (code, "--overwrite with --partition; expected one of them" in said) == (2, True)
    assert_same(out, data / "run")
    code, said, _ = typed(*other, "--overwrite")
    assert code == 0, said
    assert read_json(out / SEEDS[0] / "config.json")["options"]["width"] == 4
    assert not (out / SEEDS[1]).exists()
    assert json.loads((out / "run.json").read_text(encoding="utf-8"))["seeds"] == 1
