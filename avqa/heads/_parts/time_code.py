"""A code of time beside every row, for heads that cannot tell the order of seconds.

Attention and means over seconds give the same for any order of them (docs/heads.md). No paper
of these heads has such a code: it is ours, an option of every head, and off by default.
"""

from __future__ import annotations

import torch
from torch import Tensor

SLOTS = 60
"""Of the clock: later rows have the last one."""


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
