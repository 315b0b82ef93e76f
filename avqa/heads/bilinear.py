"""A simple strong baseline of our own: late fusion that multiplies, knows time and slots.

No paper's. Three things that the papers' heads lack let it answer what they cannot
(docs/heads/bilinear.md): a code of time beside every row, a low-rank product of sound, picture and
question (the pooling of Kim et al., *Hadamard Product for Low-rank Bilinear Pooling*, ICLR 2017,
with a third factor), and a question whose slots stand apart.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

from avqa.heads._parts.blocks import AnswerLayer, masked_mean, question_encoder
from avqa.heads._parts.head import Head as BaseHead
from avqa.heads._parts.head import HeadInput, HeadOutput
from avqa.heads._parts.options import HeadOptions, changed, later
from avqa.heads._parts.paper import Ablation, Paper, Recipe
from avqa.heads._parts.product import LowRankProduct

PAPER = Paper(
    title="Bilinear late fusion with a code of time (a baseline of avqa's own, of no paper)",
    venue="avqa",
    url="https://arxiv.org/abs/1610.04325",
    recipe=Recipe(
        1e-3,
        batch_size=128,
        epochs=25,
        step_epochs=18,
        gamma=0.1,
        weight_decay=0.1,
        decay="linear",
    ),
)
ABLATIONS: dict[str, Ablation] = {
    "no_product": Ablation({"fusion": "sum"}, note="FC(tanh[a; v]) alone, as in late fusion"),
    "plain_product": Ablation(
        {"fusion": "product"}, note="of sound and picture alone, before the question"
    ),
    "no_time_code": Ablation({"time_code": "none"}, note="blind to the order of seconds"),
    "lstm": Ablation({"question": "lstm"}, note="an LSTM"),
    "plain_rows": Ablation({"standardise": False}, note="columns as large as they come"),
}


@dataclass(frozen=True, kw_only=True)
class Options(HeadOptions):
    """What it adds to late fusion, each of which may be left out."""

    width: int = 128
    question: Literal["lstm", "positions", "clip"] = "positions"
    pack: bool = changed(True, before=False)
    forget_bias: float = changed(2.0, before=0.0)
    time_code: Literal["none", "clock", "product"] = "product"
    standardise: bool = later(True, before=False)
    fusion: Literal["sum", "product", "asked"] = "asked"
    """Of sound and picture: a layer over both, or with it a low-rank product of them, or one of
    them and the question."""
    rank: int = 256
    """Of the product."""


class Joined(NamedTuple):
    """Sound and picture of a video."""

    fused: Tensor
    """[V, D], f."""
    both: Tensor | None
    """[V, R], U a ∘ V v, where it still is to meet the question."""


class Head(BaseHead):
    """Means over time, joined by a layer and by a low-rank product, each with the question.

        a = mean_t FC(audio_t),  v = mean_tp FC(patch_tp),  f = FC(tanh[a; v])
        e = tanh(f ∘ q + P(U a ∘ V v ∘ W q)),  logits = FC(e)

    With ``fusion=product``, e = tanh((f + P(U a ∘ V v)) ∘ q).

    Shapes:
        audio [B, T, audio_width], patch [B, T, P, visual_width] → logits [B, C]
    """

    FEATURES = ("audio", "patch")
    PROJECTIONS = {"q": "question", "a": "audio", "v": "visual"}

    def __init__(self, options: Options) -> None:
        super().__init__(options)
        width = options.width
        self.question = question_encoder(options, words=False)
        self.audio = nn.Linear(options.audio_width, width)
        self.visual = nn.Linear(options.visual_width, width)
        self.fuse = nn.Linear(2 * width, width)
        self.product = None if options.fusion == "sum" else LowRankProduct(width, options.rank)
        self.asked = nn.Linear(width, options.rank) if options.fusion == "asked" else None
        self.answer = AnswerLayer(options)

    def encode(self, inputs: HeadInput) -> Joined:
        """What is once a video's; there is nothing to explain."""
        assert inputs.audio is not None  # check
        assert inputs.patch is not None
        audio = masked_mean(self.audio(inputs.audio), inputs.heard)
        visual = masked_mean(self.visual(inputs.patch.mean(2)), inputs.valid)
        fused = self.fuse(torch.cat([audio, visual], -1).tanh())
        if self.product is None:
            return Joined(fused, None)
        if self.asked is None:
            return Joined(fused + self.product(audio, visual), None)
        return Joined(fused, self.product.both(audio, visual))

    def decide(self, encoded: Joined, inputs: HeadInput, explain: bool = False) -> HeadOutput:
        """Multiply by the question."""
        q = self.question(inputs).sentence
        e = inputs.each(encoded.fused) * q
        if encoded.both is not None:
            assert self.product is not None
            assert self.asked is not None
            e = e + self.product.out(inputs.each(encoded.both) * self.asked(q))
        return HeadOutput(self.answer(e.tanh(), inputs))
