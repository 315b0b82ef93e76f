"""Swin Transformers V2 of timm: all that the file of one needs, but its numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from avqa.extract import builds
from avqa.extract.encoders._contract import Input, Option, Options, Tap, Weights
from avqa.extract.encoders._parts import images
from avqa.extract.encoders._parts.weights import read_state_dict

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

    from avqa.extract.encoders._contract import Device, Network, Precision

MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)
PATCH = 4
OPTIONS: Mapping[str, Option] = {
    "crop": Option("center", ("center", "squash"), "how a frame becomes a square")
}


@dataclass(frozen=True, kw_only=True)
class Swin:
    """One network. Its members are those of `EncoderModule`."""

    name: str
    model: str
    """What timm calls it."""
    size: int
    """Of the square that it sees, in pixels."""
    short_side: int
    """Of what the middle is cut from."""
    window: int
    width: int
    """Channels of the first stage; each stage doubles them and halves the map."""
    depths: tuple[int, ...]
    heads: tuple[int, ...]
    address: str = ""
    licence: str = ""
    batch: Mapping[str, int] = field(default_factory=lambda: {"cpu": 1, "cuda": 32})

    def inputs(self) -> Mapping[str, Input]:
        """The square, uint8."""
        return {"frame": Input("frame", (self.size, self.size, 3), "uint8")}

    def taps(self) -> Mapping[str, Tap]:
        """The last map and its mean."""
        shrunk = 2 ** (len(self.depths) - 1)
        side, channels = self.size // PATCH // shrunk, self.width * shrunk
        return {
            "pool": Tap("frame", (channels,), ("channel",), sparse=False),
            "map": Tap("frame", (side, side, channels), ("y", "x", "channel"), sparse=False),
        }

    def recipe(self, tap: str) -> dict[str, Any]:
        """Everything of this encoder that changes a number of ``tap``, but its options."""
        return {
            "network": f"timm {self.model}",
            "tap": {"pool": "mean of the last map, norm", "map": "last map, norm, channel last"}[
                tap
            ],
            "resize": f"uint8 bicubic antialias: center {self.size} of {self.short_side}, squash"
            f" {self.size}",
            "mean": list(MEAN),
            "std": list(STD),
        }

    def prepare(
        self, name: str, seconds: Sequence[NDArray[np.uint8]], options: Options
    ) -> NDArray[np.uint8]:
        """RGB frames [H, W, 3] of any size → uint8 [rows, size, size, 3]."""
        if options["crop"] == "squash":
            return np.stack([images.squash(frame, self.size, "bicubic") for frame in seconds])
        return np.stack(
            [images.center(frame, self.short_side, self.size, "bicubic") for frame in seconds]
        )

    def architecture(self) -> nn.Module:
        """Timm's network without its classifier, with its own initialisation."""
        builds.load()  # timm imports it
        from timm.models.swin_transformer_v2 import SwinTransformerV2

        network: nn.Module = SwinTransformerV2(
            img_size=self.size,
            patch_size=PATCH,
            num_classes=0,
            embed_dim=self.width,
            depths=self.depths,
            num_heads=self.heads,
            window_size=self.window,
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
                convert=self._converted,
            )
        }

    def _converted(self, path: Path) -> Mapping[str, Any]:
        """The authors' tensors under timm's names."""
        import torch
        from timm.models.swin_transformer_v2 import checkpoint_filter_fn

        with torch.device("meta"):
            network = self.architecture()
        renamed: Mapping[str, Any] = checkpoint_filter_fn(read_state_dict(path), network)
        return renamed

    def build(
        self, state: Mapping[str, Tensor], options: Options, device: Device, precision: Precision
    ) -> Network:
        """The frozen network.

        Raises:
            WeightsUnavailable: if names or shapes are not this architecture's.
        """
        import torch

        from avqa.extract.encoders._parts import frozen

        network = frozen.filled(self.architecture, state, self.name)
        frozen.freeze(network, device, precision)
        with torch.inference_mode():
            return _Swin(network, frozen.DTYPES[precision], self.batch[device])


class _Swin:
    """timm's embedding and last norm, with the stages between packed."""

    def __init__(self, network: Any, dtype: torch.dtype, batch: int) -> None:
        from avqa.extract.encoders._parts import frozen
        from avqa.extract.encoders._parts.swin import network as packed

        self.network, self.dtype = network, dtype
        self.normalise = frozen.Normalise(MEAN, STD).to(network.norm.weight.device)
        self.stages = [packed.Stage(stage, batch) for stage in network.layers]
        network.layers = None  # its weights live on in the stages, in another layout

    def forward(self, name: str, batch: Tensor, taps: Sequence[str]) -> dict[str, Tensor]:
        """Frames uint8 [B, size, size, 3] → pool [B, C], map [B, y, x, C]."""
        import torch

        with torch.inference_mode():
            x = self.network.patch_embed(self.normalise(batch, self.dtype))
            for stage in self.stages:
                x = stage(x)
            last = self.network.norm(x).float()
            out = {"pool": last.mean((1, 2)), "map": last}
            return {tap: out[tap].cpu().contiguous() for tap in taps}
