"""`avqa table`: one result table of several runs."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from avqa import heads
from avqa.errors import ConfigError, LibraryMissing, PluginError, RunDamaged
from avqa.training.fitting import mccd_paper
from avqa.training.run import RUN, Run, read_about
from avqa.training.table.confusions import CONFUSIONS
from avqa.training.table.layout import ResultTable, Row
from avqa.training.table.notes import of_missing, of_published, of_weights
from avqa.training.table.published import Scope, all_published_rows
from avqa.training.table.reading import read_csv

TABLE = "table.csv"


def joined_table(runs: Sequence[Path], *, published: bool = False) -> ResultTable:
    """One table of what the runs' own tables say.

    Args:
        runs: folders of `avqa train-head`.
        published: also the figures of all papers: of the methods that are heads here, and of the
            others in their tables.

    Raises:
        ConfigError: a run has no table yet, or they are of other questions.
        RunDamaged: a table cannot be read.
    """
    tables = {path: _read(path) for path in dict.fromkeys(runs)}
    first, *others = tables.items()
    for path, table in others:
        _refuse_other(first, (path, table))
    rows = _unique(row for table in tables.values() for row in table.rows if row.kind in _SHARED)
    scope = _scope(first[1], first[0])
    if published:
        rows = _with_all_papers(rows, first[1], scope)
    for path, table in tables.items():
        alone = len(tables) == 1
        for row in table.rows:
            if row.kind not in _SHARED:
                told = row if alone else replace(row, name=f"{path.name}/{row.name}")
                rows.append(told)
    order = {"published": 0, "floor": 1}
    rows.sort(key=lambda row: order.get(row.kind, 2))
    found = _runs(tables)
    warnings = dict.fromkeys(line for _, run in found for line in of_weights(run))
    notes = [f"{path.name}: {line}" for path, run in found for line in of_missing(run)]
    if published:
        notes.append(of_published(scope))
    confusions = [str(path / CONFUSIONS) for path in tables if (path / CONFUSIONS).exists()]
    return replace(
        first[1],
        rows=tuple(rows),
        warnings=tuple(warnings),
        notes=tuple(notes),
        confusions=tuple(confusions),
    )


_SHARED = ("published", "floor")
"""Kinds of rows that are the same in all tables of the same questions."""


def _read(path: Path) -> ResultTable:
    file = path / TABLE
    if not file.exists():
        Run.load(path)  # says what is wrong with it if it is no run
        raise ConfigError(
            f"run {str(path)!r} has no {TABLE} yet; expected a finished training; go on with it by"
            " `avqa train-head … --resume`, or see what is there by `avqa evaluate`"
        )
    try:
        return read_csv(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise RunDamaged(
            f"{str(file)!r} cannot be read: {error}; expected the table that training wrote; write"
            " it again with `avqa train-head … --resume`"
        ) from error


def _refuse_other(first: tuple[Path, ResultTable], other: tuple[Path, ResultTable]) -> None:
    def questions(table: ResultTable) -> dict[str, object]:
        totals = {c.total for r in table.rows if r.seeds for n, c in r.cells.items() if n == "All"}
        return {
            "dataset": table.dataset,
            "version": table.version,
            "split": table.split,
            "choices": table.choices or "none",
            "questions": max((total or 0 for total in totals), default=0),
            "columns": ",".join(table.columns),
        }

    left, right = questions(first[1]), questions(other[1])
    differing = [f"{k}={left[k]} and {right[k]}" for k in left if left[k] != right[k]]
    if differing:
        raise ConfigError(
            f"runs {str(first[0])!r} and {str(other[0])!r} were scored on other questions:"
            f" {'; '.join(differing)}; expected the same; print them apart"
        )


def _runs(paths: Iterable[Path]) -> list[tuple[Path, Run]]:
    """Those that have more than their table: it may have been copied alone."""
    found = []
    for path in paths:
        with contextlib.suppress(ConfigError):
            if (path / RUN).exists():
                found.append((path, Run.load(path)))
    return found


def _scope(table: ResultTable, path: Path) -> Scope:
    """Of a run that does not tell, the splits of its data set."""
    about = read_about(path, "a run") if (path / RUN).exists() else {}
    split = about.get("settings", {}).get("split", "official")
    return Scope(table.dataset, table.version, table.split, official=split == "official")


def _with_all_papers(rows: Sequence[Row], table: ResultTable, scope: Scope) -> list[Row]:
    """The rows that are there, with all of their sources, then what they lack."""
    printed = {}
    for row in all_published_rows([*_papers()], scope):
        # As the rows that were read: of this table's columns.
        cells = {column: row.cells[column] for column in table.columns if column in row.cells}
        if cells:
            shown = replace(row, cells=cells)
            printed[_key(shown)] = shown
    there = [
        replace(row, note=printed.pop(_key(row)).note) if _key(row) in printed else row
        for row in rows
    ]
    return [*there, *printed.values()]


def _papers() -> Iterator[heads.Paper]:
    """Of every head, and of what is trained beside them."""
    for name in heads.names():
        try:
            yield heads.load(name).PAPER
        except (LibraryMissing, PluginError):  # `avqa heads` says why
            continue
    yield mccd_paper.PAPER


def _unique(rows: Iterator[Row]) -> list[Row]:
    """Each row of a name and its cells once, the first of them."""
    found: dict[str, Row] = {}
    for row in rows:
        found.setdefault(_key(row), row)
    return list(found.values())


def _key(row: Row) -> str:
    """Kind, name and accuracies: rows that share them are one."""
    return f"{row.kind} {row.name} {sorted((name, str(cell)) for name, cell in row.cells.items())}"
