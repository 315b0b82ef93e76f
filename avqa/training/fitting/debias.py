"""What ``--debias mccd`` trains beside a head and leaves behind: `BiasLearners`.

A learner of the question, of the audio and of the frames alone answers from what the head makes of
that input before it meets the others. `mccd` says how their answers enter the loss.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from avqa.addresses import page
from avqa.errors import ConfigError
from avqa.heads import (
    AnswerLayer,
    Head,
    HeadInput,
    HeadOptions,
    HeadOutput,
    pooled,
    projection_problems,
)
from avqa.training.fitting import mccd
from avqa.training.fitting.mccd import Answers
from avqa.training.run import DEFAULT, QUESTION_ONLY
from avqa.training.settings import TrainSettings
from avqa.training.variants import Variant


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

    @property
    def line(self) -> str:
        """What they are: ``bias learners of q, a, v: 1,640,574 parameters, in training alone``."""
        number = sum(weight.numel() for weight in self.parameters())
        return f"bias learners of {', '.join(self)}: {number:,} parameters, in training alone"

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


def learners_of(
    head: Head, variant: Variant, settings: TrainSettings, seed: int
) -> BiasLearners | None:
    """The learners that are trained beside a variant's head, as they start; None without any.

    The floor has none. An ablation has those of the inputs that it reads.

    Raises:
        ConfigError: the head does not show an input that one is asked for.
    """
    if settings.debias == "none" or variant.name == QUESTION_ONLY:
        return None
    full = variant.name == DEFAULT
    kinds = "".join(kind for kind in settings.bias if full or kind in head.projections)
    if problems := projection_problems(head, kinds):
        some = "".join(kind for kind in kinds if kind in head.projections)
        rather = f", or use --set bias={some}" if full and 0 < len(some) < len(kinds) else ""
        raise ConfigError(
            f"--debias {settings.debias} of head {head.name}: {'; '.join(problems)}; expected"
            f" Head.PROJECTIONS to name the layer of each of {', '.join(kinds)}; name it there"
            f" (see {page('docs/plugins.md')}){rather}"
        )
    if not kinds:
        return None
    with torch.random.fork_rng(devices=[]):
        digest = hashlib.sha256(f"bias learners {seed}".encode()).digest()
        torch.manual_seed(int.from_bytes(digest[:8], "big") >> 1)  # not the head's numbers again
        return BiasLearners(head.options, kinds, settings)


def debias_note(settings: TrainSettings) -> list[str]:
    """What is told of them below a table; nothing without."""
    if settings.debias == "none":
        return []
    label = "as released, where no label reaches them" if not settings.bias_ce else "ours"
    return [
        f"debias={settings.debias}: bias learners of {', '.join(settings.bias)} beside the head in"
        f" training alone, distance={settings.distance}, bias_ce={settings.bias_ce:g} ({label})"
    ]


def _wide(logits: Tensor) -> Tensor:
    """In float32 at least: 1e-6 is nothing beside half-precision numbers."""
    return logits.to(torch.promote_types(logits.dtype, torch.float32))
