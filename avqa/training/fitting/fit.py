"""Training one head with one seed, and running a trained head over questions."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch

from avqa.errors import ConfigError, DatasetError
from avqa.heads import Head, HeadOutput
from avqa.machine import choose_device, num_cores
from avqa.signals import StopSignals
from avqa.store.places.files import storage_errors
from avqa.training.data.batch import Batch
from avqa.training.data.batches import make_loader
from avqa.training.data.questions import QuestionSet
from avqa.training.data.standard import standardise
from avqa.training.fitting.checkpoints import Checkpoints, identity
from avqa.training.fitting.curves import CURVES, NO_MARKS, Marks, draw_curves
from avqa.training.fitting.debias import BiasLearners
from avqa.training.fitting.history import METRICS, Row, best_epoch, mean_waiting, write_metrics
from avqa.training.fitting.task import Task
from avqa.training.fitting.trained import Trained
from avqa.training.fitting.waiting import awake_while_alone
from avqa.training.settings import TrainSettings


@dataclass(frozen=True)
class FitResult:
    """How a fit went; the same again when a finished fit is resumed."""

    best_epoch: int
    """From 1: the first of the epochs with the highest accuracy on validation."""
    val_accuracy: float
    """Of that epoch, in [0, 1]."""
    epochs: int
    seconds: float
    """Of all epochs, validation included."""
    waiting: float
    """Share of the training time spent on waiting for data."""


def fit(
    head: Head,
    train: QuestionSet,
    val: QuestionSet,
    settings: TrainSettings,
    *,
    seed: int,
    folder: Path,
    resume: bool,
    say: Callable[[str], None],
    label: str,
    devices: int = 1,
    marks: Marks = NO_MARKS,
    bias: BiasLearners | None = None,
) -> FitResult:
    """Train a head and leave it, in evaluation mode on the CPU, with its best epoch's weights.

    Writes ``metrics.csv``, ``curves.png``, ``checkpoints/`` and ``logs/`` into ``folder``.

    Args:
        head: as initialised by the caller.
        train: questions with known answers.
        val: questions to choose the epoch by.
        settings: optimizer, schedule, batch size, precision, device.
        seed: of order, dropout and sampling.
        folder: of this fit alone; made if it is not there.
        resume: go on after the last epoch that was finished; without, start anew and remove what
            an earlier fit left.
        say: prints one line of progress.
        label: begins every line.
        devices: GPUs, or processes on the CPU, that divide every batch among them.
        marks: what the picture of the curves shows beside them.
        bias: learn beside the head and are left behind; only ``last.ckpt`` keeps them.

    Raises:
        DatasetError: no question of ``val`` has an answer that the head can give.
        ConfigError: a device or precision this machine has not, more devices than there are, a
            checkpoint that cannot be gone on from, or a loss that is NaN or infinite.
        Stopped: Ctrl-C or SIGTERM; finished epochs are kept.
        StorageFailure: disk full, read-only.
        EnvironmentFailure: out of GPU memory; one of several processes died.
    """
    use_cores()
    device = check_devices(settings, devices)
    _check(val, settings, device)
    facts = identity(head, train, val, settings, seed)
    checkpoints = Checkpoints(folder / "checkpoints", facts, type(head.options))
    if not resume:
        checkpoints.clear()
        shutil.rmtree(folder / "logs", ignore_errors=True)
    with storage_errors(str(folder)):
        folder.mkdir(parents=True, exist_ok=True)
    trained = Trained(head, bias)
    history = checkpoints.begin(trained)
    task = Task(
        *(trained, train, val, settings, seed, device, devices, folder, label, checkpoints, history)
    )
    say(f"{label}: {_start(task)}")
    if bias is not None:
        say(f"{label}: {bias.line}")
    stop = StopSignals("go on with --resume")
    try:
        if len(history) < settings.epochs:
            with stop, _random_state_kept(device):
                if not history:
                    standardise(
                        head, train.features, train.video_ids, lambda: task.check_stop(stop)
                    )
                _train(task, say, stop)
            task.check_stop(stop)
    finally:
        trained.cpu()
        if history:
            write_metrics(folder / METRICS, history)
            draw_curves(folder / CURVES, history, label, marks)
    head.load_state_dict(checkpoints.load_best(history))
    head.eval()
    return _result(history)


def _train(task: Task, say: Callable[[str], None], stop: StopSignals) -> None:
    if task.devices == 1:
        # Fabric takes seconds to import; `infer` and the parent of processes do without.
        from avqa.training.fitting.loop import run

        run(task, say, stop)
    else:
        from avqa.training.fitting.processes import run_together

        run_together(task, say, stop)


def check_devices(settings: TrainSettings, devices: int) -> Literal["cpu", "cuda"]:
    """Where to compute, if there are so many devices.

    Raises:
        ConfigError: there is no such device, there are fewer, or more than questions of a batch.
    """
    gpus = torch.cuda.device_count()
    device = choose_device(settings.device, gpus=gpus)
    if device == "cuda" and devices > gpus:
        raise ConfigError(
            f"devices={devices}; expected at most {gpus}, the GPUs that are visible; use --devices"
            f" {gpus} or check CUDA_VISIBLE_DEVICES"
        )
    if not 1 <= devices <= settings.batch_size:
        raise ConfigError(
            f"devices={devices} with batch_size={settings.batch_size}; expected 1 to"
            f" {settings.batch_size}: every batch is divided among the devices; use fewer"
        )
    return device


def too_many_workers(settings: TrainSettings, devices: int) -> str | None:
    """A line for a run that has more processes to prepare batches than cores for them."""
    cores = num_cores()
    if settings.workers * devices <= cores:
        return None
    each = f" in each of devices={devices}" if devices > 1 else ""
    return (
        f"workers={settings.workers}{each}; expected at most {cores // devices}, as cores={cores}"
        f" can be used; trains all the same, maybe slower; use --set workers={cores // devices}"
    )


def use_cores() -> None:
    """Let torch have no more threads than cores: more only wait for each other.

    It counts neither a job's (SLURM) nor the time that a container is allowed. Fewer threads, as
    a user wants them by ``OMP_NUM_THREADS``, stay.
    """
    if torch.get_num_threads() > num_cores():
        torch.set_num_threads(num_cores())


def _check(val: QuestionSet, settings: TrainSettings, device: str) -> None:
    if not bool((val.answers >= 0).any()):
        raise DatasetError(
            f"none of {len(val)} validation questions has an answer that the head can give;"
            " expected at least one, to choose the epoch by; check the answers of split val"
        )
    if settings.precision == "fp16" and device == "cpu":
        raise ConfigError(
            "precision=fp16 on device=cpu; expected fp32 or bf16 there; use precision=bf16, or a"
            " GPU"
        )


def _start(task: Task) -> str:
    epochs, finished = task.settings.epochs, len(task.history)
    if finished == epochs:
        return f"all {epochs} epochs are finished"
    number = f"{task.devices} × " if task.devices > 1 else ""
    where = f"on {number}{task.device} in {task.settings.precision}"
    if finished:
        return f"going on after epoch {finished}/{epochs} {where}"
    return (
        f"{len(task.train)} questions to train on in {task.steps} batches, {len(task.val)} to"
        f" validate with, {epochs} epochs {where}"
    )


@contextmanager
def _random_state_kept(device: str) -> Iterator[None]:
    """Give the caller torch's generators back as they were: training seeds them at every step."""
    devices = [torch.cuda.current_device()] if device == "cuda" else []
    with torch.random.fork_rng(devices):
        yield


def _result(history: list[Row]) -> FitResult:
    best = best_epoch(history)
    return FitResult(
        best_epoch=best,
        val_accuracy=history[best - 1]["val_accuracy"],
        epochs=len(history),
        seconds=sum(row["seconds"] for row in history),
        waiting=mean_waiting(history),
    )


def infer(
    head: Head,
    questions: QuestionSet,
    *,
    batch_size: int,
    device: str,
    workers: int = 0,
    explain: bool = False,
) -> Iterator[tuple[Batch, HeadOutput]]:
    """Run a head over questions in their order, without gradient, in evaluation mode.

    The head stays on the device and gets its mode back at the end.

    Args:
        head: any head.
        questions: those to answer.
        batch_size: questions per batch.
        device: auto, cpu or cuda.
        workers: processes that prepare batches.
        explain: ask for what was attended to as well.

    Raises:
        ConfigError: ``cuda`` where there is no GPU.
    """
    use_cores()
    where = choose_device(device, gpus=torch.cuda.device_count())
    training = head.training
    head.to(where).eval()
    try:
        with awake_while_alone():
            for batch in make_loader(
                questions, batch_size, order="given", workers=workers, device=where
            ):
                batch = batch.to(where)
                with torch.no_grad():
                    output = head(batch.inputs, explain=explain)
                yield batch, output
    finally:
        head.train(training)
