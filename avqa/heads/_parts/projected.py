"""What a head makes of its inputs one by one, before they meet: seen from outside, by hooks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from avqa.heads._parts.blocks import Question, masked_mean
from avqa.heads._parts.cost import random_input
from avqa.heads._parts.head import Head, HeadInput

PROJECTED = {"q": "the question", "a": "the audio", "v": "the frames"}
"""What a key of `Head.PROJECTIONS` stands for."""


@contextmanager
def observed(head: Head) -> Iterator[dict[str, Tensor]]:
    """While entered: what the layers of `Head.projections` give first in a forward pass.

    The tensors are those of the head's own pass, with their gradient; nothing is computed twice.
    A layer that runs again, on frames of other videos for instance, is looked at once.
    """
    seen: dict[str, Tensor] = {}

    def watch(kind: str, layer: nn.Module) -> Any:
        def note(_layer: nn.Module, _inputs: Any, output: Any) -> None:
            seen.setdefault(kind, output.sentence if isinstance(output, Question) else output)

        return layer.register_forward_hook(note)

    with ExitStack() as hooks:
        for kind, name in head.projections.items():
            hooks.callback(watch(kind, head.get_submodule(name)).remove)
        yield seen


def pooled(seen: Mapping[str, Tensor], head: Head, inputs: HeadInput) -> dict[str, Tensor]:
    """One vector a question of each that was seen: q, the mean of a where it is heard, of v.

    Shapes:
        q [B, D], a [V, T, D], v [V, T, D] or [V, T, P, D] → [B, D] each; 0 of a without any sound
    """
    if not head.shares_videos:
        inputs = inputs.apart()
    masks = {"a": inputs.heard, "v": inputs.valid}
    found = {}
    for kind, rows in seen.items():
        if kind in masks:
            rows = rows.mean(2) if rows.ndim == 4 else rows
            rows = inputs.each(masked_mean(rows, masks[kind]))
        found[kind] = rows
    return found


def projection_problems(head: Head, kinds: str) -> list[str]:
    """What keeps these of `PROJECTED` from being seen in a head, a line each."""
    there = head.projections
    if unnamed := [kind for kind in kinds if kind not in there]:
        return [f"{kind} ({PROJECTED[kind]}): no layer is named" for kind in unnamed]
    problems = []
    training, inputs = head.training, random_input(head, batch=2, seconds=3, patches=4)
    with torch.no_grad(), observed(head.eval()) as seen:
        head(inputs)
    head.train(training)
    width = head.options.width
    for kind in kinds:
        what = f"{kind} ({PROJECTED[kind]}): layer {there[kind]!r}"
        if (rows := seen.get(kind)) is None:
            problems.append(f"{what} does not run")
            continue
        found, expected = tuple(rows.shape), (2, width) if kind == "q" else (2, 3, width)
        if found != expected and not (kind == "v" and found == (2, 3, *found[2:3], width)):
            problems.append(f"{what} gives {found} of 2 videos of 3 seconds; expected {expected}")
    return problems
