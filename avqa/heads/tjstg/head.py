"""TJSTG: a word of the question says where to look, one stream of audio and frames when."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from avqa.heads._parts.blocks import (
    AnswerLayer,
    QuestionBlock,
    masked_mean,
    question_encoder,
)
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
from avqa.heads._parts.lstm import run_lstm
from avqa.heads._parts.sharing import ByVideo
from avqa.heads.avst import StreamFusion
from avqa.heads.tjstg.options import Options
from avqa.heads.tjstg.target import Target, TargetAware, combine


class Heard(NamedTuple):
    """A video, whatever is asked about it: its frames, and where its audio is in them."""

    audio: Tensor
    """a [V, T, D]."""
    scored: RawMap | UnitMap
    """The maps that a vector is looked for in."""
    kept: RawMap | UnitMap
    """The maps that are averaged."""
    mean: Tensor
    """[V, T, D]."""
    heard: Tensor
    """[V, T, P], scores of the audio over the temperature."""


class Sight(NamedTuple):
    """Frames grounded by audio and target; n questions at most about a video (`ByVideo`)."""

    visual: Tensor
    """v [B, T, D]."""
    heard: Tensor
    """s_a [V, T, 1, P]."""
    asked: Tensor | None
    """s_q [V, T, n, P], before the threshold; None without target."""
    joint: Tensor
    """α [V, T, n, P]; n = 1 without target."""


class JointGrounding(nn.Module):
    """One attention of the question over the seconds of both streams (JTG).

        A' = BiLSTM_a(a),  V' = BiLSTM_v(v)
        Eq. 13      F = [V'_1; A'_1; …; V'_T; A'_T]
        Eq. 15      u, w = QBlock(q, F)
        Eq. 16      r = u + FC(tanh([mean_t a_t ; mean_t v_t]))
        Eq. 18–19   w_v, w_a: the weights at the frames' and the sounds' places of Eq. 13

    Chosen where the paper is silent: the block behind the attention, scaled scores, and FC(tanh)
    of the means before the LSTMs for "MLP(Avg)" are those of the authors' code.
    Differs from the paper: Eq. 18–19 print the places the other way round than Eq. 13 fills them.
    The attention knows no places, so the order changes no logit beyond rounding.

    Shapes:
        q [B, D], a [B, T, D], v [B, T, D], heard [B, T] of a, valid [B, T] of v
        → r [B, D], weights {"audio": [B, T], "visual": [B, T]}, together 1
    """

    def __init__(self, options: Options) -> None:
        super().__init__()
        width = options.width
        self.frames_first = options.order.endswith("va")
        self.axis = 2 if options.order.startswith("il") else 1
        self.audio = nn.LSTM(width, width // 2, batch_first=True, bidirectional=True)
        self.visual = nn.LSTM(width, width // 2, batch_first=True, bidirectional=True)
        self.ground = QuestionBlock(width, options.joint_dropout)
        self.ground.attention.dropout = options.dropout  # the other rate is for behind it
        self.fuse = nn.Linear(2 * width, width)
        self.product = options.product()

    def forward(
        self, q: Tensor, a: Tensor, v: Tensor, heard: Tensor, valid: Tensor
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Join the streams ``a`` and ``v`` under the question ``q``."""
        # Over real seconds only, so that neither way starts in padding.
        pair = [run_lstm(self.audio, a, heard).out, run_lstm(self.visual, v, valid).out]
        names, masks = ["audio", "visual"], [heard, valid]
        if self.frames_first:
            pair, names, masks = pair[::-1], names[::-1], masks[::-1]
        stream = torch.stack(pair, self.axis).flatten(1, 2)  # Eq. 13, [B, 2T, D]
        mask = torch.stack(masks, self.axis).flatten(1)  # [B, 2T]
        u, w = self.ground(q, stream, mask)  # Eq. 15, [B, D], [B, 2T]
        means = masked_mean(a, heard), masked_mean(v, valid)
        r = u + self.fuse(torch.cat(means, -1).tanh())  # Eq. 16, [B, D]
        r = r if self.product is None else r + self.product(*means)
        sizes = (-1, 2) if self.axis == 2 else (2, -1)
        parts = w.unflatten(1, sizes).unbind(self.axis)  # Eq. 18–19, 2 × [B, T]
        return r, dict(zip(names, parts, strict=True))


def synchrony_loss(
    audio: Tensor, visual: Tensor, heard: Tensor | None = None, eps: float = 1e-8
) -> Tensor:
    """Jensen–Shannon divergence of two attentions over time, natural logarithm (CSL).

        Eq. 10–12   p = w_a / Σ w_a,  q = w_v / Σ w_v,  m = (p + q) / 2
                    JS = ½ Σ_t p log((p + ε)/(m + ε)) + ½ Σ_t q log((q + ε)/(m + ε))

    Parts of one softmax do not sum to 1, hence the division; masked seconds are 0 in both. In
    float32 at least: ε is nothing beside half-precision numbers. With ``heard`` (else everywhere)
    the two are compared at seconds with sound, in the samples that have any.

    Shapes:
        audio [B, T], visual [B, T], heard [B, T] → scalar, mean over the batch
    """
    dtype = torch.promote_types(audio.dtype, torch.float32)
    audio, visual = audio.to(dtype), visual.to(dtype)
    if heard is not None:
        visual = visual * heard
    p = audio / audio.sum(-1, keepdim=True).clamp(min=eps)
    q = visual / visual.sum(-1, keepdim=True).clamp(min=eps)
    middle = ((p + q) / 2 + eps).log()
    both = p * ((p + eps).log() - middle) + q * ((q + eps).log() - middle)
    if heard is None:
        return both.sum(-1).mean() / 2  # Eq. 10–12, scalar
    some = heard.any(1)
    return torch.where(some, both.sum(-1), 0).sum() / some.sum().clamp(min=1) / 2


class Head(BaseHead):
    """Target-aware spatial grounding, joint temporal grounding, synchrony loss.

    Implements Eq. 1–20 of Jiang and Yin, Findings of EMNLP 2023:

        audio       a_t = FC(ReLU(FC(audio_t)))
        Eq. 1       target = the word the question attends to most   (`TargetAware`)
        Eq. 4–6     α_t = combine(M_t a_t, M_t target),  g_t = Σ_p α_tp M_tp
                    v_t = FC(tanh([mean_p M_tp ; g_t]))
        Eq. 13–19   r = JTG(q, a, v)                                 (`JointGrounding`)
        Eq. 20      e = tanh(r ∘ q),  logits = FC(e)
        L = cross-entropy + L_csl + 0.5 L_match

    Chosen where the paper is silent: two layers project the sound, as AVST's do; maps of another
    width than D pass a layer first; without sound a_t = 0 and the target alone says where to look.
    Differs from the paper: Eq. 4's second softmax flattens the map, so the product is divided by
    its sum (`combine`); Eq. 20 omits the tanh.
    Differs from the authors' code: scores are products and maps as they are, there cosines and
    rows of length 1 (`Options`); every second meets its own sample's target (there a view mixes
    the batch); the divergence takes logarithms of the right side and sums over time.

    Shapes:
        audio [B, T, audio_width], patch [B, T, P, visual_width] → logits [B, C]
    """

    FEATURES = ("audio", "patch")
    PROJECTIONS = {"q": "question", "a": "audio", "v": "picture"}
    # Of the attention over words only the weights are used; the third of ``in_proj`` that
    # projects the values gets zeros for the same reason.
    WITHOUT_GRADIENT = ("target.attention.out_proj.",)
    options: Options

    def __init__(self, options: Options) -> None:
        super().__init__(options)
        width = options.width
        self.reads_words = options.target_aware and options.target != "hidden"
        self.question = question_encoder(options, words=self.reads_words)
        self.audio = audio_layer(options)
        self.picture = picture_layer(options)
        if options.target_aware:
            self.target = TargetAware(options)
        self.visual, self.match = nn.Linear(2 * width, width), MatchClassifier(width)
        if options.stream == "single":
            self.joint = JointGrounding(options)
        else:
            self.fusion = StreamFusion(options, ("audio", "visual"))
        self.answer = AnswerLayer(options)
        self.aux_weights = {"csl": 1.0, "match": 0.5} if options.csl else {"match": 0.5}

    @property
    def needs(self) -> tuple[str, ...]:
        """CLIP's words too where a word is the target."""
        words = self.reads_words and self.options.question == "clip"
        return (*super().needs, *(("words", "eot") if words else ()))

    def encode(self, inputs: HeadInput) -> Heard:
        """The audio, and what it says of the frames."""
        assert inputs.patch is not None  # check
        return self._listen(inputs.patch, inputs.only_heard(self.audio(inputs.audio)))

    def decide(self, encoded: Heard, inputs: HeadInput, explain: bool = False) -> HeadOutput:
        """Look where the question's target is, too, and answer.

        Explains ``attn_audio``, ``attn_target``, ``attn_joint`` [B, T, P]; ``temporal_attn_audio``
        and ``temporal_attn_visual`` [B, T], together 1 for a single stream; ``word_weights``
        [B, N] and ``target_index`` [B]; as far as the options leave them; 0 at padded seconds, of
        the audio's time also where there is none.
        """
        question, layout = self.question(inputs), ByVideo.of(inputs)
        q, a = question.sentence, inputs.each(encoded.audio)
        target = self.target(question) if self.options.target_aware else None
        sight = self._look(encoded, target, layout)
        r, weights = self._join(q, a, sight.visual, inputs)
        output = HeadOutput(self.answer((r * q).tanh(), inputs))  # Eq. 20, [B, C]
        if self.training:
            matched = self._match_loss(inputs, encoded.audio, sight.visual, target, layout)
            output.aux_losses.update(matched)
        if self.training and self.options.csl:
            heard = None if inputs.audio_valid is None else inputs.each(inputs.heard)
            output.aux_losses["csl"] = synchrony_loss(weights["audio"], weights["visual"], heard)
        if explain:
            output.explain.update(_shown(sight, target, weights, inputs.valid))
        return output

    def evidence(self, inputs: HeadInput, output: HeadOutput) -> Evidence:
        """Temporal attention; patches by audio and target together.

        A single stream shares one attention between audio and frames: its parts are the
        shares of the modalities.
        """
        told = output.explain
        sound, picture = told["temporal_attn_audio"], told["temporal_attn_visual"]
        shares = torch.stack([picture.sum(1), sound.sum(1)], 1)
        return Evidence.of_streams(
            sound,
            picture,
            inputs.valid,
            heard=inputs.heard,
            modality=shares if self.options.stream == "single" else None,
            patches=told["attn_joint"],
            words=told.get("word_weights"),
        )

    def _join(
        self, q: Tensor, a: Tensor, v: Tensor, inputs: HeadInput
    ) -> tuple[Tensor, dict[str, Tensor]]:
        heard, valid = inputs.each(inputs.heard), inputs.each(inputs.valid)
        if self.options.stream == "single":
            return self.joint(q, a, v, heard, valid)  # type: ignore[no-any-return]
        masks, streams = {"audio": heard, "visual": valid}, {"audio": a, "visual": v}
        return self.fusion(q, streams, masks)  # type: ignore[no-any-return]

    def _listen(self, patch: Tensor, a: Tensor) -> Heard:
        """Ground audio [V, T, D] in maps [V, T, P, visual_width]."""
        maps, options = self.picture(patch), self.options
        raw, cosine = RawMap(maps), options.ground_score == "cosine"
        unit = UnitMap.of(maps) if cosine or options.ground_on == "norm" else raw
        scored = unit if cosine else raw
        kept = raw if options.ground_on == "raw" else unit
        heard = scored.score(a) / options.ground_temp  # Eq. 5, [V, T, P]
        return Heard(a, scored, kept, maps.mean(-2), heard)

    def _look(self, video: Heard, target: Target | None, layout: ByVideo) -> Sight:
        """Where audio and target are in the frames (TSG), for every question."""
        heard, asked, options = video.heard.unsqueeze(-2), None, self.options
        joint = s_a = heard.softmax(-1)  # [V, T, 1, P]
        if target is not None:
            vectors = layout.together(target.vector).unsqueeze(1)  # [V, 1, n, D]
            wanted = video.scored.scores(vectors) / options.ground_temp  # Eq. 6, [V, T, n, P]
            asked = wanted.softmax(-1)
            joint = combine(heard, wanted, options.combine, options.threshold)
        g = video.kept.averages(joint)  # Eq. 4, [V, T, n, D]
        mean = video.mean.unsqueeze(-2).expand_as(g)
        visual = self.visual(torch.cat([mean, g], -1).tanh())
        visual = visual.transpose(1, 2).expand(-1, layout.question.shape[1], -1, -1)
        return Sight(layout.apart(visual), s_a, asked, joint)

    def _match_loss(
        self, inputs: HeadInput, a: Tensor, v: Tensor, target: Target | None, layout: ByVideo
    ) -> dict[str, Tensor]:
        others = draw_negatives(inputs)
        if others is None:
            return {}
        apart = self._look(self._listen(others.patch, a), target, layout).visual
        own, other = (self.match(torch.cat([inputs.each(a), x], -1)) for x in (v, apart))
        return {"match": match_loss(own, other, inputs.each(others.weight > 0))}


def _shown(
    sight: Sight, target: Target | None, weights: dict[str, Tensor], valid: Tensor
) -> dict[str, Tensor]:
    """What `Head.forward` explains."""
    maps = {"attn_audio": sight.heard, "attn_target": sight.asked, "attn_joint": sight.joint}
    shown = {n: x.squeeze(2) * valid.unsqueeze(-1) for n, x in maps.items() if x is not None}
    shown |= {f"temporal_attn_{name}": w for name, w in weights.items()}
    if target is not None and target.weights is not None and target.word is not None:
        shown |= {"word_weights": target.weights, "target_index": target.word}
    return shown
