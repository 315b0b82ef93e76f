"""Plain vision transformers of timm whose tokens are merged: all that the file of one needs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from avqa.extract import builds
from avqa.extract.encoders._contract import Input, Option, Options, Tap, Weights
from avqa.extract.encoders._parts import images
from avqa.extract.encoders._parts.schedule import remaining
from avqa.extract.encoders._parts.weights import read_safetensors

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

    from avqa.extract.encoders._contract import Device, Network, Precision

STATISTICS = {
    "imagenet": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "half": ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
}
"""Mean and standard deviation of the channels, for values in 0 … 1."""
OPTIONS: Mapping[str, Option] = {
    "crop": Option(
        "squash",
        ("squash", "center"),
        "squash bilinear (as QA-TIGER), or bicubic and the middle (as TSPM)",
    ),
    "statistics": Option(
        "imagenet",
        ("imagenet", "half"),
        "mean and deviation: ImageNet's (as QA-TIGER), or 0.5 (as TSPM, and the weights)",
    ),
}


@dataclass(frozen=True, kw_only=True)
class Vit:
    """One network. Its members are those of `EncoderModule`."""

    name: str
    model: str
    """What timm calls it."""
    size: int
    """Of the square that it sees, in pixels."""
    short_side: int
    """Of what the middle is cut from."""
    patch: int
    width: int
    layers: int
    heads: int
    merged: int
    """Tokens that merge in a block."""
    address: str = ""
    licence: str = ""
    batch: Mapping[str, int] = field(default_factory=lambda: {"cpu": 1, "cuda": 32})

    @property
    def patches(self) -> int:
        """Of a frame."""
        return (self.size // self.patch) ** 2

    @property
    def left(self) -> int:
        """Tokens that merging leaves."""
        return remaining(1 + self.patches, self.merged, self.layers)

    def inputs(self) -> Mapping[str, Input]:
        """The square, uint8."""
        return {"frame": Input("frame", (self.size, self.size, 3), "uint8")}

    def taps(self) -> Mapping[str, Tap]:
        """Merged tokens, and where each patch went."""
        merged, patches = (self.left, self.width), (self.patches,)
        return {
            "tome14": Tap("frame", merged, ("merged", "width"), sparse=False),
            "tome14_source": Tap("frame", patches, ("position",), sparse=False, dtype="uint8"),
        }

    def recipe(self, tap: str) -> dict[str, Any]:
        """Everything of this encoder that changes a number of ``tap``, but its options."""
        return {
            "network": f"timm {self.model}",
            "tap": {
                "tome14": f"class token and {self.left - 1} merged ones, norm",
                "tome14_source": "merged token that each patch went into, patches row-major",
            }[tap],
            "resize": f"uint8 antialias: squash bilinear {self.size}, center bicubic"
            f" {self.size} of {self.short_side}",
            "tome": {"r": self.merged, "blocks": self.layers - 1, "prop_attn": 1},
        }

    def prepare(
        self, name: str, seconds: Sequence[NDArray[np.uint8]], options: Options
    ) -> NDArray[np.uint8]:
        """RGB frames [H, W, 3] of any size → uint8 [rows, size, size, 3]."""
        if options["crop"] == "squash":
            return np.stack([images.squash(frame, self.size, "bilinear") for frame in seconds])
        return np.stack(
            [images.center(frame, self.short_side, self.size, "bicubic") for frame in seconds]
        )

    def architecture(self) -> nn.Module:
        """Timm's network without its classifier, with its own initialisation."""
        builds.load()  # timm imports it
        from timm.models.vision_transformer import VisionTransformer

        network: nn.Module = VisionTransformer(
            img_size=self.size,
            patch_size=self.patch,
            embed_dim=self.width,
            depth=self.layers,
            num_heads=self.heads,
            num_classes=0,
        )
        return network

    def weights(self) -> Mapping[str, Weights]:
        """All but the classifier's."""
        return {
            self.name: Weights(
                random=lambda: self.architecture().state_dict(),
                address=self.address,
                digest="",
                licence=self.licence,
                convert=read_safetensors,
            )
        }

    def build(
        self, state: Mapping[str, Tensor], options: Options, device: Device, precision: Precision
    ) -> Network:
        """The frozen network.

        Raises:
            WeightsUnavailable: if names or shapes are not this architecture's.
        """
        import torch

        from avqa.extract.encoders._parts import frozen

        network = frozen.filled(self.places, state, self.name)
        frozen.freeze(network, device, precision)
        statistics = STATISTICS[str(options["statistics"])]
        with torch.inference_mode():
            return _Merging(self, network, statistics, frozen.DTYPES[precision], device)

    def places(self) -> nn.Module:
        """Where the weights go, named as timm names them."""
        from avqa.extract.encoders._parts import vit_places

        return vit_places.Vit(
            self.width, patch=self.patch, tokens=1 + self.patches, layers=self.layers
        )


class _Merging:
    """Blocks that are packed, between which tokens merge."""

    def __init__(
        self,
        vit: Vit,
        network: Any,
        statistics: tuple[Sequence[float], Sequence[float]],
        dtype: torch.dtype,
        device: Device,
    ) -> None:
        from avqa.extract.encoders._parts import blocks, frozen

        self.network, self.dtype, self.merged = network, dtype, vit.merged
        self.normalise = frozen.Normalise(*statistics).to(network.pos_embed.device)
        rows = vit.batch[device] * (1 + vit.patches)
        self.blocks = [blocks.of_timm(block, vit.heads, rows) for block in network.blocks]
        network.blocks = None  # its weights live on in the blocks, in another layout
        frozen.leave_file(network)

    def forward(self, name: str, batch: Tensor, taps: Sequence[str]) -> dict[str, Tensor]:
        """Frames uint8 [B, size, size, 3] → tome14 [B, 14, width], tome14_source [B, patches]."""
        import torch

        from avqa.extract.encoders._parts import tome

        with torch.inference_mode():
            x = self.network.embed(self.normalise(batch, self.dtype))
            tokens = tome.through(self.blocks, x, self.merged, proportional=True)
            out = {"tome14": self.network.norm(tokens.x), "tome14_source": tokens.source[:, 1:]}
            return {tap: out[tap].float().cpu().contiguous() for tap in taps}
