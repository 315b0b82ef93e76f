"""A baseline without reasoning: means over time of audio and frame, joined with the question."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from avqa.heads._parts.blocks import AnswerLayer, masked_mean, question_encoder
from avqa.heads._parts.head import Head as BaseHead
from avqa.heads._parts.head import HeadInput, HeadOutput
from avqa.heads._parts.paper import Ablation, Paper, Recipe
from avqa.heads._parts.product import JoiningOptions

PAPER = Paper(
    title="Late fusion of mean-pooled features (the AV+Q row of AVST's ablation)",
    venue="CVPR 2022",
    url="https://arxiv.org/abs/2203.14072",
    recipe=Recipe(1e-4, batch_size=64, epochs=30, step_epochs=10, gamma=0.1),
)
ABLATIONS: dict[str, Ablation] = {}


@dataclass(frozen=True, kw_only=True)
class Options(JoiningOptions):
    """Nothing beyond what every head has that joins the senses."""


class Head(BaseHead):
    """Mean pooling, concatenation, one product with the question.

        a = mean_t FC(audio_t),  v = mean_tp FC(patch_tp)
        e = tanh(FC(tanh([a; v])) ∘ q),  logits = FC(e)

    ``fusion=product`` adds P(U a ∘ V v) to the layer over both.

    Shapes:
        audio [B, T, audio_width], patch [B, T, P, visual_width] → logits [B, C]
    """

    FEATURES = ("audio", "patch")
    PROJECTIONS = {"q": "question", "a": "audio", "v": "visual"}

    def __init__(self, options: Options) -> None:
        super().__init__(options)
        self.question = question_encoder(options, words=False)
        self.audio = nn.Linear(options.audio_width, options.width)
        self.visual = nn.Linear(options.visual_width, options.width)
        self.fuse = nn.Linear(2 * options.width, options.width)
        self.product = options.product()
        self.answer = AnswerLayer(options)

    def encode(self, inputs: HeadInput) -> Tensor:
        """Both means joined [V, D]; there is nothing to explain."""
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
