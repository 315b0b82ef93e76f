"""What one run trains: the head as asked for, ablations of it, and the question-only floor."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from avqa import heads
from avqa.errors import ConfigError, UnknownName
from avqa.heads import Ablation, HeadOptions
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
    """Ablation → the variant that is the same network, and is trained in its place."""
    left_out: dict[str, str]
    """Ablation → why this run cannot train it."""

    def lines(self) -> list[str]:
        """For people: what is trained otherwise than asked."""
        return [
            *(f"ablation {name} is left out: {why}" for name, why in self.left_out.items()),
            *(
                f"ablation {name} is the same network as {other}: trained once"
                for name, other in self.same_as.items()
            ),
        ]


def plan(
    head: str,
    assignments: Mapping[str, str] | None = None,
    config: Mapping[str, Any] | None = None,
    ablation: str | None = None,
    dataset: str | None = None,
    then: Mapping[str, Any] | None = None,
) -> Plan:
    """Resolve the settings and the options of every variant.

    Args:
        head: one of `avqa.heads.names`.
        assignments: as `avqa.training.settings.resolve`.
        config: as `avqa.training.settings.resolve`.
        ablation: a row of the head's ``ABLATIONS``, ``all`` of them, or None.
        dataset: as `avqa.training.settings.resolve`.
        then: as `avqa.training.settings.resolve`.

    Raises:
        UnknownName, ConfigError: as `resolve`; the ablation's own options are set to others, or
            it is of other features than the run.
    """
    settings, options = resolve(head, assignments, config, dataset=dataset, then=then)
    known = heads.load(head).ABLATIONS
    if ablation not in (None, ALL, *known):
        raise UnknownName(f"ablation of {head}", str(ablation), (*known, ALL))
    found = [Variant(DEFAULT, head, options)]
    same_as: dict[str, str] = {}
    left_out: dict[str, str] = {}
    for name in known if ablation == ALL else [ablation] if ablation else []:
        try:
            _, options = resolve(head, assignments, config, name, dataset, then)
        except ConfigError as error:  # a setting that does not go with the row's options
            left_out[name] = str(error)
            continue
        problem = _difference(known[name], settings, options)
        twin = known[name].same_as
        alike = next((v.name for v in found if v.options == options or v.name == twin), None)
        if problem is not None:
            left_out[name] = problem
        elif alike is not None:
            same_as[name] = alike
        else:
            found.append(Variant(name, head, options))
    if left_out and ablation != ALL:
        raise ConfigError(f"ablation {ablation} of {head}: {left_out[str(ablation)]}")
    if head != QUESTION_ONLY:
        found.append(Variant(QUESTION_ONLY, QUESTION_ONLY, _question_only(found[0].options)))
    return Plan(settings, tuple(found), same_as, left_out)


def _difference(
    ablation: Ablation, settings: TrainSettings, options: Mapping[str, Any]
) -> str | None:
    """What the user set otherwise than the row has it."""
    given = {**options, "visual": settings.visual}
    row = {**ablation.options, **({"visual": ablation.visual} if ablation.visual else {})}
    for key, value in row.items():
        if given[key] != value:
            return f"the run has {key}={given[key]}; expected {key}={value}; set it so"
    return None


def _question_only(options: Mapping[str, Any]) -> dict[str, Any]:
    """The same question encoder, width and dropout as the head's."""
    return {f.name: options[f.name] for f in fields(HeadOptions)}
