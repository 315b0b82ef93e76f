"""ResNet-18 with ImageNet weights: a pooled vector, and a 14×14 or 7×7 map of the last stage.

The 14×14 map is the last stage without its stride: stride 1 in its first convolution and in
its shortcut, as the published audio-visual question answering features have it.
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

SHORT_SIDE = 256
SIZE = 224
MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)
MAP_MEAN = (0.43216, 0.394666, 0.37645)
"""The published maps were made with the means of a video data set, not ImageNet's."""
MAP_STD = (0.22803, 0.22145, 0.216989)

INPUTS: Mapping[str, Input] = {
    "crop": Input("frame", (SIZE, SIZE, 3), "uint8"),
    "squash": Input("frame", (SIZE, SIZE, 3), "uint8"),
}
TAPS: Mapping[str, Tap] = {
    "pool": Tap("crop", (512,), ("channel",), sparse=False),
    "map": Tap("squash", (14, 14, 512), ("y", "x", "channel"), sparse=True),
    "map7": Tap("squash", (7, 7, 512), ("y7", "x7", "channel"), sparse=True),
}
BATCH: Mapping[str, int] = {"cpu": 16, "cuda": 128}
OPTIONS: Mapping[str, Option] = {}


def recipe(tap: str) -> dict[str, Any]:
    """Everything of this encoder that changes a number of ``tap``."""
    pool = tap == "pool"
    return {
        "network": "torchvision resnet18, batch norm folded into the convolutions",
        "tap": {
            "pool": "global average pool",
            "map": "last stage at stride 1, channel last",
            "map7": "last stage, channel last",
        }[tap],
        "crop": f"center {SIZE} of {SHORT_SIDE}" if pool else "squash",
        "resize": f"uint8 bilinear antialias {SHORT_SIDE if pool else SIZE}",
        "mean": list(MEAN if pool else MAP_MEAN),
        "std": list(STD if pool else MAP_STD),
    }


def prepare(name: str, seconds: Sequence[NDArray[np.uint8]], options: Options) -> NDArray[np.uint8]:
    """RGB frames [H, W, 3] of any size → uint8 [rows, 224, 224, 3]."""
    if name == "crop":
        small = [images.center(frame, SHORT_SIDE, SIZE, "bilinear") for frame in seconds]
    else:
        small = [images.squash(frame, SIZE, "bilinear") for frame in seconds]
    return np.stack(small)


def architecture() -> nn.Module:
    """Torchvision's network with its own initialisation."""
    builds.load()
    from torchvision.models import resnet18

    network: nn.Module = resnet18(weights=None)
    return network


WEIGHTS: Mapping[str, Weights] = {
    "resnet18": Weights(
        random=lambda: architecture().state_dict(),
        address="https://download.pytorch.org/models/resnet18-f37072fd.pth",
        digest="f37072fd",
        licence="BSD-3-Clause; ImageNet terms",
    )
}


def _places() -> nn.Module:
    """Where the weights go, named as torchvision names them: it takes seconds to load itself."""
    from torch import nn

    def block(before: int, channels: int, stride: int) -> nn.Module:
        made: Any = nn.Module()
        made.conv1 = nn.Conv2d(before, channels, 3, stride, 1, bias=False)
        made.bn1 = nn.BatchNorm2d(channels)
        made.conv2 = nn.Conv2d(channels, channels, 3, 1, 1, bias=False)
        made.bn2 = nn.BatchNorm2d(channels)
        made.downsample = None
        if stride > 1:
            shortcut = nn.Conv2d(before, channels, 1, stride, bias=False)
            made.downsample = nn.Sequential(shortcut, nn.BatchNorm2d(channels))
        found: nn.Module = made
        return found

    network = nn.Module()
    network.conv1 = nn.Conv2d(3, 64, 7, 2, 3, bias=False)
    network.bn1 = nn.BatchNorm2d(64)
    for number, (before, channels) in enumerate(((64, 64), (64, 128), (128, 256), (256, 512)), 1):
        first = block(before, channels, stride=1 if before == channels else 2)
        stage = nn.Sequential(first, block(channels, channels, stride=1))
        network.add_module(f"layer{number}", stage)
    network.fc = nn.Linear(512, 1000)
    return network


def build(
    state: Mapping[str, Tensor], options: Options, device: Device, precision: Precision
) -> Network:
    """The frozen network without its classifier.

    Raises:
        WeightsUnavailable: if names or shapes are not this architecture's.
    """
    import torch

    from avqa.extract.encoders._parts import frozen

    network: Any = frozen.filled(_places, state, "resnet18")
    _fold_batch_norms(network.eval())
    frozen.freeze(network, device, precision)
    with torch.inference_mode():
        return _ResNet(network, frozen.DTYPES[precision], BATCH[device])


def _fold_batch_norms(network: Any) -> None:
    """Each convolution and its batch norm become one convolution."""
    from torch.nn.utils.fusion import fuse_conv_bn_eval

    network.conv1 = fuse_conv_bn_eval(network.conv1, network.bn1)
    for stage in (network.layer1, network.layer2, network.layer3, network.layer4):
        for block in stage:
            block.conv1 = fuse_conv_bn_eval(block.conv1, block.bn1)
            block.conv2 = fuse_conv_bn_eval(block.conv2, block.bn2)
            if block.downsample is not None:
                block.downsample = fuse_conv_bn_eval(*block.downsample)


class _ResNet:
    """Stages of packed convolutions; the last stage both with and without its stride."""

    def __init__(self, network: Any, dtype: torch.dtype, batch: int) -> None:
        from avqa.extract.encoders._parts import frozen, packed

        device = network.conv1.weight.device
        self.dtype = dtype
        self.normalise = {
            "crop": frozen.Normalise(MEAN, STD).to(device),
            "squash": frozen.Normalise(MAP_MEAN, MAP_STD).to(device),
        }
        self.first = packed.Conv(network.conv1, (batch, 224, 224))
        self.trunk = [
            *_stage(network.layer1, (batch, 56, 56)),
            *_stage(network.layer2, (batch, 56, 56)),
            *_stage(network.layer3, (batch, 28, 28)),
        ]
        self.last = _stage(network.layer4, (batch, 14, 14))
        self.last_unstrided = _stage(network.layer4, (batch, 14, 14), stride=1)

    def forward(self, name: str, batch: Tensor, taps: Sequence[str]) -> dict[str, Tensor]:
        """Frames uint8 [B, 224, 224, 3] → pool [B, 512], map [B, 14, 14, 512], map7."""
        import torch
        import torch.nn.functional as F

        with torch.inference_mode():
            x = self.first(self.normalise[name](batch, self.dtype), "relu")
            x = _through(self.trunk, F.max_pool2d(x, 3, 2, 1))  # [B, 256, 14, 14]
            out = {}
            if "pool" in taps:
                out["pool"] = _through(self.last, x).float().mean((2, 3))
            if "map7" in taps:
                out["map7"] = _through(self.last, x).permute(0, 2, 3, 1)
            if "map" in taps:
                out["map"] = _through(self.last_unstrided, x).permute(0, 2, 3, 1)
            return {tap: out[tap].float().cpu().contiguous() for tap in taps}


class _Block:
    """Two convolutions and a shortcut."""

    def __init__(self, block: Any, size: tuple[int, int, int], stride: int) -> None:
        from avqa.extract.encoders._parts import packed

        batch, height, width = size
        inner = (batch, height // stride, width // stride)
        self.conv1 = packed.Conv(block.conv1, size, stride=stride)
        self.conv2 = packed.Conv(block.conv2, inner)
        self.shortcut = None
        if block.downsample is not None:
            self.shortcut = packed.Conv(block.downsample, size, stride=stride)

    def __call__(self, x: Tensor) -> Tensor:
        """[B, C, H, W] → [B, C', H / stride, W / stride]."""
        beside = x if self.shortcut is None else self.shortcut(x)
        return self.conv2.plus(self.conv1(x, "relu"), beside)


def _stage(blocks: Any, size: tuple[int, int, int], stride: int | None = None) -> list[_Block]:
    """The two blocks of a stage; ``stride`` replaces that of the first one."""
    first = blocks[0].conv1.stride[0] if stride is None else stride
    batch, height, width = size
    inner = (batch, height // first, width // first)
    return [_Block(blocks[0], size, first), _Block(blocks[1], inner, 1)]


def _through(blocks: Sequence[_Block], x: Tensor) -> Tensor:
    for block in blocks:
        x = block(x)
    return x
