"""The modules of CueSpace: cues of a second, dense mixtures of experts, slots that read."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from avqa.heads._parts.blocks import Attention, masked_mean
from avqa.heads.qa_tiger.experts import weighed
from avqa.heads.qa_tiger.modules import HEADS, PatchBranch, half


class Cues(PatchBranch):
    """What a stream finds in the cues of its seconds, patches or bands.

        P' = P + MHA(P, P, P),  out = LN(MLP½(drop(MHA(f, P', P'))))

    As released it holds two norms, of which one is used: ``visual`` or ``audio``, by its cues.
    """

    def __init__(self, width: int, dropout: float, *, of: str) -> None:
        super().__init__(width, dropout)
        self.of = of

    def find(self, rows: Tensor, cues: Tensor) -> tuple[Tensor, Tensor]:
        """Rows f [B, T, D], cues P' [B, T, P, D] → out [B, T, D], weights [B, T, P]."""
        out, weights = self.ask(rows.unsqueeze(2), cues)
        norm = self.norm_audio if self.of == "audio" else self.norm_visual
        return norm(out.squeeze(2)), weights.squeeze(2)


class Mixture(nn.Module):
    """A dense mixture of experts for every second, weighed once a video.

        u = MHA_8(q, X, X), or without a question the mean of X over time
        π = softmax(FC(u)),  Y_t = Σ_e π_e f_e(X_t + S_t),  out = (LN_1(Y) + LN_2(Y)) / 2 + X
        f_e = FC(D/2→D) ReLU FC(D→D/2)

    The attention is there without a question, too, as released, and does nothing.
    """

    def __init__(self, width: int, dropout: float, experts: int, *, routes: bool) -> None:
        super().__init__()
        self.experts = experts
        self.attention = Attention(width, HEADS, dropout) if routes else None
        self.router = nn.Linear(width, experts) if routes else None
        self.inner = nn.Linear(width, experts * (width // 2))
        self.outer = nn.ModuleList(nn.Linear(width // 2, width) for _ in range(experts))
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)

    def forward(
        self, question: Tensor | None, x: Tensor, cues: Tensor | None, mask: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Mix: question [B, D], x [B, T, D], cues S [B, T, D], mask [B, T].

        Returns:
            out [B, T, D] and the weights π [B, E].
        """
        route = x.new_full((len(x), self.experts), 1 / self.experts)
        if self.router is not None and self.attention is not None:
            if question is None:
                u = masked_mean(x, mask)
            else:
                u = self.attention(question.unsqueeze(1), x, mask)[0].squeeze(1)
            route = self.router(u).softmax(-1)
        hidden = self.inner(x if cues is None else x + cues).relu()
        share = route.unsqueeze(1)  # [B, 1, E]
        routed = share.unsqueeze(-1) * hidden.unflatten(-1, (self.experts, -1))  # [B, T, E, D/2]
        y = weighed(self.outer, routed, share)
        return (self.norm1(y) + self.norm2(y)) / 2 + x, route


class Sequence(NamedTuple):
    """Rows of seconds that slots read."""

    name: str
    rows: Tensor
    """[B, T, D]"""
    mask: Tensor
    """[B, T] bool."""


class Chain(nn.Module):
    """Slots read one sequence after the other: ``z ← LN(z + MHA(z, X, X))``.

    Shapes:
        slots [B, N, D] → [B, N, D], and the weights [B, N, T] of each sequence
    """

    def __init__(self, width: int, dropout: float, steps: int) -> None:
        super().__init__()
        self.reads = nn.ModuleList(Attention(width, HEADS, dropout) for _ in range(steps))
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(steps))

    def forward(
        self, slots: Tensor, sequences: list[Sequence], *, want_weights: bool
    ) -> tuple[Tensor, list[Tensor]]:
        """Read in order."""
        told = []
        for read, norm, sequence in zip(self.reads, self.norms, sequences, strict=True):
            rows, mask = sequence.rows, sequence.mask
            found, weights = read(slots, rows, mask, want_weights=want_weights)
            slots = norm(slots + found)
            if weights is not None:
                told.append(weights)
        return slots, told


class Readout(nn.Module):
    """What queries make of the slots: ``LN(q + drop(MLP½(MHA(q, M, M))))``.

    Shapes:
        queries [B, O, D], slots M [B, N, D], mask [B, N] → [B, O, D], weights [B, O, N]
    """

    def __init__(self, width: int, dropout: float) -> None:
        super().__init__()
        self.attention = Attention(width, HEADS, dropout)
        self.mlp = half(width)
        self.dropout = nn.Dropout(dropout)
        self.norm = nn.LayerNorm(width)

    def forward(self, queries: Tensor, slots: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Read the slots that are there."""
        found, weights = self.attention(queries, slots, mask)
        assert weights is not None
        return self.norm(queries + self.dropout(self.mlp(found))), weights


def aligned(width: int) -> nn.Sequential:
    """``FC(LN(x))``."""
    return nn.Sequential(nn.LayerNorm(width), nn.Linear(width, width))


class Together(nn.Module):
    """What both streams say of a second: ``FC(4D→D)(drop(ReLU(FC(2D→4D)([x; y]))))``."""

    def __init__(self, width: int, dropout: float) -> None:
        super().__init__()
        self.inner, self.outer = nn.Linear(2 * width, 4 * width), nn.Linear(4 * width, width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """Join x and y [V, T, D] → [V, T, D]."""
        joined = self.inner(torch.cat([x, y], -1)).relu()
        return self.outer(self.dropout(joined))  # type: ignore[no-any-return]
