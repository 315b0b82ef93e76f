"""CueSpace (2026): cues within a second, mixtures of experts, and slots of words that read them.

Sound and frames are fused with the question's words; both look into the cues of their seconds,
merged tokens of the frame and bands of the sound; each word of the question then is a slot that
reads what was found, and the question reads the slots.
"""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor, nn

from avqa.heads._parts.blocks import Attention, Question, masked_mean, question_encoder
from avqa.heads._parts.evidence import Evidence
from avqa.heads._parts.head import Head as BaseHead
from avqa.heads._parts.head import HeadInput, HeadOutput
from avqa.heads.cuespace.modules import (
    Chain,
    Cues,
    Mixture,
    Readout,
    Sequence,
    Together,
    aligned,
)
from avqa.heads.cuespace.options import Options
from avqa.heads.qa_tiger.modules import QuestionFusion, start

CHAINS = (("audio", "both"), ("both", "visual"), ("audio", "visual", "both"))
"""What each chain of slots reads, in its order."""


class Watched(NamedTuple):
    """A video, whatever is asked about it."""

    audio: Tensor
    """a_0 [V, T, D]; so is ``visual``, v_0, and the terms of the fusion of either."""
    visual: Tensor
    audio_terms: Tensor
    visual_terms: Tensor
    bands: Tensor | None
    """P' of the sound [V, T, F, D]; ``patches`` those of the frames [V, T, P, D]."""
    patches: Tensor | None
    both: Tensor | None
    """S [V, T, D]."""


class Head(BaseHead):
    """Cues of seconds, mixtures of experts, slots.

        a, v, B, Z, W = FC of sound, frames, bands, patches, words;  q = LN(FC(sentence))
        a_0, v_0 = FC(LN(a)), FC(LN(v));  a_q, v_q = QAF(a_0; W), QAF(v_0; W)     `QuestionFusion`
        A = MoE(q, a_q, FCR(B, a_q)),  V = MoE(q, v_q, FCR(Z, v_q))               `Mixture`, `Cues`
        S = FC(drop(ReLU(FC([MoE(a_0, FCR(Z, v_0)); MoE(v_0, FCR(B, a_0))]))))    `Together`
        M = W that read (A, S), (S, V), (A, V, S)                                 `Chain`
        h = LN(q + drop(MLP½(MHA(q, M, M)))),  logits = FC(ReLU(h))               `Readout`

    Multiple choice, of texts of the question with an option behind it: h of each text's vector in
    place of the last q, or all of the above of each text in the question's place (``per_option``);
    the score of an option is FC(D→1)(ReLU(h)).

    Shapes:
        audio [B, T, audio_width], bands [B, T, F, band_width], frame [B, T, visual_width],
        patch [B, T, P, patch_width], words [B, 77, word_width] before the projection
        → logits [B, C] or [B, O]; explain: expert_route of audio and visual [B, E],
        second_weight of audio, visual and both [B, T], word_attn [B, N], patch_attn [B, T, P],
        band_attn [B, T, F]; with ``per_option`` those of the option with the highest score

    Raises:
        ValueError: the batch does not fit, see `avqa.heads.Head.check`.
    """

    FEATURES = ("audio", "frame", "patch", "bands")
    WORDS = "word_state"
    ASKED_CHOICES = True
    PROJECTIONS = {"q": "question", "a": "audio", "v": "visual"}
    options: Options

    def __init__(self, options: Options) -> None:
        super().__init__(options)
        width, dropout = options.width, options.dropout
        self.question = question_encoder(options, words=True, start=True)
        self.question_norm = nn.LayerNorm(width)
        self.audio = nn.Linear(options.audio_width, width)
        self.visual = nn.Linear(options.visual_width, width)
        self.align_audio, self.align_visual = aligned(width), aligned(width)
        self.fusion = QuestionFusion(width, dropout, words=options.question_fusion, cross=False)
        self.own, self.crossed = nn.ModuleDict(), nn.ModuleDict()
        if options.patches:
            self.bands = nn.Linear(options.band_width, width)
            self.patch = nn.Linear(options.patch_width, width)
            self.own = self._cues()
        self.mixtures = self._mixtures()
        if options.collaborative:
            self.crossed = self._cues() if options.patches else self.crossed
            self.cross_mixtures = self._mixtures()
            self.together = Together(width, dropout)
        self.chains = nn.ModuleList(Chain(width, dropout, len(self._read(n))) for n in range(3))
        self.readout = Readout(width, dropout)
        self.answer = nn.Linear(width, options.num_answers)
        self.score = nn.Linear(width, 1)
        if options.answer == "choices" and options.question != "clip":
            self.option = nn.Linear(options.text_width, width)
        self.WITHOUT_GRADIENT = self._without_gradient()  # type: ignore[misc]
        # As released, attention of fusion, chains and readout starts as other layers do.
        own = ("fusion.", "chains.", "readout.")
        named = ((n, m) for n, m in self.named_modules() if isinstance(m, Attention))
        start(self, (module for name, module in named if not name.startswith(own)))

    def _cues(self) -> nn.ModuleDict:
        width, dropout = self.options.width, self.options.dropout
        return nn.ModuleDict({of: Cues(width, dropout, of=of) for of in ("audio", "visual")})

    def _mixtures(self) -> nn.ModuleDict:
        options, routes = self.options, self.options.routing == "softmax"
        return nn.ModuleDict(
            {
                of: Mixture(options.width, options.dropout, options.experts, routes=routes)
                for of in ("audio", "visual")
            }
        )

    def _read(self, chain: int) -> list[str]:
        return [name for name in CHAINS[chain] if name != "both" or self.options.collaborative]

    def _without_gradient(self) -> tuple[str, ...]:
        """What the release holds beside: second norms, attention without a question, one layer."""
        crossed = [f"cross_mixtures.{of}.attention." for of in ("audio", "visual")]
        norms = [
            f"{cues}.{of}.norm_{other}."
            for cues in ("own", "crossed")
            for of, other in (("audio", "visual"), ("visual", "audio"))
        ]
        unused = "answer." if self.options.answer == "choices" else "score."
        return (*norms, *crossed, unused)

    @property
    def needs(self) -> tuple[str, ...]:
        """CLIP's words, which are the slots; no patches and bands where it looks into none."""
        words = ("words", "eot") if self.options.question == "clip" else ()
        absent = () if self.options.patches else ("patch", "bands")
        if self.per_option:
            words, absent = ("choice_words", "choice_eot"), (*absent, "sentence")
        return (*(name for name in super().needs if name not in absent), *words)

    @property
    def per_option(self) -> bool:
        """Whether each option's text stands in the question's place."""
        return self.options.answer == "choices" and self.options.options == "per_option"

    @property
    def _chooses_last(self) -> bool:
        """Whether options are read after everything else, by what the question found."""
        return self.options.answer == "choices" and not self.per_option

    @property
    def projections(self) -> dict[str, str]:
        """There is no question of its own where each option's text stands in its place."""
        named = super().projections
        return {k: n for k, n in named.items() if k != "q"} if self.per_option else named

    @property
    def every_word(self) -> bool:
        """As released, positions behind the end of the question are open."""
        return self.options.question == "clip" and not self.options.mask_words

    def encode(self, inputs: HeadInput) -> Watched:
        """Both streams with themselves, cues of a second with each other, and S."""
        assert inputs.audio is not None  # check
        assert inputs.frame is not None
        heard, valid = inputs.heard, inputs.valid
        a = inputs.only_heard(self.align_audio(self.audio(inputs.audio)))  # a_0 [V, T, D]
        v = self.align_visual(self.visual(inputs.frame))
        terms = (self.fusion.of_video(a, a, heard, heard), self.fusion.of_video(v, v, valid, valid))
        bands = patches = None
        found: list[Tensor | None] = [None, None]
        if self.options.patches:
            assert inputs.bands is not None
            assert inputs.patch is not None
            bands, patches = self.bands(inputs.bands), self.patch(inputs.patch)
            if self.options.collaborative:
                found = [self._crossed("visual", v, patches), self._crossed("audio", a, bands)]
                found[1] = inputs.only_heard(found[1])  # type: ignore[arg-type]
            bands = self.own["audio"].of_video(bands)  # type: ignore[operator]
            patches = self.own["visual"].of_video(patches)  # type: ignore[operator]
        both = None
        if self.options.collaborative:
            of_sound, _ = self.cross_mixtures["audio"](None, a, found[0], heard)
            of_frames, _ = self.cross_mixtures["visual"](None, v, found[1], valid)
            both = self.together(inputs.only_heard(of_sound), of_frames)
        return Watched(a, v, *terms, bands, patches, both)

    def _crossed(self, of: str, rows: Tensor, cues: Tensor) -> Tensor:
        module = self.crossed[of]
        assert isinstance(module, Cues)
        return module.find(rows, module.of_video(cues))[0]

    def decide(self, encoded: Watched, inputs: HeadInput, explain: bool = False) -> HeadOutput:
        """Score the answers, or the options; see `Head`."""
        if self.per_option:
            return self._each_option(encoded, inputs, explain)
        h, told = self._ask(encoded, inputs, explain)
        if self.options.answer == "choices":
            return HeadOutput(self._scores(h, inputs), explain=told)
        return HeadOutput(self.answer(h.squeeze(1)), explain=told)

    def _scores(self, h: Tensor, inputs: HeadInput) -> Tensor:
        """[B, O, D] → [B, O]."""
        scores: Tensor = self.score(h).squeeze(-1)
        if inputs.choice_valid is not None:
            scores = scores.masked_fill(~inputs.choice_valid, -torch.inf)
        return scores

    def _each_option(self, encoded: Watched, inputs: HeadInput, explain: bool) -> HeadOutput:
        """As many questions about a video as there are options of all questions about it."""
        assert inputs.choices is not None  # check
        assert inputs.choice_words is not None
        assert inputs.choice_eot is not None
        count, of = inputs.choices.shape[:2], inputs.of_video
        of = torch.arange(count[0], device=inputs.valid.device) if of is None else of
        asked = replace(
            inputs,
            of_video=of.repeat_interleave(count[1]),
            sentence=inputs.choices.flatten(0, 1),
            words=inputs.choice_words.flatten(0, 1),
            eot=inputs.choice_eot.flatten(),
        )
        h, told = self._ask(encoded, asked, explain)
        scores = self._scores(h.view(*count, -1), inputs)
        row = torch.arange(count[0], device=of.device)
        of_best = {n: x.view(*count, *x.shape[1:])[row, scores.argmax(1)] for n, x in told.items()}
        return HeadOutput(scores, explain=of_best)

    def _ask(
        self, encoded: Watched, inputs: HeadInput, explain: bool
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """ReLU(h) of each question, or of each option's vector, and what is told of them."""
        question = self.question(inputs)
        q = self.question_norm(question.sentence)
        mask = torch.ones_like(question.mask) if self.every_word else question.mask
        sequences, told = self._sequences(encoded, inputs, question, mask, q)
        slots, reads = [], []
        for number, chain in enumerate(self.chains):
            given = [sequences[name] for name in self._read(number)]
            z, weights = chain(question.words, given, want_weights=explain)
            slots.append(z)
            reads.append(weights)
        queries = self._queries(inputs, q)
        h, of_slots = self.readout(queries, torch.cat(slots, 1), mask.repeat(1, 3))
        return h.relu(), told | self._read_of(of_slots, reads, inputs) if explain else {}

    def _queries(self, inputs: HeadInput, q: Tensor) -> Tensor:
        """What reads the slots: the question, or each option [B, O, D]."""
        if not self._chooses_last:
            return q.unsqueeze(1)
        assert inputs.choices is not None  # check
        layer = self.option if self.options.question != "clip" else self.question.sentence
        options: Tensor = self.question_norm(layer(inputs.choices))  # type: ignore[operator]
        return options

    def _sequences(
        self, encoded: Watched, inputs: HeadInput, question: Question, mask: Tensor, q: Tensor
    ) -> tuple[dict[str, Sequence], dict[str, Tensor]]:
        """A, V and S of the questions, and what is told of the first two."""
        heard, valid = inputs.each(inputs.heard), inputs.each(inputs.valid)
        found, told = {}, {}
        for name, rows, terms, cues, there in (
            ("audio", encoded.audio, encoded.audio_terms, encoded.bands, heard),
            ("visual", encoded.visual, encoded.visual_terms, encoded.patches, valid),
        ):
            x, _ = self.fusion(
                *(inputs.each(terms), inputs.each(rows), question.words, mask), want_weights=False
            )
            seen = None
            if cues is not None:
                seen, weights = self.own[name].find(x, inputs.each(cues))  # type: ignore[operator]
                told["band_attn" if name == "audio" else "patch_attn"] = weights * there.unsqueeze(
                    -1
                )
            out, told[f"expert_route_{name}"] = self.mixtures[name](q, x, seen, there)
            found[name] = Sequence(name, out, there)
        if encoded.both is not None:
            found["both"] = Sequence("both", inputs.each(encoded.both), valid)
        return found, told

    def _read_of(
        self, of_slots: Tensor, reads: list[list[Tensor]], inputs: HeadInput
    ) -> dict[str, Tensor]:
        """Seconds of each sequence by the slots that read it, and the slots by the question."""
        there = torch.ones_like(of_slots[..., 0], dtype=torch.bool)
        if self._chooses_last and inputs.choice_valid is not None:
            there = inputs.choice_valid
        weight = masked_mean(of_slots, there).view(len(of_slots), 3, -1)  # [B, 3, N]
        told = {"word_attn": weight.sum(1)}
        for number, weights in enumerate(reads):
            for name, each in zip(self._read(number), weights, strict=True):
                seconds = torch.einsum("bn,bnt->bt", weight[:, number], each)
                key = f"second_weight_{name}"
                told[key] = told[key] + seconds if key in told else seconds
        return told

    def evidence(self, inputs: HeadInput, output: HeadOutput) -> Evidence:
        """Seconds as the slots read them, patches as the frame asks them, words by the question.

        What both streams say together is read of either; CLIP's start token is left out.
        """
        told, valid = output.explain, inputs.valid
        both = told.get("second_weight_both", 0.0)
        words = told["word_attn"][:, 1:] if self.options.question == "clip" else told["word_attn"]
        words = words / words.sum(1, keepdim=True).clamp(min=torch.finfo(words.dtype).tiny)
        return Evidence.of_streams(
            told["second_weight_audio"] + both,
            told["second_weight_visual"] + both,
            valid,
            heard=inputs.heard,
            patches=told.get("patch_attn"),
            words=words,
        )
