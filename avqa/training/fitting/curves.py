"""The curves of a fit as a picture."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from avqa.store.places.files import storage_errors, write_atomic
from avqa.training.drawing import plain_style
from avqa.training.fitting.history import Row, best_epoch, bias_accuracies

if TYPE_CHECKING:
    from matplotlib.figure import Figure

CURVES = "curves.png"
RANDOM_MARK = "RANDOM WEIGHTS: shows that the program works, and nothing else"
"""On every picture of numbers that come from features of random weights."""
RED = "#b3261e"


@dataclass(frozen=True)
class Marks:
    """What the curves are seen against."""

    floor: float | None = None
    """Accuracy on validation, in [0, 1], of answering without looking."""
    floor_name: str = "floor"
    question_only: float | None = None
    """Accuracy on validation of the head that never looks at the video."""
    random_weights: bool = False


NO_MARKS = Marks()


@plain_style()
def draw_curves(path: Path, history: Sequence[Row], title: str, marks: Marks = NO_MARKS) -> None:
    """Write `curves` as a PNG file."""
    picture = io.BytesIO()
    curves(history, title, marks).savefig(picture, format="png")
    with storage_errors(str(path)):
        write_atomic(path, picture.getvalue(), durable=False)


def curves(history: Sequence[Row], title: str, marks: Marks = NO_MARKS) -> Figure:
    """Loss and accuracy of training and validation over the epochs, the best epoch marked.

    Without pyplot: no global state, no display.
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    figure = Figure(figsize=(9, 3.9), layout="constrained")
    epochs = [row["epoch"] for row in history]
    best = best_epoch(history)
    for place, (name, scale, unit) in enumerate((("loss", 1, ""), ("accuracy", 100, " (%)"))):
        axes = figure.add_subplot(1, 2, place + 1)
        for split, words in (("train", "training"), ("val", "validation")):
            values = [scale * row[f"{split}_{name}"] for row in history]
            axes.plot(epochs, values, marker=".", label=words)
        axes.axvline(best, color="gray", linestyle=":", label=f"best epoch {best}")
        if name == "accuracy":
            for label, value, style in _levels(marks):
                axes.axhline(100 * value, color="black", linestyle=style, linewidth=1, label=label)
            for kind in bias_accuracies(history[0]):
                alone = [100 * bias_accuracies(row)[kind] for row in history]
                axes.plot(epochs, alone, linestyle=":", linewidth=1, label=f"bias learner {kind}")
        axes.set(xlabel="epoch", ylabel=name + unit)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.legend(fontsize="small")
    if marks.random_weights:
        figure.suptitle(f"{title}\n{RANDOM_MARK}", color=RED)
    else:
        figure.suptitle(title)
    return figure


def _levels(marks: Marks) -> list[tuple[str, float, str]]:
    """Label, accuracy and line style of what the head has to clear."""
    found = []
    if marks.floor is not None:
        found.append((f"{marks.floor_name} {100 * marks.floor:.1f} %", marks.floor, "--"))
    if marks.question_only is not None:
        only = marks.question_only
        found.append((f"question-only {100 * only:.1f} %", only, "-."))
    return found
