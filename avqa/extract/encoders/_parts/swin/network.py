"""The network of Swin V2: stages of blocks that attend within windows, with packed weights.

What timm computes anew for every frame though it is the same for all, the bias of places and the
mask of shifted windows, is computed once.
"""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from avqa.extract.encoders._parts.packed import Linear

STEEPEST = math.log(100.0)
"""Of a head's learnt scale, its logarithm."""


class Stage:
    """The map's sides halved where the stage begins so, then its blocks."""

    def __init__(self, stage: Any, batch: int) -> None:
        """``stage``: timm's; ``batch``: frames."""
        rows = batch * math.prod(stage.output_resolution)
        self.shrink = None
        if hasattr(stage.downsample, "reduction"):
            self.shrink = Linear(stage.downsample.reduction.weight, None, rows)
            self.norm = stage.downsample.norm
        self.blocks = [_Block(block, rows) for block in stage.blocks]

    def __call__(self, x: Tensor) -> Tensor:
        """Map [B, y, x, C] → [B, y/2, x/2, 2 C], or of the same shape in the first stage."""
        if self.shrink is not None:
            batch, high, wide, width = x.shape
            fours = x.view(batch, high // 2, 2, wide // 2, 2, width).permute(0, 1, 3, 4, 2, 5)
            x = self.norm(self.shrink(fours.flatten(3)))
        for block in self.blocks:
            x = block(x)
        return x


class _Block:
    """Attention within windows and a perceptron, each with a norm behind it."""

    def __init__(self, block: Any, rows: int) -> None:
        """``rows``: frames × places of the map."""
        own = block.attn
        self.norms, self.heads = (block.norm1, block.norm2), own.num_heads
        self.window, self.shift = block.window_size[0], block.shift_size[0]
        qkv_bias = torch.cat((own.q_bias, own.k_bias, own.v_bias))
        self.qkv = Linear(own.qkv.weight, qkv_bias, rows)
        self.out, self.up, self.down = (
            Linear(layer.weight, layer.bias, rows)
            for layer in (own.proj, block.mlp.fc1, block.mlp.fc2)
        )
        self.scale = own.logit_scale.clamp(max=STEEPEST).exp()
        self.bias = _bias(own, block.attn_mask)

    def __call__(self, x: Tensor) -> Tensor:
        """Map [B, y, x, C] → the same."""
        x = x + self.norms[0](self._attend(x))
        thought: Tensor = self.norms[1](self.down(self.up(x, "gelu")))
        return x + thought

    def _attend(self, x: Tensor) -> Tensor:
        batch, high, wide, width = x.shape
        side, shift = self.window, self.shift
        if shift:
            x = x.roll((-shift, -shift), (1, 2))
        cut = (batch, high // side, side, wide // side, side, width)
        windows = x.view(cut).transpose(2, 3).reshape(-1, side * side, width)
        qkv = self.qkv(windows).view(*windows.shape[:2], 3, self.heads, -1)
        query, key, value = qkv.permute(2, 0, 3, 1, 4)  # each [windows, heads, places, C / heads]
        query, key = F.normalize(query, dim=-1) * self.scale, F.normalize(key, dim=-1)
        bias = self.bias
        if len(bias) > 1 and batch > 1:
            bias = bias.repeat(batch, 1, 1, 1)
        mixed = F.scaled_dot_product_attention(query, key, value, bias, scale=1.0)
        made = self.out(mixed.transpose(1, 2).reshape(windows.shape))
        cut = (batch, high // side, wide // side, side, side, width)
        x = made.view(cut).transpose(2, 3).reshape(batch, high, wide, width)
        return x.roll((shift, shift), (1, 2)) if shift else x


def _bias(attention: Any, mask: Tensor | None) -> Tensor:
    """What is added to the logits, [1 or windows of a frame, heads, places, places]."""
    places = attention.window_size[0] * attention.window_size[1]
    table = attention.cpb_mlp(attention.relative_coords_table).view(-1, attention.num_heads)
    chosen = table[attention.relative_position_index.view(-1)].view(places, places, -1)
    bias: Tensor = 16 * chosen.permute(2, 0, 1).contiguous().sigmoid()[None]
    return bias if mask is None else bias + mask[:, None]
