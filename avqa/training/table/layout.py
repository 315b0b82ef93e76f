"""A result table as data, and its three formats: text, CSV, Markdown."""

from __future__ import annotations

import csv
import io
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from avqa.datasets._parts.floors import Table
from avqa.telling import html, objects
from avqa.training.table.cells import (
    INTERVAL,
    OF_INTERVALS,
    Footnotes,
    gflops_of,
    half_interval,
    millions,
)
from avqa.training.table.cells import Cell as Cell
from avqa.training.table.cells import Kind as Kind
from avqa.training.table.cells import Row as Row
from avqa.training.table.intervals import Interval
from avqa.training.table.text import render


def cells_of(
    tables: Sequence[Table], intervals: Mapping[str, Interval] | None = None
) -> dict[str, Cell]:
    """Mean and sample standard deviation of one head's seeds, column by column.

    Args:
        tables: one per seed, of the same columns; at least one.
        intervals: of the means, of the columns where they are known.
    """
    known = intervals or {}
    cells = {}
    for column in tables[0]:
        scores = [table[column] for table in tables]
        percents = [score.percent for score in scores]
        cells[column] = Cell(
            mean=statistics.fmean(percents),
            sd=statistics.stdev(percents) if len(percents) > 1 and scores[0].total else None,
            correct=tuple(score.correct for score in scores),
            total=scores[0].total,
            low=known[column].low if column in known else None,
            high=known[column].high if column in known else None,
        )
    return cells


@dataclass(frozen=True, kw_only=True, repr=False)
class ResultTable:
    """Rows of accuracies with what must be known to read them."""

    dataset: str
    version: str
    """Of the annotation."""
    split: str
    choices: str = ""
    """The data set's own that were made: ``edition=bias``."""
    columns: tuple[str, ...]
    rows: tuple[Row, ...]
    warnings: tuple[str, ...] = ()
    """Printed above the table."""
    notes: tuple[str, ...] = ()
    """Printed below it."""
    confusions: tuple[str, ...] = ()
    """Files that say which answer is given in place of which."""

    @property
    def title(self) -> str:
        """One line."""
        questions = ", ".join(filter(None, (self.dataset, self.choices, self.split)))
        return (
            f"{questions}, annotation version: {self.version};"
            " accuracy in percent, averages over questions"
        )

    @property
    def below(self) -> tuple[str, ...]:
        """What is printed below, with what the lines of intervals are, and files that say more."""
        found = any(row.has_intervals for row in self.rows)
        files = [f"which answer is given in place of which: {file!r}" for file in self.confusions]
        return (*self.notes, *([OF_INTERVALS] if found else []), *files)

    def text(self, width: int | None = None, *, colour: bool = False) -> str:
        """Aligned columns; under the mean of several seeds its standard deviation.

        Args:
            width: of the terminal; a table that is wider is narrowed: it loses the costs, then
                the cells that averages are made of, and long names are wrapped.
            colour: the best of a column, and what is below the floor.
        """
        return render(self, width, colour=colour)

    def __repr__(self) -> str:
        """The `text`."""
        return self.text().rstrip()

    def _repr_html_(self) -> str:
        """For a notebook: what `markdown` has."""
        notes = Footnotes()
        rows = [cells for row in self.rows for cells in self._lines(row, notes)]
        head = ("", "ann", *self.columns, "params M", "GFLOPs")
        made = html.table(head, rows)
        below = (*notes.lines, *self.below)
        return html.block(self.title, made, marks=self.warnings, notes=below)

    def _lines(self, row: Row, notes: Footnotes) -> list[tuple[str, ...]]:
        """A row's line as text, and that of its intervals."""
        cells = [row.cells.get(column) for column in self.columns]
        name = (row.name + notes.reference(row), row.mark)
        lines = [(*name, *map(_plus_minus, cells), millions(row), gflops_of(row))]
        if row.has_intervals:
            lines.append((INTERVAL.strip(), "", *map(half_interval, cells), "", ""))
        return lines

    def lines(self) -> list[str]:
        """The `text`, line by line."""
        return self.text().splitlines()

    def data(self) -> objects.Table:
        """For programs; without what is told below the table."""
        return {
            "dataset": self.dataset,
            "version": self.version,
            "split": self.split,
            "choices": self.choices,
            "columns": list(self.columns),
            "rows": [_row_data(row) for row in self.rows],
            "warnings": list(self.warnings),
            "notes": list(self.notes),
            "comparisons": [],
            "confidence": [],
            "consistency": [],
            "files": list(self.confusions),
        }

    def csv(self) -> str:
        """One line a row; mean, standard deviation and counts of every column apart."""
        file = io.StringIO()
        writer = csv.writer(file, lineterminator="\n")
        parts = ("", "_sd", "_correct", "_total", "_low", "_high")
        writer.writerow(
            ["name", "kind", "dataset", "version", "split", "choices", "annotation", "consistent"]
            + ["comparable", "seeds", "parameters", "gflops"]
            + [column + part for column in self.columns for part in parts]
            + ["note"]
        )
        for row in self.rows:
            # A published row is of its paper's questions.
            of = (self.dataset, self.version, self.split, self.choices)
            ours = ("",) * len(of) if row.kind in PRINTED else of
            writer.writerow(
                [row.name, row.kind, *ours, row.annotation]
                + [_yes(row.consistent), _yes(row.comparable), _joined(row.seeds)]
                + [_number(row.parameters, 0), _number(row.gflops, 6)]
                + [text for column in self.columns for text in _parts(row.cells.get(column))]
                + [row.note]
            )
        return file.getvalue()

    def markdown(self) -> str:
        """A table as GitHub shows it, the notes below as a list."""
        notes = Footnotes()
        head = ["", "ann", *self.columns, "params M", "GFLOPs"]
        lines = [_piped(head), _piped(["---", "---", *["---:"] * (len(head) - 2)])]
        for row in self.rows:
            lines += map(_piped, self._lines(row, notes))
        above = [f"**{warning}**" for warning in self.warnings]
        below = [f"- {note}" for note in (*notes.lines, *self.below)]
        return "\n\n".join([self.title, *above, "\n".join(lines), "\n".join(below)]) + "\n"


def _row_data(row: Row) -> objects.Row:
    return {
        "name": row.name,
        "kind": row.kind,
        "annotation": row.annotation,
        "consistent": row.consistent,
        "comparable": row.comparable,
        "seeds": list(row.seeds),
        "parameters": row.parameters,
        "gflops": row.gflops,
        "cells": {column: _cell_data(cell) for column, cell in row.cells.items()},
        "note": row.note,
    }


def _cell_data(cell: Cell) -> objects.Cell:
    return {
        "percent": cell.mean,
        "sd": cell.sd,
        "correct": list(cell.correct),
        "total": cell.total,
        "low": cell.low,
        "high": cell.high,
    }


PRINTED = ("published", "paper's ablation")
"""Kinds of rows that are copied, not run."""


def _plus_minus(cell: Cell | None) -> str:
    if cell is None:
        return ""
    return str(cell) if cell.sd is None else f"{cell} ± {cell.sd:.2f}"


def _piped(texts: Iterable[str]) -> str:
    return "| " + " | ".join(text.replace("|", "\\|") for text in texts) + " |"


def _parts(cell: Cell | None) -> tuple[str, ...]:
    """Mean, deviation, right answers per seed, questions, interval's ends; empty where unknown."""
    if cell is None:
        return ("",) * 6
    total = "" if cell.total is None else str(cell.total)
    ends = (_number(cell.low, 4), _number(cell.high, 4))
    return (_number(cell.mean, 4), _number(cell.sd, 4), _joined(cell.correct), total, *ends)


def _number(value: float | None, digits: int) -> str:
    return "" if value is None or value != value else str(round(value, digits or None))


def _joined(values: Iterable[int]) -> str:
    return ";".join(map(str, values))


def _yes(value: bool) -> str:
    return "true" if value else "false"
