"""``--scheduler slurm``: one batch job = one GPU = one Dask worker, replaced while work is left.

dask-jobqueue supplies the job script and the names of its options. Jobs are submitted and watched
here: ``SLURMCluster.scale`` does not tell what sbatch said (dask-jobqueue#620), and does not see
a job that ends before its worker came.
"""

from __future__ import annotations

import itertools
import shlex
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from avqa.errors import EnvironmentFailure
from avqa.pipelines.cluster.dask_library import (
    changed_by_user,
    configure,
    distributed,
    own_defaults,
    variable,
)
from avqa.pipelines.cluster.on_dask import DASK_CONFIG, OnDask
from avqa.pipelines.cluster.slurm_commands import ask_slurm, reason_of
from avqa.pipelines.cluster.slurm_config import ClusterConfig
from avqa.pipelines.cluster.worker import WorkerConfig
from avqa.pipelines.engine.job import THREADS_PER_WORKER
from avqa.units import clock

LOOK_SECONDS = 1.0
"""Between two looks at the workers that registered."""
POLL_SECONDS = 10.0
"""Between two questions to SLURM."""
NOTE_SECONDS = 60.0
RETRY_SECONDS = 60.0
"""Pause before more jobs are submitted where sbatch refuses them or nodes kill them."""
MAX_EARLY_DEATHS = 3
"""Jobs that may end before their worker came, one after the other, before they tell a mistake."""


def lifetime(walltime: float) -> tuple[int, int]:
    """``--lifetime`` and ``--lifetime-stagger`` of a worker, in seconds.

    A worker leaves by itself between 80 % and 90 % of its job's time, at most 30 to 10 minutes
    before its end: what it was doing goes to others at once, and nobody is blamed for a death.
    """
    reserve = min(600.0, walltime / 10)
    return int(walltime - 2 * reserve), int(reserve)


def job_options(config: ClusterConfig) -> dict[str, Any]:
    """Arguments of ``SLURMCluster`` for one job = one worker."""
    seconds, stagger = lifetime(config.walltime_seconds)
    ends = ["--lifetime", f"{seconds}s", "--lifetime-stagger", f"{stagger}s"]
    # Workers on other machines know nothing of our Dask configuration but what their shell says;
    # what the user's files say there is taken back.
    wanted = changed_by_user("distributed") | {
        name: value for name, value in DASK_CONFIG.items() if name.startswith("distributed.worker.")
    }
    exports = [
        f"export {variable(name)}={shlex.quote(str(value))}" for name, value in wanted.items()
    ]
    # A job that SLURM itself started again would come back under a name that is already known.
    directives = ["--no-requeue", f"--output={config.log_directory}/%x-%j.log"]
    return {
        **config.options,
        "cores": THREADS_PER_WORKER,
        "processes": 1,
        "nanny": True,
        "python": config.options.get("python", sys.executable),
        "worker_extra_args": [*ends, *config.options.get("worker_extra_args", [])],
        "job_script_prologue": [*exports, *config.options.get("job_script_prologue", [])],
        "job_extra_directives": [*directives, *config.options.get("job_extra_directives", [])],
    }


def job_script(
    config: ClusterConfig,
    job_name: str = "avqa-RUN",
    worker: str = "WORKER",
    address: str = "tcp://DRIVER:PORT",
) -> str:
    """The script of one job; without a run, as `avqa extract --plan` shows it.

    Raises:
        EnvironmentFailure: dask-jobqueue is not installed.
    """
    slurm = _jobqueue()
    options = job_options(config)
    options.pop("scheduler_options", None)
    with own_defaults():
        job = slurm.SLURMJob(address, name=worker, job_name=job_name, **options)
        return str(job.job_script())


def job_header(config: ClusterConfig, job_name: str) -> str:
    """The lines of ``#SBATCH`` of one job that is no worker.

    Raises:
        EnvironmentFailure: dask-jobqueue is not installed.
    """
    slurm = _jobqueue()
    options = job_options(config)
    options.pop("scheduler_options", None)
    with own_defaults():
        return str(
            slurm.SLURMJob(
                "tcp://nowhere:0", name=job_name, job_name=job_name, **options
            ).job_header
        )


def _jobqueue() -> Any:
    handler = signal.getsignal(signal.SIGINT)
    try:
        from dask_jobqueue import slurm
    except ImportError as error:
        raise EnvironmentFailure(
            "scheduler=slurm: dask-jobqueue is not installed; expected the extra [slurm];"
            " pip install dask-jobqueue"
        ) from error
    if signal.getsignal(signal.SIGINT) is not handler:  # the first import makes Ctrl-C an exit 0
        signal.signal(signal.SIGINT, handler)
    return slurm


def connect_jobs(
    config: ClusterConfig, worker: WorkerConfig, note: Callable[[str], None]
) -> OnDask:
    """Start a Dask scheduler here; jobs follow with the first `OnDask.check`.

    Raises:
        EnvironmentFailure: dask-jobqueue is not installed, or the scheduler cannot listen.
    """
    slurm = _jobqueue()
    # A queue may be long: the limit on waiting is `worker_timeout`, not Dask's.
    options = job_options(config)
    put_back = configure({**DASK_CONFIG, "distributed.scheduler.no-workers-timeout": None})
    scheduler = {"dashboard_address": ":0", **options.pop("scheduler_options", {})}
    try:
        Path(config.log_directory).mkdir(parents=True, exist_ok=True)
        cluster = slurm.SLURMCluster(
            **options, scheduler_options=scheduler, silence_logs="critical"
        )
    except (RuntimeError, ValueError, OSError) as error:
        raise EnvironmentFailure(
            f"scheduler=slurm: {str(error).splitlines()[0]}; expected to listen for workers on"
            " this machine and to write logs; check interface, scheduler_options and"
            f" log_directory in {config.path!r}"
        ) from error
    client = distributed.Client(cluster, set_as_default=False)
    name = f"avqa-{worker.run_id}"
    jobs = SlurmJobs(
        config,
        client,
        name,
        lambda worker: job_script(config, name, worker, cluster.scheduler_address),
        note,
    )
    return OnDask(client, cluster, worker, jobs, put_back)


class SlurmJobs:
    """The jobs of one run: submits, watches, replaces and cancels them."""

    def __init__(
        self,
        config: ClusterConfig,
        client: distributed.Client,
        name: str,
        script: Callable[[str], str],
        note: Callable[[str], None],
    ) -> None:
        """``name``: of all jobs of this run and of no others; ``script``: of a worker's job."""
        self._config = config
        self._client = client
        self._name = name
        self._script = script
        self._note = note
        self._submitted = False
        self._serial = itertools.count(1)
        self._jobs: dict[str, str] = {}
        """Job id of each worker, by the worker's name."""
        self._seen: set[str] = set()
        """Names of all workers that ever registered."""
        self._early_deaths = 0
        now = time.monotonic()
        self._next_look = self._next_poll = self._next_submission = now
        self._last_worker = self._last_note = now

    def keep(self, left: int) -> None:
        """Submit as many jobs as `--jobs` says, or ``left``; again where one has ended.

        Raises:
            EnvironmentFailure: sbatch refuses, jobs die before their workers come, or no worker
                comes in time; while there is any worker, the run goes on with it.
        """
        now = time.monotonic()
        if now < self._next_look:
            return
        self._next_look = now + LOOK_SECONDS
        workers = self._registered()
        if workers:
            self._last_worker = now
        if now < self._next_poll:
            return
        self._next_poll = now + POLL_SECONDS
        states = self._states() if self._jobs else {}
        ended = self._forget_ended(states, workers)
        if not workers:
            self._refuse_to_wait(states, now)
        missing = min(self._config.jobs, left) - len(self._jobs)
        if missing > 0 and now >= self._next_submission:
            submitted = self._submit(missing, now)
            if submitted:
                replaced = f"{ended} ended, " if ended else ""
                self._note(f"slurm: {replaced}{submitted} submitted as {self._name}")

    def drain(self) -> None:
        """Cancel jobs that have not begun."""
        ask_slurm("scancel", "--state=PENDING", f"--name={self._name}")

    def cancel(self) -> None:
        """Cancel all jobs of the run, also one whose submission was interrupted."""
        if self._submitted:
            ask_slurm("scancel", f"--name={self._name}")

    def _registered(self) -> set[str]:
        info = self._client.scheduler_info(-1)["workers"].values()
        workers = {str(worker["name"]) for worker in info}
        if workers - self._seen:
            self._early_deaths = 0
        self._seen |= workers
        return workers

    def _states(self) -> dict[str, str]:
        """State and reason of each job that has not ended, by id."""
        code, text = ask_slurm("squeue", "-h", f"--name={self._name}", "-o", "%i|%T (%r)")
        if code:  # SLURM does not answer: no job is given up for that
            return dict.fromkeys(self._jobs.values(), "unknown")
        return dict(line.split("|", 1) for line in text.splitlines() if "|" in line)

    def _forget_ended(self, states: Mapping[str, str], workers: set[str]) -> int:
        ended = [name for name, job in self._jobs.items() if job not in states]
        for name in ended:
            del self._jobs[name]
            self._early_deaths += name not in self._seen
        if workers.intersection(ended):
            # Its machine is gone, and Dask waits for it still: its bundles go to others now.
            self._client.retire_workers(names=list(workers.intersection(ended)))
        if ended and self._early_deaths >= MAX_EARLY_DEATHS:
            self._next_submission = time.monotonic() + RETRY_SECONDS
        return len(ended)

    def _refuse_to_wait(self, states: Mapping[str, str], now: float) -> None:
        if self._early_deaths >= MAX_EARLY_DEATHS:
            raise EnvironmentFailure(
                f"slurm: the last {self._early_deaths} jobs ended before their workers came;"
                " expected each to reach the scheduler; their logs say why:"
                f" {self._config.log_directory}/{self._name}-*.log"
            )
        waited = now - self._last_worker
        counts = Counter(states.values())
        jobs = ", ".join(f"{count} {state.lower()}" for state, count in counts.items()) or "none"
        if waited >= self._config.worker_timeout:
            raise EnvironmentFailure(
                f"slurm: no worker in {clock(waited)}, jobs: {jobs}; expected one within"
                f" worker_timeout={clock(self._config.worker_timeout)}; see `squeue"
                f" --name={self._name}` and {self._config.log_directory}, or raise worker_timeout"
                f" in {self._config.path!r}"
            )
        if now - self._last_note >= NOTE_SECONDS:
            self._last_note = now
            self._note(f"slurm: waiting for a worker, jobs: {jobs}")

    def _submit(self, count: int, now: float) -> int:
        """Submit up to ``count`` jobs; how many sbatch took."""
        self._submitted = True
        for done in range(count):
            worker = f"{self._name}-{next(self._serial)}"
            code, text = ask_slurm("sbatch", "--parsable", script=self._script(worker))
            if code:
                reason = reason_of(text)
                if not self._jobs:
                    raise EnvironmentFailure(
                        f"slurm: sbatch refused the job script: {reason}; expected it to take"
                        f" the job; correct {self._config.path!r} (--plan prints the script)"
                    )
                self._note(f"slurm: sbatch took {done} of {count} jobs: {reason}; again later")
                self._next_submission = now + RETRY_SECONDS
                return done
            self._jobs[worker] = text.strip().partition(";")[0]
        return count
