"""A simple strong baseline of our own: late fusion that multiplies, knows time and slots.

No paper's. Three things that the papers' heads lack let it answer what they cannot
(docs/heads/bilinear.md): a code of time beside every row, a low-rank product of sound and picture
(the pooling of Kim et al., *Hadamard Product for Low-rank Bilinear Pooling*, ICLR 2017), and a
question whose slots stand apart.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from avqa.heads._parts.blocks import AnswerLayer, masked_mean, question_encoder
from avqa.heads._parts.head import Head as BaseHead
from avqa.heads._parts.head import HeadInput, HeadOutput
from avqa.heads._parts.options import HeadOptions, changed
from avqa.heads._parts.paper import Ablation, Paper, Recipe
from avqa.heads._parts.product import LowRankProduct

PAPER = Paper(
    title="Bilinear late fusion with a code of time (a baseline of avqa's own, of no paper)",
    venue="avqa",
    url="https://arxiv.org/abs/1610.04325",
    recipe=Recipe(1e-3, batch_size=128, epochs=25, step_epochs=18, gamma=0.1),
)
ABLATIONS: dict[str, Ablation] = {
    "no_product": Ablation({"fusion": "sum"}, note="FC(tanh[a; v]) alone, as in late fusion"),
    "no_time_code": Ablation({"time_code": "none"}, note="blind to the order of seconds"),
    "lstm": Ablation({"question": "lstm"}, note="an LSTM"),
}


@dataclass(frozen=True, kw_only=True)
class Options(HeadOptions):
    """What it adds to late fusion, each of which may be left out."""

    width: int = 128
    question: Literal["lstm", "positions", "clip"] = "positions"
    pack: bool = changed(True, before=False)
    forget_bias: float = changed(2.0, before=0.0)
    time_code: Literal["none", "clock", "product"] = "product"
    fusion: Literal["sum", "product"] = "product"
    """Of sound and picture: a layer over both, or with it a low-rank product."""
    rank: int = 256
    """Of the product."""


class Head(BaseHead):
    """Means over time, joined by a layer and a low-rank product, then multiplied by the question.

        a = mean_t FC(audio_t),  v = mean_tp FC(patch_tp)
        f = FC(tanh[a; v]) + P(U a ∘ V v)
        e = tanh(f ∘ q),  logits = FC(e)

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
        self.product = LowRankProduct(width, options.rank) if options.fusion == "product" else None
        self.answer = AnswerLayer(options)

    def encode(self, inputs: HeadInput) -> Tensor:
        """F [V, D]; there is nothing to explain."""
        assert inputs.audio is not None  # check
        assert inputs.patch is not None
        audio = masked_mean(self.audio(inputs.audio), inputs.heard)
        visual = masked_mean(self.visual(inputs.patch.mean(2)), inputs.valid)
        fused: Tensor = self.fuse(torch.cat([audio, visual], -1).tanh())
        return fused if self.product is None else fused + self.product(audio, visual)

    def decide(self, encoded: Tensor, inputs: HeadInput, explain: bool = False) -> HeadOutput:
        """Multiply by the question."""
        e = (inputs.each(encoded) * self.question(inputs).sentence).tanh()
        return HeadOutput(self.answer(e, inputs))
