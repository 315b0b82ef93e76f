"""Experts of time: Gaussians over the seconds, and who of them a question asks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from avqa.heads._parts.blocks import Attention

LEAST = 0.09
"""Of what a Gaussian's width is made of; a width is a ninth of it."""


class Gaussians(NamedTuple):
    """E Gaussians over T seconds."""

    center: Tensor
    """μ [B, E] in [0, 1]: 0 is the first second, 1 the last one."""
    width: Tensor
    """σ [B, E], 0.01 to 0.111."""
    weight: Tensor
    """g [B, E, T], 1 at the highest second that counts, 0 at those that do not."""


def places(valid: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
    """τ [B, T]: 0 at the first second, 1 at the last one that is valid [B, T]."""
    seconds = torch.arange(valid.shape[1], device=valid.device, dtype=dtype)
    last = torch.where(valid, seconds, 0).amax(1, keepdim=True)
    return seconds / last.clamp(min=1)


def base_centers(experts: int, like: Tensor) -> Tensor:
    """C [E]: the middles of E equal parts of [0, 1]."""
    return (torch.arange(experts, dtype=like.dtype, device=like.device) + 0.5) / experts


def gaussians(shift: Tensor, spread: Tensor, place: Tensor, mask: Tensor) -> Gaussians:
    """Gaussians at c + m·tanh(shift), σ = max(sigmoid(spread), 0.09) / 9.

    m = 1/(2E), so that each stays in its own part of time.

    Shapes:
        shift and spread [B, E], place τ [B, T], mask [B, T]
    """
    experts = shift.shape[1]
    center = (base_centers(experts, shift) + shift.tanh() / (2 * experts)).clamp(0, 1)
    width = spread.sigmoid().clamp(min=LEAST) / 9
    away = (place.unsqueeze(1) - center.unsqueeze(-1)) / width.unsqueeze(-1)  # [B, E, T]
    logs = (-away.square() / 2).masked_fill(~mask.unsqueeze(1), -torch.inf)
    # The highest second gets 1 whatever underflows: a video of two seconds has none near 0.5.
    highest = logs.amax(-1, keepdim=True)
    logs = logs - torch.where(highest.isfinite(), highest, 0)
    return Gaussians(center, width, logs.exp())


class Asked(NamedTuple):
    """What a question wants of the experts."""

    route: Tensor
    """r [B, E], sums to 1."""
    time: Gaussians | None
    """None without Gaussians."""
    weight: Tensor
    """g [B, E, T], of the experts' seconds."""
    mask: Tensor
    """[B, T] bool."""

    @property
    def second(self) -> Tensor:
        """[B, T]: Σ_e r_e g_e(t), divided by its sum; zeros where no second counts."""
        mixed = (self.route.unsqueeze(-1) * self.weight).sum(1)
        return mixed / mixed.sum(1, keepdim=True).clamp(min=torch.finfo(mixed.dtype).tiny)


class GaussianExperts(nn.Module):
    """One stream's experts, asked by a question.

        u = MHA_8(q, X, X),  π = softmax(FC(u)),  r = the K largest of π over their sum
        (γ, ω) = FC(u),  g = `gaussians`
        f_e = FC(D/2→D) ReLU FC(D→D/2),  out_i = LN_i(Σ_e r_e Σ_t g_e(t) f_e(X_t + S_i,t))

    Time is summed before the experts' second layer: the same numbers for half the work. Where no
    second counts, out is zeros.

    Args:
        norms: how many S there are, each with a norm of its own.
        predicts: whether it has Gaussians of its own.
    """

    def __init__(
        self,
        width: int,
        dropout: float,
        experts: int,
        topk: int,
        *,
        norms: int,
        routes: bool,
        predicts: bool,
    ) -> None:
        super().__init__()
        self.experts, self.topk, inner = experts, min(topk, experts), width // 2
        self.attention = Attention(width, 8, dropout) if routes or predicts else None
        self.router = nn.Linear(width, experts) if routes else None
        self.predictor = nn.Linear(width, 2 * experts) if predicts else None
        self.inner = nn.Linear(width, experts * inner)
        self.outer = nn.ModuleList(nn.Linear(inner, width) for _ in range(experts))
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(norms))

    def ask(
        self,
        question: Tensor,
        x: Tensor,
        place: Tensor,
        mask: Tensor,
        time: Gaussians | None = None,
        *,
        gaussian: bool,
    ) -> Asked:
        """Route a question [B, D] and place its Gaussians; x [B, T, D], mask [B, T].

        ``time`` are those of the other stream, where they are shared.
        """
        u = question
        if self.attention is not None:
            u = self.attention(question.unsqueeze(1), x, mask)[0].squeeze(1)  # [B, D]
        route = u.new_full((len(u), self.experts), 1 / self.experts)
        if self.router is not None:
            route = kept(self.router(u).softmax(-1), self.topk)
        if not gaussian:
            even = mask / mask.sum(1, keepdim=True).clamp(min=1)
            even = even.to(x.dtype).unsqueeze(1).expand(-1, self.experts, -1)
            return Asked(route, None, even, mask)
        if self.predictor is not None:
            shift, spread = self.predictor(u).unflatten(-1, (self.experts, 2)).unbind(-1)
            time = gaussians(shift, spread, place, mask)
        assert time is not None
        weight = time.weight * mask.unsqueeze(1)
        return Asked(route, time, weight, mask)

    def forward(self, asked: Asked, x: Tensor, norm: int) -> Tensor:
        """What the experts say of x = X + S_norm [B, T, D] → [B, D]."""
        hidden = self.inner(x).relu().unflatten(-1, (self.experts, -1))  # [B, T, E, D/2]
        over_time = torch.einsum("bet,bteh->beh", asked.weight, hidden)
        routed = asked.route.unsqueeze(-1) * over_time
        share = asked.route * asked.weight.sum(-1)  # [B, E], of the second layer's bias
        said = weighed(self.outer, routed, share)
        heard = asked.mask.any(1, keepdim=True)
        return torch.where(heard, self.norms[norm](said), 0)


def weighed(outer: nn.ModuleList, routed: Tensor, share: Tensor) -> Tensor:
    """The experts' second layers of what was weighed before, summed: Σ_e W_e x_e + s_e b_e.

    Shapes:
        routed x [..., E, D/2], share s [..., E] → [..., D]
    """
    layers = cast(Sequence[nn.Linear], outer)
    return torch.stack(
        [
            F.linear(routed[..., e, :], layer.weight) + share[..., e, None] * layer.bias
            for e, layer in enumerate(layers)
        ]
    ).sum(0)


def kept(weights: Tensor, topk: int) -> Tensor:
    """The largest of each row, divided by their sum; the others 0: [B, E] → [B, E]."""
    if topk < weights.shape[1]:
        chosen = torch.zeros_like(weights).scatter(1, weights.topk(topk).indices, 1.0)
        weights = weights * chosen
    return weights / weights.sum(1, keepdim=True)
