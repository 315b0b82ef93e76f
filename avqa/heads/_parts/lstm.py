"""One-layer LSTMs: over sequences with holes and ends of their own, and over words of questions."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
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


class Beginnings(NamedTuple):
    """The distinct beginnings of the questions of a batch: K of them, shorter ones first."""

    words: Tensor
    """[W] long, the distinct words."""
    last: Tensor
    """[K] long, which of them each ends with."""
    before: Tensor
    """[K] long, the beginning without that word; 0 for those of one word."""
    starts: tuple[int, ...]
    """Where those of 1, 2, ... words start, and K."""
    of: Tensor
    """[B, N] long, the beginning of each question that ends with each word; 0 behind its end."""
    whole: Tensor
    """[B] long, the beginning that is all of each question."""

    @classmethod
    def find(cls, tokens: Tensor, real: Tensor | None) -> Beginnings:
        """Those of ``tokens`` [B, N] up to their ends, ``real`` [B, N] (None: all are)."""
        rows = tokens.tolist()
        ends = [tokens.shape[1]] * len(rows) if real is None else real.sum(1).tolist()
        of, whole = [[0] * tokens.shape[1] for _ in rows], [0] * len(rows)
        known: list[tuple[int, int]] = []
        starts = [0]
        for n in range(max(ends)):
            new: dict[tuple[int, int], int] = {}
            for b, row in enumerate(rows):
                if n < ends[b]:
                    whole[b] = of[b][n] = new.setdefault((whole[b], row[n]), starts[-1] + len(new))
            known += new
            starts.append(len(known))
        places = {word: place for place, word in enumerate(dict.fromkeys(w for _, w in known))}
        before, last = torch.tensor([(start, places[word]) for start, word in known]).unbind(1)
        words = torch.tensor(list(places))
        return cls(words, last, before, tuple(starts), torch.tensor(of), torch.tensor(whole))


class _RunOnce(torch.autograd.Function):
    """An LSTM over `Beginnings`, from what each one's last word adds to the gates.

    The backward pass is written out: one product for the gradient of ``u`` in place of one a
    word, each of which would write a whole matrix.

    Shapes:
        gates [K, 4D], u [4D, D] → h, c [K, D]
    """

    @staticmethod
    def forward(ctx: Any, gates: Tensor, u: Tensor, found: Beginnings) -> tuple[Tensor, Tensor]:
        gates, width = gates.clone(), u.shape[1]
        h, c = gates.new_empty(2, len(gates), width)
        first = 0
        for start, end in itertools.pairwise(found.starts):
            here, before = gates[start:end], found.before[start:end]
            if start:  # once for all that go on from a beginning
                here += (h[first:start] @ u.T).index_select(0, before - first)
            here[:, : 2 * width].sigmoid_()
            i, f, g, o = here.chunk(4, -1)
            torch.mul(i, g.tanh_(), out=c[start:end])
            if start:
                c[start:end].addcmul_(f, c.index_select(0, before))
            torch.mul(o.sigmoid_(), c[start:end].tanh(), out=h[start:end])
            first = start
        ctx.found = found
        ctx.save_for_backward(gates, u, h, c)
        return h, c

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *of_both: Tensor) -> tuple[Tensor, Tensor, None]:
        (gates, u, h, c), found = ctx.saved_tensors, ctx.found
        of_h, of_c = (x.clone() for x in of_both)
        i, f, g, o = gates.chunk(4, -1)
        c_before = c.index_select(0, found.before)
        c_before[: found.starts[1]] = 0
        bent = c.tanh()
        through = torch.cat([g, c_before, i, bent], -1) * gates * (1 - gates)  # [K, 4D]
        torch.mul(i, 1 - g * g, out=through.chunk(4, -1)[2])
        bent = o * (1 - bent * bent)
        of_gates, carried = torch.empty_like(gates), torch.zeros_like(gates)
        levels = list(itertools.pairwise(found.starts))
        for level in range(len(levels) - 1, -1, -1):
            here = slice(*levels[level])
            d_c = of_c[here].addcmul_(of_h[here], bent[here])
            both = torch.cat([d_c, d_c, d_c, of_h[here]], -1)
            torch.mul(both, through[here], out=of_gates[here])
            if level:
                before, last = found.before[here], slice(*levels[level - 1])
                carried.index_add_(0, before, of_gates[here])
                of_h[last] += carried[last] @ u
                of_c.index_add_(0, before, d_c * f[here])
        return of_gates, carried.T @ h, None


def run_once(
    lstm: nn.LSTM, embed: Callable[[Tensor], Tensor], tokens: Tensor, found: Beginnings
) -> Run:
    """Run one way over the words of questions, once for all that begin alike.

    Shapes:
        embed: words [W] → [W, width]; tokens [B, N] → `Run`
    """
    w, u, b, b_hidden = (
        getattr(lstm, f"{name}_l0") for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    )
    of_words = F.linear(embed(found.words), w, b + b_hidden)  # [W, 4D]
    h, c = _RunOnce.apply(of_words.index_select(0, found.last), u, found)
    out = h.index_select(0, found.of.flatten()).view(*tokens.shape, -1)
    return Run(out, h.index_select(0, found.whole), c.index_select(0, found.whole))
