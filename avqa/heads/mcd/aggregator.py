"""MCD's aggregator: the sampled frames that bear on the question, added to it."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from avqa.heads._parts.blocks import Question, masked_mean
from avqa.heads.mcd.association import PlainAttention
from avqa.heads.mcd.options import Options


def sample_frames(valid: Tensor, count: int, *, random: bool) -> Tensor:
    """Positions of ``count`` valid seconds of every sample, ascending.

    Random: uniform without replacement; else evenly spread, round(linspace(0, n−1, count)).
    A sample with n < ``count`` valid seconds gives them all and repeats the last.

    Shapes:
        valid [B, T] → [B, count] long
    """
    batch, seconds = valid.shape
    n = valid.sum(1, keepdim=True)
    steps = torch.arange(count, device=valid.device)
    if random:
        chance = torch.rand(batch, max(seconds, count), device=valid.device)
        beyond = torch.arange(chance.shape[1], device=valid.device) >= n
        rank = chance.masked_fill(beyond, -1.0).topk(count).indices.sort().values
    else:
        rank = (steps * (n - 1) / (count - 1)).round().long()
    rank = torch.where(n >= count, rank, torch.minimum(steps, n - 1))
    in_time = (~valid).int().argsort(dim=1, stable=True)  # valid seconds first
    return in_time.gather(1, rank)


class Clues(NamedTuple):
    """What the aggregator finds in one level of one modality."""

    vector: Tensor
    """f̂_jq [B, D]."""
    frames: Tensor
    """[B, k/2] long: kept seconds, ascending."""
    scores: Tensor
    """[B, k/2]: mean of h over its channels; 0 where a sampled second is not of the modality."""
    frame_attn: Tensor | None
    """[B, k]; None for ``literal``."""
    word_attn: Tensor | None
    """[B, N]; None for ``literal``."""


class Aggregator(nn.Module):
    """Keep the half of the sampled frames that score best, and add them to the question.

    Eq. 6 as read here (``frames``), for the sampled frames f_i, i = 1..k, of one level:

        Eq. 6   f̄_q = q + CA(mean_t f, H, H)
                w = softmax(W_Q f̄_q (W_K f_i)ᵀ / √D),  h_i = ReLU(k · w_i · W_V f_i)
                keep the k/2 frames with the largest mean_D(h_i)
                out = Σ_kept (q + h ∘ q)

    Chosen where the paper is silent: as printed both attentions of Eq. 6 have one key, so their
    softmax is 1 and the question never enters: h_i = ReLU(W_V f_i). That is ``literal``. Here the
    first attends to the words H and the second to the k frames. Of sampled seconds without sound
    none is weighed or summed for the audio; k counts the others.

    Shapes:
        level [B, T, D], index [B, k], valid [B, T] of the level, question → `Clues`
    """

    def __init__(self, options: Options) -> None:
        super().__init__()
        width = options.width
        self.words = self.frames = self.value = None
        if options.aggregator == "frames":
            self.words = PlainAttention(width, options.dropout)
            self.frames = PlainAttention(width, 0.0)
        else:
            self.value = nn.Linear(width, width, bias=False)

    def forward(self, level: Tensor, index: Tensor, valid: Tensor, question: Question) -> Clues:
        """Find the clues of one level."""
        sampled, there = gather(level, index), valid.gather(1, index)  # [B, k, D], [B, k]
        pooled = masked_mean(level, valid)
        h, frame_attn, word_attn = self._weigh(sampled, there, pooled, question)
        ranks = h.mean(-1).masked_fill(~there, -1.0)  # those of h are 0 or more
        scores, best = ranks.topk(index.shape[1] // 2)  # [B, k/2]
        best, order = best.sort()
        q = question.sentence.unsqueeze(1)
        each = torch.where(there.gather(1, best).unsqueeze(-1), q + gather(h, best) * q, 0)
        scores = scores.gather(1, order).clamp(min=0)
        return Clues(each.sum(1), index.gather(1, best), scores, frame_attn, word_attn)

    def _weigh(
        self, sampled: Tensor, there: Tensor, pooled: Tensor, question: Question
    ) -> tuple[Tensor, Tensor | None, Tensor | None]:
        if self.value is not None:
            return self.value(sampled).relu(), None, None
        assert self.words is not None
        assert self.frames is not None
        context, word_attn = self.words(pooled.unsqueeze(1), question.words, question.mask)
        asked = question.sentence.unsqueeze(1) + context  # Eq. 6, [B, 1, D]
        weights = self.frames.weights(asked, sampled, there)  # Eq. 6, [B, 1, k]
        scale = there.sum(1)[:, None, None] * weights.mT
        h = (scale * self.frames.value(sampled)).relu()  # Eq. 6, [B, k, D]
        return h, weights.squeeze(1), word_attn.squeeze(1)


def gather(x: Tensor, index: Tensor) -> Tensor:
    """Rows of x [B, T, D] at index [B, k] → [B, k, D]."""
    return x.gather(1, index.unsqueeze(-1).expand(-1, -1, x.shape[-1]))
