"""Rows of a question file that a person keeps, JSON, JSON Lines or a table, each with its place."""

from __future__ import annotations

import csv
import io
import json
import re
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

from avqa.errors import DatasetError

TABLES = (".csv", ".tsv")
ENDINGS = (".json", ".jsonl", *TABLES)
SEPARATORS = (",", ";", "\t")
"""Of a table: what parts its first line into most columns."""


class PlacedRow(NamedTuple):
    """A row and where a person finds it: ``row=3`` of a list, counted from 0, or ``line=5``."""

    place: str
    values: dict[str, Any]
    """Column or key → value; empty cells of a CSV file are None."""


def read_rows(file: Path) -> list[PlacedRow]:
    """All rows of a file.

    Raises:
        DatasetError: it cannot be read, is of another kind, or holds no rows; names the line.
    """
    ending = file.suffix.lower()
    if ending not in ENDINGS:
        raise DatasetError(
            f"file={str(file)!r} ends in {ending!r}; expected {', '.join(ENDINGS)}; save it as one"
            " of them"
        )
    text = _text(file)
    if ending in TABLES:
        rows = csv_rows(file, text)
    else:
        rows = _json_rows(file, text) if ending == ".json" else _lines(file, text)
    if not rows:
        raise DatasetError(
            f"file={str(file)!r} holds no rows; expected a question a row; check --annotations"
        )
    return rows


def _text(file: Path) -> str:
    """The file's text, without the byte order mark that spreadsheet programs write."""
    try:
        return file.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DatasetError(
            f"file={str(file)!r} is not UTF-8: byte {error.object[error.start]:#04x} at"
            f" {error.start}; expected UTF-8; save it as 'CSV UTF-8' or as UTF-8 text"
        ) from error
    except OSError as error:
        raise DatasetError(
            f"file={str(file)!r} cannot be read: {(error.strerror or str(error)).lower()};"
            " expected a file of questions; check --annotations"
        ) from error


def _json_rows(file: Path, text: str) -> list[PlacedRow]:
    found = _parsed(file, text, "")
    if not isinstance(found, list):
        raise DatasetError(
            f"file={str(file)!r} holds a {type(found).__name__}; expected a list of objects, one a"
            " question; put them into [ and ], or one a line into a .jsonl file"
        )
    return [_placed(file, f"row={number}", value) for number, value in enumerate(found)]


def _lines(file: Path, text: str) -> list[PlacedRow]:
    # Not splitlines: texts may hold its further separators, such as U+2028.
    return [
        _placed(file, f"line={number}", _parsed(file, line, f" line={number}"))
        for number, line in enumerate(text.split("\n"), 1)
        if line.strip()
    ]


def _parsed(file: Path, text: str, place: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DatasetError(
            f"file={str(file)!r}{place} is not JSON: {str(error).splitlines()[0]}; expected"
            ' objects such as {"video": "a.mp4", "question": "…", "answer": "…"}; correct it'
        ) from error


def _placed(file: Path, place: str, value: Any) -> PlacedRow:
    if not isinstance(value, dict):
        raise DatasetError(
            f"file={str(file)!r} {place} is a {type(value).__name__}; expected an object with"
            " video, question and answer; correct or remove it"
        )
    return PlacedRow(place, {name.strip().lower(): given for name, given in value.items()})


def csv_rows(file: Path, text: str) -> list[PlacedRow]:
    """The rows of a CSV or TSV file, whose text this is.

    A first column without a name is left out: pandas writes the numbers of its rows there.

    Raises:
        DatasetError: its lines do not fit together; names the line.
    """
    separator, _ = first_line(text)
    lines = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    rows, names, before = [], None, 0
    try:
        for cells in lines:
            place, before = f"line={before + 1}", lines.line_num
            if not any(cell.strip() for cell in cells):
                continue
            if names is None:
                names = _header(file, cells)
                continue
            values = _cells(file, place, names, cells)
            rows.append(PlacedRow(place, {name: values[name] for name in names if name}))
    except csv.Error as error:
        raise DatasetError(
            f"file={str(file)!r} line={lines.line_num} is not CSV: {error}; expected a text with a"
            ' quote or separator in quotes, its quotes doubled ("a ""b"" c"); correct it'
        ) from error
    return rows


def first_line(text: str) -> tuple[str, list[str]]:
    """What parts the first line of a table, and its cells."""
    first = re.split(r"[\r\n]", text.lstrip("\r\n"), maxsplit=1)[0][: csv.field_size_limit()]
    parted = {s: next(csv.reader([first], delimiter=s), []) for s in SEPARATORS}
    separator = max(SEPARATORS, key=lambda s: len(parted[s]))
    return separator, parted[separator]


def _header(file: Path, cells: list[str]) -> list[str]:
    names = [cell.strip().lower() for cell in cells]
    while names and not names[-1]:  # columns that a spreadsheet program left at the right
        names.pop()
    twice = [name or "without a name" for name, count in Counter(names).items() if count > 1]
    if twice or "" in names[1:]:
        raise DatasetError(
            f"file={str(file)!r} has the column {twice[0] if twice else 'without a name'}"
            f"{' twice' if twice and twice[0] in names else ''}; expected a name of its own for"
            " each; correct the first line"
        )
    return names


def _cells(file: Path, place: str, names: list[str], cells: list[str]) -> dict[str, Any]:
    while len(cells) > len(names) and not cells[-1].strip():
        cells.pop()
    if len(cells) != len(names):
        raise DatasetError(
            f"file={str(file)!r} {place} has {len(cells)} cells; expected {len(names)}, as the"
            f" first line has: {', '.join(names)}; put a text that holds the separator in quotes"
        )
    return {name: cell if cell.strip() else None for name, cell in zip(names, cells, strict=True)}
