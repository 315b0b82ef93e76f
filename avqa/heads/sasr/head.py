"""SaSR-Net: tokens of instrument classes make audio and frame source-aware, then AVST's steps."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from avqa.heads._parts.blocks import AnswerLayer, QuestionBlock, masked_mean, question_encoder
from avqa.heads._parts.evidence import Evidence
from avqa.heads._parts.grounding import (
    MatchClassifier,
    RawMap,
    UnitMap,
    audio_layer,
    draw_negatives,
    match_loss,
    picture_layer,
)
from avqa.heads._parts.head import Head as BaseHead
from avqa.heads._parts.head import HeadInput, HeadOutput
from avqa.heads.sasr.official import OfficialSources
from avqa.heads.sasr.options import Options
from avqa.heads.sasr.sources import PaperSources, Sources, dot_attention


class Aware(NamedTuple):
    """A video after its sources were told apart."""

    heard: Sources
    seen: Sources
    located: Tensor
    """v^sa [V, T, D]."""
    attention: Tensor | None
    """Where the audio was looked for [V, T, P]; None without SA."""


class Head(BaseHead):
    """Source-aware audio and frames, spatial and temporal attention, fusion.

    Implements Yang et al., Findings of EMNLP 2024, Sec. 3 (steps 2 and 3: `SourceBranch`):

        1  audio       a_t = FC(ReLU(FC(audio_t))),  v̄_t = mean_p M_tp
        2  SLT         [a^s; G^a] = S([a; Gt]),  [v^s; G^v] = S([v̄; Gt])
        3  SaSR        a^g, G^a' from a^s, G^a;  v^g, G^v' from v^s, G^v
        4  SA          s_t = softmax_p(cos(M_tp, a^g_t) / ground_temp)
                       g_t = Σ_p s_tp M_tp / |M_tp|,  v^sa_t = FC(tanh([v^g_t; g_t]))
        5  TA          u_a = σ(q a^gᵀ / √D) a^g,  u_v = σ(q v^saᵀ / √D) v^sa
        6  answer      f = FC(tanh([u_a + mean_t a^g_t ; u_v + mean_t v^g_t]))
                       e = tanh(f ∘ q),  logits = FC(e)
        7  L_source    BCE(FC(G^a'), labels) + BCE(FC(G^v'), labels)
           L_reg       CE(FC(Gt), [0 … G-1])
           L_match     CE(MLP([a^g_t; v^sa_t]), 1) and CE(MLP([a^g_t; v^sa'_t]), 0), v^sa' from
                       frames of another video and the same a^g

    Paper → here: T' → T, p_C → ``sources``, class tokens → Gt, F_dt (undefined) → a^g_t.
    Chosen where the paper prints otherwise (each an option, all of them the row ``as_printed``):
    S is a transformer layer, the features stay beside what tokens give, cosines, two layers for
    the audio, G^a' in the third line of Sec. 3.3, key and value apart, q = FC(tanh([h; c])), and
    L_match the mean of a classifier's cross-entropies: as printed it is their sum, twice that.
    Chosen where the paper is silent: what replaces a removed block: without SLT the features stay
    and G = Gt; without SaSR a^g = a^s; without SA v^sa = v^g; without TA u is the mean over time.
    A sample without any label is left out of L_source, and one without sound of its audio's term;
    without sound a^g_t = 0, so that s_t is the same everywhere. Maps of another width than D pass a
    layer.
    Differs from the authors' code: see ``variant="official"`` and `OfficialSources`; its negative
    pass recomputes the audio, its labels are one row a question.

    Shapes:
        audio [B, T, audio_width], patch [B, T, P, visual_width] → logits [B, C]
    """

    FEATURES = ("audio", "patch")
    PROJECTIONS = {"q": "question", "a": "audio", "v": "picture"}
    # The first are held by the official network and never run. A key's bias shifts all scores of
    # a query alike: a softmax does not see it.
    WITHOUT_GRADIENT = (
        "sources.unused.",
        *(
            f"sources.{m}.{ca}.key.bias"
            for m in ("audio", "visual")
            for ca in ("gather", "scatter")
        ),
    )

    def __init__(self, options: Options) -> None:
        super().__init__(options)
        width, official = options.width, options.variant == "official"
        self.paper = options
        self.shortcut = "vsa" if official else options.shortcut
        joined = options.question_state == "joined"
        self.question = question_encoder(options, words=False, join_cell=joined)
        self.audio = (
            audio_layer(options)
            if options.sound == "mlp"
            else nn.Linear(options.audio_width, width)
        )
        self.picture = picture_layer(options)
        self.sources = OfficialSources(options) if official else PaperSources(options)
        if options.sa:
            self.visual = nn.Linear(2 * width, width)
            classifies = options.match == "classifier"
            self.match = MatchClassifier(width) if classifies else nn.Linear(width, 2)
            self.aux_weights["match"] = 0.5
        if options.has_tokens:
            self.source_audio, self.source_visual = nn.Linear(width, 1), nn.Linear(width, 1)
            self.token_class = nn.Linear(width, options.num_sources)
            self.aux_weights |= {"source": 0.5, "reg": 0.5}
        self.temporal_audio, self.temporal_visual = (TemporalAttention(options) for _ in range(2))
        self.fuse = nn.Linear(2 * width, width)
        self.product = options.product()
        self.answer = AnswerLayer(options)

    def encode(self, inputs: HeadInput) -> Aware:
        """Steps 1 to 4: what is heard, seen and where, by the sources."""
        assert inputs.patch is not None  # check
        maps, a = self.picture(inputs.patch), inputs.only_heard(self.audio(inputs.audio))
        v = maps.mean(-2)
        heard, seen = self.sources.hear(a, v, inputs.heard), self.sources.see(v, inputs.valid)
        heard = heard._replace(features=inputs.only_heard(heard.features))
        return Aware(heard, seen, *self._locate(maps, heard.features, seen.features))

    def decide(self, encoded: Aware, inputs: HeadInput, explain: bool = False) -> HeadOutput:
        """Steps 5 to 7.

        Explains, as far as the options leave them: ``token_source_prob_audio`` and ``_visual``
        [B, G]; ``token_time_attn_audio`` and ``_visual`` [B, G, T] (a row sums to 1; official:
        a second's column does, its one token 1); ``spatial_attn`` [B, T, P];
        ``temporal_attn_audio`` and ``_visual`` [B, T]. 0 at padded seconds, of the audio also where
        there is none; a video without sound has no source in it.
        """
        heard, seen, located, spatial = encoded
        q, each, sound, valid = (
            self.question(inputs).sentence,
            inputs.each,
            inputs.heard,
            inputs.valid,
        )
        u_a, w_a = self.temporal_audio(q, each(heard.features), each(sound))
        u_v, w_v = self.temporal_visual(q, each(located), each(valid))
        short = seen.features if self.shortcut == "vg" else located
        means = each(masked_mean(heard.features, sound)), each(masked_mean(short, valid))
        both = u_a + means[0], u_v + means[1]
        f = self.fuse(torch.cat(both, -1).tanh())  # 6, [B, D]
        f = f if self.product is None else f + self.product(*both)
        output = HeadOutput(self.answer((f * q).tanh(), inputs))
        if self.training:
            output.aux_losses.update(self._source_losses(inputs, heard, seen))
            output.aux_losses.update(self._match_loss(inputs, heard.features, located))
        if explain:
            told = {
                "spatial_attn": spatial,
                "temporal_attn_audio": w_a,
                "temporal_attn_visual": w_v,
            }
            told |= self._told_by_tokens(inputs, heard, seen)
            if spatial is not None:
                told["spatial_attn"] = spatial * valid.unsqueeze(-1)
            output.explain.update({name: x for name, x in told.items() if x is not None})
        return output

    def evidence(self, inputs: HeadInput, output: HeadOutput) -> Evidence:
        """Temporal attention of both streams; patches by the spatial attention of the audio."""
        told = output.explain
        return Evidence.of_streams(
            told.get("temporal_attn_audio"),
            told.get("temporal_attn_visual"),
            inputs.valid,
            heard=inputs.heard,
            patches=told.get("spatial_attn"),
        )

    def _locate(self, maps: Tensor, a: Tensor, v: Tensor) -> tuple[Tensor, Tensor | None]:
        """Where the audio ``a`` is in the maps: v^sa [B, T, D] and weights [B, T, P]."""
        if not self.paper.sa:
            return v, None
        seen = UnitMap.of(maps) if self.paper.sa_norm == "cosine" else RawMap(maps)
        s = (seen.score(a) / self.paper.ground_temp).softmax(-1)  # 4, [B, T, P]
        g = seen.average(s)  # 4, [B, T, D]
        return self.visual(torch.cat([v, g], -1).tanh()), s  # 4, [B, T, D]

    def _source_losses(self, inputs: HeadInput, heard: Sources, seen: Sources) -> dict[str, Tensor]:
        if self.sources.tokens is None:
            return {}
        number = torch.arange(self.paper.num_sources, device=inputs.valid.device)
        reg = F.cross_entropy(self.token_class(self.sources.tokens), number)  # 7, scalar
        if inputs.sources is None:
            return {"source": torch.zeros_like(reg), "reg": reg}
        labels, weight = known_labels(inputs, self.paper.num_sources)
        scores = [inputs.each(x) for x in self._token_scores(heard, seen)]
        weights = weight, weight
        if inputs.audio_valid is not None:
            weights = weight * inputs.each(inputs.heard.any(1, keepdim=True)), weight
        sound, sight = (weighted_bce(x, labels, w) for x, w in zip(scores, weights, strict=True))
        return {"source": sound + sight, "reg": reg}  # 7, scalars

    def _token_scores(self, heard: Sources, seen: Sources) -> tuple[Tensor, Tensor]:
        """Logits of every class being heard and seen, [B, G] each."""
        sound, sight = self.source_audio(heard.tokens), self.source_visual(seen.tokens)
        return sound.squeeze(-1), sight.squeeze(-1)

    def _match_loss(self, inputs: HeadInput, a: Tensor, located: Tensor) -> dict[str, Tensor]:
        if not self.paper.sa or (others := draw_negatives(inputs)) is None:
            return {}
        maps = self.picture(others.patch)
        seen = self.sources.see(maps.mean(-2), inputs.valid)
        apart, _ = self._locate(maps, a, seen.features)
        if self.paper.match == "linear":
            loss = match_loss(self.match(located), self.match(apart), others.weight)
            return {"match": 2 * loss}  # 7 as printed: a sum of two means
        own, other = (self.match(torch.cat([a, x], -1)) for x in (located, apart))
        return {"match": match_loss(own, other, others.weight)}  # 7, scalar

    def _told_by_tokens(
        self, inputs: HeadInput, heard: Sources, seen: Sources
    ) -> dict[str, Tensor | None]:
        if self.sources.tokens is None:
            return {}
        sound, sight = self._token_scores(heard, seen)
        return {
            "token_source_prob_audio": sound.sigmoid() * inputs.heard.any(1, keepdim=True),
            "token_source_prob_visual": sight.sigmoid(),
            "token_time_attn_audio": heard.time_attention,
            "token_time_attn_visual": seen.time_attention,
        }


class TemporalAttention(nn.Module):
    """The question's attention over seconds.

        plain    u = σ(q xᵀ / √D) x
        qblock   u = QBlock(q, x)

    Without temporal attention (``ta=False``) the mean over time.

    Shapes:
        q [B, D], x [B, T, D], valid [B, T] → u [B, D], weights [B, T] (None for the mean)
    """

    def __init__(self, options: Options) -> None:
        super().__init__()
        self.attends, self.dropout = options.ta, options.dropout
        learnt = options.variant == "official" or options.temporal == "qblock"
        self.block = (
            QuestionBlock(options.width, options.dropout) if learnt and self.attends else None
        )

    def forward(self, q: Tensor, x: Tensor, valid: Tensor) -> tuple[Tensor, Tensor | None]:
        """Gather ``x`` over time."""
        if not self.attends:
            return masked_mean(x, valid), None
        if self.block is not None:
            return self.block(q, x, valid)  # type: ignore[no-any-return]
        rate = self.dropout if self.training else 0.0
        u, weights = dot_attention(q.unsqueeze(1), x, x, valid, rate)  # 5, [B, 1, D]
        return u.squeeze(1), weights.squeeze(1)


def known_labels(inputs: HeadInput, num_sources: int) -> tuple[Tensor, Tensor]:
    """Labels and their weights, 0 for samples without any label.

    A sample has a label where a source is known to be there (label and weight over 0) or, with
    ``source_weight``, known to be absent (weight 1). Labels of small weight, as given to classes
    nothing is known about, do not make a sample count.

    Shapes:
        sources, source_weight [B, G] → labels [B, G], weight [B, G]

    Raises:
        ValueError: there is not one label or weight for each source.
    """
    labels, weight = inputs.sources, inputs.source_weight
    assert labels is not None
    for name, given in (("sources", labels), ("source_weight", weight)):
        if given is not None and given.shape[1] != num_sources:
            raise ValueError(
                f"{name} has {given.shape[1]} classes; expected num_sources={num_sources}"
            )
    if weight is None:
        return labels, (labels > 0).any(1, keepdim=True).to(labels.dtype).expand_as(labels)
    known = ((labels > 0) & (weight > 0)) | (weight >= 1)
    return labels, weight * known.any(1, keepdim=True)


def weighted_bce(scores: Tensor, labels: Tensor, weight: Tensor) -> Tensor:
    """Weighted mean of the binary cross-entropy of logits; 0 where no weight is.

    Shapes:
        scores, labels, weight [B, G] → scalar
    """
    loss = F.binary_cross_entropy_with_logits(
        scores, labels.to(scores.dtype), weight, reduction="sum"
    )
    total = weight.sum()
    return loss / torch.where(total > 0, total, torch.ones_like(total))
