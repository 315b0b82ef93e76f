"""R(2+1)D-18 with Kinetics weights, each frame alone as a clip of one.

So MUSIC-AVQA's and MCCD's published features were made: frames squashed to 112 × 112, all layers
but the classifier. Of the temporal kernels only the middle meets a frame; the rest meets padding.
They are computed as the 1 × 1 convolutions that they then are.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from avqa.extract import builds
from avqa.extract.encoders import Input, Option, Options, Tap, Weights
from avqa.extract.encoders._parts import images

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import torch
    from torch import Tensor, nn

    from avqa.extract.encoders import Network
    from avqa.extract.encoders._contract import Device, Precision

SIZE = 112
MEAN = (0.43216, 0.394666, 0.37645)
STD = (0.22803, 0.22145, 0.216989)
STAGES = ("layer1", "layer2", "layer3", "layer4")

INPUTS: Mapping[str, Input] = {"frame": Input("frame", (SIZE, SIZE, 3), "uint8")}
TAPS: Mapping[str, Tap] = {"pool": Tap("frame", (512,), ("channel",), sparse=False)}
BATCH: Mapping[str, int] = {"cpu": 4, "cuda": 128}
OPTIONS: Mapping[str, Option] = {}


def recipe(tap: str) -> dict[str, Any]:
    """Everything of this encoder that changes a number of ``tap``."""
    return {
        "network": "torchvision r2plus1d_18 on clips of one frame, batch norm folded",
        "tap": "global average pool",
        "crop": "squash",
        "resize": f"uint8 bilinear antialias {SIZE}",
        "mean": list(MEAN),
        "std": list(STD),
    }


def prepare(name: str, seconds: Sequence[NDArray[np.uint8]], options: Options) -> NDArray[np.uint8]:
    """RGB frames [H, W, 3] of any size → uint8 [rows, 112, 112, 3]."""
    return np.stack([images.squash(frame, SIZE, "bilinear") for frame in seconds])


def architecture() -> nn.Module:
    """Torchvision's network with its own initialisation."""
    builds.load()
    from torchvision.models.video import r2plus1d_18

    network: nn.Module = r2plus1d_18(weights=None)
    return network


WEIGHTS: Mapping[str, Weights] = {
    "r2plus1d_18": Weights(
        random=lambda: architecture().state_dict(),
        address="https://download.pytorch.org/models/r2plus1d_18-91a641e6.pth",
        digest="91a641e6",
        licence="BSD-3-Clause; Kinetics terms",
    )
}


def build(
    state: Mapping[str, Tensor], options: Options, device: Device, precision: Precision
) -> Network:
    """The frozen network without its classifier.

    Raises:
        WeightsUnavailable: if names or shapes are not this architecture's.
    """
    import torch

    from avqa.extract.encoders._parts import frozen

    network: Any = frozen.filled(architecture, state, "r2plus1d_18")
    # The folding below computes in float32; what it gives is cast.
    frozen.freeze(network, device, "fp32")
    with torch.inference_mode():
        return _R2plus1d(network, frozen.DTYPES[precision], BATCH[device])


class _R2plus1d:
    """Convolutions of frames, each spatial or 1 × 1, packed."""

    def __init__(self, network: Any, dtype: torch.dtype, batch: int) -> None:
        from avqa.extract.encoders._parts import frozen

        self.dtype = dtype
        self.normalise = frozen.Normalise(MEAN, STD).to(network.fc.weight.device)
        size = (batch, SIZE, SIZE)
        spatial, size = _conv(network.stem[0], network.stem[1], size, dtype)
        temporal, size = _conv(network.stem[3], network.stem[4], size, dtype)
        self.stem = (spatial, temporal)
        self.blocks = []
        for stage in STAGES:
            for block in getattr(network, stage):
                made = _Block(block, size, dtype)
                self.blocks.append(made)
                size = made.size

    def forward(self, name: str, batch: Tensor, taps: Sequence[str]) -> dict[str, Tensor]:
        """Frames uint8 [B, 112, 112, 3] → pool [B, 512]."""
        import torch

        with torch.inference_mode():
            x = self.normalise(batch, self.dtype)
            for conv in self.stem:
                x = conv(x, "relu")
            for block in self.blocks:
                x = block(x)
            return {tap: x.float().mean((2, 3)).cpu().contiguous() for tap in taps}


class _Block:
    """Two pairs of a spatial and a 1 × 1 convolution, and a shortcut."""

    def __init__(self, block: Any, size: tuple[int, int, int], dtype: torch.dtype) -> None:
        first, second = block.conv1[0], block.conv2[0]
        conv1, inner = _conv(first[0], first[1], size, dtype)
        conv2, inner = _conv(first[3], block.conv1[1], inner, dtype)
        conv3, inner = _conv(second[0], second[1], inner, dtype)
        self.last, self.size = _conv(second[3], block.conv2[1], inner, dtype)
        self.first = (conv1, conv2, conv3)
        self.shortcut = None
        if block.downsample is not None:
            self.shortcut, _ = _conv(block.downsample[0], block.downsample[1], size, dtype)

    def __call__(self, x: Tensor) -> Tensor:
        """[B, C, H, W] → [B, C', H / stride, W / stride]."""
        beside = x if self.shortcut is None else self.shortcut(x)
        for conv in self.first:
            x = conv(x, "relu")
        y: Tensor = self.last.plus(x, beside)
        return y


def _conv(
    conv: Any, norm: Any, size: tuple[int, int, int], dtype: torch.dtype
) -> tuple[Any, tuple[int, int, int]]:
    """A convolution of clips and its batch norm, as one of single frames; and its output's size."""
    from torch import nn
    from torch.nn.utils.fusion import fuse_conv_bn_weights

    from avqa.extract.encoders._parts import packed

    weight, bias = fuse_conv_bn_weights(
        conv.weight,
        conv.bias,
        norm.running_mean,
        norm.running_var,
        norm.eps,
        norm.weight,
        norm.bias,
    )
    middle = weight[:, :, weight.shape[2] // 2]  # what meets the frame
    _, height, width = (int(edge) for edge in conv.kernel_size)
    flat = nn.Conv2d(
        conv.in_channels,
        conv.out_channels,
        (height, width),
        conv.stride[1:],
        conv.padding[1:],
        device="meta",
    )
    flat.weight = nn.Parameter(middle.to(dtype).contiguous(), requires_grad=False)
    flat.bias = nn.Parameter(bias.to(dtype), requires_grad=False)
    stride = int(conv.stride[1])
    after = (size[0], -(-size[1] // stride), -(-size[2] // stride))
    return packed.Conv(flat, size), after
