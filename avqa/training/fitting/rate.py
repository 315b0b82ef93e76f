"""How the learning rate falls from epoch to epoch."""

from __future__ import annotations

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR, LRScheduler, StepLR

from avqa.training.settings import TrainSettings


def schedule_of(optimizer: Optimizer, settings: TrainSettings) -> LRScheduler:
    """Steps, or a straight line; to be stepped after every epoch."""
    if settings.decay == "step":
        return StepLR(optimizer, settings.step_epochs, settings.gamma)
    return LambdaLR(optimizer, lambda epoch: linear(epoch, settings.step_epochs, settings.epochs))


def linear(epoch: int, flat: int, epochs: int) -> float:
    """Share of the learning rate in an epoch, from 0: all of it in the first ``flat`` ones."""
    return min(1.0, max(0.0, (epochs - epoch) / (epochs - flat + 1))) if epoch >= flat else 1.0
