"""What a fit trains: `Trained`, a head and what learns beside it."""

from __future__ import annotations

import math
from contextlib import ExitStack

import torch
from torch import Tensor, nn

from avqa.heads import Head, observed, total_loss
from avqa.training.data.batch import Batch
from avqa.training.fitting.debias import BiasLearners


class Trained(nn.Module):
    """A head and, with ``--debias``, its bias learners, which end with the training.

    Names of weights begin with ``head.`` and ``bias.``: those of ``last.ckpt``.
    """

    def __init__(self, head: Head, bias: BiasLearners | None = None) -> None:
        super().__init__()
        self.head = head
        self.bias = bias

    @property
    def measured(self) -> tuple[str, ...]:
        """Names of what `loss` tells beside loss and accuracy, in its order."""
        return (*self.head.aux_weights, *(self.bias.measured if self.bias is not None else ()))

    def loss(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """The loss, and without gradient loss, accuracy and what `measured` names.

        NaN stands for what this batch has not, such as a loss that needs a second video.
        """
        with ExitStack() as stack:
            seen = {} if self.bias is None else stack.enter_context(observed(self.head))
            output = self.head(batch.inputs)
        loss = total_loss(self.head, output, batch.answers)
        told: list[Tensor] = []
        if self.bias is not None:
            more, told = self.bias.losses(self.head, output, seen, batch.inputs, batch.answers)
            loss = loss + more
        right = (output.logits.argmax(-1) == batch.answers).float().mean()
        absent = torch.full_like(right, math.nan)
        aux = [output.aux_losses.get(name, absent) for name in self.head.aux_weights]
        return loss, torch.stack([loss, right, *aux, *told]).detach()
