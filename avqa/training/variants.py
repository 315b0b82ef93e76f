"""What one run trains: the head as asked for, ablations of it, and the question-only floor."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from avqa import heads
from avqa.errors import ConfigError, UnknownName
from avqa.heads import HeadOptions
from avqa.training.run import DEFAULT, QUESTION_ONLY
from avqa.training.settings import TrainSettings, resolve

ALL = "all"


@dataclass(frozen=True)
class Variant:
    """One row of the table: a head with its options."""

    name: str
    head: str
    options: dict[str, Any]


@dataclass(frozen=True)
class Plan:
    """Everything that a run trains, by each of its seeds."""

    settings: TrainSettings
    variants: tuple[Variant, ...]
    """``default`` first, ``question_only`` last."""
    same_as: dict[str, str]
    """Ablation → the variant that has the same options, and is trained in its place."""
    left_out: tuple[str, ...] = ()
    """Ablations of other features than the run's: each needs a run of its own."""


def plan(
    head: str,
    assignments: Mapping[str, str] | None = None,
    config: Mapping[str, Any] | None = None,
    ablation: str | None = None,
) -> Plan:
    """Resolve the settings and the options of every variant.

    Args:
        head, assignments, config: as `avqa.training.settings.resolve`.
        ablation: a row of the head's ``ABLATIONS``, ``all`` of them, or None.

    Raises:
        UnknownName, ConfigError: as `resolve`; the ablation is of other features.
    """
    settings, options = resolve(head, assignments, config)
    known = heads.load(head).ABLATIONS
    if ablation not in (None, ALL, *known):
        raise UnknownName(f"ablation of {head}", str(ablation), (*known, ALL))
    asked = known if ablation == ALL else [] if ablation is None else [ablation]
    found = [Variant(DEFAULT, head, options)]
    same_as: dict[str, str] = {}
    left_out = tuple(n for n in asked if known[n].visual not in (None, settings.visual))
    if left_out and ablation != ALL:
        visual = known[left_out[0]].visual
        raise ConfigError(
            f"ablation {left_out[0]} of {head} is of visual={visual}, the run of"
            f" visual={settings.visual}; expected the same; add --set visual={visual}"
        )
    for name in asked:
        if name in left_out:
            continue
        _, options = resolve(head, assignments, config, name)
        alike = next((v.name for v in found if v.options == options), None)
        if alike is None:
            found.append(Variant(name, head, options))
        else:
            same_as[name] = alike
    if head != QUESTION_ONLY:
        found.append(Variant(QUESTION_ONLY, QUESTION_ONLY, _question_only(found[0].options)))
    return Plan(settings, tuple(found), same_as, left_out)


def _question_only(options: Mapping[str, Any]) -> dict[str, Any]:
    """The same question encoder, width and dropout as the head's."""
    return {f.name: options[f.name] for f in fields(HeadOptions)}
