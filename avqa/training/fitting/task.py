"""What one fit works with, from its data to where it keeps what."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from torch.utils.data import DataLoader

from avqa.errors import ConfigError, Stopped
from avqa.signals import StopSignals
from avqa.training.data.batches import Batch, VideoGroupedBatches
from avqa.training.data.questions import QuestionSet
from avqa.training.fitting.checkpoints import Checkpoints
from avqa.training.fitting.history import Row
from avqa.training.fitting.progress import Progress
from avqa.training.settings import TrainSettings


class TimedBatches:
    """A loader that follows the epoch it is told and measures the waiting.

    Any iterable but a `DataLoader` also keeps Lightning from replacing samplers and giving advice.
    """

    def __init__(self, loader: DataLoader[Batch]) -> None:
        self._loader = loader
        self.epoch = 0
        self.waited = 0.0

    def __len__(self) -> int:
        return len(self._loader)

    def __iter__(self) -> Iterator[Batch]:
        start = time.perf_counter()
        if isinstance(self._loader.batch_sampler, VideoGroupedBatches):
            self._loader.batch_sampler.set_epoch(self.epoch)
        batches = iter(self._loader)
        while (batch := next(batches, None)) is not None:
            self.waited += time.perf_counter() - start
            yield batch
            start = time.perf_counter()


@dataclass(frozen=True)
class Task:
    """What one fit works with."""

    label: str
    settings: TrainSettings
    seed: int
    metrics: Path
    train: TimedBatches
    val: TimedBatches
    questions: QuestionSet
    """Those to train on, for messages."""
    history: list[Row]
    """Finished epochs; grows."""
    checkpoints: Checkpoints
    progress: Progress
    stop: StopSignals

    def check_stop(self) -> None:
        """End the run if a signal came.

        Raises:
            Stopped: a signal came.
        """
        if self.stop.received is not None:
            name = signal.Signals(self.stop.received).name
            raise Stopped(
                self.stop.received,
                f"{self.label}: stopped by {name} with {len(self.history)} of"
                f" {self.settings.epochs} epochs finished and kept; go on with the same command"
                " and --resume",
            )

    def diverged(self, what: str) -> ConfigError:
        """The error of a loss or weight that is NaN or infinite."""
        settings = self.settings
        advice = f"lower learning_rate={settings.learning_rate:g}"
        if settings.precision != "fp32":
            advice += f" or leave precision={settings.precision} for fp32"
        kept = f"epoch {len(self.history)} is kept" if self.history else "no epoch was finished"
        return ConfigError(
            f"{self.label}: {what}; expected finite values; {advice} and train anew; {kept}"
        )
