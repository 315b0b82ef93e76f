"""`avqa train-head` as a user types it: what it prints and the code it exits with."""

import errno
import json
import os
import shutil
import socket
import subprocess
import sys
from dataclasses import asdict
from unittest.mock import Mock

import pytest
from helpers.extraction.light import finished
from helpers.runs import run_folders
from typer.testing import CliRunner

from avqa.cli import app
from avqa.errors import ConfigError
from avqa.pipelines.train import folder
from avqa.store.lock import Holder
from avqa.store.places.files import write_json
from avqa.units import parse_assignments


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """A store of three videos and a question about each, one per split."""
    folder = tmp_path_factory.mktemp("data")
    run_folders.write_three_videos(folder)
    return folder


def train_head(data, out, head="question_only", *more, **changes):
    given = {"store": data / "store", "dataset": "music-avqa", "annotations": data / "annotations"}
    given |= {"out": out, **changes}
    pairs = [part for name, value in given.items() for part in (f"--{name}", str(value))]
    done = CliRunner().invoke(app, ["train-head", head, *pairs, *map(str, more)])
    return done.exit_code, done.stdout, done.stderr


def test_the_table_is_the_output_and_progress_is_not(data, tmp_path):
    config = tmp_path / "settings.toml"
    config.write_text("epochs = 2\nwidth = 16\n", encoding="utf-8")
    sets = ("--set", "epochs=1", "--set", "batch_size=4", "--device", "cpu", "--seeds", 2)
    code, printed, said = train_head(data, tmp_path / "run", "question_only", *sets, config=config)
    assert code == 0, said
    assert printed.rstrip("\n") == (tmp_path / "run" / "table.txt").read_text(
        encoding="utf-8"
    ).rstrip("\n")
    assert "ours: question_only" in printed
    assert "question_only default seed 1: test " in said
    assert said.endswith(f"run: {tmp_path / 'run'}\n")
    about = json.loads((tmp_path / "run" / "run.json").read_text(encoding="utf-8"))
    settings = {**about["settings"], **about["options"]}
    expected = {"epochs": 1, "batch_size": 4, "device": "cpu", "width": 16}
    assert {name: settings[name] for name in expected} == expected
    assert train_head(data, tmp_path / "run")[0] == 2


@pytest.mark.parametrize(
    ("head", "more", "changes", "code", "message"),
    [
        ("pstpp", (), {}, 2, "avqa: no head 'pstpp'; did you mean 'pstp'? available: avaf, "),
        (
            "avst",
            ("--ablation", "v+"),
            {},
            2,
            "avqa: no ablation of avst 'v+'; did you mean 'v+q'?",
        ),
        ("avst", ("--set", "epochs"), {}, 2, "avqa: --set epochs; expected key=value, such as"),
        ("avst", ("--set", "epoch=1"), {}, 2, "no setting 'epoch'; did you mean 'epochs'?"),
        ("avst", ("--device", "tpu"), {}, 2, "device='tpu'; expected one of auto, cpu, cuda"),
        (
            "avst",
            ("--devices", 65, "--device", "cpu"),
            {},
            2,
            "avqa: devices=65 with batch_size=64; expected 1 to 64: every batch is divided",
        ),
        ("avst", (), {"dataset": "music"}, 2, "avqa: no data set 'music'; did you mean"),
        ("avst", (), {"store": "nowhere"}, 2, "nowhere'"),
        ("avst", (), {"annotations": "nowhere"}, 2, "nowhere"),
        ("avst", (), {"config": "nowhere.toml"}, 2, "avqa: config='nowhere.toml' cannot be read"),
        ("avst", (), {}, 4, "has no resnet18/map; expected vggish/audio, resnet18/map; add with:"),
    ],
)
def test_a_mistake_is_one_line_and_leaves_no_folder(
    data, tmp_path, head, more, changes, code, message
):
    found, printed, said = train_head(data, tmp_path / "run", head, *more, **changes)
    assert (found, printed) == (code, "")
    assert message in said
    assert said.count("\n") == 1
    assert not (tmp_path / "run").exists()


def test_assignments_are_parted_at_the_first_equals_sign():
    assert parse_assignments(["a=1", " b = x=y ", "a=2"]) == {"a": "2", "b": "x=y"}
    with pytest.raises(ConfigError, match="--set =1 b; expected key=value"):
        parse_assignments(["=1", "a=1", "b"])


def test_where_the_file_system_has_no_flock_one_process_at_a_time_trains(
    data, tmp_path, monkeypatch
):
    strace = [*("strace", "-f", "--seccomp-bpf", "-qq", "-o", os.devnull)]
    strace += ["-e", "inject=flock:error=ENOLCK"]
    if not shutil.which("strace") or subprocess.run([*strace, "true"], check=False).returncode:
        pytest.skip("no strace that may trace: file systems without flock cannot be played")
    out = tmp_path / "run"
    write_json(out / "lock.json", asdict(Holder.me("a run of this process")))
    monkeypatch.setattr(folder.fcntl, "flock", Mock(side_effect=OSError(errno.ENOLCK, "no locks")))
    monkeypatch.setattr(folder, "PATIENCE_SECONDS", 1)
    code, printed, said = train_head(data, out, "question_only", "--device", "cpu")
    assert (code, printed, said.count("\n")) == (2, "", 1)
    assert f"another process (host={socket.gethostname()}, pid={os.getpid()}, since " in said
    assert "has held its lock for 1 s; expected moments; end it if it hangs" in said
    (out / "lock.json").unlink()
    command = [*strace, sys.executable, "-m", "avqa", "train-head", "question_only"]
    command += ["--device", "cpu", "--set", "epochs=1", "--dataset", "music-avqa"]
    command += ["--store", str(data / "store"), "--annotations", str(data / "annotations")]
    code, _, said = finished([*command, "--out", str(out)], SLURM_CPUS_PER_TASK="1")
    assert code == 0, said
    assert not (out / "lock.json").exists()
    assert (out / "runs").is_dir()  # the lock was there
    machine = json.loads((out / "default/seed-0/environment.json").read_text(encoding="utf-8"))
    kept = [machine[name] for name in ("cores", "threads", "wait_policy", "spin_count")]
    assert kept == [1, 1, "PASSIVE", "300000"]


def test_a_run_that_diverged_at_once_is_begun_anew_in_its_folder(data, tmp_path):
    out, sets = tmp_path / "run", ("--set", "epochs=2", "--device", "cpu")
    small = ("--set", "width=16", *sets)
    wild = (*small, "--set", "learning_rate=1e30")
    code, _, said = train_head(data, out, "question_only", *wild)
    assert code == 2
    advice = "lower learning_rate=1e+30 and train anew in the same --out; no epoch was finished\n"
    assert said.endswith(advice)
    code, _, said = train_head(data, out, "question_only", *small, "--resume")
    assert code == 2
    assert "leave --resume out: no epoch is kept" in said
    code, printed, said = train_head(data, out, "question_only", *small)
    assert code == 0, said
    assert "ours: question_only" in printed
    code, _, said = train_head(data, out, "question_only", *small)
    assert (code, "holds a run; expected an empty folder; go on with it by --" in said) == (2, True)


def test_the_traceback_of_a_defect_is_kept_in_the_folder(data, tmp_path, monkeypatch):
    def broken(*_):
        raise ZeroDivisionError("a defect")

    monkeypatch.setattr("avqa.pipelines.train.train.write_table", broken)
    out = tmp_path / "run"
    code, _, said = train_head(data, out, "question_only", "--set", "epochs=1", "--set", "width=16")
    file = out / "traceback.txt"
    assert (code, f"report the traceback in '{file}' with" in said) == (1, True)
    assert file.read_text(encoding="utf-8").endswith("ZeroDivisionError: a defect\n")


@pytest.mark.parametrize("name", ["run.json", "default/seed-0/config.json"])
def test_a_file_of_a_later_version_is_refused_by_name(data, tmp_path, name):
    out = tmp_path / "run"
    assert train_head(data, out, "question_only", "--set", "epochs=1", "--set", "width=16")[0] == 0
    value = json.loads((out / name).read_text(encoding="utf-8"))
    assert value["format"] == 1
    write_json(out / name, {**value, "format": 2, "new": 1})
    done = CliRunner().invoke(app, ["evaluate", str(out)])
    assert (
        done.exit_code,
        f"{str(out / name)!r} has format=2; expected 1 at most; it was written by" in done.stderr,
    ) == (2, True)
