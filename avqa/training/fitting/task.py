"""What one fit works with, and the errors that speak of it; it travels to the fit's processes."""

from __future__ import annotations

import signal
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from avqa.errors import ConfigError, Stopped
from avqa.heads import Head
from avqa.signals import StopSignals
from avqa.training.data.questions import QuestionSet
from avqa.training.fitting.checkpoints import Checkpoints
from avqa.training.fitting.history import Row
from avqa.training.fitting.trained import Trained
from avqa.training.settings import TrainSettings


@dataclass(frozen=True)
class Task:
    """What one fit works with."""

    trained: Trained
    train: QuestionSet
    val: QuestionSet
    settings: TrainSettings
    seed: int
    device: Literal["cpu", "cuda"]
    devices: int
    """Processes, each with a GPU of its own where ``device`` is cuda."""
    folder: Path
    label: str
    checkpoints: Checkpoints
    history: list[Row]
    """Finished epochs; grows."""

    @property
    def head(self) -> Head:
        """The one that is trained."""
        return self.trained.head

    @property
    def steps(self) -> int:
        """Of an epoch."""
        return -(-len(self.train) // self.settings.batch_size)

    def check_stop(self, stop: StopSignals) -> None:
        """End the run if a signal came.

        Raises:
            Stopped: a signal came.
        """
        if stop.received is not None:
            name = signal.Signals(stop.received).name
            raise Stopped(
                stop.received,
                f"{self.label}: stopped by {name} with {len(self.history)} of"
                f" {self.settings.epochs} epochs finished and kept; go on with the same command"
                " and --resume",
            )

    def share(self, step: int, rank: int) -> tuple[float, int]:
        """Of a step's batch: the share of process ``rank``, and the questions of all processes."""
        size = self.settings.batch_size
        questions = min(size, len(self.train) - step * size)
        return len(range(rank, questions, self.devices)) / questions, questions

    def diverged(self, what: str, finished: int) -> ConfigError:
        """The error of a loss or weight that is NaN or infinite after so many finished epochs."""
        settings = self.settings
        advice = f"lower learning_rate={settings.learning_rate:g}"
        if settings.precision != "fp32":
            advice += f" or leave precision={settings.precision} for fp32"
        if finished:
            advice += f", or set epochs={finished} to end before,"
            kept = f"in another --out; epoch {finished} is kept"
        else:
            kept = "in the same --out; no epoch was finished"
        return ConfigError(
            f"{self.label}: {what}; expected finite values; {advice} and train anew {kept}"
        )
