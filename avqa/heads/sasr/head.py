"""SaSR-Net: tokens of instrument classes make sound and picture source-aware, then AVST's steps."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from avqa.heads._parts.blocks import AnswerLayer, QuestionBlock, masked_mean, question_encoder
from avqa.heads._parts.evidence import Evidence
from avqa.heads._parts.grounding import (
    MatchClassifier,
    UnitMap,
    audio_layer,
    draw_negatives,
    match_loss,
    picture_layer,
)
from avqa.heads._parts.head import Head as BaseHead
from avqa.heads._parts.head import HeadInput, HeadOptions, HeadOutput
from avqa.heads._parts.paper import Ablation, Figures, Paper, Recipe, row
from avqa.heads.sasr.official import OfficialSources
from avqa.heads.sasr.sources import PaperSources, Sources, dot_attention

PAPER = Paper(
    title="SaSR-Net: Source-Aware Semantic Representation Network for Enhancing "
    "Audio-Visual Question Answering",
    venue="Findings of EMNLP 2024",
    url="https://arxiv.org/abs/2411.04933",
    recipe=Recipe(
        1e-4,
        batch_size=16,
        epochs=80,
        step_epochs=16,
        gamma=0.3,
        stride_seconds=6,
        visual="resnet18",
        note="the released loop leaves each epoch after its first batch",
    ),
    figures=(
        Figures(
            "SaSR-Net",
            "as another paper's comparison table prints it",
            row(
                *(77.83, 67.59, 73.06, 75.84, 76.13, 74.83),
                *(81.49, 73.43, 73.64, 79.15, 77.46, 74.66, 74.21),
            ),
            consistent=False,
            note="the visual average lies below both its parts; the cells average to 76.16, not "
            "74.21; the prose gives 73.56 as audio average; AV-Comp is 7 to 17 points above "
            "every other method",
        ),
        Figures("SaSR-Net, AVQA", "the paper's AVQA table", {"AVQA": 89.9}),
    ),
    parameters_millions=65.117283,
    parameters_note="53,424,635 of the released network (variant=official; 1,537 of them unused) "
    "and 11,692,648 of a ResNet-18 that is built, counted and never run; the printed equations "
    "make 8,988,868 (slt_attn=plain)",
)

ABLATIONS = {
    "full": Ablation({}, {"All": 74.21}),
    "w/o slt and sasr": Ablation({"slt": False, "sasr": False}, {"All": 70.31}),
    "w/o sasr": Ablation({"sasr": False}, {"All": 72.16}),
    "w/o slt": Ablation({"slt": False}, {"All": 71.78}),
    "w/o sa and ta": Ablation(
        {"sa": False, "ta": False},
        {"All": 70.17},
        "the text then says both together add 1.03, but 74.21 - 70.17 is 4.04",
    ),
}

_PAPER_ONLY = ("slt", "sasr", "sa", "ta", "slt_attn", "residual", "sa_norm", "temporal", "shortcut")


@dataclass(frozen=True, kw_only=True)
class Options(HeadOptions):
    """The paper's switches and what its equations leave open.

    ``variant="official"`` is one fixed network: of the options below it has ``ground_temp``
    and ``num_sources`` only.
    """

    variant: Literal["paper", "official"] = "paper"
    """The printed equations, or the network the authors run."""
    ground_temp: float = 1.0
    """Divides the scores of positions before their softmax. 1 as published leaves the map nearly
    flat; 0.1 is worth a try."""
    num_sources: int = 22
    """G, classes of sources (instruments), one token each."""
    slt: bool = True
    """Source-wise learnable tokens: attention among features and tokens."""
    sasr: bool = True
    """Source-aware semantic representation: tokens gather features and give back."""
    sa: bool = True
    """Spatial attention of the sound over the map, and the match loss."""
    ta: bool = True
    """Temporal attention of the question; means over time without it."""
    slt_attn: Literal["block", "plain"] = "block"
    """A pre-norm transformer layer, or the printed form, which has no parameters."""
    residual: bool = True
    """Keep the features themselves beside what the tokens give back; not printed."""
    sa_norm: Literal["cosine", "dot"] = "cosine"
    """Rows of the map and sound of length 1, or the printed products, which saturate."""
    temporal: Literal["plain", "qblock"] = "plain"
    """The printed attention, which has no parameters, or AVST's block."""
    shortcut: Literal["vg", "vsa"] = "vg"
    """Visual mean added before the fusion: source-aware (printed) or grounded features."""

    @property
    def has_tokens(self) -> bool:
        """Whether there are source tokens at all."""
        return self.slt or self.sasr

    def problems(self) -> list[str]:
        """Complaints about values or combinations, one each."""
        found = super().problems()
        if self.width % 8:
            found.append(f"width={self.width}; expected a multiple of 8 (attention heads)")
        if not 0 < self.ground_temp < math.inf:
            found.append(f"ground_temp={self.ground_temp}; expected more than 0")
        if self.variant == "official":
            found += [
                f"{name}={getattr(self, name)} with variant=official; that network is fixed:"
                f" leave {name} out"
                for name in _PAPER_ONLY
                if getattr(self, name) != type(self).__dataclass_fields__[name].default
            ]
        return found


class Head(BaseHead):
    """Source-aware sound and pictures, spatial and temporal attention, fusion.

    Implements Yang et al., Findings of EMNLP 2024, Sec. 3 (steps 2 and 3: `SourceBranch`):

        1  sound       a_t = FC(ReLU(FC(audio_t))),  v̄_t = mean_p M_tp
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
                       pictures of another video and the same a^g

    Paper → here: T' → T, p_C → ``sources``, class tokens → Gt, F_dt (undefined) → a^g_t.
    Chosen where the paper is silent: what replaces a removed block: without SLT the features stay
    and G = Gt; without SaSR a^g = a^s; without SA v^sa = v^g; without TA u is the mean over time.
    A sample without any label is left out of L_source. Maps of another width than D pass a layer.
    Differs from the authors' code: see ``variant="official"`` and `OfficialSources`; its negative
    pass recomputes the audio, its labels are one row a question.

    Shapes:
        audio [B, T, audio_width], patch [B, T, P, visual_width] → logits [B, C]
    """

    FEATURES = ("audio", "patch")
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
        self.question = question_encoder(options, words=False)
        self.audio = audio_layer(options)
        self.picture = picture_layer(options)
        self.sources = OfficialSources(options) if official else PaperSources(options)
        if options.sa:
            self.visual = nn.Linear(2 * width, width)
            self.match = MatchClassifier(width)
            self.aux_weights["match"] = 0.5
        if options.has_tokens:
            self.source_audio, self.source_visual = nn.Linear(width, 1), nn.Linear(width, 1)
            self.token_class = nn.Linear(width, options.num_sources)
            self.aux_weights |= {"source": 0.5, "reg": 0.5}
        self.temporal_audio, self.temporal_visual = (TemporalAttention(options) for _ in range(2))
        self.fuse = nn.Linear(2 * width, width)
        self.answer = AnswerLayer(options)

    def forward(self, inputs: HeadInput, explain: bool = False) -> HeadOutput:
        """Answer a batch.

        Explains, as far as the options leave them: ``token_source_prob_audio`` and ``_visual``
        [B, G]; ``token_time_attn_audio`` and ``_visual`` [B, G, T] (a row sums to 1; official:
        a second's column does, its one token 1); ``spatial_attn`` [B, T, P];
        ``temporal_attn_audio`` and ``_visual`` [B, T]. 0 at padded seconds.
        """
        self.check(inputs)
        assert inputs.patch is not None
        valid, q = inputs.valid, self.question(inputs).sentence
        maps, a = self.picture(inputs.patch), self.audio(inputs.audio)
        v = maps.mean(-2)
        heard, seen = self.sources.hear(a, v, valid), self.sources.see(v, valid)
        located, spatial = self._locate(maps, heard.features, seen.features)
        u_a, w_a = self.temporal_audio(q, heard.features, valid)
        u_v, w_v = self.temporal_visual(q, located, valid)
        short = seen.features if self.shortcut == "vg" else located
        joined = [u_a + masked_mean(heard.features, valid), u_v + masked_mean(short, valid)]
        f = self.fuse(torch.cat(joined, -1).tanh())  # 6, [B, D]
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
            told |= self._told_by_tokens(heard, seen)
            if spatial is not None:
                told["spatial_attn"] = spatial * valid.unsqueeze(-1)
            output.explain.update({name: x for name, x in told.items() if x is not None})
        return output

    def evidence(self, inputs: HeadInput, output: HeadOutput) -> Evidence:
        """Temporal attention of both streams; patches by the spatial attention of the sound."""
        told = output.explain
        return Evidence.of_streams(
            told.get("temporal_attn_audio"),
            told.get("temporal_attn_visual"),
            inputs.valid,
            patches=told.get("spatial_attn"),
        )

    def _locate(self, maps: Tensor, a: Tensor, v: Tensor) -> tuple[Tensor, Tensor | None]:
        """Where the sound ``a`` is in the maps: v^sa [B, T, D] and weights [B, T, P]."""
        if not self.paper.sa:
            return v, None
        if self.paper.sa_norm == "cosine":
            unit = UnitMap.of(maps)
            s = (unit.cosine(a) / self.paper.ground_temp).softmax(-1)  # 4, [B, T, P]
            g = unit.average(s)  # 4, [B, T, D]
        else:
            products = (maps @ a.unsqueeze(-1)).squeeze(-1)
            s = (products / self.paper.ground_temp).softmax(-1)  # 4 as printed, [B, T, P]
            g = (s.unsqueeze(-2) @ maps).squeeze(-2)
        return self.visual(torch.cat([v, g], -1).tanh()), s  # 4, [B, T, D]

    def _source_losses(self, inputs: HeadInput, heard: Sources, seen: Sources) -> dict[str, Tensor]:
        if self.sources.tokens is None:
            return {}
        number = torch.arange(self.paper.num_sources, device=inputs.valid.device)
        reg = F.cross_entropy(self.token_class(self.sources.tokens), number)  # 7, scalar
        if inputs.sources is None:
            return {"source": torch.zeros_like(reg), "reg": reg}
        labels, weight = known_labels(inputs, self.paper.num_sources)
        scores = self._token_scores(heard, seen)
        sound, sight = (weighted_bce(x, labels, weight) for x in scores)
        return {"source": sound + sight, "reg": reg}  # 7, scalars

    def _token_scores(self, heard: Sources, seen: Sources) -> tuple[Tensor, Tensor]:
        """Logits of every class being heard and seen, [B, G] each."""
        sound, sight = self.source_audio(heard.tokens), self.source_visual(seen.tokens)
        return sound.squeeze(-1), sight.squeeze(-1)

    def _match_loss(self, inputs: HeadInput, a: Tensor, located: Tensor) -> dict[str, Tensor]:
        if not self.paper.sa or (others := draw_negatives(inputs)) is None:
            return {}
        maps = self.picture(others)
        seen = self.sources.see(maps.mean(-2), inputs.valid)
        apart, _ = self._locate(maps, a, seen.features)
        own, other = (self.match(torch.cat([a, x], -1)) for x in (located, apart))
        return {"match": match_loss(own, other, inputs.valid)}  # 7, scalar

    def _told_by_tokens(self, heard: Sources, seen: Sources) -> dict[str, Tensor | None]:
        if self.sources.tokens is None:
            return {}
        sound, sight = self._token_scores(heard, seen)
        return {
            "token_source_prob_audio": sound.sigmoid(),
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
