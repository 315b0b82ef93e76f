"""MCD: clues from audio and frame enrich the question, which then decides alone."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from avqa.heads._parts.blocks import AnswerLayer, Question, masked_mean
from avqa.heads._parts.evidence import Evidence, placed
from avqa.heads._parts.head import Head as BaseHead
from avqa.heads._parts.head import HeadInput, HeadOutput
from avqa.heads.mcd.aggregator import Aggregator, Clues, sample_frames
from avqa.heads.mcd.association import AssociationBlock
from avqa.heads.mcd.options import Options
from avqa.heads.mcd.plain import PlainNetwork
from avqa.heads.mcd.text import (
    TextFusion,
    TextObject,
    attends_to_words,
    text_encoder,
    text_groups,
)


def contrast(
    anchor: Tensor, other: Tensor, tau: float, video: Tensor | None, negatives: str = "cross"
) -> Tensor:
    """Tell a sample's pair from its pairs with other samples of the batch.

        cross     L = mean_i −log exp(cos(anchor_i, other_i)/τ) / Σ_k exp(cos(anchor_i, other_k)/τ)
        matched   the same with Σ_k exp(cos(anchor_k, other_k)/τ), as Eq. 11 prints it

    Pairs of different samples with one ``video`` [B] leave the sum; the loss is 0 where nothing
    but the pair itself is left.

    Shapes:
        anchor [B, D], other [B, D] → scalar
    """
    anchor, other = F.normalize(anchor, dim=-1), F.normalize(other, dim=-1)
    if negatives == "matched":
        scores = (anchor * other).sum(-1).expand(len(anchor), -1) / tau  # Eq. 11, row i: all k
    else:
        scores = anchor @ other.T / tau
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

    Audio and frames meet in N association blocks (`AssociationBlock`, Eq. 1–5); a shared
    `Aggregator` (Eq. 6) finds clues in the features before (low) and after (high) them:

                 f̂_jq = ½ (clues(low_j) + clues(high_j))                         j = audio, visual
        Eq. 10   f_g = FC(drop(f_t ∘ (f_t + F_v + F_a))),  f_t = text object, F_j = mean_t low_j
                 f̂_q = FC([M_g f_g; M_v f̂_vq; M_a f̂_aq]),  e = tanh(drop(f̂_q)),  logits = FC(e)

    Losses, over the batch, with projections Θ and m_j the pooled cross terms:

        L = CE + L_qv + L_qa + 0.1 L_av
        L_qj = contrast(Θq f̂_q, Θj F_j),  L_av = contrast(m_v, m_a)

    Chosen where the paper is silent: k, τ, the activation (tanh) and both dropouts of the last
    step; dropout 0.1 wherever else there is one (attention weights, FFN, residual branches, LEF);
    ½ and ½ for the low and the high level, of which it says only that both are used; FFN width D;
    running statistics and a mask for the batch norm. There is no code of the authors to compare
    with.
    Differs from the paper: the losses' negatives (`contrast`).

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

    def check(self, inputs: HeadInput, needs: tuple[str, ...] | None = None) -> HeadInput:
        """Refuse a batch this head cannot read; see `avqa.heads.Head.check`."""
        for name in text_groups(self.options):
            if getattr(inputs, name) is None:
                raise ValueError(
                    f"{name} is missing; expected [B, N] word numbers with text_objects=true;"
                    " give them (0 alone where a question has none) or set text_objects=false"
                )
        return super().check(inputs, needs)

    def forward(self, inputs: HeadInput, explain: bool = False) -> HeadOutput:
        """Answer a batch; see `Head`."""
        inputs = self.check(inputs)
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
        options, losses = self.options, {}
        video = video if options.skip_same_video else None

        def loss(anchor: Tensor, other: Tensor) -> Tensor:
            return contrast(anchor, other, options.tau, video, options.negatives)

        for name, x in zip(("audio", "visual"), pooled, strict=True):
            if name in self.project:
                asked = self.project["question"](q)
                losses["q" + name[0]] = loss(asked, self.project[name](x))
        if streams.cross is not None:
            m_a, m_v = streams.cross
            losses["av"] = loss(m_v, m_a)
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
