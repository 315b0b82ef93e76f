"""A result table as data, and its three formats: text, CSV, Markdown."""

from __future__ import annotations

import csv
import io
import statistics
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from avqa.datasets._parts.floors import Table
from avqa.telling import html

Kind = Literal["published", "floor", "question-only", "ours", "ablation", "paper's ablation"]
SECTION: dict[str, int] = {"published": 0, "floor": 1, "question-only": 2, "ours": 2}
"""Kind → part of the table; a rule is drawn between parts. Ablations are part 3."""


@dataclass(frozen=True)
class Cell:
    """One accuracy in percent."""

    mean: float
    """Over the seeds; NaN of no question."""
    sd: float | None = None
    """Sample standard deviation over the seeds; None of fewer than two or of no question."""
    correct: tuple[int, ...] = ()
    """Right answers per seed; none for a published figure."""
    total: int | None = None
    """Questions; None for a published figure."""

    def __str__(self) -> str:
        """Two digits after the point; – of no question."""
        return "–" if self.mean != self.mean else f"{self.mean:.2f}"


@dataclass(frozen=True, kw_only=True)
class Row:
    """One line of the table."""

    name: str
    kind: Kind
    cells: Mapping[str, Cell]
    """Column → accuracy; a column that is not known is left out."""
    annotation: str = ""
    """`u`, `o`, `o/?`, `?` as `avqa.heads.Figures`; empty for a floor."""
    consistent: bool = True
    """Whether the averages follow from the cells."""
    comparable: bool = True
    """Whether it is of the questions that this table scores, as far as can be known."""
    seeds: tuple[int, ...] = ()
    parameters: float | None = None
    gflops: float | None = None
    note: str = ""

    @property
    def mark(self) -> str:
        """What the column ``ann`` shows."""
        return f"{self.annotation}{'' if self.consistent else '!'}{'' if self.comparable else '*'}"


def cells_of(tables: Sequence[Table]) -> dict[str, Cell]:
    """Mean and sample standard deviation of one head's seeds, column by column.

    Args:
        tables: one per seed, of the same columns; at least one.
    """
    cells = {}
    for column in tables[0]:
        scores = [table[column] for table in tables]
        percents = [score.percent for score in scores]
        cells[column] = Cell(
            mean=statistics.fmean(percents),
            sd=statistics.stdev(percents) if len(percents) > 1 and scores[0].total else None,
            correct=tuple(score.correct for score in scores),
            total=scores[0].total,
        )
    return cells


@dataclass(frozen=True, kw_only=True, repr=False)
class ResultTable:
    """Rows of accuracies with what must be known to read them."""

    dataset: str
    version: str
    """Of the annotation."""
    split: str
    columns: tuple[str, ...]
    rows: tuple[Row, ...]
    warnings: tuple[str, ...] = ()
    """Printed above the table."""
    notes: tuple[str, ...] = ()
    """Printed below it."""

    @property
    def title(self) -> str:
        """One line."""
        return (
            f"{self.dataset}, {self.split}, annotation version: {self.version};"
            " accuracy in percent, averages over questions"
        )

    def text(self) -> str:
        """Aligned columns; under the mean of several seeds its standard deviation."""
        return _Text(self).render()

    def __repr__(self) -> str:
        """The `text`."""
        return self.text().rstrip()

    def _repr_html_(self) -> str:
        """For a notebook: what `markdown` has."""
        notes = Footnotes()
        rows = [
            (row.name + notes.reference(row), row.mark)
            + tuple(_plus_minus(row.cells.get(column)) for column in self.columns)
            + (_millions(row), _gflops(row))
            for row in self.rows
        ]
        head = ("", "ann", *self.columns, "params M", "GFLOPs")
        made = html.table(head, rows)
        below = (*notes.lines, *self.notes)
        return html.block(self.title, made, marks=self.warnings, notes=below)

    def csv(self) -> str:
        """One line a row; mean, standard deviation and counts of every column apart."""
        file = io.StringIO()
        writer = csv.writer(file, lineterminator="\n")
        parts = ("", "_sd", "_correct", "_total")
        writer.writerow(
            ["name", "kind", "dataset", "version", "split", "annotation", "consistent"]
            + ["comparable", "seeds", "parameters", "gflops"]
            + [column + part for column in self.columns for part in parts]
            + ["note"]
        )
        for row in self.rows:
            # A published row is of its paper's questions.
            ours = () if row.kind in PRINTED else (self.dataset, self.version, self.split)
            writer.writerow(
                [row.name, row.kind, *(ours or ("", "", "")), row.annotation]
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
            cells = [_plus_minus(row.cells.get(column)) for column in self.columns]
            name = row.name + notes.reference(row)
            lines.append(_piped([name, row.mark, *cells, _millions(row), _gflops(row)]))
        above = [f"**{warning}**" for warning in self.warnings]
        below = [f"- {note}" for note in (*notes.lines, *self.notes)]
        return "\n\n".join([self.title, *above, "\n".join(lines), "\n".join(below)]) + "\n"


PRINTED = ("published", "paper's ablation")
"""Kinds of rows that are copied, not run."""


@dataclass
class Footnotes:
    """Numbers the rows' notes; rows with one note share its number."""

    texts: list[str] = field(default_factory=list)

    def reference(self, row: Row) -> str:
        """What follows the row's name."""
        if not row.note:
            return ""
        if row.note not in self.texts:
            self.texts.append(row.note)
        return f" ({self.texts.index(row.note) + 1})"

    @property
    def lines(self) -> list[str]:
        """Every note once."""
        return [f"({number}) {text}" for number, text in enumerate(self.texts, 1)]


class _Text:
    """Lays out a `ResultTable` in columns as narrow as their content."""

    def __init__(self, table: ResultTable) -> None:
        self.table = table
        self.notes = Footnotes()
        head = ["", "ann", *table.columns, "params M", "GFLOPs"]
        self.lines: list[tuple[int, list[str]]] = [(-1, head)]
        for row in table.rows:
            self._add(row)
        self.widths = [max(len(line[i]) for _, line in self.lines) for i in range(len(head))]

    def _add(self, row: Row) -> None:
        section = SECTION.get(row.kind, 3)
        cells = [row.cells.get(column) for column in self.table.columns]
        name = row.name + self.notes.reference(row)
        means = ["" if cell is None else str(cell) for cell in cells]
        self.lines.append((section, [name, row.mark, *means, _millions(row), _gflops(row)]))
        if any(cell is not None and cell.sd is not None for cell in cells):
            sds = ["" if c is None or c.sd is None else f"{c.sd:.2f}" for c in cells]
            self.lines.append((section, [f"  ± s.d. of {len(row.seeds)} seeds", "", *sds, "", ""]))

    def render(self) -> str:
        width = len(self._line(self.lines[0][1]))
        lines = []
        previous = -1
        for section, line in self.lines:
            if section != previous:
                lines.append("-" * width)
            lines.append(self._line(line).rstrip())
            previous = section
        title = [self.table.title, *(f"!! {warning}" for warning in self.table.warnings)]
        notes = [*self.notes.lines, *self.table.notes]
        wrapped = [_wrapped(note, max(width, 80)) for note in notes]
        return "\n".join([*title, *lines, "-" * width, *wrapped]) + "\n"

    def _line(self, line: list[str]) -> str:
        text = f"{line[0]:<{self.widths[0]}} {line[1]:<{self.widths[1]}}"
        places = zip(self._ruled(), line[2:], self.widths[2:], strict=True)
        return text + "".join(f"{' |' if rule else ''} {s:>{w}}" for rule, s, w in places)

    def _ruled(self) -> list[bool]:
        """Whether a rule stands before each column: between groups, and before ``All``."""
        columns = self.table.columns
        groups = [name.endswith("-Avg") for name in columns[:-1]]
        before_all = [name == "All" for name in columns[1:]]
        between = [a or b for a, b in zip(groups, before_all, strict=True)]
        return [False, *between, False, False]


def _wrapped(note: str, width: int) -> str:
    return textwrap.fill(
        note, width, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False
    )


def _millions(row: Row) -> str:
    return "" if row.parameters is None else f"{row.parameters / 1e6:.3f}"


def _gflops(row: Row) -> str:
    return "" if row.gflops is None else f"{row.gflops:.3f}"


def _plus_minus(cell: Cell | None) -> str:
    if cell is None:
        return ""
    return str(cell) if cell.sd is None else f"{cell} ± {cell.sd:.2f}"


def _piped(texts: Iterable[str]) -> str:
    return "| " + " | ".join(text.replace("|", "\\|") for text in texts) + " |"


def _parts(cell: Cell | None) -> tuple[str, str, str, str]:
    """Mean, standard deviation, right answers per seed, questions; empty where unknown."""
    if cell is None:
        return ("", "", "", "")
    total = "" if cell.total is None else str(cell.total)
    return (_number(cell.mean, 4), _number(cell.sd, 4), _joined(cell.correct), total)


def _number(value: float | None, digits: int) -> str:
    return "" if value is None or value != value else str(round(value, digits or None))


def _joined(values: Iterable[int]) -> str:
    return ";".join(map(str, values))


def _yes(value: bool) -> str:
    return "true" if value else "false"
