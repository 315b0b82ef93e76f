"""``--jobs`` and ``--cluster-config``: what one batch job is, read and checked.

The names of the options are those of ``dask_jobqueue.SLURMCluster``.
"""

from __future__ import annotations

import re
import shlex
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import avqa
from avqa.addresses import page
from avqa.errors import ConfigError, UnknownName
from avqa.pipelines.engine.job import THREADS_PER_WORKER

WORKER_TIMEOUT = "12:00:00"
_EXAMPLE = page("examples/slurm/cluster.yaml")

_TEXT = ("queue", "account", "walltime", "memory", "job_mem", "interface", "local_directory",
         "log_directory", "shebang", "python", "worker_timeout")  # fmt: skip
_NUMBERS = ("job_cpu", "death_timeout")
_LISTS = ("job_extra_directives", "job_directives_skip", "job_script_prologue", "worker_extra_args")
_MAPPINGS = ("scheduler_options",)
_OPTIONS = (*_TEXT, *_NUMBERS, *_LISTS, *_MAPPINGS)
_OURS = ("cores", "processes", "nanny", "name", "job_name", "n_workers")
_GPU = re.compile(r"--gres[= ](\S*,)?gpu|--gpus(-per-\w+)?[= ]|-G\b")


@dataclass(frozen=True)
class ClusterConfig:
    """What ``--jobs`` and ``--cluster-config`` say."""

    path: str
    jobs: int
    options: Mapping[str, Any]
    """Arguments of ``dask_jobqueue.SLURMCluster``, apart from those that `job_options` adds."""
    walltime_seconds: float
    log_directory: str
    worker_timeout: float
    """Seconds without any worker after which the run ends."""

    @property
    def device(self) -> str:
        """What ``--device auto`` means: ``cuda`` if the jobs ask for a GPU."""
        directives = self.options.get("job_extra_directives", ())
        return "cuda" if any(_GPU.match(line) for line in directives) else "cpu"

    @property
    def cpus(self) -> int:
        """Processor cores of one job."""
        return int(self.options.get("job_cpu", THREADS_PER_WORKER))


def choose_cluster(scheduler: str, path: Path | None, jobs: int | None) -> ClusterConfig | None:
    """What ``--scheduler slurm`` needs to know; None for the other schedulers.

    Raises:
        ConfigError: ``--jobs`` or ``--cluster-config`` is missing or useless.
    """
    if scheduler == "slurm":
        if path is None or jobs is None:
            raise ConfigError(
                "scheduler=slurm; expected a number of jobs and a file that describes one; give"
                " --jobs N --cluster-config FILE"
            )
        return read_cluster_config(path, jobs)
    if path is not None or jobs is not None:
        raise ConfigError(
            f"scheduler={scheduler}; expected slurm with --jobs and --cluster-config; add"
            " --scheduler slurm, or leave them out"
        )
    return None


def read_cluster_config(path: Path, jobs: int) -> ClusterConfig:
    """Read ``--cluster-config``: YAML with the names of ``dask_jobqueue.SLURMCluster``.

    Raises:
        ConfigError: no file, no YAML, an unknown name or an unusable value.
    """
    found = _Found(path)
    options = {
        name: found.tried(_value, name, value) for name, value in _load(path).items() if value != ""
    }
    for name in ("walltime", "memory"):
        if name not in options:
            found.wrong(
                f"no {name}; expected the {name} of one job, like"
                f" {'04:00:00' if name == 'walltime' else '32GB'}; add it"
            )
    if options.get("memory"):
        found.tried(_check_memory, options["memory"])
    log_directory = Path(options.pop("log_directory", None) or "slurm-logs").absolute()
    timeout = options.pop("worker_timeout", None) or WORKER_TIMEOUT
    walltime, waiting = (
        found.tried(_seconds, name, value) if value else 0.0
        for name, value in (("walltime", options.get("walltime")), ("worker_timeout", timeout))
    )
    found.raise_if_wrong()
    return ClusterConfig(
        path=str(path),
        jobs=jobs,
        walltime_seconds=walltime,
        log_directory=str(log_directory),
        worker_timeout=waiting,
        options=options,
    )


class _Found:
    """What is wrong in a file: all of it is told at once."""

    def __init__(self, path: Path) -> None:
        self._what = f"cluster config {str(path)!r}"
        self._errors: list[ConfigError] = []

    def wrong(self, text: str) -> None:
        self._errors.append(ConfigError(text))

    def tried(self, check: Callable[..., Any], *values: Any) -> Any:
        """What ``check`` makes of the values; None if it refuses them."""
        try:
            return check(*values)
        except ConfigError as error:
            self._errors.append(error)
            return None

    def raise_if_wrong(self) -> None:
        if not self._errors:
            return
        told = "; ".join(f"({n}) {error}" for n, error in enumerate(self._errors, start=1))
        if len(self._errors) == 1:
            raise ConfigError(f"{self._what}: {self._errors[0]}") from self._errors[0]
        raise ConfigError(f"{self._what}: {len(self._errors)} things are wrong: {told}")


def _load(path: Path) -> dict[str, Any]:
    import yaml

    try:
        # Everything is text: YAML's own types would make 36000 of the time 10:00:00.
        loaded = yaml.load(path.read_text(encoding="utf-8"), yaml.BaseLoader)  # noqa: S506  makes only text
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"cluster config {str(path)!r}: cannot be read; expected a YAML file like"
            f" {_EXAMPLE}; check --cluster-config"
        ) from error
    except yaml.YAMLError as error:
        where = " ".join(str(error).split())
        raise ConfigError(
            f"cluster config {str(path)!r}: {where}; expected YAML like {_EXAMPLE}; correct it"
        ) from error
    if not isinstance(loaded, dict):
        raise ConfigError(
            f"cluster config {str(path)!r}: expected `name: value` lines like those of"
            f" {_EXAMPLE}; correct it"
        )
    return loaded


def _value(name: str, value: Any) -> Any:
    if name in _OURS:
        raise ConfigError(
            f"{name} is set by avqa (one worker of"
            f" {THREADS_PER_WORKER} threads per job); expected none; leave it out, and use"
            " job_cpu for the CPUs of a job"
        )
    if name not in _OPTIONS:
        raise UnknownName("option", name, _OPTIONS)
    kind, good = "a single value", isinstance(value, str)
    if name in _NUMBERS:
        kind, good = "a whole number", isinstance(value, str) and value.isdecimal()
    elif name in _LISTS:
        kind = "a list, one item per line with a dash before it"
        good = isinstance(value, list) and all(isinstance(item, str) for item in value)
    elif name in _MAPPINGS:
        kind, good = "`name: value` lines", isinstance(value, dict)
    if not good:
        raise ConfigError(f"{name}={value!r}; expected {kind}; correct it")
    if name in _MAPPINGS:
        return {key: int(v) if str(v).isdecimal() else v for key, v in value.items()}
    return int(value) if name in _NUMBERS else value


def _check_memory(memory: str) -> None:
    from avqa.pipelines.cluster.dask_library import dask

    try:
        dask.utils.parse_bytes(memory)
    except ValueError as error:
        raise ConfigError(f"memory={memory!r}; expected a size like 32GB; correct it") from error


def _seconds(name: str, text: str) -> float:
    """SLURM's times: minutes, m:s, h:m:s, days-h, days-h:m, days-h:m:s."""
    days, dash, rest = text.rpartition("-")
    parts = rest.split(":")
    units = (3600, 60, 1) if dash or len(parts) == 3 else (60, 1)
    if not (re.fullmatch(r"(\d+-)?\d+(:\d+){0,2}", text) and len(parts) <= len(units)):
        raise ConfigError(
            f"{name}={text!r}; expected a time as SLURM writes it,"
            " like 04:00:00 or 1-12:00:00; correct it"
        )
    seconds = sum(int(part) * unit for part, unit in zip(parts, units, strict=False))
    return float(int(days or 0) * 86400 + seconds)


def check_surroundings(config: ClusterConfig) -> list[str]:
    """What can be told here of what a job will find, a line each, for ``--plan``.

    Raises:
        ConfigError: ``python`` cannot run avqa, or there is no such ``interface``.
    """
    found, lines = _Found(Path(config.path)), []
    interface = config.options.get("interface")
    if interface:
        import psutil

        known = psutil.net_if_addrs()
        if interface not in known:
            found.wrong(
                f"interface={interface!r} is none of this machine; expected one of"
                f" {', '.join(sorted(known))}; correct it, see `ip link`"
            )
    python = config.options.get("python")
    if python:
        version, why = _version_of(python)
        if version != avqa.__version__:
            found.wrong(
                f"python={python!r} {why or f'has avqa={version}'}; expected one with"
                f" avqa={avqa.__version__}, as here; install it there, or correct it"
            )
        else:
            lines.append(f"python of the jobs: {python}, avqa {version} as here")
    found.raise_if_wrong()
    return lines


def _version_of(python: str) -> tuple[str, str]:
    """Version of avqa that a Python has, or why that is not known."""
    command = [*shlex.split(python), "-c", "import avqa; print(avqa.__version__)"]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, encoding="utf-8", timeout=60, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return "", f"does not run here ({getattr(error, 'strerror', '') or 'no answer'})"
    last = (done.stderr.strip().splitlines() or ["no output"])[-1]
    return done.stdout.strip(), "" if done.returncode == 0 else f"cannot load avqa ({last})"
