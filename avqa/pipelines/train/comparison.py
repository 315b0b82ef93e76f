"""Two sides beside each other on the same questions, column by column."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from avqa.telling import objects
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

    def data(self) -> objects.Column:
        """For programs."""
        found = self.difference
        return {
            "name": self.name,
            "questions": self.questions,
            "a_percent": self.first,
            "b_percent": self.second,
            "difference": self.first - self.second if found is None else found.mean,
            "low": None if found is None else found.low,
            "high": None if found is None else found.high,
            "p": None if found is None else found.chance,
            "least": None if found is None else found.smallest,
            "mcnemar": self.mcnemar,
        }


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

    def lines(self, *, explained: bool = True) -> list[str]:
        """For people; what the columns are stands below, where it is ``explained``."""
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
        if not explained:
            return lines[:-1]
        lines.append(
            f"A - B in percentage points with its 95 % interval: {DRAWS} draws of videos, and what"
            " seeds differ by; p: how often chance alone differs by as much; McNemar: of single"
            " seeds, as if every question had a video of its own; least: the difference that so"
            " many questions would show in 8 of 10 cases"
        )
        return lines

    def data(self) -> objects.Comparison:
        """For programs."""
        return {
            "a": self.names[0],
            "b": self.names[1],
            "videos": self.videos,
            "only_a": self.alone[0],
            "only_b": self.alone[1],
            "changed": self.changed,
            "columns": [column.data() for column in self.columns],
        }


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


def column_of(
    name: str,
    first: NDArray[np.bool_],
    second: NDArray[np.bool_],
    videos: Sequence[str],
    *,
    same_seeds: bool = False,
) -> Column:
    """A column of two heads' right answers.

    Args:
        name: of the column.
        first: ``[S, N]``: whether seed s of one answered question n right; so is ``second``.
        second: of the other, with its own number of seeds.
        videos: ``[N]``: what each question is about.
        same_seeds: see `difference`.
    """
    single = len(first) == len(second) == 1
    return Column(
        name,
        first.shape[1],
        100 * float(first.mean()),
        100 * float(second.mean()),
        difference(first, second, videos, same_seeds=same_seeds),
        mcnemar(first[0], second[0]) if single else None,
    )
