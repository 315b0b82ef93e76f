"""The modules of QA-TIGER around its experts: fusion, patches, reasoning."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import torch
from torch import Tensor, nn

from avqa.heads._parts.blocks import Attention, FeedForward, masked_mean

HEADS = 8


def start(head: nn.Module, apart: Iterable[nn.Module]) -> None:
    """Kaiming's normal weights and zero biases in every layer that is in none ``apart``."""
    inside = {layer for module in apart for layer in module.modules()}
    for module in head.modules():
        if isinstance(module, nn.Linear) and module not in inside:
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
            nn.init.zeros_(module.bias)


def half(width: int) -> nn.Sequential:
    """``FC(D/2→D) ReLU FC(D→D/2)``."""
    return nn.Sequential(nn.Linear(width, width // 2), nn.ReLU(), nn.Linear(width // 2, width))


class QuestionFusion(nn.Module):
    """One stream with itself, the other stream and the words of the question.

        x' = LN1(x + drop(MHA(x, x, x)) + drop(MHA(x, y, y)) + drop(MHA(x, W, W)))
        out = LN2(x' + drop(FC(drop(ReLU(FC(x'))))))

    Without ``cross`` (CueSpace) there is no term of y, without ``words`` none of W.

    Shapes:
        x [B, T, D], W [B, N, D] → [B, T, D]
    """

    def __init__(self, width: int, dropout: float, *, words: bool, cross: bool = True) -> None:
        super().__init__()
        self.own = Attention(width, HEADS, dropout)
        self.cross = Attention(width, HEADS, dropout) if cross else None
        self.words = Attention(width, HEADS, dropout) if words else None
        self.feed_forward = FeedForward(width, dropout)
        self.dropout = nn.Dropout(dropout)
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)

    def of_video(self, x: Tensor, y: Tensor, mask: Tensor, other: Tensor) -> Tensor:
        """The terms of LN1 that no question is in: x [V, T, D], masks of x and y [V, T]."""
        own, _ = self.own(x, x, mask, want_weights=False)
        terms: Tensor = x + self.dropout(own)
        if self.cross is not None:
            cross, _ = self.cross(x, y, other, want_weights=False)
            terms = terms + self.dropout(cross)
        return terms

    def forward(
        self, terms: Tensor, x: Tensor, words: Tensor, mask: Tensor | None, *, want_weights: bool
    ) -> tuple[Tensor, Tensor | None]:
        """The rest, with the terms that `of_video` gives; also the weights of words [B, T, N]."""
        weights = None
        if self.words is not None:
            found, weights = self.words(x, words, mask, want_weights=want_weights)
            terms = terms + self.dropout(found)
        x = self.norm1(terms)
        return self.norm2(x + self.dropout(self.feed_forward(x))), weights


class Looked(NamedTuple):
    """What the two streams find in the patches of each second."""

    visual: Tensor
    """p_v [B, T, D], asked by the frame; so is ``audio``, p_a, asked by the sound."""
    audio: Tensor
    weights: Tensor
    """[B, T, 2, P], asked by frame and sound."""


class PatchBranch(nn.Module):
    """Patches of a second, asked by its frame and by its sound.

    Z' = Z + MHA(Z, Z, Z),  o = MLP½(drop(MHA([v; a], Z', Z')))
    p_v = LN_v(o_1),  p_a = LN_a(o_2)
    """

    def __init__(self, width: int, dropout: float) -> None:
        super().__init__()
        self.own = Attention(width, HEADS, dropout)
        self.cross = Attention(width, HEADS, dropout)
        self.dropout = nn.Dropout(dropout)
        self.mlp = half(width)
        self.norm_visual, self.norm_audio = nn.LayerNorm(width), nn.LayerNorm(width)

    def of_video(self, patches: Tensor) -> Tensor:
        """Z' of Z: [V, T, P, D] → [V, T, P, D]."""
        own, _ = self.own(patches, patches, want_weights=False)
        return patches + own  # type: ignore[no-any-return]

    def forward(self, visual: Tensor, audio: Tensor, patches: Tensor) -> Looked:
        """Ask: visual and audio [B, T, D], patches Z' [B, T, P, D]."""
        out, weights = self.ask(torch.stack([visual, audio], 2), patches)
        seen, heard = out.unbind(2)
        return Looked(self.norm_visual(seen), self.norm_audio(heard), weights)

    def ask(self, queries: Tensor, patches: Tensor) -> tuple[Tensor, Tensor]:
        """What M queries a second find in Z', before the norm.

        Shapes:
            queries [B, T, M, D], patches [B, T, P, D] → o [B, T, M, D], weights [B, T, M, P]
        """
        found, weights = self.cross(queries, patches)
        assert weights is not None
        return self.mlp(self.dropout(found)), weights


class Reasoning(nn.Module):
    """What a question makes of a few vectors: ``LN(mean_i X_i + drop(MLP½(MHA(q, X, X))))``.

    Shapes:
        question [B, D], x [B, n, D], mask [B, n] → [B, D]
    """

    def __init__(self, width: int, dropout: float) -> None:
        super().__init__()
        self.attention = Attention(width, HEADS, dropout)
        self.mlp = half(width)
        self.dropout = nn.Dropout(dropout)
        self.norm = nn.LayerNorm(width)

    def forward(self, question: Tensor, x: Tensor, mask: Tensor) -> Tensor:
        """Reason over the vectors that are there."""
        found, _ = self.attention(question.unsqueeze(1), x, mask)
        mean = masked_mean(x, mask)
        return self.norm(mean + self.dropout(self.mlp(found.squeeze(1))))  # type: ignore[no-any-return]
