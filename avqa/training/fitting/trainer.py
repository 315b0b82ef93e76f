"""Lightning's `Trainer`, kept to what is wanted of it: quiet, and nothing outside one folder."""

from __future__ import annotations

import logging
import shutil
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.fabric.plugins.environments.lightning import LightningEnvironment
from lightning.fabric.utilities.warnings import PossibleUserWarning
from lightning.pytorch.loggers import CSVLogger, Logger, TensorBoardLogger
from lightning.pytorch.plugins.io import CheckpointIO
from lightning.pytorch.utilities.exceptions import SIGTERMException

from avqa.errors import EnvironmentFailure
from avqa.heads import Head
from avqa.training.fitting import checkpoints
from avqa.training.fitting.lit import Epochs, LitHead
from avqa.training.fitting.task import Task

_PRECISION = {"fp32": "32-true", "bf16": "bf16-mixed", "fp16": "16-mixed"}


class SafeCheckpointIO(CheckpointIO):
    """Publishes by rename, and reads without running anything; Lightning's own does neither."""

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: Path | str, storage_options: Any = None
    ) -> None:
        """See `checkpoints.save`."""
        checkpoints.save(checkpoint, Path(path))

    def load_checkpoint(self, path: Path | str, *_: Any, **__: Any) -> dict[str, Any]:
        """See `checkpoints.load`."""
        return checkpoints.load(Path(path))

    def remove_checkpoint(self, path: Path | str) -> None:
        """Remove a file."""
        Path(path).unlink()


def run(head: Head, task: Task, device: str, logs: Path) -> None:
    """Train the epochs that ``task.history`` lacks.

    Raises:
        Stopped: a signal came.
        ConfigError: a loss or a weight is not finite.
        StorageFailure: a checkpoint cannot be written.
        EnvironmentFailure: out of GPU memory.
    """
    first = len(task.history)
    head.train()  # Lightning trains every module in the mode it finds it in
    with _quiet():
        trainer = L.Trainer(
            accelerator=device,
            devices=1,
            precision=_PRECISION[task.settings.precision],  # type: ignore[arg-type]
            # Named, so that Lightning does not take a batch system's variables for its own.
            plugins=[SafeCheckpointIO(), LightningEnvironment()],
            max_epochs=task.settings.epochs,
            callbacks=[Epochs(task)],
            logger=_loggers(logs, first, first * len(task.train)),
            log_every_n_steps=1,  # nothing is logged by Lightning; more would warn of few batches
            default_root_dir=logs,
            num_sanity_val_steps=0,
            use_distributed_sampler=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
        )
        checkpoint = task.checkpoints.last if first else None
        try:
            trainer.fit(LitHead(head, task), task.train, task.val, ckpt_path=checkpoint)
        except torch.OutOfMemoryError as error:
            raise EnvironmentFailure(
                f"{task.label}: out of GPU memory; expected room for"
                f" batch_size={task.settings.batch_size} in {task.settings.precision}; lower"
                " batch_size and train anew, or use another GPU or device=cpu and go on with"
                " --resume"
            ) from error
        except (SIGTERMException, RuntimeError):
            # Lightning's own answer to SIGTERM, or worker processes that took Ctrl-C as well.
            task.check_stop()
            raise


def _loggers(folder: Path, first: int, step: int) -> list[Logger]:
    """TensorBoard forgets what an interrupted epoch left; CSV gets a folder per start."""
    csv = folder / "csv" / f"from-epoch-{first + 1}"
    shutil.rmtree(csv, ignore_errors=True)
    return [
        TensorBoardLogger(folder, name="tensorboard", version="", purge_step=step + 1),
        CSVLogger(folder, name=csv.parent.name, version=csv.name),
    ]


@contextmanager
def _quiet() -> Iterator[None]:
    """No banners, tips or advice from Lightning: what is to be said, `Progress` says."""
    loggers = [logging.getLogger(name) for name in ("lightning.pytorch", "lightning.fabric")]
    before = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", PossibleUserWarning)
            # Its use of torch's older names is not ours to mend.
            warnings.filterwarnings("ignore", module="lightning")
            yield
    finally:
        for logger, level in zip(loggers, before, strict=True):
            logger.setLevel(level)
