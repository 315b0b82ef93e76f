"""What each finished epoch was like: the rows of ``metrics.csv``."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path

from avqa.store.places.files import storage_errors, write_atomic

METRICS = "metrics.csv"
Row = dict[str, int | float]
"""Column → value: ``epoch`` (from 1), losses (means over questions, auxiliary ones unweighted),
``train_accuracy`` and ``val_accuracy`` in [0, 1], ``learning_rate``, ``seconds`` of the epoch with
its validation, ``waiting``, the share of the training time spent on waiting for data; with
``--debias`` what `avqa.training.fitting.debias.BiasLearners.measured` names, of training."""
BIAS_ACCURACY = "train_bias_accuracy_"
"""Columns of bias learners, before the input that each sees."""


def bias_accuracies(row: Row) -> dict[str, float]:
    """Of the bias learners that there are: ``q``, ``a``, ``v`` → accuracy in [0, 1]."""
    return {
        column.removeprefix(BIAS_ACCURACY): value
        for column, value in row.items()
        if column.startswith(BIAS_ACCURACY)
    }


def best_epoch(history: Sequence[Row]) -> int:
    """Epoch, from 1, of the highest validation accuracy; the first of equals."""
    best = max(history, key=lambda row: row["val_accuracy"])
    return int(best["epoch"])


def mean_waiting(history: Sequence[Row]) -> float:
    """Share of all training time spent on waiting for data."""
    seconds = sum(row["seconds"] for row in history)
    return sum(row["waiting"] * row["seconds"] for row in history) / max(seconds, 1e-9)


def write_metrics(path: Path, history: Sequence[Row]) -> None:
    """Write one line per epoch, all of them: a resumed run leaves none out and none twice."""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(history[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(history)
    with storage_errors(str(path)):
        write_atomic(path, text.getvalue().encode("ascii"))


def read_metrics(path: Path) -> list[Row]:
    """What `write_metrics` wrote; nothing where there is no such file.

    Raises:
        ValueError: it is another file.
    """
    if not path.is_file():
        return []
    with path.open(encoding="ascii", newline="") as file:
        return [{k: float(v) for k, v in row.items()} for row in csv.DictReader(file)]
