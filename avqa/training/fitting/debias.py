"""What ``--debias mccd`` trains beside a head and leaves behind: `BiasLearners`.

A learner of the question, of the audio and of the frames alone answers from what the head makes of
that input before it meets the others. `mccd` says how their answers enter the loss.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from avqa.heads import AnswerLayer, Head, HeadInput, HeadOptions, HeadOutput, pooled
from avqa.training.fitting import mccd
from avqa.training.fitting.mccd import Answers
from avqa.training.settings import TrainSettings


class BiasLearner(nn.Module):
    """An answer from one vector: FC(D→D), ReLU, FC(D→D), ReLU, `AnswerLayer`.

    Shapes:
        x [B, D] → logits [B, C], or [B, O] of a multiple choice
    """

    def __init__(self, options: HeadOptions) -> None:
        super().__init__()
        width = options.width
        self.layers = nn.Sequential(
            nn.Linear(width, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU()
        )
        self.answer = AnswerLayer(options)

    def forward(self, x: Tensor, inputs: HeadInput) -> Tensor:
        """Answer; of ``inputs`` only the options are read."""
        return self.answer(self.layers(x), inputs)  # type: ignore[no-any-return]


class BiasLearners(nn.ModuleDict):
    """A `BiasLearner` for each of some inputs, and their losses.

    Args:
        options: of the head whose inputs they see.
        kinds: of ``q``, ``a``, ``v``.
        settings: ``distance``, ``bias_ce``, ``bias_detach``.
    """

    def __init__(self, options: HeadOptions, kinds: str, settings: TrainSettings) -> None:
        super().__init__({kind: BiasLearner(options) for kind in kinds})
        self.distance = settings.distance
        self.cross_entropy = settings.bias_ce
        self.detach = settings.bias_detach

    @property
    def measured(self) -> tuple[str, ...]:
        """Names of what `losses` tells, in its order."""
        each = ("distance", "bias_accuracy", "bias_norm")
        named = (f"{what}_{kind}" for what in each for kind in self)
        return ("distance_loss", "cycle_loss", "fusion_norm", *named)

    def losses(
        self, head: Head, output: HeadOutput, seen: Mapping[str, Tensor], inputs: HeadInput,
        right: Tensor,
    ) -> tuple[Tensor, list[Tensor]]:  # fmt: skip
        """L_d + L_c + bias_ce Σ_k CE(y_k), and without gradient what `measured` names.

        A figure over no sample, as of audio in a batch without any, is NaN.

        Args:
            head: whose forward pass it was.
            output: of the head.
            seen: as `avqa.heads.observed` gives it.
            inputs: of the head.
            right: [B] long, number of the right answer or option.
        """
        there = inputs.choice_valid if head.options.answer == "choices" else None
        fusion = Answers(_wide(output.logits), there)
        own = {
            kind: Answers(_wide(self[kind](x.detach() if self.detach else x, inputs)), there, some)
            for kind, (x, some) in self._vectors(head, seen, inputs).items()
        }
        apart = mccd.distance_loss(fusion, own, self.distance)
        cycle = mccd.cycle_loss(own)
        loss = apart + cycle
        if self.cross_entropy:
            terms = [
                mccd.mean_of(mccd.cross_entropies(y, right), y.seen, 0.0) for y in own.values()
            ]
            loss = loss + self.cross_entropy * torch.stack(terms).sum()
        told = [apart, cycle, mccd.norms(fusion).mean(), *self._told(fusion, own, right)]
        return loss, [value.detach() for value in told]

    def _vectors(
        self, head: Head, seen: Mapping[str, Tensor], inputs: HeadInput
    ) -> dict[str, tuple[Tensor, Tensor | None]]:
        """What each learner is given [B, D], and of which samples that is something [B]."""
        some = None if inputs.audio_valid is None else inputs.each(inputs.heard.any(1))
        found = pooled(seen, head, inputs)
        return {kind: (found[kind], some if kind == "a" else None) for kind in self}

    def _told(self, fusion: Answers, own: Mapping[str, Answers], right: Tensor) -> list[Tensor]:
        apart = [
            mccd.mean_of(mccd.distances(fusion, y, self.distance), y.seen) for y in own.values()
        ]
        hits = [mccd.mean_of((y.logits.argmax(-1) == right).float(), y.seen) for y in own.values()]
        return [*apart, *hits, *(mccd.mean_of(mccd.norms(y), y.seen) for y in own.values())]


def _wide(logits: Tensor) -> Tensor:
    """In float32 at least: 1e-6 is nothing beside half-precision numbers."""
    return logits.to(torch.promote_types(logits.dtype, torch.float32))
