"""PSTP-Net (ACM MM 2023): segments, then patches, that the question asks about, and all audio.

The question picks ``top_k_segments`` of ``num_segments`` segments and ``top_k_patches`` patches
of every second in them; the second's audio attends to those patches; a layer over the whole
video looks at everything once more. The mean of all these tokens answers.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from avqa.heads._parts.blocks import (
    AnswerLayer,
    Attention,
    HybridLayer,
    QuestionBlock,
    question_encoder,
)
from avqa.heads._parts.evidence import Evidence, over_patches, over_time, placed
from avqa.heads._parts.head import Head as BaseHead
from avqa.heads._parts.head import HeadInput, HeadOutput
from avqa.heads.pstp.modules import (
    Groups,
    PatchSelection,
    SegmentSelection,
    SelfAttentionLayer,
    Tokens,
    both_ways,
    cut,
    pooled,
    rows,
)
from avqa.heads.pstp.options import Options


class _Moments(NamedTuple):
    """The seconds that are looked at closely."""

    second: Tensor
    """[B, Γ] long."""
    valid: Tensor
    """[B, Γ] bool."""
    heard: Tensor
    """[B, Γ] bool: true for those of the valid ones that have sound."""
    audio: Tensor
    """[B, Γ, D], what the audio asks AVAM with."""


class Segmented(NamedTuple):
    """A video cut into K segments of L seconds."""

    second: Tensor
    """[V, K, L] long."""
    real: Tensor
    """[V, K, L] bool."""
    sound: Tensor
    """[V, K, L] bool: true for those with sound."""
    audio: Tensor
    """[V, K, L, D], what is selected from; so is ``visual``."""
    visual: Tensor
    vectors: Tensor
    """S [V, K, D]."""


class Watched(NamedTuple):
    """A video, whatever is asked about it."""

    audio: Tensor
    """[V, T, D]; so is ``visual``."""
    visual: Tensor
    segmented: Segmented | None
    """None without TSSM."""
    whole: Groups
    """LGPM's tokens."""


_Seen = dict[str, Tensor]


class Head(BaseHead):
    """Progressive perception of the seconds and places a question asks about.

    Implements Eq. 1–17 of PSTP-Net:

        Eq. 1–4    Â, V̂ = Han(A, V), Han(V, A) inside each segment            (AVF)
        Eq. 5–8    the seconds of the top-k segments                          (TSSM)
        Eq. 9–11   the top-m patches of each                                  (SRSM)
        Eq. 12–13  u_γ = QBlock(Â_γ, F_SRSM,γ)                                (AVAM)
        Eq. 14–15  A_g, V_g = Han(A, V), Han(V, A) over all seconds           (LGPM)
        Eq. 16–17  e = tanh(mean(ReLU(tokens)) ∘ q),  logits = FC(e)

    Paper → here: T (seconds of a segment) → L; F_Q → q.
    Chosen where the paper is silent: tokens are joined along time; Han is the released code's
    layer (the printed sum with two norms and a feed-forward layer), its weights shared by both
    directions; QBlock, where the paper prints a multi-head attention alone, has the code's
    feed-forward layer and norm behind it; the segments' "FC and activation" is tanh before FC, the
    code's order; "fusion layers" (Fig. 5(d)) are those of AVF; Eq. 17's FC is the classifier; Eq.
    13's result is one vector per second with sound; without SRSM the audio attends to all patches,
    without TSSM there is no AVF and Γ = T.
    Differs from the authors' code: there the answer comes from raw features and words alone,
    the selected tokens are computed and dropped (see ``docs/heads/pstp.md``).

    Shapes:
        audio [B, T, audio_width], frame [B, T, visual_width], patch [B, T, P, visual_width]
        → logits [B, C]; explain: segment_weights [B, K], segment_index [B, k],
        frame_seconds [B, Γ] (−1: no second), patch_weights [B, Γ, P],
        patch_index [B, Γ, m], audio_patch_attn [B, Γ, m]; Γ = k·⌈T/K⌉
    Raises:
        ValueError: the batch does not fit, see `avqa.heads.Head.check`.
    """

    FEATURES = ("audio", "frame", "patch")
    PROJECTIONS = {"q": "question", "a": "audio", "v": "visual"}
    options: Options

    def __init__(self, options: Options) -> None:
        super().__init__(options)
        width, dropout = options.width, options.dropout
        self.with_words = options.fusion == "selfattn_words"
        self.question = question_encoder(options, words=self.with_words)
        self.audio = nn.Linear(options.audio_width, width)
        self.visual = nn.Linear(options.visual_width, width)
        if options.use_tssm:
            self.tssm = SegmentSelection(width, dropout, options.top_k_segments)
            self.avf = HybridLayer(width, dropout) if options.avf else None
            deeper = range(options.avf_layers - 1 if options.avf else 0)
            self.avf_deeper = nn.ModuleList(HybridLayer(width, dropout) for _ in deeper)
        if options.use_srsm or options.use_avam:
            self.patch = nn.Linear(options.visual_width, width)
        if options.use_srsm:
            self.srsm = PatchSelection(width, dropout, options.top_k_patches)
        if options.use_avam:
            self.avam = QuestionBlock(width, dropout)
        if options.use_lgpm:
            layers = (HybridLayer(width, dropout) for _ in range(options.lgpm_layers))
            self.lgpm = nn.ModuleList(layers)
        self.self_attention = SelfAttentionLayer(width, dropout) if self.with_words else None
        self.answer = AnswerLayer(options)
        self.weighted = options.select_grad in ("weighted", "both")
        self.attended = options.select_grad in ("attended", "both")

    @property
    def needs(self) -> tuple[str, ...]:
        """Word features too where CLIP's words are fused."""
        words = self.with_words and self.options.question == "clip"
        return (*super().needs, *(("words", "eot") if words else ()))

    def encode(self, inputs: HeadInput) -> Watched:
        """AVF inside the segments and LGPM over the whole video; see `Head`."""
        assert inputs.audio is not None  # check
        assert inputs.frame is not None
        heard, valid = inputs.heard, inputs.valid
        audio = inputs.only_heard(self.audio(inputs.audio))  # [V, T, D]
        visual = self.visual(inputs.frame)  # [V, T, D]
        segmented = self._segments(audio, visual, heard, valid) if self.options.use_tssm else None
        return Watched(audio, visual, segmented, self._whole_video(audio, visual, heard, valid))

    def decide(self, encoded: Watched, inputs: HeadInput, explain: bool = False) -> HeadOutput:
        """TSSM, SRSM and AVAM, and the answer; see `Head`."""
        question, each = self.question(inputs), inputs.each
        q = question.sentence
        moments, tokens, seen = self._moments(encoded, inputs, q)
        found, shown = self._patches(inputs, moments, q)
        tokens, seen = tokens | found, seen | shown
        tokens |= {n: Tokens(each(x), each(mask)) for n, (x, mask) in encoded.whole.items()}
        if self.with_words or not tokens:
            tokens["audio"] = Tokens(each(encoded.audio), each(inputs.heard))
            tokens["visual"] = Tokens(each(encoded.visual), each(inputs.valid))
        if self.with_words:
            tokens["words"] = Tokens(question.words, question.mask)
        e = (self._fuse(tokens) * q).tanh()  # Eq. 17, [B, D]
        return HeadOutput(self.answer(e, inputs), explain=seen if explain else {})

    def evidence(self, inputs: HeadInput, output: HeadOutput) -> Evidence:
        """The kept segments by the question's attention, spread evenly over their seconds.

        Patches: mean of the question's attention (SRSM) and of the audio's (AVAM).
        """
        told, valid = output.explain, inputs.valid
        seconds = None
        if "segment_index" in told:
            kept, weights = told["segment_index"], told["segment_weights"]
            chosen = placed(weights.gather(1, kept), kept, weights.shape[1])  # [B, K]
            second, real = cut(valid, self.options.num_segments)  # [B, K, L]
            each = chosen.unsqueeze(-1) * real / real.sum(-1, keepdim=True).clamp(min=1)
            seconds = over_time(placed(each.flatten(1), second.flatten(1), valid.shape[1]), valid)
        return Evidence(seconds=seconds, patches=_evident_patches(told, valid.shape[1]))

    def _segments(self, audio: Tensor, visual: Tensor, heard: Tensor, valid: Tensor) -> Segmented:
        """AVF, and each segment in one vector."""
        second, real = cut(valid, self.options.num_segments)  # [V, K, L]
        sound = real & rows(heard, second)  # [V, K, L]
        raw = rows(audio, second), rows(visual, second)
        fused = raw
        if self.avf is not None:
            a, v = (x.flatten(0, 1) for x in raw)
            for layer in (self.avf, *self.avf_deeper):
                masks = sound.flatten(0, 1), real.flatten(0, 1)
                a, v = both_ways(layer, a, v, *masks)  # Eq. 1–4, [V·K, L, D]
            fused = a.view_as(raw[0]), v.view_as(raw[1])
        vectors = self.tssm.segments(*fused, sound, real)
        source = fused if self.options.select_from == "avf" else raw
        return Segmented(second, real, sound, *source, vectors)

    def _moments(
        self, encoded: Watched, inputs: HeadInput, q: Tensor
    ) -> tuple[_Moments, Groups, _Seen]:
        """TSSM: the seconds to look at and their tokens; all seconds without it."""
        each, parts = inputs.each, encoded.segmented
        if parts is None:
            heard, valid = each(inputs.heard), each(inputs.valid)
            every = torch.arange(valid.shape[1], device=valid.device).expand_as(valid)
            return _Moments(every, valid, heard, each(encoded.audio)), {}, {}
        chosen = self.tssm(each(parts.vectors), each(parts.real.any(-1)), q)  # Eq. 5–6
        second, mask, sound, a, v = (  # Eq. 7–8, [B, k, L] and [B, k, L, D]
            rows(x, chosen.kept, inputs.of_video) for x in parts[:5]
        )
        second, mask, sound = second.flatten(1), mask.flatten(1), sound.flatten(1)  # [B, Γ]
        moments = _Moments(second, mask, sound, a.flatten(1, 2))
        if self.weighted:
            a, v = (x * chosen.factor[..., None, None] for x in (a, v))
        tokens = {"tssm_audio": Tokens(a.flatten(1, 2), sound)}
        tokens["tssm_visual"] = Tokens(v.flatten(1, 2), mask)
        if self.attended:
            one = mask.new_ones(len(mask), 1)
            tokens["tssm_attended"] = Tokens(chosen.attended.unsqueeze(1), one)
        seen = {"segment_weights": chosen.weights, "segment_index": chosen.kept}
        return moments, tokens, seen

    def _patches(self, inputs: HeadInput, moments: _Moments, q: Tensor) -> tuple[Groups, _Seen]:
        """SRSM and AVAM: the patches of those seconds that question and audio attend to."""
        options, mask = self.options, moments.valid
        if not (options.use_srsm or options.use_avam):
            return {}, {}
        patches = inputs.patch
        assert patches is not None  # check
        if options.use_tssm:
            patches = rows(patches, moments.second, inputs.of_video)  # [B, Γ, P, Dv]
        else:
            patches = inputs.each(patches)
        tokens: Groups = {}
        seen = {"frame_seconds": moments.second.masked_fill(~mask, -1)}
        if options.use_srsm:
            chosen = self.srsm(q, patches, self.patch, mask)  # Eq. 9–11
            patches = chosen.patches
            if self.weighted:
                patches = patches * chosen.factor.unsqueeze(-1)
            each = mask.repeat_interleave(patches.shape[2], 1)
            tokens["srsm"] = Tokens(patches.flatten(1, 2), each)  # [B, Γ·m, D]
            if self.attended:
                tokens["srsm_attended"] = Tokens(chosen.attended, mask)
            seen |= {"patch_weights": chosen.weights, "patch_index": chosen.kept}
        if options.use_avam:
            layer = None if options.use_srsm else self.patch
            mixed, weights = self.avam(
                moments.audio, patches, moments.heard.unsqueeze(-1), layer
            )  # Eq. 12–13, [B, Γ, D] and [B, Γ, m]
            tokens["avam"] = Tokens(mixed, moments.heard)
            seen["audio_patch_attn"] = weights
        return tokens, seen

    def _whole_video(self, audio: Tensor, visual: Tensor, heard: Tensor, valid: Tensor) -> Groups:
        """LGPM over all seconds."""
        if not self.options.use_lgpm:
            return {}
        for layer in self.lgpm:
            audio, visual = both_ways(layer, audio, visual, heard, valid)  # Eq. 14–15, [B, T, D]
        return {"lgpm_audio": Tokens(audio, heard), "lgpm_visual": Tokens(visual, valid)}

    def _fuse(self, tokens: Groups) -> Tensor:
        if self.self_attention is not None:
            return pooled(self.self_attention(tokens), self.options.pool)
        active = {name: Tokens(x.relu(), mask) for name, (x, mask) in tokens.items()}
        return pooled(active, self.options.pool)  # Eq. 16, [B, D]


def _evident_patches(told: _Seen, num_seconds: int) -> Tensor | None:
    """`Evidence.patches` [B, T, P] of what `Head.forward` explains."""
    asked, heard = told.get("patch_weights"), told.get("audio_patch_attn")
    if asked is None and heard is None:
        return None
    if asked is not None and heard is not None:  # the audio chose among the kept patches
        kept = told["patch_index"].flatten(0, 1)
        heard = placed(heard.flatten(0, 1), kept, asked.shape[-1]).view_as(asked)
    maps = [x for x in (asked, heard) if x is not None]
    mean = torch.stack(maps).mean(0)  # [B, Γ, P]
    return over_patches(placed(mean, told["frame_seconds"], num_seconds))


def thop_parameters(head: Head) -> int:
    """The head's parameters as the paper counts them: FC layers and norms, no attention weights.

    4,296,746 for ``ABLATIONS["measured"]``, the paper's 4.297 M.
    """
    inside = {m for a in head.modules() if isinstance(a, Attention) for m in a.modules()}
    counted = (m for m in head.modules() if isinstance(m, nn.Linear | nn.LayerNorm))
    return sum(p.numel() for m in counted if m not in inside for p in m.parameters())
