"""A baseline that sees the question alone: what a model can score without the video."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from avqa.heads._parts.blocks import AnswerLayer, question_encoder
from avqa.heads._parts.head import Head as BaseHead
from avqa.heads._parts.head import HeadInput, HeadOutput
from avqa.heads._parts.options import HeadOptions
from avqa.heads._parts.paper import Ablation, Paper, Recipe

PAPER = Paper(
    title="Question-only baseline (the Q row of AVST's ablation)",
    venue="CVPR 2022",
    url="https://arxiv.org/abs/2203.14072",
    recipe=Recipe(1e-4, batch_size=64, epochs=30, step_epochs=10, gamma=0.1),
)
ABLATIONS: dict[str, Ablation] = {}


@dataclass(frozen=True, kw_only=True)
class Options(HeadOptions):
    """Nothing beyond what every head has."""


class Head(BaseHead):
    """``e = tanh(FC(q))``, logits ``FC(e)``; the video is not looked at."""

    PROJECTIONS = {"q": "question"}

    def __init__(self, options: Options) -> None:
        super().__init__(options)
        self.question = question_encoder(options, words=False)
        self.hidden = nn.Linear(options.width, options.width)
        self.answer = AnswerLayer(options)

    def forward(self, inputs: HeadInput, explain: bool = False) -> HeadOutput:
        """See `Head`; there is nothing to explain."""
        inputs = self.check(inputs)
        e: Tensor = self.hidden(self.question(inputs).sentence).tanh()
        return HeadOutput(self.answer(e, inputs))
