"""Rows with mean 0 and deviation 1 in every column, by what the training videos hold.

Networks' rows have columns of very different size, and most of them are far from 0 in all videos:
the layers behind learn slowly from the little that differs. No paper of these heads does this: it
is ours, an option of every head, and off by default.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

CONSTANT = 1e-5
"""A deviation of less than this share of a column's largest mean or deviation is rounding."""


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
