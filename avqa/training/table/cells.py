"""What a result table is made of: accuracies, rows, the notes of rows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

Kind = Literal[
    "published",
    "floor",
    "question-only",
    "ours",
    "ablation",
    "paper's ablation",
    "condition",
    "answers",
]
SECTION: dict[str, int] = {
    "published": 0,
    "floor": 1,
    "question-only": 2,
    "ours": 2,
    "answers": 2,
    "condition": 4,
}
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
    low: float | None = None
    """Lower end of the 95 % interval of the mean, in percent; None where it is not known."""
    high: float | None = None

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
    def has_intervals(self) -> bool:
        """Whether any cell has its 95 % interval."""
        return any(cell.low is not None for cell in self.cells.values())

    @property
    def mark(self) -> str:
        """What the column ``ann`` shows."""
        return f"{self.annotation}{'' if self.consistent else '!'}{'' if self.comparable else '*'}"


INTERVAL = "  ± 95 %"
"""Name of the line below a row that has intervals."""
OF_INTERVALS = (
    "± 95 %: half of the interval of the mean above it, by what videos the questions happen to be"
    " about and, of several seeds, by what these differ; the CSV has both ends"
)


def half_interval(cell: Cell | None) -> str:
    """Half of the cell's interval; empty where there is none."""
    if cell is None or cell.low is None or cell.high is None:
        return ""
    return f"{(cell.high - cell.low) / 2:.2f}"


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


def millions(row: Row) -> str:
    """Parameters in millions; empty where unknown."""
    return "" if row.parameters is None else f"{row.parameters / 1e6:.3f}"


def gflops_of(row: Row) -> str:
    """Operations; empty where unknown."""
    return "" if row.gflops is None else f"{row.gflops:.3f}"
