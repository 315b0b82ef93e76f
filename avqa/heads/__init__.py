"""Trainable heads, one paper's reasoning modules each: the file name is the head's public name.

A head takes features as tensors (`HeadInput`) and gives logits, named auxiliary losses and
named explanations (`HeadOutput`), of which it also gives one view that all heads share
(`Evidence`). `HeadModule` is the contract; ``docs/plugins.md`` has an example.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor
from torch.nn import functional as F

from avqa.errors import UnknownName
from avqa.heads._parts.blocks import AnswerLayer, masked_mean, masked_softmax, question_encoder
from avqa.heads._parts.contract import HeadModule, complaints
from avqa.heads._parts.cost import count_flops, count_parameters, random_input
from avqa.heads._parts.evidence import Evidence
from avqa.heads._parts.head import (
    OF_SOUND,
    VIDEO_FEATURES,
    Head,
    HeadInput,
    HeadOutput,
    with_time,
)
from avqa.heads._parts.options import (
    HeadOptions,
    changed,
    defaults_before,
    later,
    options_before,
    width_option,
)
from avqa.heads._parts.paper import COLUMNS, Ablation, Figures, OfDataset, Paper, Recipe, Released
from avqa.heads._parts.projected import PROJECTED, observed, pooled, projection_problems
from avqa.heads._parts.rows import coded_width
from avqa.plugins import Kind

__all__ = [
    "COLUMNS",
    "OF_SOUND",
    "VIDEO_FEATURES",
    "HEADS",
    "PROJECTED",
    "Ablation",
    "AnswerLayer",
    "Evidence",
    "Figures",
    "Head",
    "HeadInput",
    "HeadModule",
    "HeadOptions",
    "HeadOutput",
    "OfDataset",
    "Paper",
    "Recipe",
    "Released",
    "build",
    "changed",
    "coded_width",
    "count_flops",
    "count_parameters",
    "defaults_before",
    "later",
    "load",
    "masked_mean",
    "masked_softmax",
    "names",
    "observed",
    "options_before",
    "pooled",
    "projection_problems",
    "question_encoder",
    "random_input",
    "total_loss",
    "width_option",
    "width_option",
    "with_time",
]

HEADS: Kind[HeadModule] = Kind("head", __name__, "avqa.heads", HeadModule, complaints)


def names() -> tuple[str, ...]:
    """Names of all heads, without importing them."""
    return HEADS.names()


def load(name: str) -> HeadModule:
    """Import one head module.

    Raises:
        UnknownName: if there is no such head.
        PluginError: if it breaks the contract.
    """
    return HEADS.load(name)


def build(name: str, **options: Any) -> Head:
    """A head with its paper's options, some of them replaced.

    Raises:
        UnknownName: if there is no such head, or it has no such option.
        ValueError: if an option cannot have the value.
    """
    module = load(name)
    known = module.Options.__dataclass_fields__
    for option in options:
        if option not in known:
            raise UnknownName(f"option of {name}", option, known)
    return module.Head(module.Options(**options))


def total_loss(head: Head, output: HeadOutput, answers: Tensor) -> Tensor:
    """Cross-entropy of the answers plus the weighted auxiliary losses.

    Shapes:
        answers [B] long: number of the right answer or option → scalar
    """
    loss = F.cross_entropy(output.logits, answers)
    for name, value in output.aux_losses.items():
        loss = loss + head.aux_weights[name] * value
    return loss
