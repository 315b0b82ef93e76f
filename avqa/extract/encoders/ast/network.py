"""The network of AST: an Audio Spectrogram Transformer on a second of audio.

Its modules are named as those of the published checkpoint.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from avqa.extract.encoders._parts import frozen
from avqa.extract.encoders._parts.blocks import Block

EPSILON = 1e-12
PATCH, STRIDE = 16, 10
FRAMES = 1024
"""Frames that it sees: those of the second, then silence."""
MEAN, DEVIATION = -4.2677393, 4.5689974


def grid(bands: int) -> tuple[int, int]:
    """Patches along frequency and along time, for so many mel bands."""
    return (bands - PATCH) // STRIDE + 1, (FRAMES - PATCH) // STRIDE + 1


class Places(nn.Module):
    """The network without its forward, and how it begins."""

    def __init__(self, *, width: int, layers: int, bands: int) -> None:
        """``bands``: of mel."""
        super().__init__()
        high, wide = grid(bands)
        self.embeddings = nn.Module()
        self.embeddings.cls_token = nn.Parameter(torch.empty(1, 1, width))
        self.embeddings.distillation_token = nn.Parameter(torch.empty(1, 1, width))
        self.embeddings.position_embeddings = nn.Parameter(torch.empty(1, 2 + high * wide, width))
        self.embeddings.patch_embeddings = nn.Module()
        self.embeddings.patch_embeddings.projection = nn.Conv2d(1, width, PATCH, STRIDE)
        self.encoder = nn.Module()
        self.encoder.layer = nn.ModuleList(_layer(width) for _ in range(layers))
        self.layernorm = nn.LayerNorm(width, EPSILON)

    def embed(self, mel: Tensor) -> Tensor:
        """[B, frames, bands] → tokens [B, 2 + patches, width]: band after band, in each by time."""
        own: Any = self.embeddings
        patches = own.patch_embeddings.projection(mel.transpose(1, 2)[:, None])
        tokens = patches.flatten(2).transpose(1, 2)
        first = [
            token.expand(len(tokens), -1, -1) for token in (own.cls_token, own.distillation_token)
        ]
        x: Tensor = torch.cat([*first, tokens], 1) + own.position_embeddings
        return x


def _layer(width: int) -> nn.Module:
    made: Any = nn.Module()
    made.attention = nn.Module()
    made.attention.attention = nn.ModuleDict(
        {name: nn.Linear(width, width) for name in ("query", "key", "value")}
    )
    for part, before, after in (
        ("attention.output", width, width),
        ("intermediate", width, 4 * width),
        ("output", 4 * width, width),
    ):
        owner, _, name = part.rpartition(".")
        place = made.attention if owner else made
        setattr(place, name, nn.ModuleDict({"dense": nn.Linear(before, after)}))
    made.layernorm_before = nn.LayerNorm(width, EPSILON)
    made.layernorm_after = nn.LayerNorm(width, EPSILON)
    found: nn.Module = made
    return found


def drawn(places: nn.Module) -> dict[str, Tensor]:
    """Random weights: of layers by their fan-in, so that one audio is told from another."""
    for name, value in places.state_dict().items():
        if "norm" in name:
            nn.init.constant_(value, float(name.endswith("weight")))
        elif value.ndim > 1 and name.endswith("weight"):
            nn.init.normal_(value, std=float(value[0].numel()) ** -0.5)
        elif name.endswith("bias"):
            nn.init.zeros_(value)
        else:
            nn.init.normal_(value, std=0.02)
    return places.state_dict()


class Network:
    """Blocks that are packed; see `avqa.extract.encoders.ast`."""

    def __init__(
        self, places: Any, *, heads: int, bands: int, real: int, batch: int, dtype: torch.dtype
    ) -> None:
        """``real``: patches along time that see the second."""
        self.places, self.dtype, self.real = places, dtype, real
        self.grid = grid(bands)
        self.device = places.layernorm.weight.device
        rows = batch * (2 + self.grid[0] * self.grid[1])
        self.blocks = [_block(layer, heads, rows) for layer in places.encoder.layer]
        places.encoder = None  # its weights live on in the blocks, in another layout
        frozen.leave_file(places)

    def forward(self, name: str, batch: Tensor, taps: Sequence[str]) -> dict[str, Tensor]:
        """Log-mel [B, frames of the second, bands] → class [B, width], bands [B, 12, width]."""
        with torch.inference_mode():
            mel = batch.to(self.device)
            mel = F.pad(mel, (0, 0, 0, FRAMES - mel.shape[1]))
            x = self.places.embed(((mel - MEAN) / (2 * DEVIATION)).to(self.dtype))
            for block in self.blocks:
                x = block(x)
            out = {"class": x[:, :2].float().mean(1)}
            if "band" in taps:
                out["band"] = self._patches(x).mean(2)
            if "band10" in taps:
                normed = self._patches(self.places.layernorm(x))
                out["band10"] = normed[:, :, : self.real].mean(2)
            return {tap: out[tap].float().cpu().contiguous() for tap in taps}

    def _patches(self, x: Tensor) -> Tensor:
        """Tokens → [B, bands, times, width] float32."""
        return x[:, 2:].float().view(len(x), *self.grid, -1)


def _block(layer: Any, heads: int, rows: int) -> Block:
    own = layer.attention.attention
    parts = [own["query"], own["key"], own["value"]]
    query_key_value = (
        torch.cat([part.weight for part in parts]),
        torch.cat([part.bias for part in parts]),
    )
    rest = (layer.attention.output, layer.intermediate, layer.output)
    return Block(
        (layer.layernorm_before, layer.layernorm_after),
        [query_key_value, *((part["dense"].weight, part["dense"].bias) for part in rest)],
        heads=heads,
        rows=rows,
        after="gelu",
    )
