"""The modules of PSTP-Net: segments, the two selections, the token sequence and its fusion.

Letters beside those of all heads: K segments of L seconds, k of them kept, Γ = k·L seconds kept,
m patches kept of each of them. The paper writes T for our L.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

from avqa.heads._parts.blocks import Attention, FeedForward, QuestionBlock, masked_mean


def rows(x: Tensor, index: Tensor, of_video: Tensor | None = None) -> Tensor:
    """Entries of axis 1: x [V, N, ...], index [B, ...] → [B, ..., ...].

    Copies whole rows, without an index for every number in them. ``of_video`` [B]: from which of V
    each is taken; None: from its own (V = B).
    """
    own = torch.arange(len(index), device=x.device) if of_video is None else of_video
    first = x.shape[1] * own
    flat = index.flatten(1) + first.unsqueeze(1)
    return x.flatten(0, 1).index_select(0, flat.flatten()).view(*index.shape, *x.shape[2:])


def largest(weights: Tensor, count: int) -> Tensor:
    """Indices of the ``count`` largest along the last axis, ascending."""
    return weights.topk(count).indices.sort().values


class Segments(NamedTuple):
    """Every sample's seconds, cut into segments."""

    second: Tensor
    """[B, K, L] long, the second in each slot (any second where there is none)."""
    valid: Tensor
    """[B, K, L] bool: true for slots that hold a valid second."""


def cut(valid: Tensor, num_segments: int) -> Segments:
    """Cut every sample into ``num_segments`` contiguous segments, or fewer.

    L = ⌈T/K⌉ and K ← ⌈T/L⌉, with T the sample's own seconds up to its last valid one: padding
    shifts no boundary, and the tail is a shorter last segment, never dropped.

    Shapes:
        valid [B, T] → [B, min(K, T), ⌈T/K⌉]
    """
    seconds = valid.shape[1]
    number = torch.arange(seconds, device=valid.device)
    length = ((number + 1) * valid).amax(1)[:, None, None]
    size = (length + num_segments - 1) // num_segments  # L of each sample
    slot = number[: -(-seconds // num_segments)]
    second = number[:num_segments, None] * size + slot
    inside = (slot < size) & (second < length)
    second = second.clamp(max=seconds - 1)
    return Segments(second, inside & rows(valid, second))


def both_ways(
    layer: nn.Module, a: Tensor, v: Tensor, heard: Tensor, valid: Tensor
) -> tuple[Tensor, Tensor]:
    """``layer(a, v), layer(v, a)``, both from the pair as it was, in one call.

    Shapes:
        a, v [B, N, D], heard [B, N] of a, valid [B, N] of v → two of [B, N, D]
    """
    masks = torch.cat([heard, valid]), torch.cat([valid, heard])
    out = layer(torch.cat([a, v]), torch.cat([v, a]), *masks)
    a, v = out.chunk(2)
    return a, v


class ChosenSegments(NamedTuple):
    """What the question finds in the segments."""

    attended: Tensor
    """u^s [B, D]."""
    weights: Tensor
    """w [B, K], 0 for segments without a valid second."""
    kept: Tensor
    """Ω [B, k], ascending; where a sample has fewer than k segments, some whose weight is 0."""
    factor: Tensor
    """[B, k], share of each chosen segment, mean 1 over a sample's real ones, else 0."""


class SegmentSelection(nn.Module):
    """Keep the segments that the question attends to most (TSSM).

    Implements Eq. 5–6 of PSTP-Net:

        segment   S_i = FC(tanh([mean_L Â; mean_L V̂]))            (`segments`)
        Eq. 5     u^s, w = QBlock(q, S)
        Eq. 6     Ω = top-k(w), factor_i = k w_i / Σ_{j∈Ω} w_j

    Chosen where the paper is silent: Eq. 6 selects from the attention's output, which has one
    row; we select among the segments. The factor gives the selector a gradient (see `Options`).
    Differs from the authors' code: weights are those before dropout, ties with masked segments
    go to real ones.

    Shapes:
        segments S [B, K, D], real [B, K]: those with a valid second, question [B, D]
        → `ChosenSegments`
    """

    def __init__(self, width: int, dropout: float, top_k: int) -> None:
        super().__init__()
        self.top_k = top_k
        self.join = nn.Linear(2 * width, width)
        self.block = QuestionBlock(width, dropout)

    def segments(self, audio: Tensor, visual: Tensor, heard: Tensor, valid: Tensor) -> Tensor:
        """S: audio, visual [V, K, L, D], heard [V, K, L] of the audio, valid → [V, K, D]."""
        means = [masked_mean(audio, heard, 2), masked_mean(visual, valid, 2)]
        return self.join(torch.cat(means, -1).tanh())  # type: ignore[no-any-return]

    def forward(self, segments: Tensor, real: Tensor, question: Tensor) -> ChosenSegments:
        """Select; ``top_k`` beyond K keeps all K."""
        attended, weights = self.block(question, segments, real)  # Eq. 5, [B, D] and [B, K]
        count = min(self.top_k, weights.shape[1])
        kept = largest(weights.masked_fill(~real, -1.0), count)  # Eq. 6, [B, k]
        share, number = weights.gather(1, kept), real.gather(1, kept).sum(1, keepdim=True)
        factor = number * share / share.sum(1, keepdim=True)  # [B, k]
        return ChosenSegments(attended, weights, kept, factor)


class ChosenPatches(NamedTuple):
    """What the question finds in the frames of the kept seconds."""

    attended: Tensor
    """u^p [B, Γ, D]."""
    weights: Tensor
    """ω [B, Γ, P], 0 for seconds that are not real."""
    kept: Tensor
    """[B, Γ, m], ascending."""
    patches: Tensor
    """[B, Γ, m, D], projected."""
    factor: Tensor
    """[B, Γ, m], share of each kept patch, mean 1 over a frame's kept ones."""


class PatchSelection(nn.Module):
    """Keep, of every frame, the patches that the question attends to most (SRSM).

    Implements Eq. 9–11 of PSTP-Net, with Z = FC(patches):

        Eq. 9–10  u^p_γ, ω_γ = QBlock(q, Z_γ), one block for all seconds
        Eq. 11    F_SRSM,γ = Z_γ at top-m(ω_γ), factor_p = m ω_p / Σ_kept ω

    All seconds in one call, with FC folded into the attention: Z exists for kept patches only.

    Differs from the authors' code: patches are chosen per sample and second, all m are
    different ones (there every slot ends up with the last of sample 0, second 0).

    Shapes:
        question [B, D], patches [B, Γ, P, Dv], layer FC(Dv→D), valid [B, Γ] → `ChosenPatches`
    """

    def __init__(self, width: int, dropout: float, top_m: int) -> None:
        super().__init__()
        self.top_m = top_m
        self.block = QuestionBlock(width, dropout)

    def forward(
        self, question: Tensor, patches: Tensor, layer: nn.Linear, valid: Tensor
    ) -> ChosenPatches:
        """Select; ``top_m`` beyond P keeps all P."""
        attended, weights = self.block(
            question.unsqueeze(1), patches, valid.unsqueeze(-1), layer
        )  # Eq. 9–10, [B, Γ, D] and [B, Γ, P]
        count = min(self.top_m, weights.shape[-1])
        kept = largest(weights, count)
        raw = rows(patches.flatten(0, 1), kept.flatten(0, 1)).view(*kept.shape, -1)
        share = weights.gather(-1, kept)
        total = share.sum(-1, keepdim=True).clamp(min=torch.finfo(share.dtype).tiny)
        factor = count * share / total
        return ChosenPatches(attended, weights, kept, layer(raw), factor)  # Eq. 11


class Tokens(NamedTuple):
    """One group of the tokens that are fused."""

    values: Tensor
    """[B, N, D]."""
    mask: Tensor
    """[B, N] bool."""


Groups = dict[str, Tokens]


def pooled(groups: Groups, pool: Literal["tokens", "groups"]) -> Tensor:
    """Mean of all tokens [B, D], or the mean of the means of the groups that have any; or 0."""
    sums = [(g.mask.unsqueeze(1).to(g.values.dtype) @ g.values).squeeze(1) for g in groups.values()]
    counts = [g.mask.sum(1, keepdim=True) for g in groups.values()]
    if pool == "tokens":
        return torch.stack(sums).sum(0) / torch.stack(counts).sum(0).clamp(min=1)
    means = torch.stack([s / n.clamp(min=1) for s, n in zip(sums, counts, strict=True)])
    return means.sum(0) / torch.stack([n > 0 for n in counts]).sum(0).clamp(min=1)


class SelfAttentionLayer(nn.Module):
    """One ordinary layer over all tokens, as in the network whose cost the paper prints.

        x' = LN(x + drop(MHA_1(x, x, x))),  out = LN(x' + drop(FFN(x')))

    Shapes:
        groups of [B, N_i, D] → the same, every token having seen those of all groups
    """

    def __init__(self, width: int, dropout: float) -> None:
        super().__init__()
        self.attention = Attention(width, 1, dropout)
        self.feed_forward = FeedForward(width, dropout)
        self.dropout = nn.Dropout(dropout)
        self.norm1 = nn.LayerNorm(width)
        self.norm2 = nn.LayerNorm(width)

    def forward(self, groups: Groups) -> Groups:
        """Attend over the groups laid end to end."""
        x = torch.cat([g.values for g in groups.values()], 1)
        mask = torch.cat([g.mask for g in groups.values()], 1)
        mixed, _ = self.attention(x, x, mask, want_weights=False)
        x = self.norm1(x + self.dropout(mixed))
        x = self.norm2(x + self.dropout(self.feed_forward(x)))
        parts = x.split([g.mask.shape[1] for g in groups.values()], 1)
        return {n: Tokens(x, g.mask) for (n, g), x in zip(groups.items(), parts, strict=True)}
