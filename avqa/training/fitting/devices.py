"""Fabric for a fit: one process with one device, or one of several that train together.

Together, the processes take the steps that one would take: each computes the gradient of its
share of the batch, weighted by the share, and all take the sum.
"""

from __future__ import annotations

import shutil
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, cast

import torch
from lightning_fabric import Fabric
from lightning_fabric.loggers.csv_logs import CSVLogger
from lightning_fabric.loggers.logger import Logger
from lightning_fabric.loggers.tensorboard import TensorBoardLogger
from lightning_fabric.plugins.environments.lightning import LightningEnvironment
from lightning_fabric.plugins.precision import MixedPrecision, Precision
from lightning_fabric.strategies.ddp import DDPStrategy
from lightning_fabric.utilities.rank_zero import rank_zero_only
from torch import Tensor
from torch.nn.utils import parameters_to_vector, vector_to_parameters

from avqa.training.fitting.task import Task
from avqa.training.fitting.trained import Trained

_TYPES = {"bf16-mixed": torch.bfloat16, "16-mixed": torch.float16}


class _Mixed(MixedPrecision):
    """Converts a weight anew for every use, so that its gradients are summed in full precision."""

    def forward_context(self) -> AbstractContextManager[Any]:
        return torch.autocast(self.device, _TYPES[self.precision], cache_enabled=False)


def _precision(name: str, device: str) -> Precision:
    if name == "fp32":
        return Precision()
    return _Mixed("bf16-mixed" if name == "bf16" else "16-mixed", device)


def make_fabric(task: Task, rank: int) -> Fabric:
    """Of this process, launched; process 0 of a fit keeps the logs."""
    first = len(task.history)
    # Else that of a batch system's task, which would keep no logs.
    rank_zero_only.rank = rank  # type: ignore[attr-defined]
    fabric = Fabric(
        accelerator=task.device,
        devices=task.devices,
        strategy="auto" if task.devices == 1 else DDPStrategy(),
        # The environment is named, so that Fabric does not take a batch system's variables for its
        # own.
        plugins=[_precision(task.settings.precision, task.device), LightningEnvironment()],
        loggers=[] if rank else _loggers(task.folder / "logs", first, first * task.steps),
    )
    fabric.launch()
    return fabric


def _loggers(folder: Path, first: int, step: int) -> list[Logger]:
    """TensorBoard forgets what an interrupted epoch left; CSV gets a folder per start."""
    csv = folder / "csv" / f"from-epoch-{first + 1}"
    shutil.rmtree(csv, ignore_errors=True)
    kept: list[Logger] = [CSVLogger(folder, name=csv.parent.name, version=csv.name)]
    if _is_text(folder):
        board = TensorBoardLogger(folder, name="tensorboard", version="", purge_step=step + 1)
        kept.insert(0, board)
    return kept


def _is_text(folder: Path) -> bool:
    """Whether its name is text: TensorBoard writes nowhere else."""
    try:
        str(folder).encode()
    except UnicodeEncodeError:
        return False
    return True


def summed(tensor: Tensor, fabric: Fabric) -> Tensor:
    """The sum over all processes; may stand in the tensor itself."""
    return cast(Tensor, fabric.all_reduce(tensor, reduce_op="sum"))


def sum_gradients(trained: Trained, fabric: Fabric) -> None:
    """Give every process the sum of all processes' gradients; a missing one counts as 0."""
    if fabric.world_size == 1:
        return
    gradients = []
    for weight in trained.parameters():
        if weight.grad is None:
            weight.grad = torch.zeros_like(weight)
        gradients.append(weight.grad)
    vector_to_parameters(summed(parameters_to_vector(gradients), fabric), gradients)


def average_buffers(trained: Trained, fabric: Fabric) -> None:
    """Give every process the mean of what each has counted: statistics of batch norm."""
    for buffer in trained.buffers():
        if buffer.is_floating_point():
            fabric.all_reduce(buffer, reduce_op="mean")
