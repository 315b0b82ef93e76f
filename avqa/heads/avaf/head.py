"""AVAF-Net: the words gather clues from audio and patches; the question weighs the two."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from avqa.heads._parts.blocks import (
    AnswerLayer,
    Attention,
    ClipQuestion,
    FeedForward,
    Question,
    masked_softmax,
    question_encoder,
)
from avqa.heads._parts.evidence import Evidence
from avqa.heads._parts.grounding import UnitMap
from avqa.heads._parts.head import Head as BaseHead
from avqa.heads._parts.head import HeadInput, HeadOutput
from avqa.heads.avaf.losses import foreign_cosine, spatial_loss, temporal_loss
from avqa.heads.avaf.options import Options


class CrossLayer(nn.Module):
    """Post-norm attention layer X: its queries are added to what they find.

        x = LN(query + drop(MHA(query, keys, keys))),  out = LN(x + drop(FFN(x)))

    The feed-forward layer is 4D wide. ``positions`` are added to queries and keys, not to values.
    Differs from the paper: Eq. 4, 5, 10 and 11 print the attention; the rest of the layer is the
    authors' code. ``alone`` is as printed: out = MHA(query, keys, keys).

    Shapes:
        query [B, M, D], keys [B, N, D], mask [B, N] → out [B, M, D], weights [B, M, N]
        (None unless wanted)
    """

    def __init__(self, width: int, dropout: float, heads: int = 4, *, alone: bool = False) -> None:
        super().__init__()
        self.alone = alone
        self.attention = Attention(width, heads, dropout)
        if not alone:
            self.feed_forward = FeedForward(width, dropout, 4 * width)
            self.dropout = nn.Dropout(dropout)
            self.norm1 = nn.LayerNorm(width)
            self.norm2 = nn.LayerNorm(width)
        for p in self.parameters():
            if p.ndim > 1:
                nn.init.xavier_uniform_(p)

    def forward(
        self,
        query: Tensor,
        keys: Tensor,
        mask: Tensor,
        *,
        positions: Tensor | None = None,
        want_weights: bool = False,
    ) -> tuple[Tensor, Tensor | None]:
        """Update ``query`` by what it finds in ``keys``."""
        if positions is None:
            mixed, weights = self.attention(query, keys, mask, want_weights=want_weights)
        else:
            mixed, weights = self.attention(
                query + positions, keys + positions, mask, values=keys, want_weights=want_weights
            )
        if self.alone:
            return mixed, weights
        x = self.norm1(query + self.dropout(mixed))
        return self.norm2(x + self.dropout(self.feed_forward(x))), weights


class AudioEncoder(nn.Module):
    """Self-attention over the seconds of audio, one head, learnt positions N(0, 1).

    Shapes:
        audio [B, T, D], valid [B, T] → [B, T, D]
    """

    def __init__(self, width: int, dropout: float, num_seconds: int) -> None:
        super().__init__()
        self.positions = nn.Parameter(torch.randn(num_seconds, width))
        self.layer = CrossLayer(width, dropout, heads=1)

    def forward(self, audio: Tensor, valid: Tensor) -> Tensor:
        """Encode.

        Raises:
            ValueError: there are more seconds than positions.
        """
        seconds = audio.shape[1]
        if seconds > len(self.positions):
            raise ValueError(
                f"T={seconds}; expected at most num_seconds={len(self.positions)} with"
                " audio_encoder=true; raise num_seconds or set audio_encoder=false"
            )
        out, _ = self.layer(audio, audio, valid, positions=self.positions[:seconds])
        return out  # type: ignore[no-any-return]


class ModalityFusion(nn.Module):
    """Words gather from both modalities, the question weighs them (QOAF).

        Eq. 10–11   a'' = X(W, a'),  Z'' = X(W, Z')
                    δ = softmax(FC(q)),  δ_1 visual, δ_2 audio (both 1 without weights)
        Eq. 13      F = FC([δ_1 Z''; δ_2 a''])                          (``sum``: δ_1 Z'' + δ_2 a'')

    Differs from the authors' code: they add, put a ReLU before the softmax (``weight_relu``; with
    both values negative δ is stuck at ½) and count audio first.

    Shapes:
        q [B, D], words [B, N, D], audio [B, T, D], patches [B, T·P, D], heard [B, T] of the audio,
        valid [B, T] → F [B, N, D], δ [B, 2], weights of the words over seconds of audio [B, N, T]
        and over patches [B, N, T·P] (None unless wanted)
    """

    def __init__(self, options: Options) -> None:
        super().__init__()
        width, dropout = options.width, options.dropout
        self.relu = options.weight_relu
        alone = options.attention == "alone"
        self.audio = CrossLayer(width, dropout, alone=alone)
        self.visual = CrossLayer(width, dropout, alone=alone)
        self.weigh = nn.Linear(width, 2) if options.qoaf else None
        self.join = nn.Linear(2 * width, width) if options.fuse == "concat" else None
        self.product = options.product()

    def forward(
        self,
        question: Question,
        audio: Tensor,
        patches: Tensor,
        heard: Tensor,
        valid: Tensor,
        *,
        want_weights: bool,
    ) -> tuple[Tensor, Tensor, tuple[Tensor | None, Tensor | None]]:
        """Fuse the modalities per word."""
        words = question.words
        sound, audio_attn = self.audio(words, audio, heard, want_weights=want_weights)  # Eq. 10
        shown = valid.repeat_interleave(patches.shape[1] // valid.shape[1], 1)
        seen, patch_attn = self.visual(words, patches, shown, want_weights=want_weights)  # Eq. 11
        weights = self._weights(question.sentence)
        seen, sound = weights[:, :1, None] * seen, weights[:, 1:, None] * sound
        fused = seen + sound if self.join is None else self.join(torch.cat([seen, sound], -1))
        fused = fused if self.product is None else fused + self.product(sound, seen)
        return fused, weights, (audio_attn, patch_attn)  # Eq. 13, [B, N, D]

    def _weights(self, q: Tensor) -> Tensor:
        if self.weigh is None:
            return q.new_ones(len(q), 2)
        scores: Tensor = self.weigh(q)
        return (scores.relu() if self.relu else scores).softmax(-1)


class WordPool(nn.Module):
    """Attention pooling over words: w = softmax(FC(drop(ReLU(FC(F))))), e = Σ_n w_n F_n.

    Chosen where the paper is silent: it does not say how the words become one vector; this is
    the authors' code.

    Shapes:
        fused [B, N, D], mask [B, N] → e [B, D], w [B, N]
    """

    def __init__(self, width: int, dropout: float) -> None:
        super().__init__()
        self.score = FeedForward(width, dropout)
        self.score[3] = nn.Linear(width, 1)

    def forward(self, fused: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Pool the words."""
        weights = masked_softmax(self.score(fused).squeeze(-1), mask)
        return (weights.unsqueeze(1) @ fused).squeeze(1), weights


class Projected(NamedTuple):
    """Audio and patches before clue mining."""

    audio: Tensor
    """a [V, T, D]."""
    patches: Tensor
    """Z [V, T, P, D]."""


class Mined(NamedTuple):
    """Audio and patches after clue mining."""

    audio_clues: Tensor
    """a' [B, T, D]."""
    patch_clues: Tensor
    """Z' [B, T, P, D]."""
    word_attn: Tensor | None
    """[B, T, N], of the audio over the words."""


class Head(BaseHead):
    """Audio-visual adaptive fusion network (AVAF-Net).

        a = FC(audio) (through the `AudioEncoder`),  Z = FC(patch),  W = words, q = sentence
        Eq. 4–5     a' = X(a, W),  Z' = X(Z, W)                    clue mining (AVCM)
        Eq. 10–13   F = ModalityFusion(q, W, a', Z')                (QOAF)
                    e = WordPool(F),  logits = FC(e)

    Losses: L = CE + α L_temp + β L_spat. L_temp (Eq. 1–3) aligns a with the mean of Z over time.
    L_spat (Eq. 6–9) is one term for q and one for a' against the patches of Z'.

    Chosen where the paper prints otherwise: a layer for the attention of Eq. 4, 5, 10 and 11
    (`CrossLayer`), weighted patches for F_s (`sounding`).
    Chosen where the paper is silent: the softmax in δ, CLIP's text tower for "CLIP-BERT", α = 1,
    τ = 0.4, the pooling of words, the audio encoder; the interaction of audio and patches inside
    L_temp uses the encoder's output, too; words that find no sound stay themselves.
    Differs from the authors' code: the sentence is the end-of-text vector and words are masked
    after it; see also `ModalityFusion` and `temporal_loss`.

    Shapes:
        audio [B, T, audio_width], patch [B, T, P, visual_width] → logits [B, C]
        explain: modality_weights [B, 2] (visual, audio); question_patch_sim, audio_patch_sim
        [B, T, P] cosines with Z' (0 at padded seconds, the audio's also where there is none);
        word_attn_audio [B, T, N] (with ``avcm``);
        word_pool [B, N]; word_audio_attn [B, N, T]; word_patch_attn [B, N, T·P]. CLIP's word n
        is its position n + 1.

    Raises:
        ValueError: see `AudioEncoder`.
    """

    FEATURES = ("audio", "patch")
    PROJECTIONS = {"q": "question", "a": "audio", "v": "visual"}
    WITHOUT_GRADIENT = ("pool.score.3.bias",)  # shifts the scores of all words alike

    def __init__(self, options: Options) -> None:
        super().__init__(options)
        self.options: Options = options
        width, dropout = options.width, options.dropout
        self.question = question_encoder(options, words=True, raw=True)
        self.audio = nn.Linear(options.audio_width, width)
        self.visual = nn.Linear(options.visual_width, width)
        self.audio_encoder = (
            AudioEncoder(width, dropout, options.num_seconds) if options.audio_encoder else None
        )
        alone = options.attention == "alone"
        self.mine_audio = CrossLayer(width, dropout, alone=alone) if options.avcm else None
        self.mine_visual = CrossLayer(width, dropout, alone=alone) if options.avcm else None
        self.fusion = ModalityFusion(options)
        self.pool = WordPool(width, dropout)
        self.answer = AnswerLayer(options)
        if options.tacl:
            usual = 100.0 if options.temp_loss == "fnac" else 1.0
            self.aux_weights["temp"] = usual if options.alpha is None else options.alpha
        if options.sacl:
            self.aux_weights["spat"] = options.beta

    @property
    def needs(self) -> tuple[str, ...]:
        """Fields of `HeadInput` that must be given, for these options."""
        clip = ("words", "eot") if self.options.question == "clip" else ()
        return (*super().needs, *clip)

    def encode(self, inputs: HeadInput) -> Projected:
        """Both modalities, before any word meets them."""
        audio, patches = inputs.only_heard(self.audio(inputs.audio)), self.visual(inputs.patch)
        if self.audio_encoder is not None:
            audio = inputs.only_heard(self.audio_encoder(audio, inputs.heard))
        return Projected(audio, patches)

    def decide(self, encoded: Projected, inputs: HeadInput, explain: bool = False) -> HeadOutput:
        """Clue mining, fusion and the answer; see `Head`."""
        losses = self._temporal(encoded, inputs) if self.training and self.options.tacl else {}
        question, each = self._question(inputs), inputs.each
        projected, inputs = Projected(*map(each, encoded)), inputs.questions()
        mined = self._mine(projected, inputs, question, want_weights=explain)
        fused, weights, (audio_attn, patch_attn) = self.fusion(
            question,
            mined.audio_clues,
            mined.patch_clues.flatten(1, 2),
            inputs.heard,
            inputs.valid,
            want_weights=explain,
        )
        e, word_pool = self.pool(fused, question.mask)
        if self.training and self.options.sacl:
            losses["spat"] = self._spat(question.sentence, mined, inputs)
        told = {}
        if explain:
            told = self._similarities(question.sentence, mined, inputs)
            told |= {"modality_weights": weights, "word_pool": word_pool}
            told |= {"word_audio_attn": audio_attn, "word_patch_attn": patch_attn}
        return HeadOutput(self.answer(e, inputs), losses, told)

    def evidence(self, inputs: HeadInput, output: HeadOutput) -> Evidence:
        """Attention of the words to seconds and patches, by each word's part in the pooling."""
        told = output.explain
        words = told["word_pool"]
        sound, looked = (
            (words.unsqueeze(1) @ told[f"word_{kind}_attn"]).squeeze(1)  # Σ_n w_n A_n
            for kind in ("audio", "patch")
        )
        patches = looked.view(*inputs.valid.shape, -1)  # [B, T, P]
        return Evidence.of_streams(
            sound,
            patches.sum(2),
            inputs.valid,
            heard=inputs.heard,
            modality=told["modality_weights"] if self.options.qoaf else None,
            patches=patches,
            words=words,
        )

    def _question(self, inputs: HeadInput) -> Question:
        question: Question = self.question(inputs)
        if self.options.q_pool == "eot":
            return question
        assert isinstance(self.question, ClipQuestion)  # Options.problems
        assert inputs.words is not None  # check
        return question._replace(sentence=self.question.sentence(inputs.words[:, 0]))

    def _mine(
        self, projected: Projected, inputs: HeadInput, question: Question, *, want_weights: bool
    ) -> Mined:
        audio, patches = projected
        if self.mine_audio is None or self.mine_visual is None:
            return Mined(audio, patches, None)
        words, mask = question.words, question.mask
        heard, attn = self.mine_audio(audio, words, mask, want_weights=want_weights)  # Eq. 4
        seen, _ = self.mine_visual(patches.flatten(1, 2), words, mask)  # Eq. 5, [B, T·P, D]
        return Mined(inputs.only_heard(heard), seen.view_as(patches), attn)

    def _temporal(self, projected: Projected, inputs: HeadInput) -> dict[str, Tensor]:
        kind, printed = self.options.temp_loss, self.options.sounding == "product"
        (audio, patches), heard, asked = projected, inputs.heard, inputs.asked
        if kind == "fnac":  # compares the seconds of all samples, those of one video, too
            audio, patches, heard = (inputs.each(x) for x in (audio, patches, heard))
            asked = torch.ones_like(heard[:, 0], dtype=torch.long)
        return {"temp": temporal_loss(audio, patches, heard, kind, asked, printed=printed)}

    def _spat(self, q: Tensor, mined: Mined, inputs: HeadInput) -> Tensor:
        patches = UnitMap.of(mined.patch_clues)
        terms = [
            self._spatial(q.unsqueeze(1), patches, inputs, inputs.valid),
            self._spatial(mined.audio_clues, patches, inputs, inputs.heard),
        ]
        return torch.stack(terms).sum()  # Eq. 6–9, scalar

    def _spatial(
        self, query: Tensor, patches: UnitMap, inputs: HeadInput, asking: Tensor
    ) -> Tensor:
        """One term, over the seconds ``asking`` [B, T] in which there is a query."""
        others = None
        if self.options.spat_batch_neg:
            others = foreign_cosine(query, patches, inputs.valid, inputs.video)
        return spatial_loss(
            query,
            patches,
            asking,
            phi=self.options.phi * 49 / patches.length.shape[-1],
            tau=self.options.tau,
            temperature=self.options.spat_temp,
            others=others,
        )

    def _similarities(self, q: Tensor, mined: Mined, inputs: HeadInput) -> dict[str, Tensor]:
        patches, heard = UnitMap.of(mined.patch_clues), inputs.heard.unsqueeze(-1)
        found = {
            "question_patch_sim": patches.score(q.unsqueeze(1)) * inputs.valid.unsqueeze(-1),
            "audio_patch_sim": patches.score(mined.audio_clues) * heard,
        }
        if mined.word_attn is not None:
            found["word_attn_audio"] = mined.word_attn * heard
        return found
