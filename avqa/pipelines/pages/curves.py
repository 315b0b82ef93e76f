"""The learning curves of a run's seeds."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from avqa.heads import PROJECTED
from avqa.pipelines.pages.charts import Chart, Level, Line, over_epochs
from avqa.pipelines.train.pictures import known_marks
from avqa.training.data.splits import SplitQuestions
from avqa.training.fitting.curves import NO_MARKS
from avqa.training.fitting.history import METRICS, Row, best_epoch, bias_accuracies, read_metrics
from avqa.training.run import QUESTION_ONLY, Member, Run

_SPLITS = {"train": "training", "val": "validation"}


@dataclass(frozen=True)
class Curves:
    """Of the seeds of one variant."""

    variant: str
    charts: tuple[Chart, ...]
    missing: tuple[str, ...]
    """Seeds without any, and why."""


def of_run(run: Run, main: Sequence[Member], splits: SplitQuestions | None) -> list[Curves]:
    """The curves of every variant, that of ``main`` first."""
    variants = dict.fromkeys(member.config.variant for member in [*main, *run.members])
    levels = list(_levels(run, splits))
    return [_of_variant(variant, run.of_variant(variant), levels) for variant in variants]


def _of_variant(variant: str, members: Sequence[Member], levels: Sequence[Level]) -> Curves:
    found: list[tuple[Member, list[Row]]] = []
    missing = []
    for member in members:
        try:
            history = read_metrics(member.path / METRICS)
        except (ValueError, OSError) as error:
            missing.append(f"seed {member.config.seed}: {METRICS} cannot be read: {error}")
            continue
        if history and _is_whole(history):
            found.append((member, history))
        else:
            missing.append(f"seed {member.config.seed}: no {METRICS} as training writes it")
    shown = [] if variant == QUESTION_ONLY else levels
    charts = (
        _chart(found, "accuracy", 100, shown, "%"),
        _chart(found, "loss", 1, (), ""),
        _of_learners(found),
    )
    return Curves(variant, tuple(c for c in charts if c is not None), tuple(missing))


def _is_whole(history: Sequence[Row]) -> bool:
    wanted = {"epoch", *(f"{s}_{name}" for s in _SPLITS for name in ("loss", "accuracy"))}
    return all(wanted <= row.keys() for row in history)


def _chart(
    found: Sequence[tuple[Member, list[Row]]],
    name: str,
    scale: float,
    levels: Sequence[Level],
    unit: str,
) -> Chart | None:
    lines = [
        Line(
            f"seed {member.config.seed}, {words}",
            split,
            colour,
            tuple(scale * row[f"{split}_{name}"] for row in history),
            best_epoch(history) if split == "val" else None,
        )
        for colour, (member, history) in enumerate(found)
        for split, words in _SPLITS.items()
    ]
    return over_epochs(name, lines, levels, unit)


def _of_learners(found: Sequence[tuple[Member, list[Row]]]) -> Chart | None:
    """Accuracies of bias learners, where there were any."""
    lines = [
        Line(
            f"seed {member.config.seed}, {PROJECTED[kind]} alone",
            "val",  # drawn through, with dots that say whose they are
            colour,
            tuple(100 * bias_accuracies(row)[kind] for row in history),
        )
        for member, history in found
        for colour, kind in enumerate(bias_accuracies(history[0]))
    ]
    return over_epochs("accuracy of the bias learners, training", lines, (), "%")


def _levels(run: Run, splits: SplitQuestions | None) -> Iterator[Level]:
    """What the heads have to clear on validation."""
    marks = NO_MARKS if splits is None else known_marks(splits)
    if marks.floor is not None:
        percent = 100 * marks.floor
        yield Level(f"{marks.floor_name} {percent:.1f} %", percent, "floor")
    only = [100 * m.result.val_accuracy for m in run.of_variant(QUESTION_ONLY)]
    if only:
        mean = sum(only) / len(only)
        yield Level(f"without looking {mean:.1f} %", mean, "only")
