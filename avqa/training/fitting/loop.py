"""The training loop: Adam, a learning rate in steps, every epoch validated and kept.

Everything random follows from ``(seed, epoch, step)``: the order of the questions from the batch
sampler, dropout and sampling from a seed set before every step. So an epoch can be trained again
after an interruption and, on the CPU, gives the same weights to the bit.

Imported only where something is trained: Fabric takes seconds to import.
"""

from __future__ import annotations

import functools
import hashlib
import math
from collections.abc import Callable, Mapping
from typing import cast

import torch
from lightning_fabric import Fabric
from torch.nn import functional as F
from torch.optim import AdamW
from torch.utils.data import DataLoader

from avqa.datasets._parts.vocabulary import MISSING
from avqa.errors import ConfigError, EnvironmentFailure
from avqa.signals import StopSignals
from avqa.store.places.files import storage_errors
from avqa.training.data.batch import Batch
from avqa.training.data.batches import make_loader
from avqa.training.fitting.checkpoints import TrainState
from avqa.training.fitting.devices import average_buffers, make_fabric, sum_gradients, summed
from avqa.training.fitting.history import METRICS, Row, best_epoch, write_metrics
from avqa.training.fitting.progress import Progress, Tally, TimedBatches
from avqa.training.fitting.rate import schedule_of
from avqa.training.fitting.task import Task
from avqa.training.fitting.trained import Trained
from avqa.training.fitting.waiting import awake_while_alone
from avqa.training.settings import BETA2

LOG_STEPS = 50
"""Every how many steps the loss goes to the logs; progress lines go by time."""


@awake_while_alone()
def run(task: Task, say: Callable[[str], None], stop: StopSignals, rank: int = 0) -> None:
    """Train the epochs that ``task.history`` lacks, as one of ``task.devices`` processes.

    Raises:
        Stopped: a signal came.
        ConfigError: a loss or a weight is not finite.
        StorageFailure: a checkpoint cannot be written.
        EnvironmentFailure: out of GPU memory; a process that prepares batches died.
    """
    try:
        with Progress(say, task.label, task.settings.epochs, task.history) as progress:
            _train(task, make_fabric(task, rank), progress, stop)
    except torch.OutOfMemoryError as error:
        raise EnvironmentFailure(
            f"{task.label}: out of GPU memory; expected room for"
            f" batch_size={task.settings.batch_size} in {task.settings.precision}; lower"
            " batch_size and train anew, or use another GPU or device=cpu and go on with"
            " --resume"
        ) from error
    except (RuntimeError, EnvironmentFailure):
        task.check_stop(stop)  # a batch system tells worker processes as well
        raise


def _train(task: Task, fabric: Fabric, progress: Progress, stop: StopSignals) -> None:
    settings, trained, rank = task.settings, task.trained, fabric.global_rank
    load = functools.partial(
        make_loader,
        batch_size=settings.batch_size,
        workers=settings.workers,
        device=task.device,
    )
    share = (rank, task.devices)
    batches = TimedBatches(load(task.train, order=settings.order, seed=task.seed, share=share))
    val = load(task.val, order="given")
    trained.to(fabric.device).train()
    # Without decay it does what Adam does, to the bit.
    adam = AdamW(
        trained.parameters(),
        lr=settings.learning_rate,
        betas=(settings.beta1, BETA2),
        weight_decay=settings.weight_decay,
    )
    schedule = schedule_of(adam, settings)
    optimizer = cast(AdamW, fabric.setup_optimizers(adam))
    state = TrainState(trained, adam, schedule, fabric.strategy.precision)
    if task.history:
        task.checkpoints.load_last(state)
    for epoch in range(len(task.history), settings.epochs):
        tally, rate = Tally(), float(adam.param_groups[0]["lr"])
        progress.begin_epoch()
        for step, batch in enumerate(batches.of_epoch(epoch)):
            task.check_stop(stop)
            batch = batch.to(fabric.device)
            _seed(step_seed(task.seed, epoch, step, rank), fabric.device)
            with fabric.autocast():
                loss, measured = trained.loss(batch)
            weight, questions = task.share(step, rank)
            # One read per step: each would wait for the GPU.
            values = summed(weight * measured, fabric).tolist()
            if not math.isfinite(values[0]):
                raise _diverged(task, values[0], batch, epoch, step)
            tally.add(_by_name(trained, values), questions)
            optimizer.zero_grad()
            fabric.backward(weight * loss)
            sum_gradients(trained, fabric)
            optimizer.step()
            progress.batch(step + 1, len(batches), tally, batches.waited)
            spent = progress.seconds()
            if (step + 1) % LOG_STEPS == 0:
                _log(fabric, tally.means(), epoch * len(batches) + step + 1)
            task.check_stop(stop)
        schedule.step()
        average_buffers(trained, fabric)
        if rank == 0:  # the others wait in their next step
            validated = _validate(task, val, fabric, progress, stop)
            row = _row(trained, epoch, tally.means(), validated) | {
                "learning_rate": rate,
                "seconds": progress.seconds(),
                "waiting": batches.waited / spent,
            }
            _check_finite(task, row)
            _keep(task, state, row)
            _log(fabric, row, (epoch + 1) * len(batches))
            progress.end_epoch(tally.questions / spent)


def step_seed(seed: int, epoch: int, step: int, rank: int = 0) -> int:
    """Seed of one training step's dropout and sampling in one process, in [0, 2^63)."""
    place = f"{seed}/{epoch}/{step}" + (f"/{rank}" if rank else "")
    return int.from_bytes(hashlib.sha256(place.encode()).digest()[:8], "big") >> 1


def _seed(number: int, device: torch.device) -> None:
    """Seed the CPU and the GPU in use; `torch.manual_seed` also notes stacks for all others."""
    torch.default_generator.manual_seed(number)
    if device.type == "cuda":
        torch.cuda.manual_seed(number)


def _by_name(trained: Trained, values: list[float]) -> dict[str, float]:
    named = zip(("loss", "accuracy", *trained.measured), values, strict=True)
    return {name: value for name, value in named if not math.isnan(value)}


def _diverged(task: Task, loss: float, batch: Batch, epoch: int, step: int) -> ConfigError:
    questions = [task.train.questions[row] for row in batch.rows[:3].tolist()]
    ids = ", ".join(str(q.question_id or q.key[:12]) for q in questions)
    more = ", …" if len(batch.rows) > 3 else ""
    return task.diverged(
        f"loss={loss} in epoch={epoch + 1}, step={step + 1}, questions {ids}{more}", epoch
    )


def _validate(
    task: Task, val: DataLoader[Batch], fabric: Fabric, progress: Progress, stop: StopSignals
) -> dict[str, float]:
    """Mean cross-entropy of the questions whose answer the head can give, and accuracy.

    An answer that it cannot give counts as wrong; a question without a right answer does not count.
    """
    losses, right = Tally(), Tally()
    task.head.eval()
    for number, batch in enumerate(val, 1):
        task.check_stop(stop)
        batch = batch.to(fabric.device)
        with torch.no_grad(), fabric.autocast():
            logits = task.head(batch.inputs).logits
            known = batch.answers >= 0
            asked = int((batch.answers != MISSING).sum())
            logits, answers = logits[known].float(), batch.answers[known]
            loss = accuracy = 0.0
            if len(answers):
                hit = (logits.argmax(-1) == answers).float().mean()
                loss, accuracy = torch.stack([F.cross_entropy(logits, answers), hit]).tolist()
            losses.add({"loss": loss}, len(answers))
            right.add({"accuracy": accuracy * (len(answers) / max(asked, 1))}, asked)
        progress.validation(number, len(val))
    task.head.train()
    return losses.means() | right.means()


def _row(trained: Trained, epoch: int, train: Mapping[str, float], val: Mapping[str, float]) -> Row:
    row: Row = {"epoch": epoch + 1}
    row |= {f"train_{name}": train[name] for name in ("loss", "accuracy")}
    row |= {f"val_{name}": val[name] for name in ("loss", "accuracy")}
    return row | {f"train_{name}": train.get(name, math.nan) for name in trained.measured}


def _check_finite(task: Task, row: Row) -> None:
    """Refuse an epoch that ended with weights or a validation loss that are not finite."""
    where, finished = f"after epoch={row['epoch']}", len(task.history)
    if not math.isfinite(row["val_loss"]):
        raise task.diverged(f"validation loss={row['val_loss']} {where}", finished)
    for name, weight in task.trained.named_parameters():
        if not bool(torch.isfinite(weight).all()):
            name = name.removeprefix("head.")
            raise task.diverged(f"weight {name} is NaN or infinite {where}", finished)


def _keep(task: Task, state: TrainState, row: Row) -> None:
    """Publish an epoch: its weights first where they are the best, then what speaks of them."""
    task.history.append(row)
    if best_epoch(task.history) == row["epoch"]:
        task.checkpoints.save_best(task.head, task.history)
    task.checkpoints.save_last(state, task.history)
    task.checkpoints.drop_older(task.history)
    write_metrics(task.folder / METRICS, task.history)


def _log(fabric: Fabric, values: Mapping[str, float], step: int) -> None:
    with storage_errors("the logs"):
        fabric.log_dict(values, step)
        for logger in fabric.loggers:
            logger.save()
