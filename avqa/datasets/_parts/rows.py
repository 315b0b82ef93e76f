"""The rows of one question file: JSON or JSON lines. Anything else is refused by what it is."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from avqa.errors import DatasetError

Row = dict[str, Any]

FORMATS = {
    b"\x1f\x8b": ("gzip", "unpack it with gunzip"),
    b"PK\x03\x04": ("a zip archive or a workbook", "unpack it, or export it as JSON"),
    b"BZh": ("bzip2", "unpack it with bunzip2"),
    b"\xfd7zXZ": ("xz", "unpack it with unxz"),
    b"\x28\xb5\x2f\xfd": ("zstd", "unpack it with unzstd"),
    b"PAR1": ("Parquet", "write it again with pandas: to_json(FILE, orient='records')"),
    b"\x80": ("a Python pickle", "write it again with pandas: to_json(FILE, orient='records')"),
    b"version https://git-lfs": ("a Git LFS pointer", "fetch the file itself with git lfs pull"),
    b"<": ("a web page or XML", "download the file itself"),
    b"[{'": ("a Python literal", "write it with json.dump"),
    b"{'": ("a Python literal", "write it with json.dump"),
}
"""First bytes of a file → what it is, and what makes JSON of it."""
CSV = re.compile(r"[^\[{\n]*\w[,;\t][^\[{\n]*\r?\n")
FROM_CSV = (
    "write it again with pandas: read_csv(FILE, dtype=str).to_json(OUT, orient='records'), where"
    " dtype=str keeps the ids' leading zeros"
)


def rows_of(file: Path) -> list[Row]:
    """The list of objects in a JSON file, or the objects of its lines; NaN is None.

    Raises:
        DatasetError: it cannot be read, or holds something else, which is named.
    """
    found = _parsed(file, _text(file))
    if isinstance(found, dict):
        what, advice = _table(found)
        if what:
            raise _holds(file, what, advice)
        found = [found]  # one line of JSON lines
    if not isinstance(found, list) or not found:
        raise _holds(file, "an empty list" if found == [] else kind_of(found))
    for number, row in enumerate(found):
        if not isinstance(row, dict):
            raise DatasetError(
                f"file={str(file)!r} row={number} is {kind_of(row)}; expected an object with"
                " video_id and a question; check --annotations"
            )
    # A mark that a CSV file began with stays in the name of its first column.
    if any(key.startswith("\ufeff") for key in found[0]):
        return [{key.lstrip("\ufeff"): value for key, value in row.items()} for row in found]
    return found


def kind_of(value: object) -> str:
    """What JSON calls a value."""
    if value is None:
        return "null"
    kinds = {bool: "true or false", str: "a text", list: "a list", dict: "an object"}
    return kinds.get(type(value), "a number")


def _text(file: Path) -> str:
    try:
        data = file.read_bytes()
    except OSError as error:
        why = error.strerror or str(error)
        raise DatasetError(
            f"file={str(file)!r} cannot be read: {why.lower()}; expected a JSON file of questions;"
            " check --annotations"
        ) from error
    for first, (what, advice) in FORMATS.items():
        if data.startswith(first):
            raise _no_json(file, f"is {what}, not JSON", advice)
    if data and not data.strip(b"\0"):
        raise _no_json(file, "holds zero bytes alone", "download it again")
    encoding = json.detect_encoding(data)
    if not encoding.startswith("utf-8"):
        name = encoding[:6].upper()
        raise _no_json(file, f"is {name}", f"convert it with iconv -f {name} -t UTF-8")
    try:
        # A byte order mark is what spreadsheet programs leave at the start.
        return data.decode("utf-8").lstrip("\ufeff")
    except UnicodeDecodeError as error:
        raise _no_json(
            file,
            f"is not UTF-8: byte 0x{data[error.start]:02x} at {error.start}",
            "convert it with iconv -f ENCODING -t UTF-8",
        ) from error


def _parsed(file: Path, text: str) -> Any:
    try:
        return loads(text)
    except json.JSONDecodeError as error:
        if error.msg == "Extra data" and text.lstrip().startswith("{"):
            return _lines(file, text)
        if CSV.match(text):
            what = f"is CSV, not JSON: it begins with {text.splitlines()[0][:40]!r}"
            raise _no_json(file, what, FROM_CSV) from error
        raise _not_json(file, error) from error
    except (ValueError, RecursionError) as error:
        raise _not_json(file, error) from error


def _lines(file: Path, text: str) -> list[Any]:
    """Values of JSON lines. U+2028 and its like may stand in a text and end no line."""
    found = []
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            try:
                found.append(loads(line))
            except (ValueError, RecursionError) as error:
                raise _not_json(file, error, f" line={number}") from error
    return found


def loads(text: str) -> Any:
    """A JSON text; NaN, which tables write for a missing value, is None."""
    return json.loads(text, parse_constant=lambda name: None if name == "NaN" else float(name))


def _table(found: dict[str, Any]) -> tuple[str, str]:
    """What an object is that is no row, and what makes rows of it; two empty texts for a row."""
    values = list(found.values())
    if not found:
        return "an empty object", ""
    if "data" in found and ("columns" in found or "schema" in found):
        return _of_pandas("split" if "columns" in found else "table")
    if all(isinstance(value, dict) for value in values):
        return _of_pandas("index" if all(map(str.isdecimal, found)) else "columns")
    for name, value in found.items():
        if isinstance(value, list) and value and isinstance(value[0], dict):
            return f"an object whose {name[:40]!r} is a list", "store that list alone"
    if all(isinstance(value, list) for value in values):
        return "an object of lists", "write it again with pandas: to_json(OUT, orient='records')"
    return "", ""


def _of_pandas(orient: str) -> tuple[str, str]:
    # A table has a schema, and takes no dtype beside it.
    as_it_is = "" if orient == "table" else ", dtype=False"
    return (
        f"an object of objects, as pandas writes it with orient={orient!r}",
        f"write it again with pandas: read_json(FILE, orient={orient!r}{as_it_is})"
        ".to_json(OUT, orient='records')",
    )


def _holds(file: Path, what: str, advice: str = "") -> DatasetError:
    return _no_json(file, f"holds {what}", advice)


def _not_json(file: Path, error: Exception, where: str = "") -> DatasetError:
    why = str(error).splitlines()[0]
    return _no_json(file, f"{where.lstrip()} is not JSON: {why}".lstrip(), "download it again")


def _no_json(file: Path, what: str, advice: str) -> DatasetError:
    advice = f"{advice}, or " if advice else ""
    return DatasetError(
        f"file={str(file)!r} {what}; expected a list of questions in JSON; {advice}check"
        " --annotations"
    )
