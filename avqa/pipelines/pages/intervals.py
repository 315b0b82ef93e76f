"""Accuracies with their intervals, floors and published figures, column by column, on one axis."""

from __future__ import annotations

from dataclasses import dataclass

from avqa.pipelines.pages.charts import Scale
from avqa.training.table.cells import Row
from avqa.training.table.flips import FLIP
from avqa.training.table.layout import ResultTable

WIDTH, LINE, LEFT, RIGHT, TOP, BOTTOM = 720, 26, 92, 16, 8, 30
_BESIDE = {"ours": -3, "question-only": 5}
"""Kind → pixels that it lies below the middle of its line: no interval hides another."""
_KINDS = {"ours": "ours", "question-only": "only", "floor": "floor", "published": "printed"}


@dataclass(frozen=True)
class Mark:
    """One accuracy."""

    kind: str
    """``ours``, ``only``, ``floor`` or ``printed``: how it is drawn."""
    x: float
    y: float
    low: float | None
    """Pixels of the ends of its interval."""
    high: float | None
    label: str


@dataclass(frozen=True)
class Intervals:
    """In the pixels of a picture of ``width`` × ``height``."""

    width: int
    height: int
    rows: tuple[tuple[float, str], ...]
    """Middle and name of each column of the table."""
    marks: tuple[Mark, ...]
    across: tuple[tuple[float, str], ...]
    kinds: tuple[str, ...]
    """Those that occur."""


def over_columns(table: ResultTable) -> Intervals | None:
    """A line for each column of the table; None where nothing of ours has a figure."""
    rows = [row for row in table.rows if row.kind in _KINDS and row.comparable]
    known = [column for column in table.columns if column != FLIP]  # that is no accuracy
    columns = [c for c in known if any(_known(row, c) for row in rows)]
    if not columns or not any(row.kind == "ours" for row in rows):
        return None
    x = Scale(0, 100, LEFT, WIDTH - RIGHT)
    height = TOP + LINE * len(columns) + BOTTOM
    marks = tuple(
        _mark(row, column, x, TOP + LINE * (number + 0.5))
        for number, column in enumerate(columns)
        for row in sorted(rows, key=lambda row: row.kind == "ours")  # ours is drawn last
        if _known(row, column)
    )
    found = {mark.kind for mark in marks}
    return Intervals(
        WIDTH,
        height,
        tuple((TOP + LINE * (n + 0.5), column) for n, column in enumerate(columns)),
        marks,
        tuple((x(percent), f"{percent}") for percent in range(0, 101, 20)),
        tuple(kind for kind in _KINDS.values() if kind in found),
    )


def _known(row: Row, column: str) -> bool:
    cell = row.cells.get(column)
    return cell is not None and cell.mean == cell.mean


def _mark(row: Row, column: str, x: Scale, y: float) -> Mark:
    cell = row.cells[column]
    label = f"{row.name}, {column}: {cell} %"
    y += _BESIDE.get(row.kind, 0)
    if cell.low is None or cell.high is None:
        return Mark(_KINDS[row.kind], x(cell.mean), y, None, None, label)
    label += f" ({cell.low:.1f} to {cell.high:.1f})"
    return Mark(_KINDS[row.kind], x(cell.mean), y, x(cell.low), x(cell.high), label)
