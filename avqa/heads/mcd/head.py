"""MCD: clues from sound and picture enrich the question, which then decides alone."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from avqa.heads._parts.blocks import AnswerLayer, Question, masked_mean
from avqa.heads._parts.evidence import Evidence, placed
from avqa.heads._parts.head import Head as BaseHead
from avqa.heads._parts.head import HeadInput, HeadOptions, HeadOutput
from avqa.heads._parts.paper import Ablation, Figures, Paper, Recipe, groups, row
from avqa.heads.mcd.aggregator import Aggregator, Clues, sample_frames
from avqa.heads.mcd.association import AssociationBlock
from avqa.heads.mcd.plain import PlainNetwork
from avqa.heads.mcd.text import (
    TextFusion,
    TextObject,
    attends_to_words,
    text_encoder,
    text_groups,
)

PAPER = Paper(
    title="Answering Diverse Questions via Text Attached with Key Audio-Visual Clues (MCD)",
    venue="arXiv 2024",
    url="https://arxiv.org/abs/2403.06679",
    recipe=Recipe(
        1e-3,
        batch_size=64,
        epochs=30,
        step_epochs=8,
        gamma=0.1,
        note="MUSIC-AVQA and AVQA alike; the frames are drawn anew at every step",
    ),
    figures=(
        Figures(
            name="MCD [Swin-V2-L]",
            source="paper",
            values=row(
                *(82.40, 67.39, 77.31, 80.45, 81.20, 81.06),
                *(83.83, 75.81, 70.63, 72.42, 67.42, 75.51, 76.12),
            ),
            consistent=False,
            note="the cells average to 76.87 / 80.83 / 74.34 / 76.51, not to the printed averages",
        ),
        Figures("MCD [ResNet-18]", "paper", groups(76.41, 79.73, 71.66, 74.64)),
        Figures(
            name="MCD [CLIP ViT-B/32]",
            source="paper",
            values=groups(76.29, 80.31, 73.37, 75.42),
            consistent=False,
            note="the group averages weigh to 75.73",
        ),
        Figures(
            name="MCD [Swin-V2-L], backbone table",
            source="paper",
            values=groups(77.31, 81.06, 75.51, 76.12),
            consistent=False,
            note="the group averages weigh to 77.30",
        ),
        Figures("MCD on AVQA", "paper", {"AVQA": 90.78}, note="90.8 where rounded"),
    ),
    parameters_millions=7.587,
    gflops=2.542,
    parameters_note="very likely without attention matrices (about 7.7 M here); all trainable:"
    " 16,408,618 with 93 words, 16,412,714 with the 8 type words",
)

_ORDER_ONLY = "printed totals lie under what their own groups weigh to: use for order only"
_ALIGNED = "row alignment of the source is damaged, the order within the three rows is inferred"
_NO_ATTENTION = {"self_attention": "none", "cross_query": "none"}


def _all(value: float, **avqa: float) -> dict[str, float]:
    return {"All": value, **avqa}


ABLATIONS = {
    "full": Ablation({}, groups(77.31, 81.06, 75.51, 76.12) | {"AVQA": 90.78}),
    "q": Ablation({"plain": "q"}, _all(51.24), "equals the template floor"),
    "a": Ablation({"plain": "a"}, _all(54.60)),
    "v": Ablation({"plain": "v"}, _all(61.98)),
    "qa": Ablation({"plain": "qa"}, _all(67.26)),
    "qv": Ablation({"plain": "qv"}, _all(68.31)),
    "qav": Ablation({"plain": "qav"}, _all(66.72)),
    "no_attention": Ablation(_NO_ATTENTION, _all(66.00)),
    **{
        f"self_{which}": Ablation(
            {"self_attention": which, "cross_query": "none"}, _all(value), _ALIGNED
        )
        for which, value in (("audio", 65.45), ("visual", 67.34), ("both", 68.24))
    },
    **{
        f"cross_{which}": Ablation(
            {"self_attention": "none", "cross_query": which}, _all(value), _ALIGNED
        )
        for which, value in (("audio", 69.12), ("visual", 70.34))
    },
    "cross_both": Ablation({"self_attention": "none"}, _all(71.35, AVQA=89.5), _ALIGNED),
    **{
        f"inter_{which}": Ablation({"cross_query": which}, _all(value), _ALIGNED)
        for which, value in (("audio", 72.04), ("visual", 74.54), ("both", 76.12))
    },
    "blocks_1": Ablation({"num_blocks": 1}, _all(76.01), "6.026 M, 2.173 GFLOPs as printed"),
    "blocks_2": Ablation({"num_blocks": 2}, _all(76.12), "7.587 M, 2.542 GFLOPs as printed"),
    "blocks_3": Ablation({"num_blocks": 3}, _all(75.98), "9.148 M, 2.850 GFLOPs as printed"),
    "lef_no_visual": Ablation({"lef": "no_visual"}, _all(72.22), _ORDER_ONLY),
    "lef_no_audio": Ablation({"lef": "no_audio"}, _all(74.82), _ORDER_ONLY),
    "lef_no_text": Ablation({"lef": "no_text"}, _all(73.12), _ORDER_ONLY),
    "lef_add": Ablation({"lef": "add"}, _all(75.08), _ORDER_ONLY),
    "no_loss_qv": Ablation({"loss_qv": False}, _all(74.95, AVQA=90.14), _ORDER_ONLY),
    "no_loss_qa": Ablation({"loss_qa": False}, _all(74.52, AVQA=90.32), _ORDER_ONLY),
    "no_loss_av": Ablation({"loss_av": False}, _all(75.63, AVQA=90.20), _ORDER_ONLY),
    "question_only_text": Ablation(
        {"text_objects": False}, {"A-Avg": 74.68, "V-Avg": 79.12, "AV-Avg": 72.18}
    ),
    "bilstm": Ablation(
        {"text_encoder": "bilstm"}, {"A-Avg": 76.84, "V-Avg": 81.12, "AV-Avg": 74.98}
    ),
    "bilstm_question_only_text": Ablation(
        {"text_encoder": "bilstm", "text_objects": False},
        {"A-Avg": 74.12, "V-Avg": 80.01, "AV-Avg": 72.95},
    ),
}


@dataclass(frozen=True, kw_only=True)
class Options(HeadOptions):
    """MCD's choices; values the paper does not give are marked."""

    text_objects: bool = True
    """Join the question with its type labels and keywords. The labels come with the annotation:
    an advantage over heads that do not read them."""
    text_encoder: Literal["lstm", "bilstm"] = "lstm"
    num_blocks: int = 2
    """N, association blocks."""
    self_attention: Literal["both", "audio", "visual", "none"] = "both"
    """Modalities that attend to themselves."""
    cross_query: Literal["both", "audio", "visual", "none"] = "both"
    """Modalities whose compressed vector asks the other; ``audio`` updates the visual branch."""
    compress: Literal["mean", "fc"] = "mean"
    """Compression of the other modality over time: its mean, or a learnt FC(T→1)."""
    num_seconds: int = 60
    """Weights of the learnt compression: the most seconds it can read."""
    cross: Literal["gate", "channel"] = "gate"
    """Cross term: product with the attended vector (Eq. 1), or a D×D mixing of channels."""
    norm: Literal["batch", "layer"] = "batch"
    aggregator: Literal["frames", "literal"] = "frames"
    """Attention over words and frames, or Eq. 6 as printed, where the question plays no role."""
    num_frames: int = 10
    """k, frames sampled per video (not given in the paper); even."""
    lef: Literal["full", "no_visual", "no_audio", "no_text", "add"] = "full"
    """Terms of the fusion of text with pooled sound and picture."""
    late_fusion: Literal["none", "add", "concat"] = "none"
    """Join the last block's pooled features before the answer, which the paper argues against."""
    loss_qv: bool = True
    loss_qa: bool = True
    loss_av: bool = True
    """In use only where both modalities have a cross term."""
    tau: float = 0.07
    """Temperature of the three losses (not given in the paper)."""
    skip_same_video: bool = True
    """Leave pairs of different questions about one video out of the losses' negatives."""
    plain: Literal["none", "q", "a", "v", "qa", "qv", "qav"] = "none"
    """A plain two-layer network of these inputs instead of everything above."""

    def problems(self) -> list[str]:
        """Complaints about values or combinations, one each."""
        found = super().problems()
        if self.num_frames % 2:
            found.append(f"num_frames={self.num_frames}; expected an even number")
        if not 0 < self.tau < math.inf:
            found.append(f"tau={self.tau}; expected more than 0")
        if self.text_encoder == "bilstm" and self.width % 2:
            found.append(f"width={self.width}; expected an even number with text_encoder='bilstm'")
        return found

    @property
    def uses_loss_av(self) -> bool:
        """Whether L_av is on and has both of its terms."""
        return self.loss_av and self.cross_query == "both"


def contrast(anchor: Tensor, other: Tensor, tau: float, video: Tensor | None) -> Tensor:
    """Tell a sample's pair from its pairs with other samples of the batch.

        L = mean_i −log exp(cos(anchor_i, other_i)/τ) / Σ_k exp(cos(anchor_i, other_k)/τ)

    Chosen where the paper is odd: as printed the negative terms are the *matched* scores of the
    other samples; read as the cross pairs (i, k). Pairs of different samples with one ``video``
    [B] leave the sum; the loss is 0 where nothing but the pair itself is left.

    Shapes:
        anchor [B, D], other [B, D] → scalar
    """
    scores = F.normalize(anchor, dim=-1) @ F.normalize(other, dim=-1).T / tau
    sample = torch.arange(len(anchor), device=anchor.device)
    if video is not None:
        same = (video[:, None] == video) & (sample[:, None] != sample)
        scores = scores.masked_fill(same, -math.inf)
    return F.cross_entropy(scores, sample)


class Streams(NamedTuple):
    """Both modalities before and after the association blocks."""

    low: tuple[Tensor, Tensor]
    """Audio and visual f_j [B, T, D]."""
    high: tuple[Tensor, Tensor]
    """Audio and visual f̂_j [B, T, D]."""
    cross: tuple[Tensor, Tensor] | None
    """m_a, m_v [B, D]: time means of the cross terms, summed over blocks; None without them."""


class Head(BaseHead):
    """Mutual correlation distillation (MCD).

    Sound and pictures meet in N association blocks (`AssociationBlock`, Eq. 1–5); a shared
    `Aggregator` (Eq. 6) finds clues in the features before (low) and after (high) them:

                 f̂_jq = ½ (clues(low_j) + clues(high_j))                         j = audio, visual
        Eq. 10   f_g = FC(drop(f_t ∘ (f_t + F_v + F_a))),  f_t = text object, F_j = mean_t low_j
                 f̂_q = FC([M_g f_g; M_v f̂_vq; M_a f̂_aq]),  e = tanh(drop(f̂_q)),  logits = FC(e)

    Losses, over the batch, with projections Θ and m_j the pooled cross terms:

        L = CE + L_qv + L_qa + 0.1 L_av
        L_qj = contrast(Θq f̂_q, Θj F_j),  L_av = contrast(m_v, m_a)

    Chosen where the paper is silent: k, τ, the activation (tanh) and both dropouts of the last
    step; FFN width D; running statistics and a mask for the batch norm. There is no code of the
    authors to compare with.

    Shapes:
        audio [B, T, audio_width], frame [B, T, visual_width] → logits [B, C]
        explain: clue_frames_audio, clue_frames_visual [B, k/2] (second, ascending) and
        clue_scores_audio, clue_scores_visual [B, k/2] of the high level; sampled_frames [B, k];
        frame_attn [B, k], word_attn [B, N], means over modalities and levels (not ``literal``);
        cosine_audio, cosine_visual [B] of f̂_q, each through its loss's projections
    Raises:
        ValueError: type or keyword tokens are missing with ``text_objects``; see also
            `MaskedNorm` and `TimeCompression`.
    """

    FEATURES = ("audio", "frame")
    # Added to every position alike just before a batch norm, which takes it away again.
    WITHOUT_GRADIENT = tuple(
        f"blocks.{n}.{m}.feed_forward.3.bias" for n in range(2) for m in ("audio", "visual")
    )

    def __init__(self, options: Options) -> None:
        super().__init__(options)
        self.options: Options = options
        width, dropout = options.width, options.dropout
        self.dropout = nn.Dropout(dropout)
        self.answer = AnswerLayer(options)
        self.plain = PlainNetwork(options) if options.plain != "none" else None
        if self.plain is not None:
            return
        self.audio = nn.Linear(options.audio_width, width)
        self.visual = nn.Linear(options.visual_width, width)
        self.question = text_encoder(options)
        self.blocks = nn.ModuleList(AssociationBlock(options) for _ in range(options.num_blocks))
        self.aggregator = Aggregator(options)
        self.text = TextObject(options) if options.text_objects else None
        self.fusion = TextFusion(options.lef, width, dropout)
        self.mix = nn.ModuleList(nn.Linear(width, width, bias=False) for _ in range(3))
        self.combine = nn.Linear(3 * width, width)
        self.late = nn.Linear(3 * width, width) if options.late_fusion == "concat" else None
        self._build_losses(options)

    def _build_losses(self, options: Options) -> None:
        self.project = nn.ModuleDict()
        for name, on in (("visual", options.loss_qv), ("audio", options.loss_qa)):
            if on:
                self.project[name] = nn.Linear(options.width, options.width)
                self.aux_weights["q" + name[0]] = 1.0
        if self.project:
            self.project["question"] = nn.Linear(options.width, options.width)
        if options.uses_loss_av:
            self.aux_weights["av"] = 0.1

    @property
    def needs(self) -> tuple[str, ...]:
        """Fields of `HeadInput` that must be given, for these options."""
        options = self.options
        kinds = {"audio": "a", "frame": "v", "tokens": "q", "sentence": "q"}
        read = "qav" if options.plain == "none" else options.plain
        unread = {name for name, kind in kinds.items() if kind not in read}
        usual = (name for name in super().needs if name not in unread)
        words = ("words", "eot") if options.question == "clip" and attends_to_words(options) else ()
        return (*usual, *words, *text_groups(options))

    def check(self, inputs: HeadInput, needs: tuple[str, ...] | None = None) -> None:
        """Refuse a batch this head cannot read; see `avqa.heads.Head.check`."""
        for name in text_groups(self.options):
            if getattr(inputs, name) is None:
                raise ValueError(
                    f"{name} is missing; expected [B, N] word numbers with text_objects=true;"
                    " give them (0 alone where a question has none) or set text_objects=false"
                )
        super().check(inputs, needs)

    def forward(self, inputs: HeadInput, explain: bool = False) -> HeadOutput:
        """Answer a batch; see `Head`."""
        self.check(inputs)
        if self.plain is not None:
            e = self.dropout(self.plain(inputs)).tanh()
            return HeadOutput(self.answer(e, inputs))
        audio, visual = self.audio(inputs.audio), self.visual(inputs.frame)  # f_a, f_v [B, T, D]
        question = self.question(inputs)
        pooled = [masked_mean(x, inputs.valid) for x in (audio, visual)]
        streams = self._associate(audio, visual, inputs.valid)
        index = sample_frames(inputs.valid, self.options.num_frames, random=self.training)
        clues = self._clues(streams, index, inputs.valid, question)
        text = question.sentence
        if self.text is not None:
            text = self.text(text, inputs, self.question)
        guided = self.fusion(text, pooled[1], pooled[0])  # Eq. 10, [B, D]
        found = [(low.vector + high.vector) / 2 for low, high in clues]  # f̂_aq, f̂_vq [B, D]
        parts = zip(self.mix, (guided, found[1], found[0]), strict=True)
        q = self.combine(torch.cat([mix(x) for mix, x in parts], -1))  # f̂_q [B, D]
        e = self.dropout(self._late_fusion(q, streams, inputs.valid)).tanh()
        losses = self._losses(q, pooled, streams, inputs.video) if self.training else {}
        found_out = self._explain(q, pooled, clues, index) if explain else {}
        return HeadOutput(self.answer(e, inputs), losses, found_out)

    def evidence(self, inputs: HeadInput, output: HeadOutput) -> Evidence:
        """The high level's clue frames by their scores; words as the aggregator weighs them."""
        told = output.explain
        if not told:
            return Evidence()
        sound, picture = (
            placed(told[f"clue_scores_{name}"], told[f"clue_frames_{name}"], inputs.valid.shape[1])
            for name in ("audio", "visual")
        )
        return Evidence.of_streams(sound, picture, inputs.valid, words=told.get("word_attn"))

    def _associate(self, audio: Tensor, visual: Tensor, valid: Tensor) -> Streams:
        low, crosses = (audio, visual), []
        for block in self.blocks:
            audio, visual, *cross = block(audio, visual, valid)
            crosses.append(cross)
        if not self.options.uses_loss_av:
            return Streams(low, (audio, visual), None)
        m_a, m_v = (
            torch.stack([masked_mean(x, valid) for x in layers]).sum(0)
            for layers in zip(*crosses, strict=True)
        )
        return Streams(low, (audio, visual), (m_a, m_v))

    def _clues(
        self, streams: Streams, index: Tensor, valid: Tensor, question: Question
    ) -> list[tuple[Clues, Clues]]:
        """Low and high clues of audio, then of visual."""
        return [
            (
                self.aggregator(low, index, valid, question),
                self.aggregator(high, index, valid, question),
            )
            for low, high in zip(streams.low, streams.high, strict=True)
        ]

    def _late_fusion(self, q: Tensor, streams: Streams, valid: Tensor) -> Tensor:
        if self.options.late_fusion == "none":
            return q
        audio, visual = (masked_mean(x, valid) for x in streams.high)
        if self.late is None:
            return q + visual + audio
        return self.late(torch.cat([q, visual, audio], -1))  # type: ignore[no-any-return]

    def _losses(
        self, q: Tensor, pooled: list[Tensor], streams: Streams, video: Tensor | None
    ) -> dict[str, Tensor]:
        tau = self.options.tau
        video = video if self.options.skip_same_video else None
        losses = {}
        for name, x in zip(("audio", "visual"), pooled, strict=True):
            if name in self.project:
                asked = self.project["question"](q)
                losses["q" + name[0]] = contrast(asked, self.project[name](x), tau, video)
        if streams.cross is not None:
            m_a, m_v = streams.cross
            losses["av"] = contrast(m_v, m_a, tau, video)
        return losses

    def _explain(
        self, q: Tensor, pooled: list[Tensor], clues: list[tuple[Clues, Clues]], index: Tensor
    ) -> dict[str, Tensor]:
        found = {"sampled_frames": index}
        for name, (_, high), x in zip(("audio", "visual"), clues, pooled, strict=True):
            found[f"clue_frames_{name}"] = high.frames
            found[f"clue_scores_{name}"] = high.scores
            if name in self.project:
                asked = self.project["question"](q)
                found[f"cosine_{name}"] = F.cosine_similarity(asked, self.project[name](x))
        levels = [level for pair in clues for level in pair]
        for name in ("frame_attn", "word_attn"):
            maps = [x for level in levels if (x := getattr(level, name)) is not None]
            if maps:
                found[name] = torch.stack(maps).mean(0)
        return found
