"""SLURM without SLURM: the job script, and what is done about dead jobs."""

from pathlib import Path

import pytest
from helpers.media import fake_reader
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from avqa.cli import app
from avqa.errors import EnvironmentFailure
from avqa.pipelines.cluster import slurm_jobs
from avqa.pipelines.cluster.slurm_config import choose_cluster
from avqa.pipelines.cluster.slurm_jobs import SlurmJobs, job_script, lifetime

EXAMPLE = Path(__file__).resolve().parents[3] / "examples" / "slurm" / "cluster.yaml"


def test_the_job_script_of_the_example():
    pytest.importorskip("dask_jobqueue")
    example = choose_cluster("slurm", EXAMPLE, 4)
    assert (example.device, example.cpus, example.jobs) == ("cuda", 8, 4)
    lines = job_script(example, "avqa-1", "avqa-1-7", "tcp://10.0.0.1:4000").splitlines()
    directives = [line.removeprefix("#SBATCH ") for line in lines if line.startswith("#SBATCH")]
    assert directives == [
        "-J avqa-1", "-p gpu", "-n 1", "--cpus-per-task=8", "--mem=30G", "-t 04:00:00",
        "--no-requeue", f"--output={Path('slurm-logs').absolute()}/%x-%j.log", "--gres=gpu:1",
    ]  # fmt: skip
    assert "export DASK_DISTRIBUTED__WORKER__MEMORY__SPILL=False" in lines
    (worker,) = (line for line in lines if "dask_worker" in line)
    for words in (
        "dask_worker tcp://10.0.0.1:4000 --name avqa-1-7 --nthreads 2 ",
        "--nanny",
        "--lifetime 13200s --lifetime-stagger 600s",
    ):
        assert words in worker


@given(st.floats(60, 30 * 86400))
def test_a_worker_leaves_before_its_job_ends(walltime):
    seconds, stagger = lifetime(walltime)
    latest, earliest = seconds + stagger, seconds - stagger
    assert walltime - latest >= min(600, walltime / 10) - 1
    assert earliest >= 0.65 * walltime


def test_without_dask_jobqueue_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "dask_jobqueue", None)
    with pytest.raises(EnvironmentFailure, match=r"pip install dask-jobqueue") as caught:
        job_script(choose_cluster("slurm", EXAMPLE, 1))
    assert caught.value.exit_code == 5


class FakeSlurm:
    """SLURM's commands and the Dask client in one, with a clock that stands still."""

    def __init__(self, config, monkeypatch, jobs=2, timeout="12:00:00"):
        self.now, self.workers, self.said, self.calls = 0.0, [], [], []
        self.queue, self.submitted, self.refusal, self.silent = {}, [], "", False
        self.retired = []
        monkeypatch.setattr(slurm_jobs.time, "monotonic", lambda: self.now)
        monkeypatch.setattr(slurm_jobs, "ask_slurm", self.command)
        read = config(jobs=jobs, worker_timeout=timeout, log_directory="/logs")
        self.jobs = SlurmJobs(read, self, "avqa-r", lambda worker: worker, self.said.append)

    def scheduler_info(self, n_workers):
        return {"workers": {name: {"name": name} for name in self.workers}}

    def retire_workers(self, names):
        self.retired += names

    def command(self, program, *arguments, script=None):
        self.calls.append((program, *arguments))
        if program == "squeue" and self.silent:
            return 1, "slurm_load_jobs error: Unable to contact slurm controller"
        if program == "squeue":
            return 0, "".join(f"{job}|{state}\n" for job, state in self.queue.items())
        if program == "sbatch" and self.refusal:
            return 1, self.refusal
        if program == "sbatch":
            self.submitted.append(script)
            self.queue[str(len(self.submitted))] = "PENDING (Priority)"
            return 0, f"{len(self.submitted)};cluster\n"
        return 0, ""

    def keep(self, left=100, after=10.0):
        self.now += after
        self.jobs.keep(left)


@pytest.fixture
def fake(config, monkeypatch):
    """A `FakeSlurm`."""

    def make(**options):
        return FakeSlurm(config, monkeypatch, **options)

    return make


def test_as_many_jobs_as_asked_for_or_useful(fake):
    some = fake(jobs=3)
    some.keep()
    some.keep()
    assert some.submitted == ["avqa-r-1", "avqa-r-2", "avqa-r-3"]
    assert some.said == ["slurm: 3 submitted as avqa-r"]
    few = fake(jobs=3)
    few.keep(left=2)
    assert few.submitted == ["avqa-r-1", "avqa-r-2"]


def test_a_job_that_ended_is_replaced_while_videos_are_left(fake):
    one = fake()
    one.keep()
    one.workers = ["avqa-r-1", "avqa-r-2"]
    one.keep()
    del one.queue["1"]
    one.keep(left=1)
    assert len(one.submitted) == 2  # the other one is enough
    one.keep(left=2)
    assert one.submitted[2:] == ["avqa-r-3"]
    # Its machine fell silent: Dask still waits for the worker, and is told not to.
    assert one.retired == ["avqa-r-1"]


def test_slurm_that_does_not_answer_gives_no_job_up(fake):
    one = fake()
    one.keep()
    one.silent = True
    for _ in range(5):
        one.keep()
    assert len(one.submitted) == 2


def test_jobs_that_die_before_their_workers_come_end_the_run(fake):
    one = fake()
    one.keep()
    one.queue.clear()
    one.keep()
    assert len(one.submitted) == 4
    one.queue.clear()
    with pytest.raises(EnvironmentFailure) as caught:
        one.keep()
    assert str(caught.value) == (
        "slurm: the last 4 jobs ended before their workers came; expected each to reach the"
        " scheduler; their logs say why: /logs/avqa-r-*.log"
    )


def test_a_worker_that_came_makes_no_early_death(fake):
    one = fake(jobs=3)
    for _ in range(3):
        one.keep()
        one.workers = one.submitted[-3:]
        one.keep()
        one.workers = []
        one.queue.clear()  # they came, and were cancelled all at once
    one.keep()
    assert len(one.submitted) == 12


def test_only_early_deaths_in_a_row_count(fake):
    one = fake(jobs=2)
    for _ in range(3):
        one.keep()
        one.workers = []
        one.queue.clear()
        one.keep()  # two ended early, two were submitted
        one.workers = one.submitted[-1:]
        one.keep()
    assert len(one.submitted) >= 6


def test_early_deaths_are_forgiven_while_another_worker_runs(fake):
    one = fake(jobs=4)
    one.keep()
    one.workers = ["avqa-r-1"]
    for job in ("2", "3", "4"):
        del one.queue[job]
    one.keep()
    assert len(one.submitted) == 4  # not at once: a node may kill every job it gets
    one.keep(after=30)
    assert len(one.submitted) == 4
    one.keep(after=31)
    assert len(one.submitted) == 7


def test_the_first_refusal_ends_the_run_with_the_words_of_sbatch(fake):
    one = fake()
    one.refusal = "sbatch: error: invalid partition: nope\nsbatch: error: Batch job failed\n"
    with pytest.raises(EnvironmentFailure, match="slurm: sbatch refused the job script: inv") as no:
        one.keep()
    assert "invalid partition: nope; Batch job failed; expected it to take the job" in str(no.value)
    assert no.value.exit_code == 5
    one.jobs.cancel()
    assert one.calls[-1] == ("scancel", "--name=avqa-r")


def test_a_later_refusal_is_told_and_tried_again(fake):
    one = fake()
    one.keep()
    del one.queue["1"]
    one.refusal = "sbatch: error: QOSMaxSubmitJobPerUserLimit\n"
    one.keep()
    one.keep()
    assert one.said[1:] == [
        "slurm: sbatch took 0 of 1 jobs: QOSMaxSubmitJobPerUserLimit; again later"
    ]
    one.refusal = ""
    one.keep(after=60)
    assert len(one.submitted) == 3


def test_no_worker_in_time(fake):
    one = fake(timeout="30:00")
    one.keep()
    one.keep(after=1000)
    assert one.said[1:] == ["slurm: waiting for a worker, jobs: 2 pending (priority)"]
    with pytest.raises(EnvironmentFailure, match=r"no worker in 30:00, jobs: 2 pending") as caught:
        one.keep(after=790)
    assert "expected one within worker_timeout=30:00; see `squeue --name=avqa-r`" in str(
        caught.value
    )


def test_a_lost_worker_starts_the_clock_anew(fake):
    one = fake(timeout="30:00")
    one.keep()
    one.workers = ["avqa-r-1"]
    one.keep(after=5000)
    one.workers = []
    one.keep(after=1000)
    with pytest.raises(EnvironmentFailure, match="no worker in 31:40"):
        one.keep(after=900)


def test_draining_cancels_jobs_that_have_not_begun(fake):
    one = fake()
    one.keep()
    one.jobs.drain()
    assert one.calls[-1] == ("scancel", "--state=PENDING", "--name=avqa-r")


def test_nothing_is_cancelled_that_was_never_submitted(fake):
    one = fake()
    one.jobs.cancel()
    assert one.calls == []


def test_a_machine_without_slurm(config, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(EnvironmentFailure, match="no command 'sbatch' here; expected SLURM's com"):
        slurm_jobs.ask_slurm("sbatch")


def test_the_plan_of_jobs_and_their_script(tmp_path, monkeypatch):
    pytest.importorskip("dask_jobqueue")
    monkeypatch.setenv("PATH", str(tmp_path))  # without SLURM's commands
    monkeypatch.setattr("avqa.machine.DEVICES", tmp_path)  # and without a GPU
    fake_reader.write_video(tmp_path / "videos" / "v.mp4", seconds=2)
    done = CliRunner().invoke(
        app,
        [
            *("extract", "--videos", str(tmp_path / "videos"), "--out", str(tmp_path / "store")),
            *("--decoder", fake_reader.DECODER, "--weights", "random:0", "--plan"),
            *("--scheduler", "slurm", "--jobs", "4", "--cluster-config", str(EXAMPLE)),
        ],
    )
    out = done.stdout
    assert done.exit_code == 0, done.stderr
    assert "networks not timed (no GPU here) per second of video (cuda, fp32)" in out
    assert "with 4 worker(s), each of 6 decoder(s) and " in out
    plan, script = out.split("\n\n#!", 1)
    assert plan.endswith("nothing was run; leave --plan out to start")
    assert "#SBATCH --gres=gpu:1\n" in script
    assert "dask_worker tcp://DRIVER:PORT --name WORKER" in script
    assert not (tmp_path / "store").exists()
    assert not Path("slurm-logs").exists()
