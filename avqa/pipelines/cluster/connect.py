"""From ``--scheduler`` to an executor; Dask is imported here, and only if it is needed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from urllib.parse import urlsplit

from avqa.errors import ConfigError
from avqa.extract.encoders import Device
from avqa.machine import choose_device
from avqa.pipelines.cluster.environment import environment
from avqa.pipelines.cluster.executor import WAIT_WORKERS, Executor, InProcess, OneWorker
from avqa.pipelines.cluster.slurm_config import ClusterConfig
from avqa.pipelines.cluster.worker import WorkerConfig
from avqa.pipelines.engine.ahead import Ahead


def is_remote(scheduler: str) -> bool:
    """Whether the workers of ``--scheduler`` are on other machines.

    Raises:
        ConfigError: if it is none of ``local``, ``sync``, ``slurm`` and an address.
    """
    if scheduler in ("local", "sync"):
        return False
    if scheduler == "slurm" or _is_address(scheduler):
        return True
    raise ConfigError(
        f"scheduler={scheduler!r}; expected local, sync, slurm or an address like"
        " tcp://host:8786; check --scheduler"
    )


def is_in_process(scheduler: str, gpus: Sequence[str]) -> bool:
    """Whether the driver's own process does the work: Dask is for several workers.

    Args:
        scheduler: ``--scheduler``.
        gpus: ids of this machine's GPUs that the workers are for.
    """
    return scheduler == "sync" or (scheduler == "local" and len(gpus) <= 1)


def _is_address(scheduler: str) -> bool:
    """Whether it names a protocol of Dask's, a host and a port, and nothing else."""
    try:
        parts = urlsplit(scheduler)
        named = bool(parts.hostname and parts.port) and parts.scheme in ("tcp", "tls")
    except ValueError:  # a port that is none
        return False
    more = parts.path.strip("/") or parts.query or parts.fragment or parts.username
    return named and not more and scheduler.split() == [scheduler]


def connect(
    scheduler: str,
    config: WorkerConfig,
    gpus: Sequence[str],
    *,
    slurm: ClusterConfig | None = None,
    wait_workers: float = WAIT_WORKERS,
    note: Callable[[str], None] = lambda line: None,
    ahead: Ahead | None = None,
) -> Executor:
    """The executor for ``--scheduler local | sync | slurm | tcp://host:port``.

    ``gpus``: ids of this machine's GPUs, for the workers of ``local``. ``wait_workers``: seconds
    in which the scheduler at an address, and a worker of it, have to be there. ``note`` gets a line
    when batch jobs come and go. ``ahead``: for a worker that `is_in_process`.

    Raises:
        EnvironmentFailure: no scheduler answers at the address, or none of its workers; or
            dask-jobqueue is not installed.
    """
    if is_in_process(scheduler, gpus):
        return InProcess(config, ahead) if scheduler == "sync" else OneWorker(config, ahead)
    if is_remote(scheduler):
        found = environment(config.engine.settings, config.engine.weights)
        config = replace(config, expected=found)
    if slurm is not None:
        from avqa.pipelines.cluster.slurm_jobs import connect_jobs

        return connect_jobs(slurm, config, note)
    from avqa.pipelines.cluster.on_dask import connect_address, connect_local

    if scheduler == "local":
        return connect_local(config, gpus)
    return connect_address(scheduler, config, wait_workers)


def device_of_workers(asked: str, scheduler: str, slurm: ClusterConfig | None) -> Device:
    """What ``--device`` means where the workers are: ``auto`` is a GPU if their jobs ask for one.

    Raises:
        ConfigError: no such device or scheduler, or ``cuda`` where this machine computes without.
    """
    if slurm is not None and asked == "auto":
        asked = slurm.device
    return choose_device(asked, remote=is_remote(scheduler))
