"""Source-aware parts of SaSR-Net as its paper prints them: learnable tokens meet one modality."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from avqa.heads._parts.blocks import Attention, masked_softmax
from avqa.heads.sasr.options import Options


class Sources(NamedTuple):
    """One modality after it met the source tokens."""

    features: Tensor
    """a^g or v^g [B, T, D]."""
    tokens: Tensor | None
    """G' [B, G, D]; None where there are no tokens."""
    time_attention: Tensor | None
    """[B, G, T], which second feeds which token; None where tokens gather from none."""


def dot_attention(
    query: Tensor, keys: Tensor, values: Tensor, mask: Tensor | None, dropout: float
) -> tuple[Tensor, Tensor]:
    """σ(Q Kᵀ / √D) V without heads; the weights come back before their dropout.

    Shapes:
        query [B, M, D], keys and values [B, N, D], mask [B, N] → [B, M, D], weights [B, M, N]
    """
    scores = query @ keys.mT / math.sqrt(query.shape[-1])
    weights = masked_softmax(scores, None if mask is None else mask[:, None])
    return F.dropout(weights, dropout) @ values, weights


class PreNormBlock(nn.Module):
    """A transformer layer that normalises before each branch.

        x' = x + branch(MHA_8(LN(x))),  out = x' + branch(FFN(LN(x')))

    ``FFN`` is FC(D→4D), GELU, FC(4D→D); ``branch`` drops parts or all of what is added.

    Shapes:
        x [B, N, D], mask [B, N] → [B, N, D]
    """

    def __init__(self, width: int, dropout: float, branch: nn.Module) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width)
        self.attention = Attention(width, 8, dropout)
        self.norm2 = nn.LayerNorm(width)
        self.feed_forward = gelu_layers(width, dropout)
        self.branch = branch

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """Update every row by the unmasked ones."""
        y = self.norm1(x)
        x = x + self.branch(self.attention(y, y, mask, want_weights=False)[0])
        return x + self.branch(self.feed_forward(self.norm2(x)))  # type: ignore[no-any-return]


def gelu_layers(width: int, dropout: float = 0.0) -> nn.Sequential:
    """FC(D→4D), GELU, FC(4D→D)."""
    inner = 4 * width
    return nn.Sequential(
        nn.Linear(width, inner), nn.GELU(), nn.Dropout(dropout), nn.Linear(inner, width)
    )


class CrossAttention(nn.Module):
    """Single-head attention of one set to another and the layer behind it.

        CA(x, y) = σ(W_q x (W_k y)ᵀ / √D) W_v y,  out = drop(FC(CA(x, y)))

    Chosen where the paper is odd: it prints one letter for the layers of key and value; read as
    two layers. With ``shared`` W_k is both.

    Shapes:
        x [B, M, D], y [B, N, D], mask [B, N] → [B, M, D], weights [B, M, N]
    """

    def __init__(self, width: int, dropout: float, *, shared: bool = False) -> None:
        super().__init__()
        self.query, self.key = nn.Linear(width, width), nn.Linear(width, width)
        self.value = None if shared else nn.Linear(width, width)
        self.out = nn.Linear(width, width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, y: Tensor, mask: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """What every row of ``x`` gathers from ``y``."""
        rate = self.dropout.p if self.training else 0.0
        keys = self.key(y)
        values = keys if self.value is None else self.value(y)
        mixed, weights = dot_attention(self.query(x), keys, values, mask, rate)
        return self.dropout(self.out(mixed)), weights


class SourceBranch(nn.Module):
    """Source-wise learnable tokens and source-aware semantic representation, one modality.

    Implements the two parts named so in SaSR-Net, Sec. 3 (the paper calls them SLT and SaSR):

        SLT    [f^s; G^f] = S([f; Gt]),  S(x) = σ(x xᵀ / √D) x, or one pre-norm layer
        SaSR   G^f' = G^f + FC(CA(G^f, f^s)),  f^g = f^s + FC(CA(f^s, G^f'))
               ``before``: f^g = f^s + FC(CA(f^s, G^f)), as printed for the audio alone

    Chosen where the paper is silent: one call over all seconds (its subscript t is per segment,
    but later equations use all at once); a pre-norm layer for S, since the printed one has no
    residual: every feature keeps itself and all tokens become one mean vector.
    Differs from the authors' code: there one grouping network does both; see `OfficialBranch`.

    Shapes:
        features [B, T, D], tokens [G, D], valid [B, T] → `Sources`
    """

    def __init__(self, options: Options, *, before: bool = False) -> None:
        super().__init__()
        self.options, self.before = options, before
        width, dropout = options.width, options.dropout
        if options.slt and options.slt_attn == "block":
            self.mix = PreNormBlock(width, dropout, nn.Dropout(dropout))
        if options.sasr:
            shared = options.key_value == "shared"
            self.gather = CrossAttention(width, dropout, shared=shared)
            self.scatter = CrossAttention(width, dropout, shared=shared)

    def forward(self, features: Tensor, tokens: Tensor | None, valid: Tensor) -> Sources:
        """Let features and tokens meet."""
        if tokens is None:
            return Sources(features, None, None)
        tokens = tokens.expand(len(features), -1, -1)
        if self.options.slt:
            features, tokens = self._mixed(features, tokens, valid)
        if not self.options.sasr:
            return Sources(features, tokens, None)
        gathered, weights = self.gather(tokens, features, valid)
        updated = tokens + gathered  # SaSR 1 and 2, [B, G, D]
        giving = tokens if self.before else updated
        aware, _ = self.scatter(features, giving)  # SaSR 3 and 4, [B, T, D]
        if self.options.residual:
            aware = aware + features
        return Sources(aware, updated, weights)

    def _mixed(self, features: Tensor, tokens: Tensor, valid: Tensor) -> tuple[Tensor, Tensor]:
        rows = torch.cat([features, tokens], 1)  # [B, T + G, D]
        mask = torch.cat([valid, valid.new_ones(tokens.shape[:2])], 1)
        if self.options.slt_attn == "block":
            rows = self.mix(rows, mask)
        else:
            rate = self.options.dropout if self.training else 0.0
            rows, _ = dot_attention(rows, rows, rows, mask, rate)
        seconds = features.shape[1]
        return rows[:, :seconds], rows[:, seconds:]


class PaperSources(nn.Module):
    """Source tokens and a branch of each modality, which never see each other.

    Shapes:
        audio [B, T, D], visual [B, T, D], the stream's mask [B, T] → `Sources`
    """

    def __init__(self, options: Options) -> None:
        super().__init__()
        self.tokens = source_tokens(options) if options.has_tokens else None
        self.audio = SourceBranch(options, before=options.audio_tokens == "before")
        self.visual = SourceBranch(options)

    def hear(self, audio: Tensor, visual: Tensor, heard: Tensor) -> Sources:
        """Source-aware audio."""
        del visual  # only the official variant's audio looks at frames
        return self.audio(audio, self.tokens, heard)  # type: ignore[no-any-return]

    def see(self, visual: Tensor, valid: Tensor) -> Sources:
        """Source-aware frames."""
        return self.visual(visual, self.tokens, valid)  # type: ignore[no-any-return]


def source_tokens(options: Options) -> nn.Parameter:
    """Gt [G, D] ~ N(0, 0.02²): one learnable token for each class of source."""
    return nn.Parameter(0.02 * torch.randn(options.num_sources, options.width))
