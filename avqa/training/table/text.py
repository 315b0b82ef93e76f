"""A result table as aligned text, as wide as it is or as a terminal lets it be."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from avqa.telling import styled
from avqa.training.table.cells import (
    INTERVAL,
    SECTION,
    Cell,
    Footnotes,
    Row,
    gflops_of,
    half_interval,
    millions,
)

_LEAST_NAME = 24
"""Characters of a row's name that are not given up for another column."""
_SHORTEST_NAME = 12
_OURS = ("question-only", "ours", "ablation", "answers")


class Table(Protocol):
    """What is shown of a `ResultTable`."""

    @property
    def title(self) -> str:
        """First line."""

    @property
    def columns(self) -> tuple[str, ...]:
        """All of them, in order."""

    @property
    def rows(self) -> tuple[Row, ...]:
        """All of them, in order."""

    @property
    def warnings(self) -> tuple[str, ...]:
        """Above the table."""

    @property
    def below(self) -> tuple[str, ...]:
        """Below it."""


def render(table: Table, width: int | None = None, *, colour: bool = False) -> str:
    """See `ResultTable.text`."""
    # Behind the average over all come those of groups, and the flip rate.
    behind = table.columns[table.columns.index("All") :] if "All" in table.columns else ()
    averages = tuple(c for c in table.columns if c.endswith("-Avg") or c in behind)
    choices = [(table.columns, True), (table.columns, False)]
    if averages:
        choices += [(averages, True), (averages, False)]
    made = [_Text(table, columns, cost, colour) for columns, cost in choices]
    fitting = (text for text in made if width is None or text.least_width <= width)
    return next(fitting, made[-1]).render(width)


@dataclass
class _Line:
    section: int
    name: str
    mark: str
    cells: Sequence[str]
    styles: Sequence[str]


class _Text:
    """Some columns of a table, as narrow as their content."""

    def __init__(self, table: Table, columns: Sequence[str], cost: bool, colour: bool) -> None:
        self.table = table
        self.columns = columns
        self.cost = cost
        self.notes = Footnotes()
        self._best, self._floor = _extremes(table) if colour else ({}, {})
        names = [*columns, *(("params M", "GFLOPs") if cost else ())]
        self.lines = [_Line(-1, "", "ann", names, [""] * len(names))]
        for row in table.rows:
            self._add(row)
        self.widths = [max(len(line.cells[i]) for line in self.lines) for i in range(len(names))]
        self.name_width = max(len(line.name) for line in self.lines)
        self.mark_width = max(len(line.mark) for line in self.lines)

    def _add(self, row: Row) -> None:
        section = SECTION.get(row.kind, 3)
        cells = [row.cells.get(column) for column in self.columns]
        name = row.name + self.notes.reference(row)
        means = ["" if cell is None else str(cell) for cell in cells]
        styles = [self._style(row, c, cell) for c, cell in zip(self.columns, cells, strict=True)]
        costs = [millions(row), gflops_of(row)] if self.cost else []
        self.lines.append(
            _Line(section, name, row.mark, [*means, *costs], [*styles, *("" for _ in costs)])
        )
        more = {}
        if any(cell is not None and cell.sd is not None for cell in cells):
            sds = ["" if c is None or c.sd is None else f"{c.sd:.2f}" for c in cells]
            more[f"  ± s.d. of {len(row.seeds)} seeds"] = sds
        if row.has_intervals:
            more[INTERVAL] = [*map(half_interval, cells)]
        for told, values in more.items():
            shown = [*values, *("" for _ in costs)]
            self.lines.append(_Line(section, told, "", shown, [""] * len(shown)))

    def _style(self, row: Row, column: str, cell: Cell | None) -> str:
        if cell is None or row.kind not in _OURS:
            return ""
        if cell.mean < self._floor.get(column, cell.mean):
            return "bad"
        return "good" if cell.mean == self._best.get(column) else ""

    @property
    def _beside(self) -> int:
        """Characters beside the names."""
        rules = 2 * sum(self._ruled())
        return 1 + self.mark_width + sum(width + 1 for width in self.widths) + rules

    @property
    def least_width(self) -> int:
        """Width with names as short as they may be."""
        return self._beside + min(self.name_width, _LEAST_NAME)

    def render(self, most: int | None) -> str:
        if most is not None:
            self.name_width = max(min(self.name_width, most - self._beside), _SHORTEST_NAME)
        width = self._beside + self.name_width
        lines = []
        previous = -1
        for line in self.lines:
            if line.section != previous:
                lines.append("-" * width)
            lines += self._shown(line)
            previous = line.section
        wide = max(width, 80) if most is None else most
        title = [self.table.title, *(f"!! {warning}" for warning in self.table.warnings)]
        if most is not None:
            title = [_wrapped(line, wide) for line in title]
        notes = [*self.notes.lines, *self.table.below]
        left_out = [name for name in self.table.columns if name not in self.columns]
        if left_out:
            notes.append(f"no room for {', '.join(left_out)}: --cells shows all columns")
        wrapped = [_wrapped(note, wide) for note in notes]
        return "\n".join([*title, *lines, "-" * width, *wrapped]) + "\n"

    def _shown(self, line: _Line) -> list[str]:
        """The line, and the rest of a name that is too long."""
        parts = textwrap.wrap(
            line.name, self.name_width, subsequent_indent="  ", drop_whitespace=True
        )
        if line.name.startswith(" "):
            parts = [line.name[: self.name_width]]
        first, *more = parts or [""]
        text = f"{first:<{self.name_width}} {line.mark:<{self.mark_width}}"
        places = zip(self._ruled(), line.cells, line.styles, self.widths, strict=True)
        text += "".join(
            f"{' |' if rule else ''} {styled(f'{cell:>{width}}', style)}"
            for rule, cell, style, width in places
        )
        return [text.rstrip(), *more]

    def _ruled(self) -> list[bool]:
        """Whether a rule stands before each column: between groups, and before ``All``."""
        columns = self.columns
        groups = [name.endswith("-Avg") for name in columns[:-1]]
        before_all = [name == "All" for name in columns[1:]]
        between = [a or b for a, b in zip(groups, before_all, strict=True)]
        return [False, *between, *([False, False] if self.cost else [])]


def _extremes(table: Table) -> tuple[dict[str, float], dict[str, float]]:
    """Column → the best mean of ours, if there are several, and the highest floor."""
    best, floor = {}, {}
    for column in table.columns:
        ours = [r.cells[column].mean for r in table.rows if r.kind in _OURS and column in r.cells]
        floors = [r.cells[column].mean for r in table.rows if r.kind == "floor"]
        if len(ours) > 1:
            best[column] = max(ours)
        if floors:
            floor[column] = max(floors)
    return best, floor


def _wrapped(note: str, width: int) -> str:
    return textwrap.fill(
        note, width, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False
    )
