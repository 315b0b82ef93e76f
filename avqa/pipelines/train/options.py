"""What a training is asked for."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from avqa.errors import ConfigError, UnknownName
from avqa.pipelines.cluster.slurm_config import ClusterConfig
from avqa.pipelines.extraction.array_job import Partition
from avqa.store.places.files import StorePath

SCHEDULERS = ("local", "slurm")


def check_scheduler(name: str) -> None:
    """Make sure that members can be trained there.

    Raises:
        UnknownName: otherwise.
    """
    if name not in SCHEDULERS:
        raise UnknownName("scheduler", name, SCHEDULERS)


@dataclass(frozen=True, kw_only=True)
class TrainOptions:
    """What the user asks for."""

    head: str
    store: StorePath
    dataset: str
    annotations: Path
    out: Path
    choices: Mapping[str, str] = field(default_factory=dict)
    """The data set's own, as far as they are given; see `avqa.datasets.chosen`."""
    assignments: Mapping[str, str] = field(default_factory=dict)
    """Setting or head option → value as text."""
    config: Path | None = None
    """A TOML file of the same."""
    ablation: str | None = None
    """A row of the head's ``ABLATIONS``, or ``all``."""
    seeds: int = 1
    resume: bool = False
    devices: int = 1
    """GPUs, or processes on the CPU, that train a head together."""
    overwrite: bool = False
    """Replace the run that is in ``out``."""
    partition: Partition | None = None
    """Train this task's share of the members; other tasks train theirs in the same folder."""
    steal_lock: bool = False
    """Take over a member whose process elsewhere gave no sign of life for ten minutes."""
    slurm: ClusterConfig | None = None
    """Train in SLURM jobs; this process waits for them."""
    keep_checkpoints: bool = False
    """Of finished members; else they go once weights, answers and result are written."""
    init_grounding: Path | None = None
    """A file of `avqa pretrain-grounding`, or a run, whose grounding heads start from."""

    def check(self) -> None:
        """Refuse options that contradict each other.

        Raises:
            ConfigError: they do.
        """
        if self.slurm is not None and self.partition is not None:
            raise ConfigError(
                f"--partition {self.partition} with --scheduler slurm; expected one of them: the"
                " jobs get partitions of their own; leave one out"
            )
        others = {"--resume": self.resume, "--partition": self.partition is not None}
        given = [name for name, chosen in others.items() if chosen]
        if self.overwrite and given:
            raise ConfigError(
                f"--overwrite with {' and '.join(given)}; expected one of them: --overwrite begins"
                " anew, which one process does alone; leave it out, or run it once before the tasks"
            )

    def words(self) -> list[str]:
        """What follows `avqa train-head` to train the same in another process."""
        paths = {
            "--store": self.store.absolute(),
            "--annotations": self.annotations.absolute(),
            "--out": self.out.absolute(),
            "--config": self.config and self.config.absolute(),
            "--init-grounding": self.init_grounding and self.init_grounding.absolute(),
        }
        values = paths | {
            "--dataset": self.dataset,
            "--ablation": self.ablation,
            "--seeds": self.seeds,
            "--devices": self.devices,
        }
        words = [self.head]
        words += [w for name, v in values.items() if v is not None for w in (name, str(v))]
        words += [w for name, v in self.choices.items() for w in (f"--{name}", v)]
        words += [w for name, v in self.assignments.items() for w in ("--set", f"{name}={v}")]
        return [*words, "--keep-checkpoints"] if self.keep_checkpoints else words


def read_config(path: Path | None) -> dict[str, Any]:
    """The keys of a TOML file.

    Raises:
        ConfigError: it is not there or is no TOML.
    """
    if path is None:
        return {}
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else str(error)
        raise ConfigError(
            f"config={str(path)!r} cannot be read: {why}; expected TOML with one key = value a"
            " line, such as epochs = 10; check --config"
        ) from error
