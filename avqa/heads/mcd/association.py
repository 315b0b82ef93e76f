"""MCD's association block: self-attention within, and a gate from, the other modality."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from avqa.heads._parts.blocks import FeedForward, masked_mean, masked_softmax
from avqa.heads._parts.head import at_hand
from avqa.heads.mcd.options import Options


class PlainAttention(nn.Module):
    """Single-head attention without biases or output layer.

        Eq. 1   out = softmax(Q W_Q (K W_K)ᵀ / √D) V W_V,  V = K

    Computed as softmax((Q W_Q W_Kᵀ) Kᵀ / √D) V, then W_V: layers see the M queries, never the N
    keys. The same work where a set attends to itself, a fraction of it for one query.

    Shapes:
        query [B, M, D], keys [B, N, D], mask [B, N] → out [B, M, D], weights [B, M, N]
    """

    def __init__(self, width: int, dropout: float) -> None:
        super().__init__()
        self.query = nn.Linear(width, width, bias=False)
        self.key = nn.Linear(width, width, bias=False)
        self.value = nn.Linear(width, width, bias=False)
        self.dropout = nn.Dropout(dropout)

    def weights(self, query: Tensor, keys: Tensor, mask: Tensor | None = None) -> Tensor:
        """The attention weights alone, before dropout."""
        asked = self.query(query) @ self.key.weight  # [B, M, D]
        scores = asked @ keys.mT / math.sqrt(query.shape[-1])
        return masked_softmax(scores, None if mask is None else mask.unsqueeze(-2))

    def forward(self, query: Tensor, keys: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Attend from every query to the keys."""
        weights = self.weights(query, keys, mask)
        return self.value(self.dropout(weights) @ keys), weights  # Eq. 1, [B, M, D]


class ChannelAttention(nn.Module):
    """The cross term by the D×D shape the paper's text states, not by its formula.

        out = f · softmax(Qᵀ K / √D),  Q = F W_Q,  K = mean_t(f) W_K

    Shapes:
        pooled [B, 1, D], features [B, T, D], their mask [B, T] → [B, T, D]
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.query = nn.Linear(width, width, bias=False)
        self.key = nn.Linear(width, width, bias=False)

    def forward(self, pooled: Tensor, features: Tensor, valid: Tensor) -> Tensor:
        """Mix the channels of ``features`` as the other modality asks."""
        key = self.key(masked_mean(features, valid).unsqueeze(1))  # [B, 1, D]
        scores = self.query(pooled).mT @ key / math.sqrt(features.shape[-1])
        return features @ scores.softmax(-1)  # type: ignore[no-any-return]


class TimeCompression(nn.Module):
    """One vector of a sequence: its mean over valid seconds, or a learnt FC(T→1).

    Shapes:
        features [B, T, D], valid [B, T] → [B, 1, D]
    """

    def __init__(self, kind: str, num_seconds: int) -> None:
        super().__init__()
        self.layer = nn.Linear(num_seconds, 1) if kind == "fc" else None

    def forward(self, features: Tensor, valid: Tensor) -> Tensor:
        """Compress time.

        Raises:
            ValueError: there are more seconds than the learnt layer has weights.
        """
        if self.layer is None:
            return masked_mean(features, valid).unsqueeze(1)
        seconds, most = features.shape[1], self.layer.in_features
        if seconds > most:
            raise ValueError(
                f"T={seconds}; expected at most num_seconds={most} with compress='fc';"
                " raise num_seconds or use compress='mean'"
            )
        weight = self.layer.weight[:, :seconds] * valid  # [B, T]
        return weight.unsqueeze(1) @ features + self.layer.bias


class MaskedNorm(nn.Module):
    """Batch normalisation over the valid positions of a batch, or layer normalisation.

    Batch: momentum 0.1, ε 1e-5, running statistics in evaluation. Padded positions give 0 in
    training and count in no statistic; where none is known to be, torch's own layer does it all. A
    batch without any valid position leaves the statistics as they are. A row counts as often as it
    is ``asked`` about (None: once).

    Shapes:
        x [V, T, D], valid [V, T], asked [V] → [V, T, D]
    """

    def __init__(self, kind: str, width: int) -> None:
        super().__init__()
        self.norm: nn.Module = nn.LayerNorm(width) if kind == "layer" else nn.BatchNorm1d(width)

    def forward(self, x: Tensor, valid: Tensor, asked: Tensor | None = None) -> Tensor:
        """Normalise.

        Raises:
            ValueError: in training, one valid position alone, which has no variance.
        """
        if isinstance(self.norm, nn.LayerNorm):
            return self.norm(x)  # type: ignore[no-any-return]
        weight = valid if asked is None else valid * asked.unsqueeze(1)  # [V, T]
        known = self.training and at_hand(valid)
        if known and int(weight.sum()) == 1:
            raise ValueError(
                "norm='batch' has 1 valid second in the batch; expected 2 or more in training;"
                " use norm='layer' or larger batches"
            )
        alike = known and bool(weight.all()) and bool((weight == weight[0, 0]).all())
        if not self.training or alike:
            return self.norm(x.flatten(0, 1)).view_as(x)  # type: ignore[no-any-return]
        return self._of_batch(x, weight)

    def _of_batch(self, x: Tensor, weight: Tensor) -> Tensor:
        """As `torch.nn.BatchNorm1d` of the valid rows, without gathering them.

        How many they are would have to be waited for.
        """
        norm: Any = self.norm
        shown, times, number = weight.unsqueeze(-1) > 0, weight.unsqueeze(-1), weight.sum()
        count = number.clamp(min=1)
        rows = x.to(torch.promote_types(x.dtype, torch.float32))  # sums need it under autocast
        mean = torch.where(shown, rows * times, 0).sum((0, 1)) / count
        centred = torch.where(shown, rows - mean, 0)
        variance = (centred.square() * times).sum((0, 1)) / count
        with torch.no_grad():
            unbiased = variance * count / (count - 1).clamp(min=1)
            for kept, found in ((norm.running_mean, mean), (norm.running_var, unbiased)):
                kept.lerp_(torch.where(number > 0, found.to(kept.dtype), kept), norm.momentum)
            norm.num_batches_tracked += number > 0
        scaled = centred * (variance + norm.eps).rsqrt() * norm.weight + norm.bias
        return torch.where(shown, scaled, 0).to(x.dtype)


class Branch(nn.Module):
    """One modality of an association block.

                f_x = SA(f) + f ∘ CA(F, f, f)
        Eq. 4   y = f + BN(f_x)
        Eq. 5   out = y + BN(FFN(y))

    F is the other modality compressed to one vector. Without SA and CA the features pass as they
    are. Chosen where the paper is silent: CA of a modality that is not there is 0.

    Shapes:
        features, other [V, T, D], their masks [V, T], asked [V] → out, cross [V, T, D] (None
        without CA)
    """

    def __init__(self, options: Options, *, own: bool, cross: bool) -> None:
        super().__init__()
        width = options.width
        self.own = PlainAttention(width, options.dropout) if own else None
        self.gate = self.channel = None
        if cross:
            self.compress = TimeCompression(options.compress, options.num_seconds)
            if options.cross == "channel":
                self.channel = ChannelAttention(width)
            else:
                self.gate = PlainAttention(width, options.dropout)
        if own or cross:
            self.feed_forward = FeedForward(width, options.dropout)
            self.norm1 = MaskedNorm(options.norm, width)
            self.norm2 = MaskedNorm(options.norm, width)
            self.dropout = nn.Dropout(options.dropout)

    def forward(
        self,
        features: Tensor,
        other: Tensor,
        valid: Tensor,
        other_valid: Tensor,
        asked: Tensor | None = None,
    ) -> tuple[Tensor, Tensor | None]:
        """Update ``features`` by themselves and by ``other``; ``asked``: see `MaskedNorm`."""
        cross = self._cross(features, other, valid, other_valid)
        mixed = cross
        if self.own is not None:
            own, _ = self.own(features, features, valid)
            mixed = own if cross is None else own + cross  # [B, T, D]
        if mixed is None:
            return features, None
        y = features + self.dropout(self.norm1(mixed, valid, asked))  # Eq. 4, [V, T, D]
        passed = self.norm2(self.feed_forward(y), valid, asked)
        out = y + self.dropout(passed)  # Eq. 5, [V, T, D]
        return out, cross

    def _cross(
        self, features: Tensor, other: Tensor, valid: Tensor, other_valid: Tensor
    ) -> Tensor | None:
        if self.channel is None and self.gate is None:
            return None
        asking = self.compress(other, other_valid)  # F, [B, 1, D]
        there = other_valid.any(1)[:, None, None]
        if self.channel is not None:
            return self.channel(asking, features, valid) * there  # type: ignore[no-any-return]
        assert self.gate is not None
        return features * (self.gate(asking, features, valid)[0] * there)  # type: ignore[no-any-return]


class Associated(NamedTuple):
    """What an association block gives."""

    audio: Tensor
    """[B, T, D]."""
    visual: Tensor
    """[B, T, D]."""
    cross_audio: Tensor | None
    """[B, T, D], the term f ∘ CA(·) of the audio branch."""
    cross_visual: Tensor | None


class AssociationBlock(nn.Module):
    """Both branches of a block; each reads the other's features before this block.

    Shapes:
        audio [V, T, D], visual [V, T, D], heard [V, T] of the audio, valid [V, T], asked [V]
        → `Associated`
    """

    def __init__(self, options: Options) -> None:
        super().__init__()
        own, query = options.self_attention, options.cross_query
        self.audio = Branch(
            options, own=own in ("both", "audio"), cross=query in ("both", "visual")
        )
        self.visual = Branch(
            options, own=own in ("both", "visual"), cross=query in ("both", "audio")
        )

    def forward(
        self,
        audio: Tensor,
        visual: Tensor,
        heard: Tensor,
        valid: Tensor,
        asked: Tensor | None = None,
    ) -> Associated:
        """Update both modalities; ``asked``: see `MaskedNorm`."""
        new_audio, cross_audio = self.audio(audio, visual, heard, valid, asked)
        new_visual, cross_visual = self.visual(visual, audio, valid, heard, asked)
        return Associated(new_audio, new_visual, cross_audio, cross_visual)
