"""MCCD's losses: a head's answers beside those of learners that see one input each.

    L_d = 0.01 Σ_k w_k / (d_k + 1e-5),   d_k = mean_b ‖y_m − y_k + 1e-6‖₂,   k = q, a, v
    L_c = 0.333 [w KL(p_q ‖ p_a) + w KL(p_v ‖ p_q) + w KL(p_a ‖ p_v)],   p = softmax(y)

y_m are the head's logits, y_k a learner's; all w are 0.333. Ma et al., NeurIPS 2024. With fewer
learners the w of what is left share the same sum. A sample that a learner has nothing to see of
(no sound) is in no mean of that learner; without any such sample its terms are 0.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Literal, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

Distance = Literal["l2", "kl"]
OFFSET = 1e-6
"""Added to every difference of logits."""
CYCLE = (("q", "a"), ("v", "q"), ("a", "v"))
"""Of which learner's answers from which other's: KL(first ‖ second)."""
ALL = ("q", "a", "v")
_CYCLE_WEIGHT = _PART = 0.333


class _Reciprocal(NamedTuple):
    """``weight Σ_k part / (d_k + least)``."""

    weight: float
    part: float
    least: float


_DISTANCES = {"l2": _Reciprocal(0.01, _PART, 1e-5), "kl": _Reciprocal(0.001, 1.0, 1e-8)}
"""MCCD's own, and that of MAVEN's release."""


class Answers(NamedTuple):
    """Of a learner, or of the head."""

    logits: Tensor
    """[B, C], or [B, O] of options; float32 at least."""
    there: Tensor | None = None
    """[B, O] bool: false for missing options; None: all are there."""
    seen: Tensor | None = None
    """[B] bool: false for samples of which the learner sees nothing; None: none of these."""


def mean_of(values: Tensor, seen: Tensor | None, empty: float = math.nan) -> Tensor:
    """Mean over the samples ``seen``, ``empty`` where there is none: [B] → scalar."""
    if seen is None:
        return values.mean()
    mean = torch.where(seen, values, 0).sum() / seen.sum()
    return torch.where(seen.any(), mean, empty)


def norms(answers: Answers) -> Tensor:
    """‖y‖₂ over the answers that are there: [B]."""
    return _lengths(_shown(answers.logits, answers.there))


def distances(fusion: Answers, biased: Answers, kind: Distance = "l2") -> Tensor:
    """How far a learner's answers are from the head's: [B].

    ``l2``: ‖y_m − y_k + 1e-6‖₂; ``kl``: KL(p_m ‖ p_k).
    """
    if kind == "kl":
        return divergences(fusion, biased)
    return _lengths(_shown(fusion.logits - biased.logits + OFFSET, fusion.there))


def divergences(one: Answers, other: Answers) -> Tensor:
    """KL(p_one ‖ p_other), summed over the answers: [B]."""
    p, q = _log_probabilities(one), _log_probabilities(other)
    return (p.exp() * (p - q)).sum(-1)


def distance_loss(
    fusion: Answers, learners: Mapping[str, Answers], kind: Distance = "l2"
) -> Tensor:
    """L_d: → scalar."""
    weight, part, least = _DISTANCES[kind]
    part *= len(ALL) / len(learners)
    apart = [
        mean_of(distances(fusion, own, kind), own.seen, empty=math.inf)  # of no sample: 1/∞
        for own in learners.values()
    ]
    return weight * part * torch.stack([1 / (d + least) for d in apart]).sum()


def cycle_loss(learners: Mapping[str, Answers]) -> Tensor:
    """L_c; 0 of a single learner, which has no other: → scalar."""
    pairs = [(learners[x], learners[y]) for x, y in CYCLE if x in learners and y in learners]
    if not pairs:
        return next(iter(learners.values())).logits.new_zeros(())
    terms = [mean_of(divergences(x, y), _both(x.seen, y.seen), empty=0.0) for x, y in pairs]
    part = _PART * len(CYCLE) / len(pairs)
    return _CYCLE_WEIGHT * part * torch.stack(terms).sum()


def cross_entropies(answers: Answers, right: Tensor) -> Tensor:
    """−log p of the right answers [B] long: [B]."""
    return F.cross_entropy(answers.logits, right, reduction="none")


def _lengths(x: Tensor) -> Tensor:
    lengths: Tensor = torch.linalg.vector_norm(x, dim=-1)
    return lengths


def _both(one: Tensor | None, other: Tensor | None) -> Tensor | None:
    if one is None or other is None:
        return other if one is None else one
    return one & other


def _shown(x: Tensor, there: Tensor | None) -> Tensor:
    """Zeros for missing options, whose logits are −∞."""
    return x if there is None else torch.where(there, x, 0)


def _log_probabilities(answers: Answers) -> Tensor:
    logits, there = answers.logits, answers.there
    if there is None:
        return logits.log_softmax(-1)
    return _shown(logits.masked_fill(~there, -math.inf).log_softmax(-1), there)
