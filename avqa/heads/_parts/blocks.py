"""Blocks that several heads share: attention, question encoders, the answer layer.

Attention weights used for selection, losses or display are those before dropout, averaged over
heads after the softmax. Masks are boolean, true = may be attended; a query with nothing to
attend to gives zeros, never NaN.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from avqa.heads._parts.head import HeadInput, at_hand
from avqa.heads._parts.lstm import Beginnings, run_lstm, run_once
from avqa.heads._parts.options import HeadOptions

WORTH_FINDING = 4e8
"""Multiplications of an LSTM that must be spared before the beginnings of questions are of use."""


def masked_mean(x: Tensor, mask: Tensor, dim: int = 1) -> Tensor:
    """Mean of ``x [..., D]`` along ``dim`` over the entries whose ``mask [...]`` is true."""
    weight = mask.unsqueeze(-1).to(x.dtype)
    return (x * weight).sum(dim) / weight.sum(dim).clamp(min=1)


def masked_softmax(scores: Tensor, mask: Tensor | None) -> Tensor:
    """Softmax over the last axis; masked entries get 0, rows without any entry all 0."""
    if mask is None:
        return scores.softmax(-1)
    weights = scores.masked_fill(~mask, torch.finfo(scores.dtype).min).softmax(-1)
    return weights.masked_fill(~mask, 0.0)


class Attention(nn.Module):
    """Multi-head attention with biases, whose weights are returned before dropout.

        weights = softmax(Q Kᵀ / √(D/h)),  out = FC(weights V)

    Parameters and initialisation are those of `torch.nn.MultiheadAttention`. Where few queries
    meet many keys, or many queries few keys, the projections of the many are folded into those of
    the few, head by head: the same numbers for a fraction of the work.

    Shapes:
        query [..., M, D], keys [..., N, D], mask [..., N] or [..., M, N]
        → out [..., M, D], weights [..., M, N] (None where not wanted); leading axes broadcast.
    """

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        if width % heads:
            raise ValueError(f"width={width}; expected a multiple of heads={heads}")
        self.heads, self.dropout = heads, dropout
        self.in_proj_weight = nn.Parameter(torch.empty(3 * width, width))
        self.in_proj_bias = nn.Parameter(torch.zeros(3 * width))
        self.out_proj = nn.Linear(width, width)
        nn.init.xavier_uniform_(self.in_proj_weight)
        nn.init.zeros_(self.out_proj.bias)

    def forward(
        self,
        query: Tensor,
        keys: Tensor,
        mask: Tensor | None = None,
        *,
        values: Tensor | None = None,
        layer: nn.Linear | None = None,
        want_weights: bool = True,
    ) -> tuple[Tensor, Tensor | None]:
        """Attend from every query to the keys; ``values`` are the keys unless given.

        With ``layer`` (one query, no ``values``) the keys are ``layer(keys)``, which is folded in
        too and never computed for all of them.
        """
        if mask is not None and mask.ndim < query.ndim:
            mask = mask.unsqueeze(-2)  # [..., 1, N]
        rows, columns = query.shape[-2], keys.shape[-2]
        assert layer is None or (rows == 1 and values is None)
        weights: Tensor | None
        if values is None and (rows == 1 or self._folds(rows, columns)):
            out, weights = self._few_queries(query, keys, mask, layer)
        else:
            several = self._few_keys if self._folds(columns, rows) else self._full
            values = keys if values is None else values
            out, weights = several(query, keys, values, mask, want_weights)
        if mask is not None:
            out = out * mask.any(-1, keepdim=True)
        return out, weights

    def _folds(self, few: int, many: int) -> bool:
        """Whether folding takes fewer multiplications.

        2D²(few + many) + 2D few many > 4D² few + 2Dh few many, over 2D.
        """
        width = self.out_proj.in_features
        return many * (width + few - self.heads * few) > few * width

    def _by_head(self, x: Tensor) -> Tensor:
        return x.view(*x.shape[:-1], self.heads, -1)

    def _projections(self) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
        """Weights and biases of queries, keys and values."""
        return self.in_proj_weight.chunk(3), self.in_proj_bias.chunk(3)

    def _full(
        self, query: Tensor, keys: Tensor, values: Tensor, mask: Tensor | None, want: bool
    ) -> tuple[Tensor, Tensor | None]:
        parts = zip((query, keys, values), *self._projections(), strict=True)
        q, k, v = (self._by_head(F.linear(x, w, b)) for x, w, b in parts)
        q, k, v = (x.transpose(-3, -2) for x in (q, k, v))  # [..., h, M or N, D/h]
        by_head = None if mask is None else mask.unsqueeze(-3)
        rate = self.dropout if self.training else 0.0
        if not want:
            if by_head is not None:  # rows without any key would give NaN; `forward` hides them
                by_head = by_head | ~by_head.any(-1, keepdim=True)
            mixed = F.scaled_dot_product_attention(q, k, v, by_head, rate)
            return self.out_proj(mixed.transpose(-3, -2).flatten(-2)), None
        weights = masked_softmax(q @ k.mT / math.sqrt(q.shape[-1]), by_head)
        mixed = F.dropout(weights, rate) @ v
        return self.out_proj(mixed.transpose(-3, -2).flatten(-2)), weights.mean(-3)

    def _few_queries(
        self, query: Tensor, keys: Tensor, mask: Tensor | None, layer: nn.Linear | None
    ) -> tuple[Tensor, Tensor]:
        """Each query, folded by head to [h, D], meets the raw keys; the values come last."""
        width, size = query.shape[-1], query.shape[-1] // self.heads
        (w_q, w_k, w_v), (b_q, _, b_v) = self._projections()  # b_k shifts all scores alike
        w_k, w_v = (w.view(self.heads, size, width) for w in (w_k, w_v))
        b_v = self._by_head(b_v)
        if layer is not None:
            w_k, w_v, b_v = w_k @ layer.weight, w_v @ layer.weight, b_v + w_v @ layer.bias
        q = self._by_head(F.linear(query, w_q, b_q))  # [..., M, h, d]
        folded = torch.einsum("...hd,hde->...he", q, w_k).flatten(-3, -2)  # [..., M·h, D]
        scores = torch.unflatten(folded @ keys.mT / math.sqrt(size), -2, (-1, self.heads))
        weights = masked_softmax(scores, None if mask is None else mask.unsqueeze(-2))
        kept = F.dropout(weights, self.dropout, self.training)  # [..., M, h, N]
        found = torch.unflatten(kept.flatten(-3, -2) @ keys, -2, (-1, self.heads))
        mixed = torch.einsum("...he,hde->...hd", found, w_v)
        mixed = mixed + kept.sum(-1, keepdim=True) * b_v
        return self.out_proj(mixed.flatten(-2)), weights.mean(-2)

    def _few_keys(
        self, query: Tensor, keys: Tensor, values: Tensor, mask: Tensor | None, want: bool
    ) -> tuple[Tensor, Tensor | None]:
        """The raw queries meet each key, folded by head to [h, D], and find values behind FC."""
        width, size = query.shape[-1], query.shape[-1] // self.heads
        (w_q, w_k, w_v), (b_q, _, b_v) = self._projections()
        w_q, w_o = w_q.view(self.heads, size, width), self.out_proj.weight.view(width, -1, size)
        k = self._by_head(F.linear(keys, w_k)) / math.sqrt(size)  # [..., N, h, d]
        v = self._by_head(F.linear(values, w_v, b_v))
        folded = torch.einsum("...nhd,hde->...hne", k, w_q).flatten(-3, -2)  # [..., h·N, D]
        shift = torch.einsum("...nhd,hd->...hn", k, self._by_head(b_q)).flatten(-2)
        ready = torch.einsum("...nhd,ehd->...hne", v, w_o).flatten(-3, -2)
        scores = query @ folded.mT + shift.unsqueeze(-2)
        scores = torch.unflatten(scores, -1, (self.heads, -1))  # [..., M, h, N]
        weights = masked_softmax(scores, None if mask is None else mask.unsqueeze(-2))
        kept = F.dropout(weights, self.dropout, self.training)  # [..., M, h, N]
        out = kept.flatten(-2) @ ready + self.out_proj.bias
        return out, weights.mean(-2) if want else None


class FeedForward(nn.Sequential):
    """``FC(drop(ReLU(FC(x))))``, ``inner`` wide between (D in the AVST family).

    Dropout comes before the ReLU: its factors are not negative, so the numbers are the same, and
    one wide tensor less is kept for the backward pass.
    """

    def __init__(self, width: int, dropout: float, inner: int | None = None) -> None:
        inner = inner or width
        super().__init__(
            nn.Linear(width, inner), nn.Dropout(dropout), nn.ReLU(), nn.Linear(inner, width)
        )


class QuestionBlock(nn.Module):
    """A question's attention over a set, without a residual from the question.

        u, w = MHA_4(query, keys, keys),  out = LN(u + drop(FFN(u)))

    Where no key is left, out is zeros, not what the layers make of zeros.

    Shapes:
        query [..., D], keys [..., N, D], mask [..., N] → out [..., D], weights [..., N]
        with ``layer`` (keys are ``layer(keys)``, see `Attention`) keys as wide as its input
    """

    def __init__(self, width: int, dropout: float, heads: int = 4) -> None:
        super().__init__()
        self.attention = Attention(width, heads, dropout)
        self.feed_forward = FeedForward(width, dropout)
        self.dropout = nn.Dropout(dropout)
        self.norm = nn.LayerNorm(width)

    def forward(
        self,
        query: Tensor,
        keys: Tensor,
        mask: Tensor | None = None,
        layer: nn.Linear | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Attend from one query to its keys."""
        mixed, weights = self.attention(query.unsqueeze(-2), keys, mask, layer=layer)
        assert weights is not None
        mixed = mixed.squeeze(-2)
        out = self.norm(mixed + self.dropout(self.feed_forward(mixed)))
        if mask is not None:
            out = out * mask.any(-1, keepdim=True)
        return out, weights.squeeze(-2)


class HybridLayer(nn.Module):
    """Self- and cross-attention added to the input, then a feed-forward layer ("HAN" layer).

        x' = LN1(x + drop(MHA_1(x, y, y)) + drop(MHA_1(x, x, x))),  out = LN2(x' + drop(FFN(x')))

    Shapes:
        x [..., M, D], y [..., M, D], mask [..., M] of x, other [..., M] of y (None: as of x)
        → [..., M, D]
    """

    def __init__(self, width: int, dropout: float) -> None:
        super().__init__()
        self.self_attention = Attention(width, 1, dropout)
        self.cross_attention = Attention(width, 1, dropout)
        self.feed_forward = FeedForward(width, dropout)
        self.dropout = nn.Dropout(dropout)
        self.norm1 = nn.LayerNorm(width)
        self.norm2 = nn.LayerNorm(width)

    def forward(
        self, x: Tensor, y: Tensor, mask: Tensor | None = None, other: Tensor | None = None
    ) -> Tensor:
        """Update ``x`` by itself and by ``y``."""
        other = mask if other is None else other
        cross, _ = self.cross_attention(x, y, other, want_weights=False)
        own, _ = self.self_attention(x, x, mask, want_weights=False)
        x = self.norm1(x + self.dropout(cross) + self.dropout(own))
        return self.norm2(x + self.dropout(self.feed_forward(x)))  # type: ignore[no-any-return]


class Question(NamedTuple):
    """An encoded question."""

    sentence: Tensor
    """q [B, D]."""
    words: Tensor
    """[B, N, D]."""
    mask: Tensor
    """[B, N] bool: true for real words."""
    cell: Tensor | None
    """[B, D], the LSTM's last cell state; None for CLIP."""


class LstmQuestion(nn.Module):
    """Learnt words through tanh and a one-layer LSTM; q = FC(2D→D)(tanh([h; c])).

    As in all published code the LSTM runs through the padding behind the question, whose row of
    the table is an ordinary learnt one; ``pack`` stops at the last real word instead. Attention
    over words must use the mask either way. ``bidirectional``: D/2 states each way, joined.
    ``forget_bias`` is added to the forget gates' bias at the start (Gers et al. 2000): at 0 the
    gates let about half of the cell pass, so a word 12 steps before the end moves q by 0.1 % of
    its norm; at 2 by 10 to 15 %. Without ``join_cell`` q is h itself.

    Shapes:
        tokens [B, N] → `Question`
    """

    def __init__(
        self,
        vocabulary: int,
        width: int,
        *,
        pack: bool,
        bidirectional: bool = False,
        forget_bias: float = 0.0,
        join_cell: bool = True,
    ) -> None:
        super().__init__()
        self.pack = pack
        self.embedding = nn.Embedding(vocabulary, width)
        hidden = width // 2 if bidirectional else width
        self.lstm = nn.LSTM(width, hidden, batch_first=True, bidirectional=bidirectional)
        self.project = nn.Linear(2 * width, width) if join_cell else None
        with torch.no_grad():
            for name, bias in self.lstm.named_parameters():
                if name.startswith("bias_ih"):
                    bias[hidden : 2 * hidden] += forget_bias  # gates: input, forget, cell, output

    def forward(self, inputs: HeadInput) -> Question:
        """Encode ``inputs.tokens``."""
        assert inputs.tokens is not None  # Head.check
        return self.encode(inputs.tokens)

    def encode(self, tokens: Tensor) -> Question:
        """Encode word numbers ``[B, N]``, right-padded with 0."""
        mask = tokens != 0
        real = self._real(mask) if self.pack else None
        if (found := self._beginnings(tokens, real)) is None:
            words, hidden, cell = run_lstm(self.lstm, self._embed(tokens), real)
        else:
            words, hidden, cell = run_once(self.lstm, self._embed, tokens, found)
            words = words if real is None else torch.where(real.unsqueeze(-1), words, 0)
        sentence = hidden
        if self.project is not None:
            sentence = self.project(torch.cat([hidden, cell], -1).tanh())
        return Question(sentence, words, mask, cell)

    def _beginnings(self, tokens: Tensor, real: Tensor | None) -> Beginnings | None:
        """Those of the questions, where it is worth while to run once over each."""
        if self.lstm.bidirectional or not at_hand(tokens) or torch.is_autocast_enabled("cpu"):
            return None
        found = Beginnings.find(tokens, real)
        spared = (2 * tokens.numel() - len(found.last)) * 4 * self.lstm.hidden_size**2
        return found if self.pack or spared > WORTH_FINDING else None  # torch packs slowly

    def _embed(self, tokens: Tensor) -> Tensor:
        return self.embedding(tokens).tanh()  # type: ignore[no-any-return]

    def _real(self, mask: Tensor) -> Tensor:
        """Up to the last word, an unknown one between them included; one entry at least."""
        upto = mask.flip(1).cumsum(1).flip(1) > 0
        return upto | (torch.arange(mask.shape[1], device=mask.device) == 0)


class ClipQuestion(nn.Module):
    """CLIP's frozen sentence and word features, each through a layer of its own.

    The start token is dropped unless ``start``: CLIP's text tower is causal, so its vector is the
    same for every question. Words are positions 1 (0) to the end-of-text position inclusive.

    Args:
        text_width: width of the sentence's features.
        word_width: width of those of the words; None: the same.
        width: D.
        words: also give words (else ``Question.words`` is empty and there is no layer for them).
        raw: pass features through as they are where the widths agree.
        start: the start token is a word, too.

    Shapes:
        sentence [B, text_width], words [B, 77, text_width], eot [B] → `Question`, N = 76 or 77
    """

    def __init__(
        self,
        text_width: int,
        width: int,
        *,
        words: bool,
        raw: bool = False,
        start: bool = False,
        word_width: int | None = None,
    ) -> None:
        super().__init__()
        self.has_words = words
        self.first = 0 if start else 1

        def layer(wide: int) -> nn.Module:
            return nn.Identity() if raw and wide == width else nn.Linear(wide, width)

        self.sentence = layer(text_width)
        self.words = layer(word_width or text_width) if words else None

    def forward(self, inputs: HeadInput) -> Question:
        """Project the features in ``inputs``.

        Raises:
            ValueError: word features are wanted and missing, or ``eot`` lies outside them.
        """
        assert inputs.sentence is not None  # Head.check
        sentence = self.sentence(inputs.sentence)
        if self.words is None:
            none = sentence.new_zeros(len(sentence), 0, sentence.shape[-1])
            return Question(sentence, none, none[..., 0].bool(), None)
        if inputs.words is None or inputs.eot is None:
            raise ValueError("words or eot is missing; expected both: this head attends to words")
        last = inputs.words.shape[1] - 1
        if at_hand(inputs.eot) and bool(((inputs.eot < 1) | (inputs.eot > last)).any()):
            raise ValueError(f"eot={inputs.eot.tolist()}; expected positions 1 to {last} of words")
        position = torch.arange(self.first, last + 1, device=inputs.eot.device)
        mask = position <= inputs.eot[:, None]
        return Question(sentence, self.words(inputs.words[:, self.first :]), mask, None)


class PositionsQuestion(nn.Module):
    """A learnt vector for every word at every place of a question, summed; no paper's.

        q = Σ_n E[min(n, POSITIONS − 1), w_n]

    The words of a template stand at fixed places, so that q holds each slot by itself; an LSTM has
    to carry the first ones through all that follows.

    Shapes:
        tokens [B, N] → `Question`
    """

    POSITIONS = 16
    """Later words share the last one; MUSIC-AVQA's questions have 14 words at most."""

    def __init__(self, vocabulary: int, width: int) -> None:
        super().__init__()
        self.vocabulary = vocabulary
        self.embedding = nn.Embedding(self.POSITIONS * vocabulary, width)
        nn.init.normal_(self.embedding.weight, std=self.POSITIONS**-0.5)

    def forward(self, inputs: HeadInput) -> Question:
        """Encode ``inputs.tokens``."""
        assert inputs.tokens is not None  # Head.check
        return self.encode(inputs.tokens)

    def encode(self, tokens: Tensor) -> Question:
        """Encode word numbers ``[B, N]``, right-padded with 0."""
        mask = tokens != 0
        place = torch.arange(tokens.shape[1], device=tokens.device).clamp(max=self.POSITIONS - 1)
        words = self.embedding(place * self.vocabulary + tokens)
        sentence = torch.where(mask.unsqueeze(-1), words, 0).sum(1)
        return Question(sentence, words, mask, None)


QuestionEncoder = LstmQuestion | PositionsQuestion | ClipQuestion


def question_encoder(
    options: HeadOptions,
    *,
    words: bool,
    raw: bool = False,
    join_cell: bool = True,
    start: bool = False,
) -> QuestionEncoder:
    """The encoder that ``options.question`` names."""
    if options.question == "positions":
        return PositionsQuestion(options.vocabulary, options.width)
    if options.question == "lstm":
        return LstmQuestion(
            options.vocabulary,
            options.width,
            pack=options.pack,
            forget_bias=options.forget_bias,
            join_cell=join_cell,
        )
    return ClipQuestion(
        *(options.text_width, options.width),
        words=words,
        raw=raw,
        start=start,
        word_width=options.width_of("words"),
    )


class AnswerLayer(nn.Module):
    """The last layer: FC(D→C), or the product with projected option texts.

    Multiple choice: logit_o = ⟨e, FC(text_width→D)(t_o / |t_o|)⟩, one layer shared by all
    options, so permuting the options permutes the logits; missing options get −inf. None of the
    papers describes its multiple-choice form; this one changes nothing before ``e``.

    Shapes:
        e [B, D] → [B, C] or [B, O]
    """

    def __init__(self, options: HeadOptions) -> None:
        super().__init__()
        self.choices = options.answer == "choices"
        if self.choices:
            self.layer = nn.Linear(options.text_width, options.width)
        else:
            self.layer = nn.Linear(options.width, options.num_answers)

    def forward(self, e: Tensor, inputs: HeadInput) -> Tensor:
        """Logits of the answers."""
        if not self.choices:
            return self.layer(e)  # type: ignore[no-any-return]
        assert inputs.choices is not None  # Head.check
        logits = torch.einsum("bd,bod->bo", e, self.layer(F.normalize(inputs.choices, dim=-1)))
        if inputs.choice_valid is not None:
            logits = logits.masked_fill(~inputs.choice_valid, -math.inf)
        return logits
