"""Settings, options and recipes of a run, and in what they are not the paper's."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from avqa import heads
from avqa.errors import AvqaError
from avqa.store.format.recipe_diff import flat
from avqa.training.run import Member, Run, read_environment
from avqa.training.settings import DERIVED
from avqa.units import clock


@dataclass(frozen=True)
class Setting:
    """One choice."""

    name: str
    value: str
    usual: str | None
    """What the paper, or the head, has in its place; None where it is the same or unknown."""


@dataclass(frozen=True)
class Made:
    """A feature that the heads read."""

    name: str
    digest: str
    recipe: tuple[tuple[str, str], ...]
    """Every key with its value."""


@dataclass(frozen=True)
class Trained:
    """How one member ended."""

    name: str
    best_epoch: int
    epochs: int
    val_percent: float
    duration: str
    waiting_percent: float
    parameters: int


@dataclass(frozen=True)
class Settings:
    """What the page tells of how a run was made."""

    training: tuple[Setting, ...]
    options: tuple[Setting, ...]
    features: tuple[Made, ...]
    members: tuple[Trained, ...]
    """Those that were trained here."""
    environment: tuple[tuple[str, str], ...]
    """Of the first member; empty where nothing tells it."""


def of_run(run: Run, main: Member) -> Settings:
    """Those of ``main``, and how every member ended."""
    config = main.config
    module = heads.load(config.head)
    usual = asdict(module.PAPER.recipe)
    default = asdict(module.Options())
    entries = [(entry["name"], entry) for entry in config.features.values()]
    return Settings(
        training=tuple(_settings(asdict(config.settings), usual)),
        options=tuple(_settings(config.options, default)),
        features=tuple(
            Made(made, entry["recipe_hash"], tuple(sorted(flat(entry["recipe"]).items())))
            for made, entry in dict([*entries, *config.texts.items()]).items()
        ),
        members=tuple(_trained(member) for member in run.members if not member.config.imported),
        environment=tuple(_environment(main)),
    )


def _settings(values: Mapping[str, Any], usual: Mapping[str, Any]) -> list[Setting]:
    return [
        Setting(
            key,
            _told(value),
            _told(usual[key])
            if key in usual and key not in DERIVED and usual[key] != value
            else None,
        )
        for key, value in values.items()
    ]


def _told(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _trained(member: Member) -> Trained:
    result = member.result
    return Trained(
        name=f"{member.config.variant}, seed {member.config.seed}",
        best_epoch=result.best_epoch,
        epochs=result.epochs,
        val_percent=100 * result.val_accuracy,
        duration=clock(result.seconds),
        waiting_percent=100 * result.waiting,
        parameters=result.parameters,
    )


def _environment(member: Member) -> list[tuple[str, str]]:
    try:
        found = read_environment(member.path)
    except AvqaError:  # runs of before have none
        return []
    rows = [(key, _told(found[key])) for key in ("python", "cores", "gpu")]
    return [*rows, *sorted(found["packages"].items())]
