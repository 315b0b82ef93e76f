"""TJSTG: a word of the question says where to look, one stream of audio and frames when."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

from avqa.heads._parts.blocks import (
    AnswerLayer,
    Attention,
    Question,
    QuestionBlock,
    masked_mean,
    masked_softmax,
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
from avqa.heads._parts.options import HeadOptions, changed, later
from avqa.heads._parts.paper import EVERY_SECOND, Ablation, Paper, Recipe
from avqa.heads._parts.printed import departures, printed, references
from avqa.heads._parts.sharing import ByVideo
from avqa.heads.avst import StreamFusion, grounding_problems

_TABLES = printed("tjstg")
PAPER = Paper(
    title="Target-Aware Spatio-Temporal Reasoning via Answering Questions in Dynamic Audio-Visual"
    " Scenarios",
    venue="Findings of EMNLP 2023",
    url="https://arxiv.org/abs/2305.12397",
    recipe=Recipe(
        learning_rate=2e-4,
        batch_size=64,
        epochs=30,
        step_epochs=10,
        gamma=0.1,
        stride_seconds=6,
        visual="resnet18",
        note="authors' code: a step every 12 epochs; starts from AVST's grounding pre-training",
    ),
    datasets=EVERY_SECOND,
    figures=(
        _TABLES["main"]["TJSTG"],
        _TABLES["code"]["TJSTG, updated code"],
        _TABLES["streams"]["TJSTG, dual stream"],
    ),
    references=references("tjstg"),
    departures=departures("tjstg"),
    parameters_millions=_TABLES["streams"]["Single-stream Net"].parameters_millions,
    parameters_note="11,069,612 with target_mlp, the layers of the authors' code; 10,544,300 as"
    " the text reads; the authors' module holds 11,792,300",
)

_JOINT, _TARGETS, _TAUS = _TABLES["joint"], _TABLES["targets"], _TABLES["thresholds"]
_ORDERS, _COSINES = _TABLES["orders"], {"ground_score": "cosine", "ground_on": "norm"}
_AVST = {"stream": "dual", **_COSINES}
ABLATIONS = {
    "full": Ablation.of({}, _TABLES["main"]["TJSTG"]),
    "w/o t-a": Ablation.of({"target_aware": False}, _JOINT["w/o T-A"]),
    "w/o csl": Ablation.of({"csl": False}, _JOINT["w/o L_csl"]),
    "w/o t-a and csl": Ablation.of(
        {"target_aware": False, "csl": False}, _JOINT["w/o T-A and L_csl"]
    ),
    "target=avg": Ablation.of({"target": "avg"}, _TARGETS["TSG w/ Avg"]),
    "target=max": Ablation.of({"target": "max"}, _TARGETS["TSG w/ Max"]),
    "target=hidden": Ablation.of({"target": "hidden"}, _TARGETS["TSG w/ hidden"]),
    "target=argmax": Ablation.of({"target": "argmax"}, _TARGETS["TSG w/ TA"]),
    "threshold=0": Ablation.of({"threshold": 0.0}, _TAUS["τ = 0.000"]),
    "threshold=0.002": Ablation.of({"threshold": 0.002}, _TAUS["τ = 0.002"]),
    "threshold=0.005": Ablation.of({"threshold": 0.005}, _TAUS["τ = 0.005"]),
    "threshold=0.01": Ablation.of({"threshold": 0.01}, _TAUS["τ = 0.010"]),
    "cat(a;v)": Ablation.of({"order": "cat_av"}, _ORDERS["Cat(A;V) w/ L_csl"]),
    "cat(v;a)": Ablation.of({"order": "cat_va"}, _ORDERS["Cat(V;A) w/ L_csl"]),
    "il(a;v)": Ablation.of({"order": "il_av"}, _ORDERS["IL(A;V) w/ L_csl"]),
    "il(v;a)": Ablation.of({"order": "il_va"}, _ORDERS["IL(V;A) w/ L_csl"]),
    "avst + t-a": Ablation.of({**_AVST, "csl": False}, _TABLES["avst"]["AVST w/ T-A"]),
    "avst + csl": Ablation.of({**_AVST, "target_aware": False}, _TABLES["avst"]["AVST w/ L_csl"]),
    "updated code": Ablation.of(
        {"combine": "sum", "target_mlp": True, "ta_query": "cell", **_COSINES},
        _TABLES["code"]["TJSTG, updated code"],
        note="the options nearest to the released code",
    ),
}


@dataclass(frozen=True, kw_only=True)
class Options(HeadOptions):
    """TJSTG's ablation flags, and the points where paper and code part."""

    target_aware: bool = True
    """Look by a word of the question too; without it AVST's spatial grounding."""
    target: Literal["argmax", "avg", "max", "hidden"] = "argmax"
    """Target vector: the most attended word, mean or maximum of the words, or the question."""
    ta_query: Literal["question", "cell"] = "question"
    """What attends to the words: q as printed, or the LSTM's cell state as in the code."""
    ta_grad: Literal["st", "hard"] = "st"
    """Gradient of the argmax: straight-through, or none as printed."""
    target_mlp: bool = False
    """The code's two layers on the target vector, not in the text."""
    combine: Literal["renorm", "softmax", "sum"] = "renorm"
    """How the two maps are joined: product divided by its sum; softmax of the product as printed
    (flat to four digits); softmax of the sum as in the code."""
    threshold: float = 0.005
    """τ for maps of 196 positions; scaled by 196/P."""
    ground_score: Literal["dot", "cosine"] = later("dot", before="cosine")
    """Products of a map's rows with sound and target as Eq. 5–6 print them, or, as in the code,
    their cosines: AVST's grounding, to start from which takes ``cosine`` and ``norm``."""
    ground_on: Literal["raw", "norm"] = changed("raw", before="norm")
    """Average a map's rows as they are (Eq. 4), or with length 1 (code, AVST's grounding)."""
    ground_temp: float = 1.0
    """Divides the scores before the softmax over positions; 1 as published."""
    order: Literal["il_va", "il_av", "cat_va", "cat_av"] = "il_va"
    """Interleaved or concatenated, frames or audio first; Eq. 13 has frames first."""
    stream: Literal["single", "dual"] = "single"
    """Joint grounding in time, or AVST's two attentions and fusion (rows "AVST + …")."""
    csl: bool = True
    """Cross-modal synchrony loss."""
    joint_dropout: float = 0.2
    """Behind the joint attention, as in the code; the paper does not say."""

    def problems(self) -> list[str]:
        """Complaints about values or combinations, one each."""
        found = [*super().problems(), *grounding_problems(self.width, self.ground_temp)]
        if not 0 <= self.threshold < 1:
            found.append(f"threshold={self.threshold}; expected at least 0 and under 1")
        if not 0 <= self.joint_dropout < 1:
            found.append(f"joint_dropout={self.joint_dropout}; expected at least 0 and under 1")
        if self.ta_query == "cell" and self.question != "lstm":
            found.append(f"ta_query=cell with question={self.question}; expected question=lstm")
        return found


class Target(NamedTuple):
    """What the question asks about."""

    vector: Tensor
    """[B, D]."""
    weights: Tensor | None
    """[B, N], attention to the words; None where no word is chosen."""
    word: Tensor | None
    """[B] long, number of the chosen word."""


class TargetAware(nn.Module):
    """Take the word that the question attends to most as what to look for (T-A).

        Eq. 1   s = weights of MHA_4(q, H, H) over the real words
                n* = argmax_n s_n,  target = H_{n*}

    Chosen where the paper is silent: argmax has no gradient, so the attention would never learn;
    straight-through adds (s − stopgrad(s))ᵀ H, which is zero.
    Differs from the authors' code: padding is masked; weights are those before dropout, so the
    code's rate of 0.2 has nothing to act on.

    Shapes:
        `Question` (q [B, D], H [B, N, D]) → `Target`
    """

    def __init__(self, options: Options) -> None:
        super().__init__()
        width = options.width
        self.source, self.query, self.grad = options.target, options.ta_query, options.ta_grad
        if options.target == "argmax":
            self.attention = Attention(width, 4, options.dropout)
        if options.target_mlp:
            self.mlp = nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, width))

    def forward(self, question: Question) -> Target:
        """Find the target vector of every question."""
        found = self._found(question)
        return found._replace(vector=self.mlp(found.vector)) if hasattr(self, "mlp") else found

    def _found(self, question: Question) -> Target:
        words, mask = question.words, question.mask
        if self.source == "hidden":
            return Target(question.sentence, None, None)
        if self.source == "avg":
            return Target(masked_mean(words, mask), None, None)
        if self.source == "max":
            lowest = torch.finfo(words.dtype).min
            return Target(words.masked_fill(~mask.unsqueeze(-1), lowest).amax(1), None, None)
        return self._most_attended(question)

    def _most_attended(self, question: Question) -> Target:
        words, query = question.words, question.sentence
        if self.query == "cell":
            assert question.cell is not None  # Options.problems
            query = question.cell
        _, weights = self.attention(query.unsqueeze(1), words, question.mask)
        s: Tensor = weights.squeeze(1)  # Eq. 1, [B, N]
        word = s.argmax(-1)
        vector = words[torch.arange(len(words), device=words.device), word]  # [B, D]
        if self.grad == "st":
            vector = vector + torch.einsum("bn,bnd->bd", s - s.detach(), words)
        return Target(vector, s, word)


def combine(heard: Tensor, asked: Tensor, how: str, threshold: float) -> Tensor:
    """Where to look, from what is heard and what is asked about (TSG, Eq. 4).

        s_a = softmax(heard),  s_q = softmax(asked),  ŝ_q = s_q · 1[s_q ≥ τ · 196 / P]
        renorm    α = s_a ∘ ŝ_q / Σ, or s_a where every position is below the threshold
        softmax   α = softmax(s_a ∘ ŝ_q)
        sum       x = s_a + s_q,  α = softmax(x · 1[x ≥ 0.01 · 196 / P])

    Shapes:
        heard [..., P], asked [..., P], scores over the temperature → α [..., P]
    """
    scale = 196 / heard.shape[-1]
    s_a, s_q = heard.softmax(-1), asked.softmax(-1)
    if how == "sum":
        both = s_a + s_q
        return (both * (both >= 0.01 * scale)).softmax(-1)
    kept = s_q >= threshold * scale
    if how == "softmax":
        return (s_a * s_q * kept).softmax(-1)  # Eq. 4, [..., P]
    # s_a ∘ s_q is proportional to exp(heard + asked), which cannot underflow in the softmax.
    product = masked_softmax(heard + asked, kept)
    return torch.where(kept.any(-1, keepdim=True), product, s_a)


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
        means = torch.cat([masked_mean(a, heard), masked_mean(v, valid)], -1)
        r = u + self.fuse(means.tanh())  # Eq. 16, [B, D]
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
        self.visual = nn.Linear(2 * width, width)
        self.match = MatchClassifier(width)
        if options.stream == "single":
            self.joint = JointGrounding(options)
        else:
            self.fusion = StreamFusion(width, options.dropout, ("audio", "visual"))
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
