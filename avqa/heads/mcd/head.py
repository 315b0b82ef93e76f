"""MCD: clues from audio and frame enrich the question, which then decides alone."""

from __future__ import annotations

import math
from collections.abc import Callable
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
    anchor: Tensor,
    other: Tensor,
    tau: float,
    video: Tensor | None,
    negatives: str = "cross",
    there: Tensor | None = None,
) -> Tensor:
    """Tell a sample's pair from its pairs with other samples of the batch.

        cross     L = mean_i −log exp(cos(anchor_i, other_i)/τ) / Σ_k exp(cos(anchor_i, other_k)/τ)
        matched   the same with Σ_k exp(cos(anchor_k, other_k)/τ), as Eq. 11 prints it

    Pairs of different samples with one ``video`` [B] leave the sum; the loss is 0 where nothing
    but the pair itself is left. Samples that are not ``there`` (None: all are) count nowhere.

    Shapes:
        anchor [B, D], other [B, D], there [B] → scalar
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
    if there is None:
        return F.cross_entropy(scores, sample)
    others = sample[:, None] != sample  # a row of its own keeps its pair: nothing else is finite
    scores = scores.masked_fill(others & ~there, -math.inf)
    ignored = torch.where(there, sample, -100)
    total = F.cross_entropy(scores, ignored, ignore_index=-100, reduction="sum")
    return total / there.sum().clamp(min=1)


class Streams(NamedTuple):
    """Both modalities before and after the association blocks."""

    low: tuple[Tensor, Tensor]
    """Audio and visual f_j [B, T, D]."""
    high: tuple[Tensor, Tensor]
    """Audio and visual f̂_j [B, T, D]."""
    means: tuple[Tensor, Tensor]
    """F_j [B, D]: time means of ``low``."""
    cross: tuple[Tensor, Tensor] | None
    """m_a, m_v [B, D]: time means of the cross terms, summed over blocks; None without them."""

    def of_questions(self, each: Callable[[Tensor], Tensor]) -> Streams:
        """The same, one row a question (`HeadInput.each`)."""
        low, high, means = ((each(a), each(v)) for a, v in self[:3])
        cross = None if self.cross is None else (each(self.cross[0]), each(self.cross[1]))
        return Streams(low, high, means, cross)


def _means(streams: tuple[Tensor, Tensor], masks: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    """Time means [B, D] of audio and visual [B, T, D]."""
    return masked_mean(streams[0], masks[0]), masked_mean(streams[1], masks[1])


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
    running statistics and a mask for the batch norm; a video without sound has no pair in L_qa and
    L_av. There is no code of the authors to compare with.
    Differs from the paper: the losses' negatives (`contrast`).

    Shapes:
        audio [B, T, audio_width], frame [B, T, visual_width] → logits [B, C]
        explain: clue_frames_audio, clue_frames_visual [B, k/2] (second, ascending) and
        clue_scores_audio, clue_scores_visual [B, k/2] of the high level; sampled_frames [B, k];
        frame_attn [B, k], word_attn [B, N], means over the modalities that are there and levels
        (not ``literal``); cosine_audio, cosine_visual [B] of f̂_q, each through its loss's
        projections, 0 of audio that is not there
    Raises:
        ValueError: type or keyword tokens are missing with ``text_objects``; see also
            `MaskedNorm` and `TimeCompression`.
    """

    FEATURES = ("audio", "frame")
    PROJECTIONS = {"q": "question", "a": "audio", "v": "visual"}
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
        self.product = options.product()
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
    def projections(self) -> dict[str, str]:
        """Those of the plain network where it stands for everything."""
        plain = {"q": "question", "a": "features.audio", "v": "features.frame"}
        return super().projections or {k: f"plain.{plain[k]}" for k in self.options.plain}

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

    def encode(self, inputs: HeadInput) -> Streams | None:
        """Both modalities before and after the association blocks; None for the plain network."""
        if self.plain is not None:
            return None
        audio = inputs.only_heard(self.audio(inputs.audio))  # f_a [V, T, D]
        return self._associate(audio, self.visual(inputs.frame), inputs)

    def decide(
        self, encoded: Streams | None, inputs: HeadInput, explain: bool = False
    ) -> HeadOutput:
        """Find the clues that bear on the question, and answer; see `Head`."""
        if self.plain is not None:
            e = self.dropout(self.plain(inputs)).tanh()
            return HeadOutput(self.answer(e, inputs))
        assert encoded is not None
        streams = encoded.of_questions(inputs.each)
        masks = inputs.each(inputs.heard), inputs.each(inputs.valid)
        question = self.question(inputs)
        index = sample_frames(masks[1], self.options.num_frames, random=self.training)
        clues = self._clues(streams, index, masks, question)
        text = question.sentence
        if self.text is not None:
            text = self.text(text, inputs, self.question)
        guided = self.fusion(text, streams.means[1], streams.means[0])  # Eq. 10, [B, D]
        found = [(low.vector + high.vector) / 2 for low, high in clues]  # f̂_aq, f̂_vq [B, D]
        parts = zip(self.mix, (guided, found[1], found[0]), strict=True)
        q = self.combine(torch.cat([mix(x) for mix, x in parts], -1))  # f̂_q [B, D]
        q = q if self.product is None else q + self.product(*found)
        e = self.dropout(self._late_fusion(q, streams, masks)).tanh()
        losses = self._losses(q, streams, inputs) if self.training else {}
        found_out = self._explain(q, streams.means, clues, index, inputs) if explain else {}
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
        return Evidence.of_streams(
            sound, picture, inputs.valid, heard=inputs.heard, words=told.get("word_attn")
        )

    def _associate(self, audio: Tensor, visual: Tensor, inputs: HeadInput) -> Streams:
        low, crosses, masks = (audio, visual), [], (inputs.heard, inputs.valid)
        asked = None if inputs.of_video is None else inputs.asked
        for block in self.blocks:
            audio, visual, *cross = block(audio, visual, *masks, asked)
            crosses.append(cross)
        means = _means(low, masks)
        if not self.options.uses_loss_av:
            return Streams(low, (audio, visual), means, None)
        m_a, m_v = (
            torch.stack([masked_mean(x, mask) for x in layers]).sum(0)
            for layers, mask in zip(zip(*crosses, strict=True), masks, strict=True)
        )
        return Streams(low, (audio, visual), means, (m_a, m_v))

    def _clues(
        self, streams: Streams, index: Tensor, masks: tuple[Tensor, Tensor], question: Question
    ) -> list[tuple[Clues, Clues]]:
        """Low and high clues of audio, then of visual."""
        return [
            (
                self.aggregator(low, index, mask, question),
                self.aggregator(high, index, mask, question),
            )
            for low, high, mask in zip(streams.low, streams.high, masks, strict=True)
        ]

    def _late_fusion(self, q: Tensor, streams: Streams, masks: tuple[Tensor, Tensor]) -> Tensor:
        if self.options.late_fusion == "none":
            return q
        audio, visual = _means(streams.high, masks)
        if self.late is None:
            return q + visual + audio
        return self.late(torch.cat([q, visual, audio], -1))  # type: ignore[no-any-return]

    def _losses(self, q: Tensor, streams: Streams, inputs: HeadInput) -> dict[str, Tensor]:
        options, losses = self.options, {}
        video = inputs.of_video if inputs.video is None else inputs.video
        video = video if options.skip_same_video else None
        some = None if inputs.audio_valid is None else inputs.each(inputs.heard.any(1))

        def loss(anchor: Tensor, other: Tensor, there: Tensor | None) -> Tensor:
            return contrast(anchor, other, options.tau, video, options.negatives, there)

        for name, x, there in zip(("audio", "visual"), streams.means, (some, None), strict=True):
            if name in self.project:
                asked = self.project["question"](q)
                losses["q" + name[0]] = loss(asked, self.project[name](x), there)
        if streams.cross is not None:
            m_a, m_v = streams.cross
            losses["av"] = loss(m_v, m_a, some)
        return losses

    def _explain(
        self,
        q: Tensor,
        pooled: tuple[Tensor, Tensor],
        clues: list[tuple[Clues, Clues]],
        index: Tensor,
        inputs: HeadInput,
    ) -> dict[str, Tensor]:
        found, some = {"sampled_frames": index}, inputs.heard.any(1)
        for name, (_, high), x in zip(("audio", "visual"), clues, pooled, strict=True):
            found[f"clue_frames_{name}"] = high.frames
            found[f"clue_scores_{name}"] = high.scores
            if name in self.project:
                asked = self.project["question"](q)
                cosine = F.cosine_similarity(asked, self.project[name](x))
                found[f"cosine_{name}"] = cosine * some if name == "audio" else cosine
        for name in ("frame_attn", "word_attn"):
            heard, seen = ([getattr(level, name) for level in pair] for pair in clues)
            if seen[0] is not None:
                both = torch.stack([*heard, *seen]).mean(0)
                found[name] = torch.where(some.unsqueeze(1), both, torch.stack(seen).mean(0))
        return found
