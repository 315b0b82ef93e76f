"""QA-TIGER (CVPR 2025): the question in the first fusion, Gaussian experts over the seconds.

Sound and frames are fused with each other and with the question's words; both look into the
patches of each second; then experts, each a Gaussian in a part of time of its own, say what the
seconds hold that the question is about.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from avqa.heads._parts.blocks import AnswerLayer, Attention, Question, question_encoder
from avqa.heads._parts.evidence import Evidence
from avqa.heads._parts.head import Head as BaseHead
from avqa.heads._parts.head import HeadInput, HeadOutput
from avqa.heads.qa_tiger.experts import Asked, GaussianExperts, Gaussians, places
from avqa.heads.qa_tiger.modules import Looked, PatchBranch, QuestionFusion, Reasoning, start
from avqa.heads.qa_tiger.options import Options


class Watched(NamedTuple):
    """A video, whatever is asked about it."""

    audio: Tensor
    """a [V, T, D]; so are ``visual`` v and the terms of the fusion of either."""
    visual: Tensor
    audio_terms: Tensor
    visual_terms: Tensor
    patches: Tensor | None
    """Z' [V, T, P, D]."""


class Fused(NamedTuple):
    """Both streams with the words of the question."""

    audio: Tensor
    """a_q [B, T, D]; so is ``visual``, v_q."""
    visual: Tensor
    words: tuple[Tensor | None, Tensor | None]
    """Weights of the words [B, T, N], of sound and of frames."""


class Head(BaseHead):
    """Question-aware fusion and temporal integration of Gaussian experts.

        a, v, Z, W, q = FC of sound, frames, patches, words, sentence
        a_q, v_q = QAF(a; v, W), QAF(v; a, W)              `QuestionFusion`, weights shared
        p_v, p_a = patches asked by v_q and by a_q         `PatchBranch`
        ã = GE_a(q, a_q),  ṽ_a, ṽ_v = GE_v(q, v_q, p_a), GE_v(q, v_q, p_v)    `GaussianExperts`
        F = QR(q, [QR(q, [ṽ_a; ṽ_v]); ã]),  logits = FC(ReLU(F))              `Reasoning`

    The routing is of each question alone: in the authors' code the experts of one sample are
    chosen by others of its batch (see ``docs/heads/qa_tiger.md``).

    Shapes:
        audio [B, T, audio_width], frame [B, T, visual_width], patch [B, T, P, patch_width],
        words [B, 77, word_width] before the projection → logits [B, C]; explain, for each of
        ``audio`` and ``visual``: gauss_center, gauss_width, expert_route [B, E],
        gauss_weight [B, E, T], second_weight [B, T], word_attn [B, T, N]; patch_attn [B, T, 2, P]

    Raises:
        ValueError: the batch does not fit, see `avqa.heads.Head.check`.
    """

    FEATURES = ("audio", "frame", "patch")
    WORDS = "word_state"
    PROJECTIONS = {"q": "question", "a": "audio", "v": "visual"}
    options: Options

    def __init__(self, options: Options) -> None:
        super().__init__(options)
        width, dropout = options.width, options.dropout
        self.question = question_encoder(options, words=options.question_fusion, start=True)
        self.audio = nn.Linear(options.audio_width, width)
        self.visual = nn.Linear(options.visual_width, width)
        self.fusion = QuestionFusion(width, dropout, words=options.question_fusion)
        if options.patches:
            self.patch = nn.Linear(options.patch_width, width)
            self.looking = PatchBranch(width, dropout)
        shared = options.gaussian and options.shared_time
        self.audio_experts = self._experts(norms=1, predicts=options.gaussian and not shared)
        norms = 2 if options.patches else 1
        self.visual_experts = self._experts(norms=norms, predicts=options.gaussian)
        self.reasoning = Reasoning(width, dropout)
        self.answer = AnswerLayer(options)
        start(self, (module for module in self.modules() if isinstance(module, Attention)))

    def _experts(self, *, norms: int, predicts: bool) -> GaussianExperts:
        options = self.options
        return GaussianExperts(
            *(options.width, options.dropout, options.experts, options.topk),
            norms=norms,
            routes=options.routing == "softmax",
            predicts=predicts,
        )

    @property
    def needs(self) -> tuple[str, ...]:
        """Words too where CLIP's are fused; no patches where it does not look into frames."""
        words = self.options.question_fusion and self.options.question == "clip"
        read = (name for name in super().needs if name != "patch" or self.options.patches)
        return (*read, *(("words", "eot") if words else ()))

    @property
    def every_word(self) -> bool:
        """As released, positions behind the end of the question are open."""
        return self.options.question == "clip" and not self.options.mask_words

    def encode(self, inputs: HeadInput) -> Watched:
        """Both streams with themselves and each other, patches of a second with each other."""
        assert inputs.audio is not None  # check
        assert inputs.frame is not None
        heard, valid = inputs.heard, inputs.valid
        a = inputs.only_heard(self.audio(inputs.audio))  # [V, T, D]
        v = self.visual(inputs.frame)
        terms = (
            self.fusion.of_video(a, v, heard, valid),
            self.fusion.of_video(v, a, valid, heard),
        )
        patches = None
        if self.options.patches:
            assert inputs.patch is not None
            patches = self.looking.of_video(self.patch(inputs.patch))
        return Watched(a, v, *terms, patches)

    def decide(self, encoded: Watched, inputs: HeadInput, explain: bool = False) -> HeadOutput:
        """The question's words, its experts and what it makes of them; see `Head`."""
        question = self.question(inputs)
        q, heard, valid = question.sentence, inputs.each(inputs.heard), inputs.each(inputs.valid)
        fused = self._fuse(encoded, inputs, question, explain)
        looked = None
        if encoded.patches is not None:
            looked = self.looking(fused.visual, fused.audio, inputs.each(encoded.patches))
        place, gaussian = places(valid, q.dtype), self.options.gaussian
        seen = self.visual_experts.ask(q, fused.visual, place, valid, gaussian=gaussian)
        listened = self.audio_experts.ask(
            *(q, fused.audio, place, heard), self._shared(seen.time), gaussian=gaussian
        )
        sound = self.audio_experts(listened, fused.audio, 0)  # ã [B, D]
        pictures = self._pictures(seen, fused.visual, looked, heard)  # [B, n, D]
        there = torch.ones(pictures.shape[:2], dtype=torch.bool, device=pictures.device)
        picture = self.reasoning(q, pictures, there)
        some = torch.stack([there[:, 0], heard.any(1)], 1)
        e = self.reasoning(q, torch.stack([picture, sound], 1), some).relu()
        told = _told(fused, looked, seen, listened, valid) if explain else {}
        return HeadOutput(self.answer(e, inputs), explain=told)

    def _fuse(
        self, encoded: Watched, inputs: HeadInput, question: Question, explain: bool
    ) -> Fused:
        each = inputs.each
        mask = None if self.every_word else question.mask
        found = [
            self.fusion(each(terms), each(x), question.words, mask, want_weights=explain)
            for terms, x in (
                (encoded.audio_terms, encoded.audio),
                (encoded.visual_terms, encoded.visual),
            )
        ]
        (audio, of_audio), (visual, of_visual) = found
        return Fused(audio, visual, (of_audio, of_visual))

    def _shared(self, time: Gaussians | None) -> Gaussians | None:
        return time if self.options.shared_time else None

    def _pictures(
        self, seen: Asked, visual: Tensor, looked: Looked | None, heard: Tensor
    ) -> Tensor:
        """ṽ_a and ṽ_v, or without patches the one there is: [B, n, D]."""
        if looked is None:
            alone: Tensor = self.visual_experts(seen, visual, 0)
            return alone.unsqueeze(1)
        asked_by_sound = torch.where(heard.unsqueeze(-1), looked.audio, 0)
        found = (
            self.visual_experts(seen, visual + asked_by_sound, 0),
            self.visual_experts(seen, visual + looked.visual, 1),
        )
        return torch.stack(found, 1)

    def evidence(self, inputs: HeadInput, output: HeadOutput) -> Evidence:
        """Seconds as the experts weigh them; patches and words by the attention of both streams.

        Words are weighed by the seconds that ask for them; CLIP's start token is left out.
        """
        told, valid, heard = output.explain, inputs.valid, inputs.heard
        sound, picture = told["second_weight_audio"], told["second_weight_visual"]
        patches = None
        if "patch_attn" in told:
            by_frame, by_sound = told["patch_attn"].unbind(2)  # [B, T, P]
            patches = torch.where(heard.unsqueeze(-1), (by_frame + by_sound) / 2, by_frame)
            patches = patches * valid.unsqueeze(-1)
        words = None
        if "word_attn_audio" in told:
            of_sound = torch.einsum("bt,btn->bn", sound, told["word_attn_audio"])
            words = of_sound + torch.einsum("bt,btn->bn", picture, told["word_attn_visual"])
            words = words[:, 1:] if self.options.question == "clip" else words
            words = words / words.sum(1, keepdim=True).clamp(min=torch.finfo(words.dtype).tiny)
        return Evidence.of_streams(sound, picture, valid, heard=heard, patches=patches, words=words)


def _told(
    fused: Fused, looked: Looked | None, seen: Asked, listened: Asked, valid: Tensor
) -> dict[str, Tensor]:
    """What `Head.forward` explains."""
    told = {}
    for name, asked, words in zip(("audio", "visual"), (listened, seen), fused.words, strict=True):
        told[f"expert_route_{name}"] = asked.route
        told[f"second_weight_{name}"] = asked.second
        if asked.time is not None:
            told[f"gauss_center_{name}"] = asked.time.center
            told[f"gauss_width_{name}"] = asked.time.width
            told[f"gauss_weight_{name}"] = asked.weight
        if words is not None:
            told[f"word_attn_{name}"] = words * valid.unsqueeze(-1)
    if looked is not None:
        told["patch_attn"] = looked.weights * valid[..., None, None]
    return told
