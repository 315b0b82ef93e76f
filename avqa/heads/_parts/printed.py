"""Tables of papers as printed, one file of data each: ``avqa/heads/_tables/<paper>.toml``.

``paper`` is its name, ``departures`` those of `Paper`. A table of such a file:

- ``where`` it is printed, its ``annotation`` as in `Figures`, a ``note`` on all of its rows;
- ``columns``: those of `COLUMNS`, ``AVQA``, ``params M`` or ``GFLOPs``;
- ``rows`` of the paper's own method and ``others``, those of other methods: name → figures;
- ``about`` a row: its own ``annotation`` or ``note``; a ``misprint``, column → what it must stand
  for, and ``why``. The figure itself stays as it is printed.
"""

from __future__ import annotations

import functools
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from avqa.heads._parts.counts import follow
from avqa.heads._parts.paper import Figures

FOLDER = Path(__file__).parents[1] / "_tables"
COSTS = {"params M": "parameters_millions", "GFLOPs": "gflops"}


@functools.cache
def printed(paper: str) -> dict[str, dict[str, Figures]]:
    """Table → name of a row → its figures.

    Args:
        paper: name of a file of `FOLDER`, without its ending.
    """
    head, tables = _read(paper)
    return {
        name: {row: _figures(row, head["paper"], table) for row in _values(table)}
        for name, table in tables.items()
    }


@functools.cache
def references(paper: str) -> tuple[Figures, ...]:
    """What the paper's tables print of other methods, in their order; for `Paper.references`."""
    _, tables = _read(paper)
    return tuple(
        printed(paper)[name][row]
        for name, table in tables.items()
        for row in table.get("others", ())
    )


def departures(paper: str) -> tuple[str, ...]:
    """In what our head departs from the paper; for `Paper.departures`."""
    return tuple(_read(paper)[0]["departures"])


@functools.cache
def _read(paper: str) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
    """What stands above the tables, and the tables."""
    content = tomllib.loads((FOLDER / f"{paper}.toml").read_text(encoding="utf-8"))
    return {name: content.pop(name) for name in ("paper", "departures")}, content


def _values(table: Mapping[str, Any]) -> dict[str, list[float]]:
    return {**table.get("others", {}), **table.get("rows", {})}


def _figures(row: str, title: str, table: Mapping[str, Any]) -> Figures:
    values = dict(zip(table["columns"], _values(table)[row], strict=True))
    costs = {field: values.pop(column, None) for column, field in COSTS.items()}
    about = {"annotation": table["annotation"], **table.get("about", {}).get(row, {})}
    notes = (_misprint(values, about), about.get("note"), table.get("note"))
    return Figures(
        name=row,
        source=f"{title}, {table['where']}",
        values=values,
        annotation=about["annotation"],
        consistent=follow(values, about["annotation"]),
        note="; ".join(note for note in notes if note),
        **costs,
    )


def _misprint(values: Mapping[str, float], about: Mapping[str, Any]) -> str:
    """``A-Comp 63.74 is a misprint for 63.47: 377 of 594``."""
    wrong = [
        f"{column} {values[column]:.2f} is a misprint for {implied:.2f}"
        for column, implied in about.get("misprint", {}).items()
    ]
    return f"{', '.join(wrong)}: {about['why']}" if wrong else ""
