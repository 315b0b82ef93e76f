"""The two towers of a CLIP as places for its weights, named as open_clip names them.

open_clip and the torchvision that it imports take longer to load than these weights do. They draw
random ones (`clip.Clip.architecture`); what is computed is the blocks'.
"""

from __future__ import annotations

from collections import OrderedDict

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Visual(nn.Module):
    """The tower of frames without its forward, and how it begins."""

    def __init__(
        self, width: int, joint: int, *, patch: int, tokens: int, heads: int, layers: int
    ) -> None:
        """``tokens``: the class token and one for every ``patch`` × ``patch``."""
        super().__init__()
        self.conv1 = nn.Conv2d(3, width, patch, patch, bias=False)
        self.class_embedding = nn.Parameter(torch.empty(width))
        self.positional_embedding = nn.Parameter(torch.empty(tokens, width))
        self.ln_pre = _Norm(width)
        self.transformer = _blocks(width, heads, layers)
        self.ln_post = _Norm(width)
        self.proj = nn.Parameter(torch.empty(width, joint))

    def embed(self, frames: Tensor) -> Tensor:
        """[B, 3, size, size] → [B, tokens, width], what the first block takes."""
        patches = self.conv1(frames).flatten(2).permute(0, 2, 1)
        first = self.class_embedding.expand(len(patches), 1, -1)
        x: Tensor = self.ln_pre(torch.cat([first, patches], 1) + self.positional_embedding)
        return x


class Text(nn.Module):
    """The tower of texts without its forward."""

    def __init__(
        self,
        width: int,
        joint: int,
        *,
        tokens: int,
        heads: int,
        layers: int,
        vocabulary: int = 49408,
    ) -> None:
        """``tokens`` of a text."""
        super().__init__()
        self.positional_embedding = nn.Parameter(torch.empty(tokens, width))
        self.text_projection = nn.Parameter(torch.empty(width, joint))
        self.logit_scale = nn.Parameter(torch.empty(()))
        self.transformer = _blocks(width, heads, layers)
        # Not drawn at random: on the meta device that would load torch's compiler, for seconds.
        table = torch.empty(vocabulary, width)
        self.token_embedding = nn.Embedding(vocabulary, width, _weight=table)
        self.ln_final = _Norm(width)


class _Norm(nn.LayerNorm):
    """In the precision of its weights, which may be float32 where all else is half."""

    def forward(self, x: Tensor) -> Tensor:
        values = x.to(self.weight.dtype)
        normed = F.layer_norm(values, self.normalized_shape, self.weight, self.bias, self.eps)
        return normed.to(x.dtype)


class _Block(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.ln_1 = _Norm(width)
        self.attn = nn.MultiheadAttention(width, heads, batch_first=True)
        self.ln_2 = _Norm(width)
        layers = {"c_fc": nn.Linear(width, 4 * width), "c_proj": nn.Linear(4 * width, width)}
        self.mlp = nn.Sequential(OrderedDict(layers))


def _blocks(width: int, heads: int, count: int) -> nn.Module:
    transformer = nn.Module()
    transformer.resblocks = nn.ModuleList(_Block(width, heads) for _ in range(count))
    return transformer
