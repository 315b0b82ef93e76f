"""Single values of a row: checked, and refused with what was expected."""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping
from typing import Any

from avqa.datasets._parts.question import normalise
from avqa.datasets._parts.rows import loads
from avqa.errors import DatasetError

PLACEHOLDER = re.compile(r"<[A-Za-z]+>")
LONGEST_ID = 255
LONGEST_SHOWN = 300
MISSING = ("nan", "none", "null", "<na>", "nat")
"""What a missing value becomes where it is made text."""
DECIMAL = re.compile(r"-?[0-9]{1,15}\.0+")
"""A whole number that was a float before it was text."""
EXPONENT = re.compile(r"-?[0-9]+(\.[0-9]+)?[eE]\+[0-9]+")


class BadField(DatasetError):
    """A row's value that cannot be used; the reader adds file, row and question."""


def shown(value: object) -> str:
    """A value for a message, cut where it is long."""
    text = repr(value)
    return text if len(text) <= LONGEST_SHOWN else text[:LONGEST_SHOWN] + "…"


def given(row: Mapping[str, Any], name: str) -> Any:
    """A row's value; None if it is missing in any way in which tables say so."""
    value = row.get(name)
    said_missing = isinstance(value, str) and value.strip().lower() in MISSING
    return None if said_missing else value


def whole(value: object) -> int | None:
    """The whole number that a value is, also as a float or a float's text; None if it is none."""
    if isinstance(value, str) and DECIMAL.fullmatch(value.strip()):
        return int(value.strip().partition(".")[0])
    # From 2**53 a float stands for several whole numbers.
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        return int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def text_field(row: Mapping[str, Any], name: str) -> str:
    """A string with something in it."""
    value = row.get(name)
    if not isinstance(value, str) or not value.strip():
        raise BadField(f"{name}={shown(value)}; expected a text; correct or remove the row")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise BadField(f"{name}={shown(value)}; expected valid text; correct the row") from None
    return value


def one_of(row: Mapping[str, Any], name: str, known: Mapping[str, str]) -> str:
    """What stands for a text of the row, whatever its case.

    Args:
        row: of a file.
        name: of the field.
        known: text as the files have it → what stands for it.
    """
    value = text_field(row, name)
    for spelling, ours in known.items():
        if value.strip().casefold() == spelling.casefold():
            return ours
    raise BadField(
        f"{name}={shown(value)}; expected one of {', '.join(known)}; correct or remove the row"
    )


def _said_field(row: Mapping[str, Any], name: str) -> str:
    """A text that is more than another word for a missing value."""
    value = text_field(row, name)
    if given(row, name) is None:
        raise BadField(
            f"{name}={value!r} stands for a missing value; expected a text; correct or remove the"
            " row"
        )
    return value


def question_field(row: Mapping[str, Any], name: str) -> str:
    """A question's text, in the encoding it was written in."""
    value = _said_field(row, name)
    # Both come of a wrong encoding; the second is how the full-width question mark begins.
    if "\N{REPLACEMENT CHARACTER}" in value or "ï¼" in value:
        raise BadField(
            f"{name}={shown(value)} was read in another encoding than it was written in; expected"
            " UTF-8; write the file again with encoding='utf-8' wherever one is opened"
        )
    return value


def id_field(row: Mapping[str, Any], name: str) -> str | None:
    """A question's id, which may be missing; numbers become text."""
    value = given(row, name)
    if value is None or value == "":
        return None
    number = whole(value)
    if number is not None:
        return str(number)
    if not isinstance(value, str):
        raise BadField(f"{name}={shown(value)}; expected a whole number or a text; correct the row")
    if EXPONENT.fullmatch(value.strip()):
        raise BadField(
            f"{name}={value!r} may lack digits; expected all of them; write the file again with"
            " whole numbers"
        )
    return text_field(row, name)


def video_field(row: Mapping[str, Any], name: str) -> str:
    """A video's id: a name or a path below the folder of videos, never one that leaves it."""
    value = _said_field(row, name)
    parts = value.replace("\\", "/").split("/")
    drive = re.match(r"[A-Za-z]:", value)
    if (
        ".." in parts
        or parts[0] == ""
        or drive
        or not value.isprintable()
        or len(value) > LONGEST_ID
    ):
        shown = value if len(value) <= LONGEST_ID else value[:40] + "…"
        raise BadField(
            f"{name}={shown!r} ({len(value)} characters); expected a name or a relative path of at"
            f" most {LONGEST_ID} characters without '..'; correct or remove the row"
        )
    return value


def list_in_string(value: object, name: str) -> tuple[str, ...]:
    """A list of texts that the file keeps inside a string, as JSON or as a Python literal."""
    found = value
    for _ in range(2):  # a string that was written as a string once more
        found = literal(found) if isinstance(found, str) else found
    if not isinstance(found, (list, tuple)) or not all(isinstance(item, str) for item in found):
        raise BadField(
            f"{name}={shown(value)}; expected a list of texts such as '[\"left\"]'; correct the row"
        )
    return tuple(found)


def literal(text: str) -> object:
    """What a text holds as JSON, else as a Python literal; None if it is neither. Never run."""
    try:
        return loads(text)
    except (ValueError, RecursionError):
        try:
            return ast.literal_eval(text)
        except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
            return None


def fill(template: str, slots: tuple[str, ...]) -> str:
    """The template's placeholders replaced, first to last, and the text in normal form."""
    pieces = PLACEHOLDER.split(template)
    if len(pieces) != len(slots) + 1:
        raise BadField(
            f"text={template!r} has {len(pieces) - 1} slots and templ_values={list(slots)!r} has"
            f" {len(slots)}; expected one value per slot; correct the row"
        )
    return normal_text(pieces[0] + "".join(v + p for v, p in zip(slots, pieces[1:], strict=True)))


def normal_text(text: str) -> str:
    """The text in normal form, which must leave something."""
    normal = normalise(text)
    if not normal:
        raise BadField(f"text={text!r}; expected words; correct or remove the row")
    return normal
