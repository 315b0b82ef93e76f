"""A file of answers, in any of the forms in which models leave them, as ids and texts."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from avqa.datasets._parts.custom_rows import TABLES, csv_rows, first_line
from avqa.datasets._parts.fields import whole
from avqa.errors import ConfigError

IDS = ("question_id", "questionid", "qid", "id", "key")
ANSWERS = (
    *("prediction", "predicted_answer", "pred_answer", "predicted", "pred", "response"),
    *("generated_text", "output", "model_answer", "final_answer", "filtered_resps"),
    *("answer", "text"),
)
"""Names of the values that matter; the first that a row has counts: ours have ``prediction``, and
the right answer beside it."""
OFTEN_RIGHT = ("answer", "text")
STEMS = ("pred", "respon", "generat", "output", "complet", "hypothes")
"""A value with one of these in its name, such as ``llm_response``, is meant before `OFTEN_RIGHT`,
which beside it are the right answer or the question."""
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
    named: tuple[str, ...] = ()
    """The values that were taken for answers, where they have names."""


def read_answers(path: Path) -> Given:
    """Read a file of answers.

    JSON (an object of ids and answers as `avqa predict` writes it, a list of objects as
    ``predictions.json``, or an object with such a list), JSON Lines, a table with commas,
    semicolons or tabs, or TSPM's result file.

    Raises:
        ConfigError: it cannot be read, is too large, is of no such form, or a row lacks id or
            answer; names the row.
    """
    text = _text(path)
    if path.suffix.lower() in TABLES or _is_table(text):
        placed = [(row.place, row.values) for row in csv_rows(path, text)]
        if not placed:
            raise _refused(path, "", "holds nothing")
        return _given(path, "TSV" if first_line(text)[0] == "\t" else "CSV", placed)
    lines = [(number, line) for number, line in enumerate(text.split("\n"), 1) if line.strip()]
    if not lines:
        raise _refused(path, "", "holds nothing")
    if _RESULT.fullmatch(lines[0][1].rstrip("\r")):
        return Given(path, "a TSPM result file", tuple(_results(path, lines)))
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        if len(lines) > 1 and lines[0][1].lstrip().startswith("{"):
            return _given(path, "JSON Lines", _of_lines(path, lines))
        why = str(error).splitlines()[0]
        raise _refused(path, "", f"is neither JSON nor JSON Lines: {why}") from error
    given = _of_json(path, value)
    _require_few(path, len(given.rows), MOST_ROWS, "answers")
    return given


def _is_table(text: str) -> bool:
    """Whether the first line names an id and an answer, whatever the file's name ends in."""
    names = {cell.strip().lower(): "" for cell in first_line(text)[1]}
    return any(name in names for name in IDS) and _answer_of(names) is not None


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
        f" {_EXAMPLE}, in a JSON, JSON Lines, CSV or TSV file in UTF-8; write it so, as"
        " `avqa predict` does"
    )


def _of_json(path: Path, value: Any) -> Given:
    if isinstance(value, dict):
        of_lists = [name for name in LISTS if isinstance(value.get(name), list)]
        if not of_lists:
            said = ((name, _said(path, f" id={name!r}", given)) for name, given in value.items())
            return Given(path, "JSON", tuple(said))
        value = value[of_lists[0]]
    if not isinstance(value, list) or not value:
        raise _refused(path, "", f"holds {'nothing' if value == [] else type(value).__name__}")
    return _given(path, "JSON", ((f"row={number}", row) for number, row in enumerate(value)))


def _of_lines(path: Path, lines: list[tuple[int, str]]) -> Iterator[tuple[str, Any]]:
    for number, line in lines:
        try:
            yield f"line={number}", json.loads(line)
        except (ValueError, RecursionError) as error:
            raise _refused(path, f" line={number}", "is not JSON") from error


def _given(path: Path, form: str, placed: Iterable[tuple[str, Any]]) -> Given:
    """A file of rows, each with its place."""
    rows, named = [], dict[str, None]()
    for place, row in placed:
        asked, name, answer = _pair(path, place, row)
        rows.append((asked, answer))
        named[name] = None
    return Given(path, form, tuple(rows), tuple(named))


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


def _pair(path: Path, place: str, row: Any) -> tuple[str, str, str]:
    """A row's id, the name of the value that is its answer, and that."""
    if not isinstance(row, Mapping):
        raise _refused(path, f" {place}", f"is a {type(row).__name__}")
    values = {str(name).strip().lower(): value for name, value in row.items()}
    # Logs of lmms-eval have the question itself, with its id, in `doc`.
    asked = values if not isinstance(values.get("doc"), Mapping) else values["doc"] | values
    name = next((name for name in IDS if asked.get(name) not in (None, "")), None)
    answer = _answer_of(values)
    if name is None or answer is None:
        lacking = "id" if name is None else "answer"
        known = ", ".join(IDS if name is None else ANSWERS)
        raise _refused(path, f" {place}", f"has no {lacking} (any of {known})")
    number = whole(asked[name])
    given = str(asked[name]).strip() if number is None else str(number)
    return given, answer, _said(path, f" {place}", values[answer])


def _answer_of(values: Mapping[str, Any]) -> str | None:
    """Name of the value that is a model's answer; None if there is none."""
    known = [name for name in ANSWERS if name in values]
    if known and known[0] not in OFTEN_RIGHT:
        return known[0]
    like = (name for name, value in values.items() if isinstance(value, str | None))
    meant = [name for name in like if any(stem in name for stem in STEMS) and name[-2:] != "id"]
    return next(iter(meant or known), None)


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
