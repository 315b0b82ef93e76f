"""One head's training as Lightning wants it: optimizer, steps, and the end of each epoch.

Imported only where something is trained: Lightning takes seconds to import.
"""

from __future__ import annotations

import hashlib
import math
import time
from typing import Any

import lightning as L
import torch
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor
from torch.nn import functional as F

from avqa.errors import ConfigError
from avqa.heads import Head, total_loss
from avqa.store.places.files import storage_errors
from avqa.training.data.batches import Batch
from avqa.training.fitting.checkpoints import KEY
from avqa.training.fitting.history import Row, best_epoch, write_metrics
from avqa.training.fitting.progress import Tally
from avqa.training.fitting.task import Task

LOG_STEPS = 50
"""Every how many steps the loss goes to the logs; progress lines go by time."""


def step_seed(seed: int, epoch: int, step: int) -> int:
    """Seed of one training step's dropout and sampling, in [0, 2^63)."""
    digest = hashlib.sha256(f"{seed}/{epoch}/{step}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


class LitHead(L.LightningModule):
    """A head and its optimizer: Adam, the learning rate times ``gamma`` every ``step_epochs``."""

    def __init__(self, head: Head, task: Task) -> None:
        super().__init__()
        self.head = head
        self.task = task
        self.train_tally = Tally()
        self.val_tally = Tally()

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """See the class."""
        settings = self.task.settings
        adam = torch.optim.Adam(self.head.parameters(), lr=settings.learning_rate)
        steps = torch.optim.lr_scheduler.StepLR(adam, settings.step_epochs, settings.gamma)
        return {"optimizer": adam, "lr_scheduler": {"scheduler": steps, "interval": "epoch"}}

    def transfer_batch_to_device(
        self, batch: Batch, device: torch.device, dataloader_idx: int
    ) -> Batch:
        """Move a batch its own way: Lightning knows no `Batch`."""
        return batch.to(device)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """One step; what is random in it follows from seed, epoch and step alone."""
        self.task.check_stop()
        self._seed(step_seed(self.task.seed, self.current_epoch, batch_idx))
        output = self.head(batch.inputs)
        loss = total_loss(self.head, output, batch.answers)
        right = (output.logits.argmax(-1) == batch.answers).float().mean()
        names = ("loss", "accuracy", *output.aux_losses)
        # One read per step: each would wait for the GPU.
        values = torch.stack([loss, right, *output.aux_losses.values()]).detach().tolist()
        if not math.isfinite(values[0]):
            raise self._diverged(values[0], batch, batch_idx)
        self.train_tally.add(dict(zip(names, values, strict=True)), len(batch.answers))
        return loss

    def _seed(self, number: int) -> None:
        """Seed the CPU and the GPU in use; `torch.manual_seed` also notes stacks for all others."""
        torch.default_generator.manual_seed(number)
        if self.device.type == "cuda":
            torch.cuda.manual_seed(number)

    def _diverged(self, loss: float, batch: Batch, step: int) -> ConfigError:
        questions = [self.task.questions.questions[row] for row in batch.rows[:3].tolist()]
        ids = ", ".join(str(q.question_id or q.key[:12]) for q in questions)
        more = ", …" if len(batch.rows) > 3 else ""
        return self.task.diverged(
            f"loss={loss} in epoch={self.current_epoch + 1}, step={step + 1}, questions {ids}{more}"
        )

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Cross-entropy and accuracy over the questions whose answer is known."""
        self.task.check_stop()
        logits = self.head(batch.inputs).logits
        known = batch.answers >= 0
        logits, answers = logits[known].float(), batch.answers[known]
        if len(answers):
            right = (logits.argmax(-1) == answers).float().mean()
            loss, accuracy = torch.stack([F.cross_entropy(logits, answers), right]).tolist()
            self.val_tally.add({"loss": loss, "accuracy": accuracy}, len(answers))
        self.task.progress.validation(batch_idx + 1, len(self.task.val))

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add what tells whose it is and what came before."""
        checkpoint[KEY] = self.task.checkpoints.note(self.task.history)


class Epochs(L.Callback):
    """Begins and ends the epochs: measures, keeps the checkpoints, says what happened."""

    def __init__(self, task: Task) -> None:
        self._task = task
        self._trained = 0.0

    def on_train_epoch_start(self, trainer: L.Trainer, lit: LitHead) -> None:  # type: ignore[override]
        """Fresh sums and clocks, the epoch's own order."""
        task = self._task
        lit.train_tally, lit.val_tally = Tally(), Tally()
        task.train.epoch, task.train.waited = trainer.current_epoch, 0.0
        self._rate = float(trainer.optimizers[0].param_groups[0]["lr"])
        task.progress.begin_epoch()

    def on_train_batch_end(  # type: ignore[override]
        self, trainer: L.Trainer, lit: LitHead, outputs: Any, batch: Batch, batch_idx: int
    ) -> None:
        """Progress and logs."""
        task = self._task
        task.progress.batch(batch_idx + 1, len(task.train), lit.train_tally, task.train.waited)
        self._trained = time.monotonic() - task.progress.started
        if (batch_idx + 1) % LOG_STEPS == 0:
            self._log(trainer, lit.train_tally.means(), batch_idx + 1)
        task.check_stop()

    def on_train_epoch_end(self, trainer: L.Trainer, lit: LitHead) -> None:  # type: ignore[override]
        """Keep the epoch; validation is already over.

        Raises:
            ConfigError: the epoch ended with weights or a validation loss that are not finite.
            StorageFailure: disk full, read-only.
        """
        task = self._task
        row = self._row(lit)
        self._check_finite(lit.head, row)
        task.history.append(row)
        if best_epoch(task.history) == row["epoch"]:
            task.checkpoints.save_best(lit.head, task.history)
        trainer.save_checkpoint(task.checkpoints.last)
        task.checkpoints.drop_older(task.history)
        write_metrics(task.metrics, task.history)
        self._log(trainer, dict(row), 0)
        task.progress.end_epoch(lit.train_tally.questions / self._trained)

    def _log(self, trainer: L.Trainer, values: dict[str, float], step: int) -> None:
        """Log at a step after the finished epochs."""
        task = self._task
        with storage_errors("the logs"):
            for logger in trainer.loggers:
                logger.log_metrics(values, len(task.history) * len(task.train) + step)
                logger.save()

    def _row(self, lit: LitHead) -> Row:
        task, train, val = self._task, lit.train_tally.means(), lit.val_tally.means()
        return {
            "epoch": len(task.history) + 1,
            "train_loss": train.pop("loss"),
            "train_accuracy": train.pop("accuracy"),
            "val_loss": val["loss"],
            "val_accuracy": val["accuracy"],
            **{f"train_{name}": train.get(name, math.nan) for name in lit.head.aux_weights},
            "learning_rate": self._rate,
            "seconds": time.monotonic() - task.progress.started,
            "waiting": task.train.waited / self._trained,
        }

    def _check_finite(self, head: Head, row: Row) -> None:
        where = f"after epoch={row['epoch']}"
        if not math.isfinite(row["val_loss"]):
            raise self._task.diverged(f"validation loss={row['val_loss']} {where}")
        for name, weight in head.named_parameters():
            if not bool(torch.isfinite(weight).all()):
                raise self._task.diverged(f"weight {name} is NaN or infinite {where}")
