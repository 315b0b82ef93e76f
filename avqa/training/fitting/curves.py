"""The curves of a fit as a picture."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from avqa.store.places.files import storage_errors, write_atomic
from avqa.training.fitting.history import Row, best_epoch

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def draw_curves(path: Path, history: Sequence[Row], title: str) -> None:
    """Write `curves` as a PNG file."""
    picture = io.BytesIO()
    curves(history, title).savefig(picture, format="png")
    with storage_errors(str(path)):
        write_atomic(path, picture.getvalue(), durable=False)


def curves(history: Sequence[Row], title: str) -> Figure:
    """Loss and accuracy of training and validation over the epochs, the best epoch marked.

    Without pyplot: no global state, no display.
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    figure = Figure(figsize=(9, 3.6), layout="constrained")
    epochs = [row["epoch"] for row in history]
    best = best_epoch(history)
    for place, (name, scale, unit) in enumerate((("loss", 1, ""), ("accuracy", 100, " (%)"))):
        axes = figure.add_subplot(1, 2, place + 1)
        for split, words in (("train", "training"), ("val", "validation")):
            values = [scale * row[f"{split}_{name}"] for row in history]
            axes.plot(epochs, values, marker=".", label=words)
        axes.axvline(best, color="gray", linestyle=":", label=f"best epoch {best}")
        axes.set(xlabel="epoch", ylabel=name + unit)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.legend()
    figure.suptitle(title)
    return figure
