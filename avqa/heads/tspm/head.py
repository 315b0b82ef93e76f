"""TSPM (ACM MM 2024): a declarative prompt selects seconds, the sound looks into their patches."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from avqa.heads._parts.blocks import (
    AnswerLayer,
    HybridLayer,
    QuestionBlock,
    masked_mean,
    question_encoder,
)
from avqa.heads._parts.evidence import Evidence, placed
from avqa.heads._parts.head import Head as BaseHead
from avqa.heads._parts.head import HeadInput, HeadOutput
from avqa.heads.pstp.modules import rows
from avqa.heads.tspm.modules import (
    Kept,
    ReleasedSelector,
    Selector,
    SpatialLayer,
    evenly,
    largest,
)
from avqa.heads.tspm.options import Options


class Watched(NamedTuple):
    """A video, whatever is asked about it."""

    audio: Tensor
    """a [V, T, D]; so is ``visual``, v."""
    visual: Tensor
    whole: tuple[Tensor, ...]
    """Means over time [V, D] of sound and frames that attended to each other; none without."""


class Head(BaseHead):
    """Temporal selection by a prompt, spatial perception by the sound of the kept seconds.

        a, v, Z, q, q_p = FC of sound, frames, patches, sentence, prompt
        A, V = Han(a, v), Han(v, a)
        w = MHA_4(q_p, v, v)'s weights; the K seconds of most weight, in order: a^k, Z^k
        s_i = QBlock(a^k_i, Z''_i)                       `SpatialLayer`
        a^k and s times K · w̃                            (selector_grad=weighted)
        g_a, g_v = QBlock(q, a^k), QBlock(q, s)          weights shared
        e = tanh(FC(tanh[g_a; mean A; mean a^k; g_v; mean V; mean s]) ∘ q),  logits = FC(e)

    A kept second without sound asks no patch: it has no s. Chosen where the release cannot run:
    see ``docs/heads/tspm.md``.

    Shapes:
        audio [B, T, audio_width], frame [B, T, visual_width], patch [B, T, P, patch_width],
        sentence and prompt [B, text_width] → logits [B, C]; explain: second_weight [B, T],
        second_index [B, K] (−1: none), token_attn [B, K, P], question_attn_audio and
        question_attn_visual [B, K]

    Raises:
        ValueError: the batch does not fit, see `avqa.heads.Head.check`.
    """

    FEATURES = ("audio", "frame", "patch")
    PROJECTIONS = {"q": "question", "a": "audio", "v": "visual"}
    options: Options

    def __init__(self, options: Options) -> None:
        super().__init__(options)
        width, dropout = options.width, options.dropout
        self.question = question_encoder(options, words=False)
        self.audio = nn.Linear(options.audio_width, width)
        self.visual = nn.Linear(options.visual_width, width)
        if options.av_attention:
            self.both = HybridLayer(width, dropout)
        if self._reads_prompt:
            self.prompt = nn.Linear(options.text_width, width)
        if options.temporal:
            lean = options.selector_grad == "weighted"
            self.selector = Selector(width) if lean else ReleasedSelector(width, dropout)
        if options.spatial:
            self.patch = nn.Linear(options.patch_width, width)
            self.spatial = SpatialLayer(width, dropout)
        self.grounding = QuestionBlock(width, dropout)
        self.fuse = nn.Linear((6 if options.av_attention else 4) * width, width)
        self.answer = AnswerLayer(options)
        if options.temporal and options.selector_grad == "none":
            self.WITHOUT_GRADIENT = ("prompt.", "selector.")  # type: ignore[misc]

    @property
    def _reads_prompt(self) -> bool:
        options = self.options
        return options.temporal and options.question == "clip" and options.prompt != "question"

    @property
    def released_prompts(self) -> bool:
        """As TSPM's code makes them."""
        return self.options.prompt == "released"

    @property
    def needs(self) -> tuple[str, ...]:
        """The prompt where it selects; no patches where they are not looked into."""
        read = (name for name in super().needs if name != "patch" or self.options.spatial)
        return (*read, *(("prompt",) if self._reads_prompt else ()))

    def encode(self, inputs: HeadInput) -> Watched:
        """Sound and frames by themselves and with each other."""
        assert inputs.audio is not None  # check
        assert inputs.frame is not None
        heard, valid = inputs.heard, inputs.valid
        a = inputs.only_heard(self.audio(inputs.audio))  # [V, T, D]
        v = self.visual(inputs.frame)
        if not self.options.av_attention:
            return Watched(a, v, ())
        whole = (
            masked_mean(self.both(a, v, heard, valid), heard),
            masked_mean(self.both(v, a, valid, heard), valid),
        )
        return Watched(a, v, whole)

    def decide(self, encoded: Watched, inputs: HeadInput, explain: bool = False) -> HeadOutput:
        """Select, look, and answer; see `Head`."""
        q = self.question(inputs).sentence
        weights, kept = self._select(encoded, inputs, q)
        second = kept.second.clamp(min=0)
        of = inputs.of_video
        heard = rows(inputs.heard, second, of) & kept.there  # [B, K]
        audio = rows(encoded.audio, second, of)
        seen, there, tokens = self._look(encoded, inputs, kept, audio, heard)
        if self.options.temporal and self.options.selector_grad == "weighted":
            factor = kept.factor.unsqueeze(-1)
            audio, seen = audio * factor, seen * factor
        sound, of_audio = self.grounding(q, audio, heard)
        picture, of_visual = self.grounding(q, seen, there)
        whole = [inputs.each(mean) for mean in encoded.whole]
        of_sound = [sound, *whole[:1], masked_mean(audio, heard)]
        of_picture = [picture, *whole[1:], masked_mean(seen, there)]
        f = self.fuse(torch.cat([*of_sound, *of_picture], -1).tanh())
        told = {"second_index": kept.second, "question_attn_audio": of_audio}
        told |= {"question_attn_visual": of_visual}
        told |= {} if weights is None else {"second_weight": weights}
        told |= {} if tokens is None else {"token_attn": tokens}
        logits = self.answer((f * q).tanh(), inputs)
        return HeadOutput(logits, explain=told if explain else {})

    def _select(self, encoded: Watched, inputs: HeadInput, q: Tensor) -> tuple[Tensor | None, Kept]:
        """The prompt's weights [B, T], if it selects, and the kept seconds."""
        valid, topk = inputs.each(inputs.valid), self.options.topk
        if not self.options.temporal:
            return None, evenly(valid, topk)
        asks = q
        if self._reads_prompt:
            assert inputs.prompt is not None  # check
            asks = self.prompt(inputs.prompt)
        weights = self.selector(asks, inputs.each(encoded.visual), valid)
        return weights, largest(weights, valid, topk)

    def _look(
        self, encoded: Watched, inputs: HeadInput, kept: Kept, audio: Tensor, heard: Tensor
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """What is seen in each kept second [B, K, D], where that is [B, K], and by what weights."""
        second, of = kept.second.clamp(min=0), inputs.of_video
        if not self.options.spatial:
            return rows(encoded.visual, second, of), kept.there, None
        assert inputs.patch is not None  # check
        if self.options.patch_rows == "first":
            second = torch.arange(second.shape[1], device=second.device).expand_as(second)
        patches = self.patch(rows(inputs.patch, second, of))  # [B, K, P, D]
        seen, weights = self.spatial(audio, patches, heard)
        return seen, heard, weights

    def evidence(self, inputs: HeadInput, output: HeadOutput) -> Evidence:
        """Kept seconds by the question's attention in either stream; patches by the sound's."""
        told, valid = output.explain, inputs.valid
        index, seconds = told["second_index"], valid.shape[1]
        sound, picture = (
            placed(told[f"question_attn_{name}"], index, seconds) for name in ("audio", "visual")
        )
        patches = None
        if "token_attn" in told:
            where = index
            if self.options.patch_rows == "first":
                first = torch.arange(index.shape[1], device=index.device)
                where = first.expand_as(index).masked_fill(index < 0, -1)
            patches = placed(told["token_attn"], where, seconds)
        return Evidence.of_streams(sound, picture, valid, heard=inputs.heard, patches=patches)
