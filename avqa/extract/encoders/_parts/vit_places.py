"""timm's vision transformer as places for its weights: timm takes longer to load than they do."""

from __future__ import annotations

from collections import OrderedDict

import torch
from torch import Tensor, nn

EPSILON = 1e-6


class Vit(nn.Module):
    """The network without its forward, and how it begins."""

    def __init__(self, width: int, *, patch: int, tokens: int, layers: int) -> None:
        """``tokens``: the class token and one for every ``patch`` × ``patch``."""
        super().__init__()
        self.cls_token = nn.Parameter(torch.empty(1, 1, width))
        self.pos_embed = nn.Parameter(torch.empty(1, tokens, width))
        proj = nn.Conv2d(3, width, patch, patch)
        self.patch_embed = nn.Sequential(OrderedDict({"proj": proj}))
        self.blocks = nn.ModuleList(_Block(width) for _ in range(layers))
        self.norm = nn.LayerNorm(width, EPSILON)

    def embed(self, frames: Tensor) -> Tensor:
        """[B, 3, size, size] → [B, tokens, width], what the first block takes."""
        patches: Tensor = self.patch_embed(frames).flatten(2).permute(0, 2, 1)
        return torch.cat([self.cls_token.expand(len(patches), -1, -1), patches], 1) + self.pos_embed


class _Block(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width, EPSILON)
        attention = {"qkv": nn.Linear(width, 3 * width), "proj": nn.Linear(width, width)}
        self.attn = nn.Sequential(OrderedDict(attention))
        self.norm2 = nn.LayerNorm(width, EPSILON)
        layers = {"fc1": nn.Linear(width, 4 * width), "fc2": nn.Linear(4 * width, width)}
        self.mlp = nn.Sequential(OrderedDict(layers))
