"""Single values of a row: checked, and refused with what was expected."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Mapping
from typing import Any

from avqa.datasets._parts.question import normalise
from avqa.errors import DatasetError

PLACEHOLDER = re.compile(r"<[A-Za-z]+>")
LONGEST_ID = 255


class BadField(DatasetError):
    """A row's value that cannot be used; the reader adds file, row and question."""


def text_field(row: Mapping[str, Any], name: str) -> str:
    """A string with something in it."""
    value = row.get(name)
    if not isinstance(value, str) or not value.strip():
        raise BadField(f"{name}={value!r}; expected a text; correct or remove the row")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise BadField(f"{name}={value!r}; expected valid text; correct the row") from None
    return value


def id_field(row: Mapping[str, Any], name: str) -> str | None:
    """A question's id, which may be missing; numbers become text."""
    value = row.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, str)):
        raise BadField(f"{name}={value!r}; expected a whole number or a text; correct the row")
    return text_field({name: str(value)}, name)


def video_field(row: Mapping[str, Any], name: str) -> str:
    """A video's id: a name or a path below the folder of videos, never one that leaves it."""
    value = text_field(row, name)
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
    if isinstance(value, str):
        try:
            found = json.loads(value)
        except (ValueError, RecursionError):
            try:
                found = ast.literal_eval(value)
            except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
                found = None
    if not isinstance(found, (list, tuple)) or not all(isinstance(item, str) for item in found):
        raise BadField(
            f"{name}={value!r}; expected a list of texts such as '[\"left\"]'; correct the row"
        )
    return tuple(found)


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
