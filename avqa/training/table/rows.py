"""Rows of the result table: what floors score, what our heads score beside what papers print."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from avqa import heads
from avqa.datasets._parts.floors import Table
from avqa.training.data.names import num_patches
from avqa.training.run import DEFAULT, QUESTION_ONLY, Member, MemberConfig, Run
from avqa.training.settings import DERIVED
from avqa.training.table.layout import Cell, Row, cells_of
from avqa.training.table.published import Scope, ablation_row

Cells = Callable[[Sequence[Member]], dict[str, Cell]]
"""What the members of a variant score, column by column, with 95 % intervals."""

PRIORS = {
    "template": "template floor",
    "position": "position floor",
    "option": "option floor",
    "longest": "longest-option floor",
}
"""Prior → name of its row; the other priors are told in the notes."""


def floor_rows(floors: Mapping[str, Table]) -> Iterator[Row]:
    """What answering without looking scores."""
    for prior, table in floors.items():
        if prior in PRIORS:
            yield Row(name=PRIORS[prior], kind="floor", cells=cells_of([table]))


def our_rows(
    run: Run,
    head: str,
    cells: Cells,
    seconds: int | None,
    scope: Scope,
) -> Iterator[Row]:
    """Question-only, the default variant, then ablations with the paper's figures below each.

    Args:
        run: whose members are the rows' seeds.
        head: what the run is about.
        cells: what members score.
        seconds: length of the longest video; None: as the settings let in.
        scope: the questions that were scored.
    """
    variants = dict.fromkeys(member.config.variant for member in run.members)
    made = {v: _our_row(run.of_variant(v), cells, seconds) for v in variants}
    yield from (made[v] for v in (QUESTION_ONLY, DEFAULT) if v in made)
    same_as = run.about.get("same_as", {})
    module = heads.load(head)
    for name, ablation in module.ABLATIONS.items():
        of = name if name in made else same_as.get(name, name)
        if of in made:
            printed = list(ablation_row(name, ablation, module.PAPER, scope))
            note = f"the same network as {of}" if of != name else made[of].note
            if not printed and ablation.note:
                note += f"; {ablation.note}"
            yield dataclasses.replace(made[of], name=f"ours: {name}", kind="ablation", note=note)
            yield from printed


def condition_rows(
    run: Run, condition: str, answered: Container[Path], cells: Cells
) -> Iterator[Row]:
    """The variants under a condition that concerns them.

    Args:
        run: whose members are the rows' seeds.
        condition: its name.
        answered: paths of the members that it concerns.
        cells: what members score under it.
    """
    for variant in dict.fromkeys(member.config.variant for member in run.members):
        members = run.of_variant(variant)
        if members[0].path in answered:
            yield Row(
                name=f"ours: {members[0].label}, {condition}",
                kind="condition",
                cells=cells(members),
                seeds=tuple(member.config.seed for member in members),
            )


def _our_row(members: Sequence[Member], cells: Cells, seconds: int | None) -> Row:
    config = members[0].config
    parameters, gflops = cost(members[0], seconds)
    grounding = f"grounding starts from {config.grounding[:8]}" if config.grounding else ""
    note = (changed_options(config.head, config.options), grounding)
    return Row(
        name=f"ours: {config.head}",
        kind="question-only" if config.variant == QUESTION_ONLY else "ours",
        cells=cells(members),
        seeds=tuple(member.config.seed for member in members),
        parameters=parameters,
        gflops=gflops,
        note="; ".join(part for part in note if part),
    )


def num_rows(member: Member, seconds: int | None) -> int:
    """T: rows of the longest video that the head is given."""
    settings = member.config.settings
    if seconds is None:
        return settings.num_rows
    return min(settings.num_rows, -(-seconds // settings.stride_seconds))


def patches_of(config: MemberConfig) -> int:
    """P: patches of a frame that the head is given; those of its encoder if it is given none."""
    found = config.features.get("patch", {}).get("patches")
    return num_patches(config.settings) if found is None else int(found)


def cost(member: Member, seconds: int | None) -> tuple[int, float]:
    """Trainable parameters, and GFLOPs of one question about the longest video."""
    patches = patches_of(member.config)
    head = _built(member)
    flops = heads.count_flops(head, seconds=num_rows(member, seconds), patches=patches)
    return heads.count_parameters(head), flops / 1e9


def thop_parameters(member: Member) -> int | None:
    """Parameters as a paper's counter counts them; None for heads without such a count."""
    count = getattr(heads.load(member.config.head), "thop_parameters", None)
    return None if count is None else int(count(_built(member)))


def _built(member: Member) -> heads.Head:
    # The weights do not matter, and the caller's random numbers stay as they are.
    with torch.random.fork_rng(devices=[]):
        return heads.build(member.config.head, **member.config.options)


def changed_options(head: str, options: Mapping[str, Any]) -> str:
    """Options that are chosen and not the head's default: ``avf=false, width=64``."""
    default = dataclasses.asdict(heads.load(head).Options())
    changed = {k: v for k, v in options.items() if k not in DERIVED and v != default[k]}
    return ", ".join(
        f"{k}={str(v).lower() if isinstance(v, bool) else v}" for k, v in changed.items()
    )
