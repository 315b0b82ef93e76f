"""The residual block of all transformers here: attention, then two layers, each after a norm.

Networks name its layers differently; `of_clip` and `of_timm` know two ways.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch.nn.functional as F
from torch import Tensor

from avqa.extract.encoders._parts.packed import QUICK, After, Linear

Layer = tuple[Tensor, Tensor]
"""Weight [out, in] and bias [out]."""


class Block:
    """Attention and a perceptron, both before a layer norm; weights packed for one batch shape."""

    def __init__(
        self,
        norms: Sequence[Any],
        layers: Sequence[Layer],
        *,
        heads: int,
        rows: int,
        after: After,
        causal: bool = False,
    ) -> None:
        """Pack the layers.

        Args:
            norms: the layer norms of attention and perceptron.
            layers: query, key and value as one; attention's last; the perceptron's two.
            heads: of attention.
            rows: batch × tokens.
            after: the activation.
            causal: a token sees no later one, as in text.
        """
        self.norms, self.heads, self.after, self.causal = norms, heads, after, causal
        self.qkv, self.out, self.up, self.down = (
            Linear(weight, bias, rows) for weight, bias in layers
        )

    def attend(self, x: Tensor, bias: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """The first half.

        Args:
            x: [B, tokens, width].
            bias: [B, 1, 1, tokens], added to every attention logit of a key.

        Returns:
            ``x`` with what attention adds, and the keys [B, heads, tokens, width / heads].
        """
        batch, tokens, width = x.shape
        qkv = self.qkv(self.norms[0](x)).view(batch, tokens, 3, self.heads, -1)
        query, key, value = qkv.permute(2, 0, 3, 1, 4)  # each [B, heads, tokens, width / heads]
        mixed = F.scaled_dot_product_attention(query, key, value, bias, is_causal=self.causal)
        return self.out.plus(mixed.transpose(1, 2).reshape(batch, tokens, width), x), key

    def think(self, x: Tensor) -> Tensor:
        """The second half: [B, tokens, width] with what the perceptron adds."""
        return self.down.plus(self.up(self.norms[1](x), self.after), x)

    def __call__(self, x: Tensor) -> Tensor:
        """[B, tokens, width] → the same."""
        return self.think(self.attend(x)[0])


def of_clip(block: Any, rows: int, *, causal: bool = False, folded: bool = True) -> Block:
    """A block of either of CLIP's towers, named as open_clip names it, with QuickGELU.

    QuickGELU is x·sigmoid(1.702 x) = swish(1.702 x) / 1.702: with the factor moved into the two
    layers around it, ``folded``, it is an activation that oneDNN applies on the way out. Half
    weights are rounded once more by that.
    """
    attention, up, down = block.attn, block.mlp.c_fc, block.mlp.c_proj
    layers = (
        (attention.in_proj_weight, attention.in_proj_bias),
        (attention.out_proj.weight, attention.out_proj.bias),
        (up.weight * QUICK, up.bias * QUICK) if folded else (up.weight, up.bias),
        (down.weight / QUICK, down.bias) if folded else (down.weight, down.bias),
    )
    return Block(
        (block.ln_1, block.ln_2),
        layers,
        heads=attention.num_heads,
        rows=rows,
        after="swish" if folded else "quick_gelu",
        causal=causal,
    )


def of_timm(block: Any, heads: int, rows: int) -> Block:
    """A block of a vision transformer, named as timm names it, with GELU."""
    layers = (block.attn.qkv, block.attn.proj, block.mlp.fc1, block.mlp.fc2)
    return Block(
        (block.norm1, block.norm2),
        [(layer.weight, layer.bias) for layer in layers],
        heads=heads,
        rows=rows,
        after="gelu",
    )
