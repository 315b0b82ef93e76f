"""`avqa compare-runs`: two runs on the questions that both answered."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from avqa import datasets
from avqa.errors import ConfigError
from avqa.pipelines.train.evaluate import EvaluateOptions, questions_of
from avqa.training.member import MemberConfig
from avqa.training.run import DEFAULT, PREDICTIONS, Member, Run
from avqa.training.scoring import Prediction, read_predictions
from avqa.training.table.paired import DRAWS, Difference, difference, mcnemar


@dataclass(frozen=True)
class Column:
    """One column of the data set's result tables."""

    name: str
    questions: int
    first: float
    """Percent of the questions that are right, mean of the seeds; so is ``second``."""
    second: float
    difference: Difference | None
    """None where the questions are about one video."""
    mcnemar: float | None
    """None where a run has several seeds."""


@dataclass(frozen=True)
class Comparison:
    """Two runs, column by column."""

    names: tuple[str, str]
    columns: tuple[Column, ...]
    videos: int
    alone: tuple[int, int]
    """Questions that only one of them answered."""
    changed: int
    """Questions left out since the runs know another right answer."""

    def lines(self) -> list[str]:
        """For people."""
        first, second = self.names
        everything = self.columns[-1]
        lines = [
            f"A: {first}",
            f"B: {second}",
            f"{everything.questions} questions about {self.videos} videos that both answered;"
            f" only A: {self.alone[0]}, only B: {self.alone[1]}",
        ]
        if self.changed:
            lines.append(
                f"{self.changed} questions have another right answer in B and are left out: the"
                " annotations are of two versions"
            )
        rows = [_HEADER, *map(_cells, self.columns)]
        widths = [max(len(row[place]) for row in rows) for place in range(len(_HEADER))]
        lines += ["", *(_aligned(row, widths) for row in rows), ""]
        lines.append(
            f"A - B in percentage points with its 95 % interval: {DRAWS} draws of videos, and what"
            " seeds differ by; p: how often chance alone differs by as much; McNemar: of single"
            " seeds, as if every question had a video of its own; least: the difference that so"
            " many questions would show in 8 of 10 cases"
        )
        return lines


_HEADER = ("", "questions", "A", "B", "A - B", "95 % interval", "p", "McNemar", "least")


def _cells(column: Column) -> tuple[str, ...]:
    found = column.difference
    scores = (column.name, str(column.questions), f"{column.first:.2f}", f"{column.second:.2f}")
    if found is None:
        return (*scores, f"{column.first - column.second:+.2f}", "", "", _p(column.mcnemar), "")
    between = f"{found.low:+.2f} to {found.high:+.2f}"
    chances = (_p(found.chance), _p(column.mcnemar))
    return (*scores, f"{found.mean:+.2f}", between, *chances, f"{found.smallest:.2f}")


def _p(chance: float | None) -> str:
    if chance is None:
        return ""
    return "< 0.001" if chance < 0.001 else f"{chance:.3f}"


def _aligned(row: Sequence[str], widths: Sequence[int]) -> str:
    first, *others = (
        text.ljust(width) if place == 0 else text.rjust(width)
        for place, (text, width) in enumerate(zip(row, widths, strict=True))
    )
    return "  ".join([first, *others]).rstrip()


def compare_runs(
    first: Path,
    second: Path,
    annotations: Path | None = None,
    say: Callable[[str], None] = lambda line: None,
) -> Comparison:
    """Compare what two runs answered to the test questions of the first.

    Args:
        first: a run's folder, whose heads without any ablation count, or one member's.
        second: likewise.
        annotations: of the first run's questions, where they are no longer where it found them.
        say: what is missing of a run.

    Raises:
        ConfigError: one is no run, or no question was answered by both.
        RunDamaged: a file of one is damaged, gone or another's.
        DatasetError: the questions cannot be read.
    """
    one, other = _answers(first, say), _answers(second, say)
    options = EvaluateOptions(run=first, annotations=annotations)
    asked = questions_of(one.config, options)
    known = {q.key: q for q in asked.questions if q.key in one.rows and q.key in other.rows}
    same = [key for key in known if one.rows[key].answer == other.rows[key].answer]
    if not same:
        raise ConfigError(
            f"runs {str(first)!r} and {str(second)!r}: of {len(one.rows)} and {len(other.rows)}"
            " questions with a right answer none is the same; expected answers to the same test"
            " questions; compare runs of one data set"
        )
    columns = datasets.columns(one.config.dataset, [*asked.fit, *asked.questions])
    found = {
        name: [key for key in same if (known[key].modality, known[key].kind) in pairs]
        for name, pairs in columns.items()
    }
    return Comparison(
        (one.name, other.name),
        tuple(
            column_of(name, one.right(keys), other.right(keys), [known[k].video_id for k in keys])
            for name, keys in found.items()
            if keys
        ),
        len({known[key].video_id for key in same}),
        (len(one.rows.keys() - other.rows.keys()), len(other.rows.keys() - one.rows.keys())),
        len(known) - len(same),
    )


@dataclass(frozen=True)
class _Answers:
    name: str
    members: tuple[Member, ...]
    rows: Mapping[str, Prediction]
    """Key of every question with a right answer → what the first seed answered."""
    correct: tuple[Mapping[str, bool], ...]
    """Of each seed, by key."""

    @property
    def config(self) -> MemberConfig:
        return self.members[0].config

    def right(self, keys: Sequence[str]) -> NDArray[np.bool_]:
        """[S, N]."""
        return np.array([[of_seed[key] for key in keys] for of_seed in self.correct], bool)


def _answers(path: Path, say: Callable[[str], None]) -> _Answers:
    run = Run.load(path)
    if gaps := run.gaps():
        say(gaps)
    members = run.of_variant(DEFAULT) or run.members[:1]
    rows = [read_predictions(member.path / PREDICTIONS) for member in members]
    correct = tuple({r.key: r.correct for r in of if r.correct is not None} for of in rows)
    keys = set.intersection(*map(set, correct))
    first = {row.key: row for row in rows[0] if row.key in keys}
    config = members[0].config
    seeds = "seed" if len(members) == 1 else "seeds"
    name = f"{path}: {config.head}, {config.variant}, {len(members)} {seeds}"
    return _Answers(name, tuple(members), first, correct)


def column_of(
    name: str, first: NDArray[np.bool_], second: NDArray[np.bool_], videos: Sequence[str]
) -> Column:
    """A column of two heads' right answers.

    Args:
        name: of the column.
        first: ``[S, N]``: whether seed s of one answered question n right; so is ``second``.
        second: of the other, with its own number of seeds.
        videos: ``[N]``: what each question is about.
    """
    single = len(first) == len(second) == 1
    return Column(
        name,
        first.shape[1],
        100 * float(first.mean()),
        100 * float(second.mean()),
        difference(first, second, videos),
        mcnemar(first[0], second[0]) if single else None,
    )
