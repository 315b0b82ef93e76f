"""What the networks share: frozen, one precision, normalised frames."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn

from avqa.errors import ConfigError, WeightsUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from torch import Tensor

    from avqa.extract.encoders._contract import Device, Precision

DTYPES: dict[str, torch.dtype] = {
    "fp32": torch.float32,
    "bf16": torch.bfloat16,
    "fp16": torch.float16,
    "openai-fp16": torch.float16,
}
OPENAI: Precision = "openai-fp16"
"""As OpenAI's CLIP computes on a GPU: in half precision, layer norms in float32."""


def fill(module: nn.Module, state: Mapping[str, Tensor], what: str) -> nn.Module:
    """Give a module built on the meta device its weights, without copying them.

    Raises:
        WeightsUnavailable: if names or shapes are not the architecture's.
    """
    wanted = {name: tuple(tensor.shape) for name, tensor in module.state_dict().items()}
    given = {name: tuple(tensor.shape) for name, tensor in state.items()}
    if wanted != given:
        name = min(key for key in wanted.keys() | given.keys() if wanted.get(key) != given.get(key))
        raise WeightsUnavailable(
            f"weights of {what} do not fit: {name}={given.get(name, 'nothing')};"
            f" expected {wanted.get(name, 'no such name')}; import the file again"
        )
    module.load_state_dict(state, assign=True)
    return module


def filled(make: Callable[[], nn.Module], state: Mapping[str, Tensor], what: str) -> nn.Module:
    """A module with its weights, and with the buffers that it computes for itself.

    Raises:
        WeightsUnavailable: if names or shapes are not the architecture's.
    """
    with torch.device("meta"):
        module = fill(make(), state, what)
    if not any(buffer.is_meta for buffer in module.buffers()):
        return module
    with torch.random.fork_rng(devices=[]):  # its own weights are drawn, and go
        return fill(make(), state, what)


def freeze(module: nn.Module, device: Device, precision: Precision) -> nn.Module:
    """Evaluation mode, no gradients, cast once; TF32 stays off for fp32.

    Raises:
        ConfigError: if the device is not there.
    """
    if device == "cuda":
        if not torch.cuda.is_available():
            raise ConfigError(
                "device='cuda' cannot be used: torch finds no CUDA device; expected one;"
                " use --device cpu"
            )
        torch.backends.cuda.matmul.allow_tf32 = False
        torch.backends.cudnn.allow_tf32 = False
    module = module.eval().requires_grad_(False).to(device)
    if precision != OPENAI:
        return module.to(DTYPES[precision])
    for part in module.modules():
        if not isinstance(part, nn.LayerNorm):
            for values in (*part.parameters(recurse=False), *part.buffers(recurse=False)):
                values.data = values.data.to(DTYPES[precision])
    return module


def leave_file(module: nn.Module) -> None:
    """Copy what a module has of the file that its weights are mapped from.

    Where packed layers have the others in a layout of their own, the file is in memory for nothing.
    """
    for parameter in module.parameters():
        parameter.data = parameter.data.clone()


class Normalise(nn.Module):
    """uint8 frames [B, H, W, 3] → normalised [B, 3, H, W], channels last in memory."""

    def __init__(self, mean: Sequence[float], std: Sequence[float]) -> None:
        """``mean`` and ``std`` of the three channels, for values in 0 … 1."""
        super().__init__()
        self.register_buffer("mean", torch.tensor(mean, dtype=torch.float32))
        self.register_buffer("std", torch.tensor(std, dtype=torch.float32))
        self.mean: Tensor
        self.std: Tensor

    def forward(self, frames: Tensor, dtype: torch.dtype) -> Tensor:
        """Computed in float32, then cast: bf16 cannot hold 256 grey levels."""
        scaled = frames.to(self.mean.device).to(torch.float32).div_(255)
        return scaled.sub_(self.mean).div_(self.std).permute(0, 3, 1, 2).to(dtype)
