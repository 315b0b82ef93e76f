"""What a question asks about, and where that is."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from avqa.heads._parts.blocks import Attention, Question, masked_mean, masked_softmax
from avqa.heads.tjstg.options import Options


class Target(NamedTuple):
    """What the question asks about."""

    vector: Tensor
    """[B, D]."""
    weights: Tensor | None
    """[B, N], attention to the words; None where no word is chosen."""
    word: Tensor | None
    """[B] long, number of the chosen word."""


class TargetAware(nn.Module):
    """Take the word that the question attends to most as what to look for (T-A).

        Eq. 1   s = weights of MHA_4(q, H, H) over the real words
                n* = argmax_n s_n,  target = H_{n*}

    Chosen where the paper is silent: argmax has no gradient, so the attention would never learn;
    straight-through adds (s − stopgrad(s))ᵀ H, which is zero.
    Differs from the authors' code: padding is masked; weights are those before dropout, so the
    code's rate of 0.2 has nothing to act on.

    Shapes:
        `Question` (q [B, D], H [B, N, D]) → `Target`
    """

    def __init__(self, options: Options) -> None:
        super().__init__()
        width = options.width
        self.source, self.query, self.grad = options.target, options.ta_query, options.ta_grad
        if options.target == "argmax":
            self.attention = Attention(width, 4, options.dropout)
        if options.target_mlp:
            self.mlp = nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, width))

    def forward(self, question: Question) -> Target:
        """Find the target vector of every question."""
        found = self._found(question)
        return found._replace(vector=self.mlp(found.vector)) if hasattr(self, "mlp") else found

    def _found(self, question: Question) -> Target:
        words, mask = question.words, question.mask
        if self.source == "hidden":
            return Target(question.sentence, None, None)
        if self.source == "avg":
            return Target(masked_mean(words, mask), None, None)
        if self.source == "max":
            lowest = torch.finfo(words.dtype).min
            return Target(words.masked_fill(~mask.unsqueeze(-1), lowest).amax(1), None, None)
        return self._most_attended(question)

    def _most_attended(self, question: Question) -> Target:
        words, query = question.words, question.sentence
        if self.query == "cell":
            assert question.cell is not None  # Options.problems
            query = question.cell
        _, weights = self.attention(query.unsqueeze(1), words, question.mask)
        s: Tensor = weights.squeeze(1)  # Eq. 1, [B, N]
        word = s.argmax(-1)
        vector = words[torch.arange(len(words), device=words.device), word]  # [B, D]
        if self.grad == "st":
            vector = vector + torch.einsum("bn,bnd->bd", s - s.detach(), words)
        return Target(vector, s, word)


def combine(heard: Tensor, asked: Tensor, how: str, threshold: float) -> Tensor:
    """Where to look, from what is heard and what is asked about (TSG, Eq. 4).

        s_a = softmax(heard),  s_q = softmax(asked),  ŝ_q = s_q · 1[s_q ≥ τ · 196 / P]
        renorm    α = s_a ∘ ŝ_q / Σ, or s_a where every position is below the threshold
        softmax   α = softmax(s_a ∘ ŝ_q)
        sum       x = s_a + s_q,  α = softmax(x · 1[x ≥ 0.01 · 196 / P])

    Shapes:
        heard [..., P], asked [..., P], scores over the temperature → α [..., P]
    """
    scale = 196 / heard.shape[-1]
    s_a, s_q = heard.softmax(-1), asked.softmax(-1)
    if how == "sum":
        both = s_a + s_q
        return (both * (both >= 0.01 * scale)).softmax(-1)
    kept = s_q >= threshold * scale
    if how == "softmax":
        return (s_a * s_q * kept).softmax(-1)  # Eq. 4, [..., P]
    # s_a ∘ s_q is proportional to exp(heard + asked), which cannot underflow in the softmax.
    product = masked_softmax(heard + asked, kept)
    return torch.where(kept.any(-1, keepdim=True), product, s_a)
