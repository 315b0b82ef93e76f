"""One-layer LSTMs over sequences with holes and ends of their own, either way or both."""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

from avqa.heads._parts.head import at_hand


class Run(NamedTuple):
    """What an LSTM gives; ways are joined along the last axis."""

    out: Tensor
    """[B, N, D], 0 where the mask is false."""
    hidden: Tensor
    """[B, D], after the last entry of each way."""
    cell: Tensor
    """[B, D]."""


def run_lstm(lstm: nn.LSTM, x: Tensor, mask: Tensor | None) -> Run:
    """Run over the entries whose mask is true as if there were no others; zeros where none is.

    On the CPU torch's own kernels do it, packed where there is a mask. Packing waits for the
    lengths, and `torch.compile` cannot take those kernels into a graph it trains: elsewhere
    entry after entry, the same numbers.

    Shapes:
        x [B, N, width], mask [B, N] (None: every entry) → `Run`
    """
    if torch.compiler.is_compiling() or (mask is not None and not at_hand(mask)):
        return _entry_after_entry(lstm, x, mask)
    if mask is None:
        out, state = _computed(lstm, x)
    else:
        sample = torch.arange(len(x), device=x.device).unsqueeze(1)
        order = (~mask).long().argsort(dim=1, stable=True)  # true entries first
        lengths = mask.sum(1).clamp(min=1)
        packed = pack_padded_sequence(
            x[sample, order], lengths, batch_first=True, enforce_sorted=False
        )
        out, state = _computed(lstm, packed)
        out, _ = pad_packed_sequence(out, batch_first=True, total_length=x.shape[1])
        out = out[sample, order.argsort(1)]
    hidden, cell = (last.transpose(0, 1).flatten(1) for last in state)
    if mask is not None and not bool(mask.any(1).all()):  # packing takes one entry at least
        none = ~mask.any(1, keepdim=True)
        hidden, cell = hidden.masked_fill(none, 0), cell.masked_fill(none, 0)
        out = out.masked_fill(none.unsqueeze(-1), 0)
    return Run(out, hidden, cell)


@functools.cache
def _has_bf16() -> bool:
    """Whether torch's kernels for this processor run an LSTM in bf16: they want AVX-512 for it."""
    return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


def _computed(lstm: nn.LSTM, x: Any) -> Any:
    """What the LSTM gives for a tensor or a packed sequence; in float32 where bf16 cannot be."""
    if _device_of(x) != "cpu" or not torch.is_autocast_enabled("cpu") or _has_bf16():
        return lstm(x)
    with torch.autocast("cpu", enabled=False):
        return lstm(x.float())


def _device_of(x: Any) -> str:
    """Kind of device of a tensor or a packed sequence."""
    return str((x.data if isinstance(x, PackedSequence) else x).device.type)


def _entry_after_entry(lstm: nn.LSTM, x: Tensor, mask: Tensor | None) -> Run:
    """`run_lstm` by its equations.

    i, f, g, o = W x_n + U h + b,  c' = σ(f) c + σ(i) tanh(g),  h' = σ(o) tanh(c')
    """
    ways = []
    for suffix in ("_l0", "_l0_reverse") if lstm.bidirectional else ("_l0",):
        w, u, b, b_hidden = (
            getattr(lstm, name + suffix)
            for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
        )
        gates = F.linear(x, w, b + b_hidden)  # [B, N, 4D]
        h = c = gates.new_zeros(len(x), lstm.hidden_size)
        numbers = range(x.shape[1])
        out = [h] * x.shape[1]
        for n in reversed(numbers) if suffix == "_l0_reverse" else numbers:
            i, f, g, o = (gates[:, n] + F.linear(h, u)).chunk(4, -1)
            new_c = f.sigmoid() * c + i.sigmoid() * g.tanh()
            new_h = o.sigmoid() * new_c.tanh()
            if mask is None:
                h, c, out[n] = new_h, new_c, new_h
            else:
                true = mask[:, n, None]
                h, c = torch.where(true, new_h, h), torch.where(true, new_c, c)
                out[n] = torch.where(true, new_h, 0)
        ways.append((torch.stack(out, 1), h, c))
    return Run(*(torch.cat(parts, -1) for parts in zip(*ways, strict=True)))
