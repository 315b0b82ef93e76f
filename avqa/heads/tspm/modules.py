"""The selection of TSPM's seconds, and how it looks into their patches."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from avqa.heads._parts.blocks import Attention, FeedForward, QuestionBlock, masked_softmax

HEADS = 4


class Selector(nn.Module):
    """The attention of a prompt over the seconds, of which only the weights are wanted.

        w = mean over heads of softmax(W_q q_p · W_k v / √(D/h))

    Shapes:
        prompt [B, D], x [B, T, D], mask [B, T] → w [B, T]
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.in_proj_weight = nn.Parameter(torch.empty(2 * width, width))
        self.in_proj_bias = nn.Parameter(torch.zeros(2 * width))
        bound = math.sqrt(1.5 / width)  # of the three projections into an attention
        nn.init.uniform_(self.in_proj_weight, -bound, bound)

    def forward(self, prompt: Tensor, x: Tensor, mask: Tensor) -> Tensor:
        """Weigh the seconds."""
        parts = zip(self.in_proj_weight.chunk(2), self.in_proj_bias.chunk(2), strict=True)
        query, key = (F.linear(y, w, b) for y, (w, b) in zip((prompt, x), parts, strict=True))
        query = query.view(len(query), HEADS, 1, -1)  # [B, h, 1, D/h]
        key = key.view(*x.shape[:2], HEADS, -1).transpose(1, 2)  # [B, h, T, D/h]
        scores = (query @ key.mT).squeeze(2) / math.sqrt(key.shape[-1])
        return masked_softmax(scores, mask.unsqueeze(1)).mean(1)


class ReleasedSelector(QuestionBlock):
    """The same weights, with all that the released module holds beside them and no use has."""

    def __init__(self, width: int, dropout: float) -> None:
        super().__init__(width, dropout, HEADS)

    def forward(  # type: ignore[override]
        self, prompt: Tensor, x: Tensor, mask: Tensor
    ) -> Tensor:
        """Weigh the seconds."""
        return super().forward(prompt, x, mask)[1]


class Kept(NamedTuple):
    """K seconds of each video, in the order of time."""

    second: Tensor
    """[B, K] long, −1 where there is none."""
    there: Tensor
    """[B, K] bool."""
    factor: Tensor
    """[B, K], share of the weights times the number of seconds; 0 where there is none."""


def largest(weights: Tensor, valid: Tensor, topk: int) -> Kept:
    """The seconds of most weight: weights and valid [B, T] → K = min(topk, T) of them."""
    seconds = weights.shape[1]
    shown = weights.masked_fill(~valid, -1.0)
    best = shown.topk(min(topk, seconds), 1).indices
    real = valid.gather(1, best)
    second = torch.where(real, best, best + seconds).sort(1).values  # what is not there comes last
    return _kept(second % seconds, second < seconds, weights)


def evenly(valid: Tensor, topk: int) -> Kept:
    """Seconds evenly spaced from the first valid one to the last one."""
    count = valid.sum(1, keepdim=True)
    number = min(topk, valid.shape[1])
    step = torch.arange(number, device=valid.device)
    spread = (step * (count - 1) / max(number - 1, 1)).round().long()
    place = torch.where(count >= number, spread, step)
    there = place < count
    in_order = torch.argsort((~valid).long(), dim=1, stable=True)
    second = in_order.gather(1, place.clamp(max=valid.shape[1] - 1))
    return _kept(second, there, valid.float())


def _kept(second: Tensor, there: Tensor, weights: Tensor) -> Kept:
    share = weights.gather(1, second) * there
    total = share.sum(1, keepdim=True).clamp(min=torch.finfo(share.dtype).tiny)
    factor = share / total * there.sum(1, keepdim=True)
    return Kept(second.masked_fill(~there, -1), there, factor)


class SpatialLayer(nn.Module):
    """Patches of a second with each other, then asked by its sound.

        Z' = LN(Z + drop(MHA_1(Z, Z, Z))),  Z'' = LN(Z' + drop(FFN(Z'))),  s = QBlock(a, Z'')

    Shapes:
        audio [B, K, D], patches [B, K, P, D], mask [B, K] → s [B, K, D], weights [B, K, P]
    """

    def __init__(self, width: int, dropout: float) -> None:
        super().__init__()
        self.own = Attention(width, 1, dropout)
        self.feed_forward = FeedForward(width, dropout)
        self.dropout = nn.Dropout(dropout)
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.sound = QuestionBlock(width, dropout)

    def forward(self, audio: Tensor, patches: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Look into the seconds that are there and have sound; zeros in the others."""
        own, _ = self.own(patches, patches, want_weights=False)
        z = self.norm1(patches + self.dropout(own))
        z = self.norm2(z + self.dropout(self.feed_forward(z)))
        return self.sound(audio, z, mask.unsqueeze(-1))  # type: ignore[no-any-return]
