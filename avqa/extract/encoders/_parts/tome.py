"""Token merging: between attention and perceptron of a block, tokens that are alike become one.

A picture's tokens have sizes: how many of the first tokens each one stands for. The rule is that
of "Token Merging: Your ViT But Faster" (ICLR 2023): even places are matched to odd ones by the
cosine of their attention keys, the best pairs merge into the mean by size, the class token never.
Of scores that are equal the lower index counts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from avqa.extract.encoders._parts.blocks import Block


@dataclass(frozen=True)
class Pairs:
    """Which tokens of a picture merge: t tokens, of which t/2 at even places, become t − r."""

    kept: Tensor
    """[B, ⌈t/2⌉ − r], even places ÷ 2 that stay, ascending."""
    merged: Tensor
    """[B, r], even places ÷ 2 that go, best pair first."""
    into: Tensor
    """[B, r], the odd places (− 1) ÷ 2 that they go into."""


@dataclass(frozen=True)
class Tokens:
    """What merging leaves of a picture's tokens."""

    x: Tensor
    """[B, t, width]; the class token first."""
    sizes: Tensor
    """[B, t] float32: how many of the first tokens each one is the mean of."""
    source: Tensor
    """[B, all], which of the t tokens each of the first tokens went into."""


def begin(x: Tensor) -> Tokens:
    """All tokens [B, all, width], none merged."""
    batch, count, _ = x.shape
    sizes = torch.ones(batch, count, dtype=torch.float32, device=x.device)
    return Tokens(x, sizes, torch.arange(count, device=x.device).expand(batch, count))


def match(keys: Tensor, count: int) -> Pairs:
    """The ``count`` best pairs of tokens by their attention keys [B, heads, t, d]."""
    metric = keys.float().mean(1)
    metric = metric / metric.norm(dim=-1, keepdim=True)
    even, odd = metric[:, ::2], metric[:, 1::2]
    scores = even @ odd.transpose(1, 2)
    scores[:, 0] = -torch.inf  # the class token
    best, into = scores.max(-1)  # of equal ones the first
    order = best.argsort(dim=-1, descending=True, stable=True)
    merged = order[:, :count]
    kept = order[:, count:].sort(dim=-1).values
    return Pairs(kept, merged, into.gather(1, merged))


def merge(tokens: Tokens, pairs: Pairs) -> Tokens:
    """Tokens that stay at even places, then all at odd ones with what merged into them."""
    weighted = tokens.x.float() * tokens.sizes[..., None]
    even, odd = weighted[:, ::2], weighted[:, 1::2]
    places = torch.arange(odd.shape[1], device=odd.device)[:, None]
    goes = (pairs.into[:, None] == places).float()  # [B, ⌊t/2⌋, r]
    odd_sizes = tokens.sizes[:, 1::2]
    odd_sizes = odd_sizes + (goes @ _rows(tokens.sizes[:, ::2, None], pairs.merged))[..., 0]
    odd = (odd + goes @ _rows(even, pairs.merged)) / odd_sizes[..., None]
    kept = _rows(tokens.x[:, ::2], pairs.kept)
    kept_sizes = tokens.sizes[:, ::2].gather(1, pairs.kept)
    return Tokens(
        torch.cat([kept, odd.to(kept.dtype)], 1),
        torch.cat([kept_sizes, odd_sizes], 1),
        _moved(pairs, tokens.x.shape[1]).gather(1, tokens.source),
    )


def _rows(x: Tensor, index: Tensor) -> Tensor:
    """[B, n, D] at [B, m] → [B, m, D]."""
    return x.gather(1, index[..., None].expand(-1, -1, x.shape[-1]))


def _moved(pairs: Pairs, count: int) -> Tensor:
    """New place of each of ``count`` tokens, [B, count]."""
    batch, stay = pairs.kept.shape
    moved = torch.empty(batch, count, dtype=torch.long, device=pairs.kept.device)
    moved[:, 1::2] = stay + torch.arange(count // 2, device=moved.device)
    even = torch.empty_like(moved[:, ::2])
    even.scatter_(1, pairs.kept, torch.arange(stay, device=moved.device).expand(batch, stay))
    even.scatter_(1, pairs.merged, stay + pairs.into)
    moved[:, ::2] = even
    return moved


def through(blocks: Sequence[Block], x: Tensor, count: int, *, proportional: bool) -> Tokens:
    """All blocks, the last of which merges nothing.

    Args:
        blocks: of a vision transformer.
        x: [B, all, width].
        count: tokens merged in a block, at most half of those that are left.
        proportional: a token counts in attention as often as its size says.
    """
    tokens = begin(x)
    for block in blocks:
        sizes = tokens.sizes.log()[:, None, None].to(x.dtype) if proportional else None
        x, keys = block.attend(tokens.x, sizes)
        tokens = Tokens(x, tokens.sizes, tokens.source)
        some = min(count, (x.shape[1] - 1) // 2)
        if some and block is not blocks[-1]:
            tokens = merge(tokens, match(keys, some))
        tokens = Tokens(block.think(tokens.x), tokens.sizes, tokens.source)
    return tokens
