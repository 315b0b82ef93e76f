"""What a fit measures and says while it goes on: loss, accuracy, speed, waiting, time left."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Self

from torch.utils.data import DataLoader

from avqa.telling import Bar, Shown
from avqa.training.data.batch import Batch
from avqa.training.data.batches import RandomBatches
from avqa.training.fitting.history import Row, best_epoch, bias_accuracies
from avqa.units import clock


class Tally:
    """Sums over the questions of an epoch."""

    def __init__(self) -> None:
        self.questions = 0
        self._sums: dict[str, float] = {}

    def add(self, means: Mapping[str, float], questions: int) -> None:
        """Take in the means over a batch of ``questions``."""
        self.questions += questions
        for name, value in means.items():
            self._sums[name] = self._sums.get(name, 0.0) + value * questions

    def means(self) -> dict[str, float]:
        """Name → mean over all questions so far."""
        return {name: total / max(self.questions, 1) for name, total in self._sums.items()}


class TimedBatches:
    """A loader's batches, epoch by epoch, and how long they were waited for."""

    def __init__(self, loader: DataLoader[Batch]) -> None:
        self._loader = loader
        self.waited = 0.0
        """Seconds, in the epoch that was begun last."""

    def __len__(self) -> int:
        return len(self._loader)

    def of_epoch(self, epoch: int) -> Iterator[Batch]:
        """The batches of an epoch, in its own order."""
        self.waited = 0.0
        start = time.perf_counter()
        if isinstance(self._loader.batch_sampler, RandomBatches):
            self._loader.batch_sampler.set_epoch(epoch)
        batches = iter(self._loader)
        while (batch := next(batches, None)) is not None:
            self.waited += time.perf_counter() - start
            yield batch
            start = time.perf_counter()


class Progress:
    """The lines of one fit; ``say`` prints one, or draws a bar while this is entered."""

    def __init__(
        self, say: Callable[[str], None], label: str, epochs: int, history: Sequence[Row]
    ) -> None:
        """``history`` is that of the fit and grows with it."""
        self._say = say
        self._label = label
        self._epochs = epochs
        self._history = history
        self._bar = Bar(say, self.shown)
        self._now = Shown(None, (f"{label}: starting",))
        self.begin_epoch()

    def __enter__(self) -> Self:
        """Draw."""
        self._bar.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        """Take the bar away."""
        self._bar.__exit__(*error)

    def shown(self) -> Shown:
        """Where the fit is."""
        return self._now

    def begin_epoch(self) -> None:
        """Start the clock of an epoch."""
        self._started = time.monotonic()

    def seconds(self) -> float:
        """Since the epoch began."""
        return time.monotonic() - self._started

    def event(self, text: str) -> None:
        """Say something once."""
        self._say(f"{self._label}: {text}")

    def batch(self, number: int, batches: int, tally: Tally, waited: float) -> None:
        """Show where the epoch is.

        Args:
            number: training batches done in this epoch.
            batches: those of an epoch.
            tally: with ``loss`` and ``accuracy``.
            waited: seconds waited for data in this epoch.
        """
        seconds = max(self.seconds(), 1e-9)
        means = tally.means()
        self._show(
            number / batches,
            f"{clock(self._left(seconds, number / batches))} left",
            f"batch {number}/{batches}",
            f"loss {means['loss']:.4f}",
            f"accuracy {means['accuracy']:.2%}",
            f"{tally.questions / seconds:.0f} questions/s",
            f"waiting {waited / seconds:.0%}",
        )

    def validation(self, number: int, batches: int) -> None:
        """Show how far validation is."""
        self._show(1.0, f"validation batch {number}/{batches}")

    def _show(self, of_epoch: float, *pieces: str) -> None:
        share = (len(self._history) + of_epoch) / self._epochs
        self._now = Shown(share, (f"{self._label}: {self._epoch()}", *pieces))
        self._bar.tick()

    def end_epoch(self, questions_per_second: float) -> None:
        """Say how the epoch went that was added to the history last."""
        row = self._history[-1]
        seconds = sum(row["seconds"] for row in self._history) / len(self._history)
        best = best_epoch(self._history)
        self.event(
            f"epoch {row['epoch']}/{self._epochs} done | loss {row['train_loss']:.4f}"
            f" | accuracy {row['train_accuracy']:.2%}"
            f" | validation loss {row['val_loss']:.4f}"
            f" | validation accuracy {row['val_accuracy']:.2%}"
            f" (best: {self._history[best - 1]['val_accuracy']:.2%} in epoch {best})"
            f"{_alone(row)}"
            f" | {questions_per_second:.0f} questions/s | waiting {row['waiting']:.0%}"
            f" | {clock((self._epochs - len(self._history)) * seconds)} left"
        )

    def _epoch(self) -> str:
        return f"epoch {len(self._history) + 1}/{self._epochs}"

    def _left(self, seconds: float, share: float) -> float:
        """Seconds to the end, by the epochs before this one, else by the share of it that is done.

        The first epoch knows nothing of validation yet.
        """
        done = self._history
        epoch = sum(row["seconds"] for row in done) / len(done) if done else seconds / share
        return max((self._epochs - len(done)) * epoch - seconds, 0.0)


def _alone(row: Row) -> str:
    """`` | bias learners q 69.80%, a 25.00%``; nothing without any."""
    found = [f"{kind} {value:.2%}" for kind, value in bias_accuracies(row).items()]
    return f" | bias learners {', '.join(found)}" if found else ""
