"""CLIP ViT-B/32 with OpenAI weights: a vector per picture and one per 32×32 patch.

Both come from one forward: the class token and the 49 patch tokens, each through the tower's
last layer norm and its projection into the joint space. Not L2-normalised.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from avqa.extract.encoders import Input, Tap, _pictures

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from torch import Tensor, nn

    from avqa.extract.encoders import Network
    from avqa.extract.settings import Settings

MODEL = "ViT-B-32-quickgelu"
SIZE = 224
MEAN = (0.48145466, 0.4578275, 0.40821073)
STD = (0.26862954, 0.26130258, 0.27577711)

WEIGHTS = ("clip_vit_b32",)
INPUTS = {"picture": Input("picture", (SIZE, SIZE, 3), "uint8")}
TAPS = {
    "frame": Tap("picture", (512,), ("channel",), sparse=False),
    "patch": Tap("picture", (49, 512), ("position", "channel"), sparse=False),
}
WEIGHTS_OF = dict.fromkeys(TAPS, WEIGHTS)
BATCH = {"cpu": 16, "cuda": 128}


def recipe(tap: str, settings: Settings) -> dict[str, Any]:
    """Everything of this encoder that changes a number of ``tap``."""
    return {
        "network": f"open_clip {MODEL}, visual tower",
        "tap": {
            "frame": "class token, ln_post, proj",
            "patch": "49 patch tokens row-major, ln_post, proj",
        }[tap],
        "crop": settings.clip_crop,
        "resize": f"uint8 bicubic antialias {SIZE}",
        "mean": list(MEAN),
        "std": list(STD),
    }


def prepare(
    name: str, seconds: Sequence[NDArray[np.uint8]], settings: Settings
) -> NDArray[np.uint8]:
    """RGB pictures [H, W, 3] of any size → uint8 [rows, 224, 224, 3]."""
    if settings.clip_crop == "squash":
        cropped = [_pictures.squash(picture, SIZE, "bicubic") for picture in seconds]
    elif settings.clip_crop == "pad":
        cropped = [_pictures.pad(picture, SIZE, "bicubic") for picture in seconds]
    else:
        cropped = [_pictures.center(picture, SIZE, SIZE, "bicubic") for picture in seconds]
    return _pictures.stack(cropped, SIZE)


def architecture() -> nn.Module:
    """open_clip's whole model, both towers, with its own initialisation."""
    import open_clip

    config = open_clip.get_model_config(MODEL)
    model: nn.Module = open_clip.CLIP(**config)
    return model


def build(settings: Settings, state: Mapping[str, Tensor]) -> Network:
    """The frozen visual tower; entries of ``state`` outside ``visual.`` are not needed.

    Raises:
        WeightsUnavailable: if names or shapes are not this architecture's.
    """
    import torch
    from open_clip.transformer import QuickGELU

    from avqa.extract.encoders import _frozen

    with torch.device("meta"):
        tower: Any = architecture().visual
    visual = {k.removeprefix("visual."): v for k, v in state.items() if k.startswith("visual.")}
    _frozen.fill(tower, visual, "clip_vit_b32")
    for block in tower.transformer.resblocks:  # with plain GELU the numbers are wrong, silently
        assert isinstance(block.mlp.gelu, QuickGELU), "open_clip built CLIP without QuickGELU"
    tower.output_tokens = True
    _frozen.freeze(tower, settings.device, settings.precision)
    normalise = _frozen.Normalise(MEAN, STD).to(settings.device)
    return _Clip(tower, normalise, _frozen.DTYPES[settings.precision])


class _Clip:
    def __init__(self, tower: Any, normalise: nn.Module, dtype: Any) -> None:
        self.tower = tower
        self.normalise = normalise
        self.dtype = dtype

    def forward(self, name: str, batch: Tensor, taps: Sequence[str]) -> dict[str, Tensor]:
        """Pictures uint8 [B, 224, 224, 3] → frame [B, 512], patch [B, 49, 512]."""
        import torch

        with torch.inference_mode():
            pooled, tokens = self.tower(self.normalise(batch, self.dtype))
            out = {"frame": pooled}
            if "patch" in taps:
                out["patch"] = tokens @ self.tower.proj  # ln_post is applied already
            return {tap: out[tap].float().cpu() for tap in taps}
