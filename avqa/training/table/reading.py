"""A result table that was written as CSV, read back."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping
from typing import cast, get_args

from avqa.training.table.layout import Cell, Kind, ResultTable, Row


def read_csv(text: str) -> ResultTable:
    """The table that `ResultTable.csv` wrote, without its notes and warnings.

    Raises:
        ValueError: it is none.
    """
    reader = csv.DictReader(io.StringIO(text))
    names = reader.fieldnames or ()
    columns = tuple(n.removesuffix("_total") for n in names if n.endswith("_total"))
    lines = list(reader)
    ours = [line for line in lines if line.get("dataset")]
    if not columns or not ours:
        raise ValueError("it has no row of ours")
    return ResultTable(
        dataset=ours[0]["dataset"],
        version=ours[0]["version"],
        split=ours[0]["split"],
        choices=ours[0].get("choices") or "",
        columns=columns,
        rows=tuple(_row(line, columns) for line in lines),
    )


def _row(line: Mapping[str, str], columns: tuple[str, ...]) -> Row:
    try:
        if line["kind"] not in get_args(Kind):
            raise ValueError(f"kind={line['kind']!r}")
        cells = {column: _cell(line, column) for column in columns if line[column + "_total"]}
        cells |= {c: Cell(float(line[c])) for c in columns if c not in cells and line[c]}
        return Row(
            name=line["name"],
            kind=cast(Kind, line["kind"]),
            cells=cells,
            annotation=line["annotation"],
            consistent=line["consistent"] == "true",
            comparable=line["comparable"] == "true",
            seeds=tuple(map(int, filter(None, line["seeds"].split(";")))),
            parameters=_number(line["parameters"]),
            gflops=_number(line["gflops"]),
            note=line["note"],
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"a column is missing: {error}") from error


def _cell(line: Mapping[str, str], column: str) -> Cell:
    mean = _number(line[column])
    return Cell(
        mean=math.nan if mean is None else mean,
        sd=_number(line[f"{column}_sd"]),
        correct=tuple(map(int, filter(None, line[f"{column}_correct"].split(";")))),
        total=int(line[f"{column}_total"]),
        low=_number(line.get(f"{column}_low") or ""),
        high=_number(line.get(f"{column}_high") or ""),
    )


def _number(text: str) -> float | None:
    return float(text) if text else None
