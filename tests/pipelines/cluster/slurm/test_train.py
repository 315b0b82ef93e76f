"""`avqa train-head --scheduler slurm` on a real SLURM: the run of one process; what goes wrong."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from helpers.runs import run_folders
from typer.testing import CliRunner

from avqa.cli import app
from avqa.pipelines.train import on_slurm

pytest.importorskip("dask_jobqueue")
ROOT = Path(__file__).resolve().parents[4]
CONFIG = """
walltime: 00:10:00
memory: 4GB
job_cpu: 1
"""
SEEDS = ("default/seed-0", "default/seed-1", "default/seed-2")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    run_folders.write_three_videos(folder)
    code, said, _ = typed(*words(folder, folder / "run"))
    assert code == 0, said
    return folder


@pytest.fixture
def cluster(slurm, tmp_path, monkeypatch):
    """``--scheduler slurm`` with a configuration: CONFIG and more lines."""
    monkeypatch.setattr(on_slurm, "POLL_SECONDS", 0.5)
    monkeypatch.setenv("SLURM_CONF", slurm.env["SLURM_CONF"])
    monkeypatch.setenv("PYTHONPATH", f"{ROOT}{os.pathsep}{ROOT}/tests")

    def given(more="", jobs=2):
        path = tmp_path / "cluster.yaml"
        path.write_text(f"{CONFIG}log_directory: {tmp_path}/logs\n{more}", encoding="utf-8")
        return ["--scheduler", "slurm", "--jobs", str(jobs), "--cluster-config", str(path)]

    return given


def words(data, out, *more):
    return [
        *("train-head", "question_only", "--store", str(data / "store"), "--dataset", "music-avqa"),
        *("--annotations", str(data / "annotations"), "--out", str(out), "--device", "cpu"),
        *("--seeds", "3", "--set", "epochs=2", "--set", "width=8", *more),
    ]


def typed(*words):
    done = CliRunner().invoke(app, [*words])
    return done.exit_code, done.stderr, done.stdout


def logs(tmp_path):
    return "\n".join(p.read_text(encoding="utf-8") for p in (tmp_path / "logs").glob("*.log"))


def test_an_array_makes_the_run_of_one_process(data, cluster, slurm, tmp_path):
    out = tmp_path / "run"
    code, said, table = typed(*words(data, out, *cluster()))
    assert code == 0, said + logs(tmp_path)
    assert "slurm: 2 tasks submitted as avqa-train-" in said
    assert "slurm: 0 of 3 members finished; tasks: " in said
    assert table == (out / "table.txt").read_text(encoding="utf-8")
    for name in ("table.txt", *(f"{seed}/model.safetensors" for seed in SEEDS)):
        assert (out / name).read_bytes() == (data / "run" / name).read_bytes(), name
    assert f"task 0/2: 2 of 3 members: {SEEDS[0]}, {SEEDS[2]}\n" in logs(tmp_path)
    assert len([*(tmp_path / "logs").glob("avqa-train-*.log")]) == 2
    assert not slurm.jobs()
    code, said, _ = typed(*words(data, out, "--seeds", "1", "--resume", *cluster()))
    assert (code, "the run has 3 members, this command 1; expected all" in said) == (2, True)


def test_tasks_that_fail_are_named_with_their_logs(data, cluster, tmp_path):
    out = tmp_path / "run"
    code, said, _ = typed(*words(data, out, *cluster("python: /bin/false\n")))
    assert code == 5
    last = said.splitlines()[-1]
    assert ", and 3 of 3 members are not finished: default/seed-0, default/seed-1," in last
    assert f"; their logs say why: {tmp_path}/logs/avqa-train-" in last
    code, said, _ = typed(*words(data, tmp_path / "other", *cluster("queue: nowhere\n")))
    assert (
        code,
        "sbatch refused the job script: invalid partition specified: nowhere" in said,
    ) == (*(5, True),)


def test_ctrl_c_cancels_the_tasks(data, cluster, slurm, tmp_path):
    out = tmp_path / "run"
    options = cluster("job_extra_directives: [--hold]\n")
    run = subprocess.Popen(
        [sys.executable, "-m", "avqa", *words(data, out, *options)],
        stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, encoding="utf-8",
    )  # fmt: skip
    deadline = time.monotonic() + 120
    while not slurm.jobs():
        assert time.monotonic() < deadline
        time.sleep(0.1)
    run.send_signal(signal.SIGINT)
    _, said = run.communicate(timeout=120)
    assert run.returncode == 130, said
    assert "cancelled with 0 of 3 members finished; go on with the same command" in said
    assert not slurm.jobs()


@pytest.mark.parametrize(
    ("more", "told"),
    [
        (["--scheduler", "dask"], "no scheduler 'dask'; available: local, slurm"),
        (["--scheduler", "slurm"], "scheduler=slurm; expected a number of jobs and a file"),
        (["--jobs", "2"], "scheduler=local; expected slurm with --jobs and --cluster-config"),
    ],
)
def test_what_does_not_go_together(data, tmp_path, more, told):
    code, said, _ = typed(*words(data, tmp_path / "run", *more))
    assert (code, told in said) == (2, True), said


def test_a_partition_is_not_for_the_driver(data, cluster, tmp_path):
    code, said, _ = typed(*words(data, tmp_path / "run", "--partition", "0/2", *cluster()))
    assert code == 2
    assert "--partition 0/2 with --scheduler slurm; expected one of them: the jobs get" in said
