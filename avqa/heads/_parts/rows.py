"""What becomes of rows before a head's layers, if its options say so: standardised, with a time.

Neither is in any paper of these heads: both are ours, options of every head, and off by default.

Networks' rows have columns of very different size, and most of them are far from 0 in all videos:
the layers behind learn slowly from the little that differs. And attention and means over seconds
give the same for any order of them (docs/heads.md).
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

CONSTANT = 1e-5
"""A deviation of less than this share of a column's largest mean or deviation is rounding."""
SLOTS = 60
"""Of the clock: later rows have the last one."""


class Standard(nn.Module):
    """Mean and deviation of every column of some features; leaves rows alone before `set`.

    They are buffers: saved with the head's weights, and so applied wherever the head is used.
    """

    def __init__(self, widths: Mapping[str, int]) -> None:
        super().__init__()
        for field, width in widths.items():
            self.register_buffer(f"{field}_mean", torch.zeros(width))
            self.register_buffer(f"{field}_deviation", torch.ones(width))

    def set(self, field: str, mean: Tensor, deviation: Tensor) -> None:
        """Take a feature's columns [D]; one that does not vary is only moved to 0."""
        size = torch.maximum(mean.abs(), deviation)
        varies = deviation > CONSTANT * size
        self.get_buffer(f"{field}_mean").copy_(mean)
        self.get_buffer(f"{field}_deviation").copy_(torch.where(varies, deviation, 1.0))

    def forward(self, field: str, rows: Tensor) -> Tensor:
        """Rows [B, T, ..., D] of a feature, standardised."""
        mean = self.get_buffer(f"{field}_mean")
        return (rows - mean) / self.get_buffer(f"{field}_deviation")


def coded_width(width: int, code: str) -> int:
    """Width of a row with its code."""
    return {"none": width, "clock": width + SLOTS, "product": 2 * width}[code]


def plain_width(width: int, code: str) -> int:
    """Width of a row without its code, which has so many with it."""
    return {"none": width, "clock": width - SLOTS, "product": width // 2}[code]


def coded(rows: Tensor, valid: Tensor, code: str) -> Tensor:
    """Rows [B, T, ..., D] with their code beside them.

    Args:
        rows: of sound, frames or patches.
        valid: [B, T] bool.
        code: ``clock``: which row it is, one of `SLOTS`, joined to the row [.., D + SLOTS];
            ``product``: the row times its place τ in its video, −1 at the first to 1 at the last
            valid row, joined [.., 2 D].
    """
    more = _clock(rows) if code == "clock" else _product(rows, valid)
    return torch.cat([rows, more], -1)


def _clock(rows: Tensor) -> Tensor:
    place = torch.arange(rows.shape[1], device=rows.device).clamp(max=SLOTS - 1)
    code = torch.nn.functional.one_hot(place, SLOTS).to(rows.dtype)
    middle = [1] * (rows.ndim - 3)
    return code.view(1, -1, *middle, SLOTS).expand(*rows.shape[:-1], SLOTS)


def _product(rows: Tensor, valid: Tensor) -> Tensor:
    place = torch.arange(valid.shape[1], device=valid.device)
    last = torch.where(valid, place, 0).amax(1, keepdim=True)
    share = 2 * place / last.clamp(min=1) - 1
    # Of a video with one row there is no first and no last.
    share = torch.where(last > 0, share, 0.0).to(rows.dtype)
    return rows * share.view(*share.shape, *([1] * (rows.ndim - 2)))
