"""`avqa extract --scheduler slurm` on a real SLURM: jobs that end early cost no byte."""

import contextlib
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
from helpers.extraction import light as light_encoder
from helpers.extraction.light import POOL
from helpers.media import fake_reader
from helpers.store.stores import store_bytes

import avqa
from avqa.errors import EnvironmentFailure
from avqa.extract.profiles import profile
from avqa.pipelines.cluster.slurm_config import read_cluster_config
from avqa.pipelines.extraction.run import ExtractOptions, extract_folder
from avqa.store.format.records import Status

pytest.importorskip("dask_jobqueue")
pytestmark = pytest.mark.filterwarnings("ignore::avqa.store.reader.RandomWeightsWarning")
ROOT = Path(__file__).resolve().parents[4]
NUM_VIDEOS = 8
CONFIG = """
walltime: 00:10:00
memory: 4GB
job_cpu: 2
interface: lo
"""


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    """Videos of which all but the first two, of a whole batch each, wait while `gate` is there."""
    folder = tmp_path_factory.mktemp("slurm") / "videos"
    for seed in range(NUM_VIDEOS):
        more = (
            {"act": "gated", "gate": str(folder.parent / "gate")} if seed > 1 else {"seconds": 16}
        )
        fake_reader.write_video(folder / f"v{seed}.mp4", seed=seed, **more)
    return folder


@pytest.fixture
def gate(videos, uninterrupted):
    """The file that keeps a run from ending before it was interrupted."""
    path = videos.parent / "gate"
    path.touch()
    yield path
    path.unlink(missing_ok=True)


@pytest.fixture
def environment(slurm):
    """Of commands: this SLURM, and the fake reader; jobs inherit it."""
    bin_ = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    return {**light_encoder.environment(), "SLURM_CONF": slurm.env["SLURM_CONF"], "PATH": bin_}


@pytest.fixture
def cluster_config(tmp_path):
    """Write a configuration: CONFIG and more lines."""

    def write(more=""):
        path = tmp_path / "cluster.yaml"
        path.write_text(f"{CONFIG}log_directory: {tmp_path}/logs\n{more}", encoding="utf-8")
        return path

    return write


@pytest.fixture(scope="module")
def uninterrupted(videos, light):
    """Bytes of the store that one process makes in one go."""
    store = videos.parent / "store"
    extract_folder(ExtractOptions(videos, store, settings(), scheduler="sync"))
    return store_bytes(store)


def settings():
    return profile("default", features=(POOL,), decoder=fake_reader.DECODER, weights="random:0")


OPTIONS = (
    *("--features", POOL, "--decoder", fake_reader.DECODER, "--weights", "random:0"),
    *("--decoders", "3"),  # one for every video of two bundles: a gated one is in nobody's way
)


def wait(ready, what, seconds=90):
    deadline = time.monotonic() + seconds
    while not (answer := ready()):
        assert time.monotonic() < deadline, f"waited in vain for {what()}"
        time.sleep(0.2)
    return answer


def chunks(store):
    return len(list((store / "features.zarr").glob(f"{POOL}/c.*")))


def worker_jobs(slurm):
    """Ids of running jobs of workers, oldest first."""
    lines = slurm.ask("squeue", "-h", "-t", "R", "-o", "%i %j").splitlines()
    jobs = [line.split() for line in lines]
    return sorted(int(job) for job, name in jobs if name.startswith("avqa-2"))


@pytest.fixture
def start(environment, videos, tmp_path):
    """Start the command with so many jobs; killed in the end, whatever happens."""
    with contextlib.ExitStack() as stack:

        def run(config, jobs):
            log = stack.enter_context((tmp_path / "log").open("w", encoding="utf-8"))
            command = [
                *(sys.executable, "-m", "avqa.cli", "extract", "--videos", videos, *OPTIONS),
                *("--out", tmp_path / "store", "--scheduler", "slurm", "--jobs", str(jobs)),
                *("--cluster-config", config),
            ]
            process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
            stack.callback(process.wait)
            stack.callback(process.kill)
            return process

        yield run


def test_cancelled_and_timed_out_jobs_cost_no_byte(
    slurm, start, cluster_config, gate, uninterrupted, tmp_path
):
    store, log = tmp_path / "store", tmp_path / "log"
    run = start(cluster_config(), jobs=2)
    wait(lambda: chunks(store) == 2 and len(worker_jobs(slurm)) == 2, log.read_text)
    first, second = worker_jobs(slurm)
    # SLURM looks at limits every half a minute, knows none below a minute, and refuses an end
    # that is past when it hears of it.
    slurm.tell("scontrol", "update", f"jobid={first}", "EndTime=now+3")
    slurm.tell("scancel", str(second))
    wait(lambda: f"Time limit exhausted for JobId={first}" in slurm.log(), log.read_text)
    replaced = re.compile(r"slurm: (\d) ended, \1 submitted as avqa-")
    wait(
        lambda: sum(map(int, replaced.findall(log.read_text(encoding="utf-8")))) == 2, log.read_text
    )
    assert chunks(store) == 2
    gate.unlink()
    assert run.wait(timeout=90) == 0, log.read_text(encoding="utf-8")
    text = log.read_text(encoding="utf-8")
    assert f"{NUM_VIDEOS} videos: {NUM_VIDEOS} extracted, 0 already there" in text
    assert "worker died: videos=1, first=v" in text
    assert store_bytes(store) == uninterrupted
    wait(lambda: not slurm.jobs(), slurm.log, seconds=10)


def test_a_driver_job_drains_at_sigterm_and_goes_on_when_submitted_again(
    slurm, environment, cluster_config, videos, gate, uninterrupted, tmp_path
):
    store, log = tmp_path / "store", tmp_path / "log"
    environment |= {"JOBS": "1", "CLUSTER_CONFIG": str(cluster_config())}
    script = ROOT / "examples" / "slurm" / "extract.sbatch"

    def submit():
        done = subprocess.run(
            ["sbatch", "--parsable", f"--output={log}", script, videos, store, *OPTIONS],
            env=environment, capture_output=True, text=True, check=True,
        encoding="utf-8")  # fmt: skip
        return done.stdout.strip()

    driver = submit()
    wait(lambda: chunks(store) == 2, log.read_text)
    slurm.tell("scancel", "--batch", "--signal=TERM", driver)
    wait(lambda: "draining: running=" in log.read_text(encoding="utf-8"), log.read_text)
    gate.unlink()
    wait(lambda: not slurm.jobs(), log.read_text)
    assert "stopped by SIGTERM after draining" in log.read_text(encoding="utf-8")
    assert "ExitCode=143:0" in slurm.ask("scontrol", "show", "job", driver)
    read = avqa.open_store(store)
    finished = [name for name in read.video_ids if read.status(name, POOL) == Status.OK]
    assert 2 <= len(finished) < NUM_VIDEOS
    assert not (store / "lock.json").exists()
    submit()
    wait(lambda: f"{len(finished)} already there" in log.read_text(encoding="utf-8"), log.read_text)
    wait(lambda: not slurm.jobs(), slurm.log, seconds=10)
    assert store_bytes(store) == uninterrupted


def test_jobs_end_by_themselves_when_their_driver_is_killed(
    slurm, start, cluster_config, gate, tmp_path
):
    run = start(cluster_config("death_timeout: 5\n"), jobs=1)
    wait(lambda: chunks(tmp_path / "store") == 2, (tmp_path / "log").read_text)
    run.kill()
    run.wait()
    wait(lambda: not slurm.jobs(), slurm.log)


@pytest.fixture
def refused(slurm, environment, cluster_config, videos, tmp_path, monkeypatch):
    """The error that ends a run with this configuration."""

    def run(more, jobs=1):
        monkeypatch.setenv("SLURM_CONF", environment["SLURM_CONF"])
        monkeypatch.setattr("avqa.pipelines.cluster.slurm_jobs.POLL_SECONDS", 1.0)
        config = read_cluster_config(cluster_config(more), jobs)
        with pytest.raises(EnvironmentFailure) as caught:
            extract_folder(
                ExtractOptions(
                    videos, tmp_path / "store", settings(), scheduler="slurm", slurm=config
                )
            )
        wait(lambda: not slurm.jobs(), slurm.log, seconds=10)
        assert caught.value.exit_code == 5
        return str(caught.value)

    return run


def test_a_script_that_sbatch_refuses(refused):
    assert refused("queue: nowhere\n").startswith(
        "slurm: sbatch refused the job script: invalid partition specified: nowhere; Batch job"
        " submission failed: Invalid partition name specified; expected it to take the job; correct"
    )


def test_no_worker_in_time(refused):
    message = refused("worker_timeout: 0:02\njob_extra_directives: [--hold]\n")
    assert message.startswith("slurm: no worker in 0:")
    assert "jobs: 1 pending (jobhelduser); expected one within worker_timeout=0:02" in message


def test_jobs_whose_workers_never_come(refused, tmp_path):
    message = refused("python: /bin/false\n", jobs=3)
    assert message.startswith("slurm: the last 3 jobs ended before their workers came; expected")
    assert f"their logs say why: {tmp_path}/logs/avqa-" in message
    assert len(list((tmp_path / "logs").glob("avqa-*.log"))) == 3
