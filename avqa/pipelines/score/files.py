"""A file of answers, in any of the forms in which models leave them, as ids and texts."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from avqa.datasets._parts.custom_rows import csv_rows
from avqa.datasets._parts.fields import whole
from avqa.errors import ConfigError

IDS = ("question_id", "questionid", "qid", "id", "key")
ANSWERS = (
    *("prediction", "predicted_answer", "pred_answer", "predicted", "pred", "response"),
    *("generated_text", "output", "answer", "text"),
)
"""Names of the values that matter; the first that a row has counts: ours have ``prediction``, and
the right answer beside it."""
LISTS = ("predictions", "results", "answers", "data")
"""Where a JSON object may have its list."""
MOST_BYTES = 2**28
MOST_ROWS = 2_000_000
"""Ten times the questions of the largest test (MUSIC-AVQA-R's): more is another file, and reading
ten million takes 5 GB."""
_RESULT = re.compile(r"(\S+)[ \t]+(?:True|False)[ \t]+\d+[ \t]+(\d+)[ \t]*")
"""TSPM's result file: id, right or not, target, predicted; answers by number."""
TSPM_ANSWERS = (
    *("two", "cello", "congas", "zero", "no", "pipa", "six", "yes", "one", "four", "three"),
    *("seven", "five", "ukulele", "right", "piano", "left", "accordion", "clarinet", "guzheng"),
    *("more than ten", "nine", "indoor", "saxophone", "drum", "violin", "middle", "outdoor"),
    *("bagpipe", "bassoon", "acoustic_guitar", "banjo", "electric_bass", "ten", "eight", "flute"),
    *("simultaneously", "trumpet", "erhu", "xylophone", "tuba", "suona"),
)
"""In the order in which MUSIC-AVQA's training file has them first (heads-2025, 1.3)."""
_EXAMPLE = '{"question_id": 17, "prediction": "two"}'


@dataclass(frozen=True)
class Given:
    """What a file holds."""

    path: Path
    form: str
    """For people: what kind of file it is."""
    rows: tuple[tuple[str, str], ...]
    """Question id, or its key, and the answer as it stands there."""


def read_answers(path: Path) -> Given:
    """Read a file of answers.

    JSON (an object of ids and answers as `avqa predict` writes it, a list of objects as
    ``predictions.json``, or an object with such a list), JSON Lines, CSV, or TSPM's result file.

    Raises:
        ConfigError: it cannot be read, is too large, is of no such form, or a row lacks id or
            answer; names the row.
    """
    text = _text(path)
    if path.suffix.lower() == ".csv":
        placed = csv_rows(path, text)
        if not placed:
            raise _refused(path, "", "holds nothing")
        return Given(path, "CSV", tuple(_pair(path, p.place, p.values) for p in placed))
    lines = [(number, line) for number, line in enumerate(text.split("\n"), 1) if line.strip()]
    if not lines:
        raise _refused(path, "", "holds nothing")
    if _RESULT.fullmatch(lines[0][1].rstrip("\r")):
        return Given(path, "a TSPM result file", tuple(_results(path, lines)))
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        if len(lines) > 1 and lines[0][1].lstrip().startswith("{"):
            return Given(path, "JSON Lines", tuple(_of_lines(path, lines)))
        why = str(error).splitlines()[0]
        raise _refused(path, "", f"is neither JSON nor JSON Lines: {why}") from error
    rows = tuple(_of_json(path, value))
    _require_few(path, len(rows), MOST_ROWS, "answers")
    return Given(path, "JSON", rows)


def _require_few(path: Path, count: int, most: int, what: str) -> None:
    if count > most:
        raise ConfigError(
            f"predictions={str(path)!r} has {count:,} {what}; expected {most:,} at most, an answer"
            " a question; keep the answers to the questions that are asked"
        )


def _text(path: Path) -> str:
    try:
        _require_few(path, path.stat().st_size, MOST_BYTES, "bytes")
        text = path.read_bytes().decode("utf-8-sig")
        _require_few(path, text.count("\n"), MOST_ROWS, "lines")
        return text
    except UnicodeDecodeError as error:
        byte = f"byte {error.object[error.start]:#04x} at {error.start}"
        raise _refused(path, "", f"is not UTF-8 ({byte})") from error
    except OSError as error:
        why = (error.strerror or str(error)).lower()
        raise _refused(path, "", f"cannot be read: {why}") from error


def _refused(path: Path, place: str, why: str) -> ConfigError:
    return ConfigError(
        f"predictions={str(path)!r}{place} {why}; expected answers by question id, such as"
        f" {_EXAMPLE}, in a JSON, JSON Lines or CSV file in UTF-8; write it so, as `avqa predict`"
        " does"
    )


def _of_json(path: Path, value: Any) -> Iterator[tuple[str, str]]:
    if isinstance(value, dict):
        of_lists = [name for name in LISTS if isinstance(value.get(name), list)]
        if not of_lists:
            for name, answer in value.items():
                yield name, _said(path, f" id={name!r}", answer)
            return
        value = value[of_lists[0]]
    if not isinstance(value, list) or not value:
        raise _refused(path, "", f"holds {'nothing' if value == [] else type(value).__name__}")
    for number, row in enumerate(value):
        yield _pair(path, f"row={number}", row)


def _of_lines(path: Path, lines: list[tuple[int, str]]) -> Iterator[tuple[str, str]]:
    for number, line in lines:
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise _refused(path, f" line={number}", "is not JSON") from error
        yield _pair(path, f"line={number}", row)


def _results(path: Path, lines: list[tuple[int, str]]) -> Iterator[tuple[str, str]]:
    for number, line in lines:
        found = _RESULT.fullmatch(line.rstrip("\r"))
        if found is None or int(found[2]) >= len(TSPM_ANSWERS):
            raise _refused(
                path,
                f" line={number}",
                f"is {line.strip()!r}, where lines above have id, True or False, target and"
                f" predicted answer, numbers under {len(TSPM_ANSWERS)}",
            )
        yield found[1], TSPM_ANSWERS[int(found[2])]


def _pair(path: Path, place: str, row: Any) -> tuple[str, str]:
    if not isinstance(row, Mapping):
        raise _refused(path, f" {place}", f"is a {type(row).__name__}")
    values = {str(name).strip().lower(): value for name, value in row.items()}
    name = next((name for name in IDS if values.get(name) not in (None, "")), None)
    answer = next((name for name in ANSWERS if name in values), None)
    if name is None or answer is None:
        lacking = "id" if name is None else "answer"
        known = ", ".join(IDS if name is None else ANSWERS)
        raise _refused(path, f" {place}", f"has no {lacking} (any of {known})")
    number = whole(values[name])
    asked = str(values[name]).strip() if number is None else str(number)
    return asked, _said(path, f" {place}", values[answer])


def _said(path: Path, place: str, answer: Any) -> str:
    """An answer as text; a missing one is empty."""
    if answer is None:
        return ""
    if isinstance(answer, list) and len(answer) == 1:
        answer = answer[0]
    if isinstance(answer, bool):
        return "yes" if answer else "no"
    if isinstance(answer, (str, int, float)):
        number = whole(answer)
        return str(answer) if number is None or isinstance(answer, str) else str(number)
    raise _refused(path, place, f"has an answer that is a {type(answer).__name__}")
