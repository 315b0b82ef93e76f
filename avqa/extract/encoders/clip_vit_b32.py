"""CLIP ViT-B/32 with OpenAI weights: a vector per frame and one per 32×32 patch.

Both come from one forward: the class token and the 49 patch tokens, each through the tower's
last layer norm and its projection into the joint space. Not L2-normalised.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from avqa.extract import builds
from avqa.extract.encoders import Input, Option, Options, Tap, Weights, _images
from avqa.extract.encoders._weights import read_torchscript

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import torch
    from torch import Tensor, nn

    from avqa.extract.encoders import Network
    from avqa.extract.encoders._contract import Device, Precision

MODEL = "ViT-B-32-quickgelu"
SIZE = 224
MEAN = (0.48145466, 0.4578275, 0.40821073)
STD = (0.26862954, 0.26130258, 0.27577711)
QUICK = 1.702
"""Slope of QuickGELU's sigmoid."""

INPUTS: Mapping[str, Input] = {"frame": Input("frame", (SIZE, SIZE, 3), "uint8")}
TAPS: Mapping[str, Tap] = {
    "frame": Tap("frame", (512,), ("channel",), sparse=False),
    "patch": Tap("frame", (49, 512), ("position", "channel"), sparse=False),
}
BATCH: Mapping[str, int] = {"cpu": 16, "cuda": 128}
OPTIONS: Mapping[str, Option] = {
    "crop": Option(
        "center",
        ("center", "squash", "pad"),
        "how a frame becomes a square",
        was="clip_crop",
    )
}


def recipe(tap: str) -> dict[str, Any]:
    """Everything of this encoder that changes a number of ``tap``, but its options."""
    return {
        "network": f"open_clip {MODEL}, visual tower",
        "tap": {
            "frame": "class token, ln_post, proj",
            "patch": "49 patch tokens row-major, ln_post, proj",
        }[tap],
        "resize": f"uint8 bicubic antialias {SIZE}",
        "mean": list(MEAN),
        "std": list(STD),
    }


def prepare(name: str, seconds: Sequence[NDArray[np.uint8]], options: Options) -> NDArray[np.uint8]:
    """RGB frames [H, W, 3] of any size → uint8 [rows, 224, 224, 3]."""
    if options["crop"] == "squash":
        cropped = [_images.squash(frame, SIZE, "bicubic") for frame in seconds]
    elif options["crop"] == "pad":
        cropped = [_images.pad(frame, SIZE, "bicubic") for frame in seconds]
    else:
        cropped = [_images.center(frame, SIZE, SIZE, "bicubic") for frame in seconds]
    return np.stack(cropped)


def architecture() -> nn.Module:
    """open_clip's whole model, both towers, with its own initialisation.

    Raises:
        AssertionError: it has another activation than `Block`: numbers would be wrong, silently.
    """
    builds.load()  # open_clip imports it
    import open_clip
    from open_clip.transformer import QuickGELU

    config = open_clip.get_model_config(MODEL)
    model: Any = open_clip.CLIP(**config)
    for tower in (model.visual.transformer, model.transformer):
        gelu = tower.resblocks[0].mlp.gelu
        assert isinstance(gelu, QuickGELU), "open_clip built CLIP without QuickGELU"
    whole: nn.Module = model
    return whole


WEIGHTS: Mapping[str, Weights] = {
    "clip_vit_b32": Weights(
        random=lambda: architecture().state_dict(),
        address="https://openaipublic.azureedge.net/clip/models/"
        "40d365715913c9da98579312b702a82c18be219cc2a73407c4526f58eba950af/ViT-B-32.pt",
        digest="40d365715913c9da98579312b702a82c18be219cc2a73407c4526f58eba950af",
        licence="MIT",
        convert=read_torchscript,  # half of it in half precision
    )
}


def build(
    state: Mapping[str, Tensor], options: Options, device: Device, precision: Precision
) -> Network:
    """The frozen visual tower; entries of ``state`` outside ``visual.`` are not needed.

    Raises:
        WeightsUnavailable: if names or shapes are not this architecture's.
    """
    import torch

    from avqa.extract.encoders import _clip_towers, _frozen

    with torch.device("meta"):
        tower = _clip_towers.Visual()
    visual = {k.removeprefix("visual."): v for k, v in state.items() if k.startswith("visual.")}
    _frozen.fill(tower, visual, "clip_vit_b32")
    _frozen.freeze(tower, device, precision)
    with torch.inference_mode():
        return _Clip(tower, _frozen.DTYPES[precision], BATCH[device])


class _Clip:
    """The tower's own embedding and end, with the twelve blocks between packed."""

    def __init__(self, tower: Any, dtype: torch.dtype, batch: int) -> None:
        from avqa.extract.encoders import _frozen

        self.tower = tower
        self.dtype = dtype
        self.normalise = _frozen.Normalise(MEAN, STD).to(tower.proj.device)
        rows = batch * tower.positional_embedding.shape[0]
        self.blocks = [Block(block, rows) for block in tower.transformer.resblocks]
        tower.transformer = None  # its weights live on in the blocks, in another layout

    def forward(self, name: str, batch: Tensor, taps: Sequence[str]) -> dict[str, Tensor]:
        """Frames uint8 [B, 224, 224, 3] → frame [B, 512], patch [B, 49, 512]."""
        import torch

        with torch.inference_mode():
            x = self.tower.embed(self.normalise(batch, self.dtype))  # [B, 50, 768]
            for block in self.blocks:
                x = block(x)
            x = self.tower.ln_post(x) @ self.tower.proj
            out = {"frame": x[:, 0], "patch": x[:, 1:]}
            return {tap: out[tap].float().cpu().contiguous() for tap in taps}


class Block:
    """One residual block of either tower: attention and QuickGELU, both before a layer norm."""

    def __init__(self, block: Any, rows: int, *, causal: bool = False) -> None:
        """``rows``: batch × tokens; ``causal``: a token sees no later one, as in text."""
        from avqa.extract.encoders import _packed

        attention, mlp = block.attn, block.mlp
        self.causal = causal
        self.heads = attention.num_heads
        self.norms = (block.ln_1, block.ln_2)
        self.qkv = _packed.Linear(attention.in_proj_weight, attention.in_proj_bias, rows)
        self.out = _packed.Linear(attention.out_proj.weight, attention.out_proj.bias, rows)
        # QuickGELU is x·sigmoid(1.702 x) = swish(1.702 x) / 1.702: with the factor moved into
        # the two layers around it, it is an activation that oneDNN applies on the way out.
        self.up = _packed.Linear(mlp.c_fc.weight * QUICK, mlp.c_fc.bias * QUICK, rows)
        self.down = _packed.Linear(mlp.c_proj.weight / QUICK, mlp.c_proj.bias, rows)

    def __call__(self, x: Tensor) -> Tensor:
        """[B, tokens, width] → the same."""
        import torch.nn.functional as F

        batch, tokens, width = x.shape
        qkv = self.qkv(self.norms[0](x)).view(batch, tokens, 3, self.heads, -1)
        query, key, value = qkv.permute(2, 0, 3, 1, 4)  # each [B, heads, tokens, 64]
        mixed = F.scaled_dot_product_attention(query, key, value, is_causal=self.causal)
        x = self.out.plus(mixed.transpose(1, 2).reshape(batch, tokens, width), x)
        return self.down.plus(self.up(self.norms[1](x), "swish"), x)
