"""Writes ``docs/json.md`` from `avqa.telling.objects`, and holds JSON against what it says.

Run ``PYTHONPATH=tests:. python tests/helpers/json_page.py`` after a change of an object.
"""

from __future__ import annotations

import ast
import importlib
import inspect
from collections.abc import Iterator
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, get_args, get_origin, get_type_hints, is_typeddict

from avqa.telling.objects import COMMANDS, SCHEMA

PAGE = Path(__file__).parents[2] / "docs" / "json.md"
INTRO = f"""\
# JSON for programs

Every command that reads prints one JSON object on standard output with `--json`, and nothing else
there; what it tells while it works stays on standard error.

```
avqa status features --json | jq '.features[] | select(.counts.failed > 0) | .name'
avqa evaluate runs/pstp --json | jq '.rows[] | select(.kind == "ours") | .cells.All.percent'
avqa compare ours theirs --json > report.json || echo "they differ, or could not be compared"
```

- Exit codes are those without `--json`. Where `verify` or `compare` finds a difference (6), or the
  machine gave something not (5), the object is there as well, and the line on standard error, too.
  A command that fails before it found anything prints no object.
- `schema` is {SCHEMA}, and becomes another number when a key goes or means something else. New keys
  come without, so pass over those that you do not know. Texts that people read (`note`, `notes`,
  `why`, `detail`, `problem`, `looked_at`, `reason`) may change.
- What is not known, or is no finite number, is null. All keys are always there. The text is ASCII.
- `avqa ask` of several questions prints its object when the last one is answered.
- `avqa info --json` has what `avqa info` prints, section by section: machines differ in what they
  have, so its keys do, too.

This page is written from `avqa/telling/objects`, whose classes are `TypedDict`s for type checkers;
a test runs every command and holds what it prints against them.
"""
WORDS = {str: "text", int: "whole number", float: "number", bool: "true or false", Any: "any"}


def render() -> str:
    """The page."""
    lines = [INTRO, "| command | prints |", "|---|---|"]
    lines += [f"| `{name}` | {_link(shape)} |" for name, shape in COMMANDS.items()]
    for shape in _all_shapes():
        docs, fields = _docs(shape)
        lines += ["", f"## {shape.__name__}", "", docs, "", "| key | | |", "|---|---|---|"]
        lines += [
            f"| `{name}` | {_words(kind)} | {fields.get(name, '')} |".replace("  |", " |")
            for name, kind in get_type_hints(shape).items()
        ]
    return "\n".join(lines) + "\n"


def _all_shapes() -> list[type]:
    """Those of the commands, each followed by those inside it."""
    found: dict[type, None] = {}

    def add(kind: Any) -> None:
        if is_typeddict(kind) and kind not in found:
            found[kind] = None
            for inner in get_type_hints(kind).values():
                add(inner)
        for inner in get_args(kind):
            add(inner)

    for shape in COMMANDS.values():
        add(shape)
    return list(found)


def _docs(shape: type) -> tuple[str, dict[str, str]]:
    """Of an object, and key → the string below it."""
    module = importlib.import_module(shape.__module__)
    classes = (n for n in ast.parse(inspect.getsource(module)).body if isinstance(n, ast.ClassDef))
    body = next(node for node in classes if node.name == shape.__name__).body
    fields = {
        field.target.id: _flat(below.value.value)
        for field, below in zip(body, body[1:], strict=False)
        if isinstance(field, ast.AnnAssign) and isinstance(below, ast.Expr)
    }
    return _flat(body[0].value.value), fields


def _flat(text: str) -> str:
    return " ".join(text.replace("``", "`").split()).replace("\\|", "|").replace("|", "\\|")


def _link(shape: type) -> str:
    return f"[{shape.__name__}](#{shape.__name__.lower()})"


def _words(kind: Any) -> str:
    if is_typeddict(kind):
        return _link(kind)
    origin, inner = get_origin(kind), get_args(kind)
    if origin is UnionType:
        return " or ".join("null" if one is NoneType else _words(one) for one in inner)
    if origin is list:
        return f"list of {_words(inner[0])}"
    if origin is dict:
        return f"object: name → {_words(inner[1])}"
    return WORDS[kind]


def problems(value: Any, kind: Any, place: str = "it") -> Iterator[str]:
    """Where JSON is not what an annotation says: keys that are missing or strange, and types."""
    if is_typeddict(kind):
        hints = get_type_hints(kind)
        if not isinstance(value, dict) or value.keys() != hints.keys():
            keys = sorted(value) if isinstance(value, dict) else value
            yield f"{place} has {keys}; expected {sorted(hints)}"
            return
        for key, inner in hints.items():
            yield from problems(value[key], inner, f"{place}.{key}")
        return
    origin, inner = get_origin(kind), get_args(kind)
    if origin is UnionType:
        ways = [list(problems(value, one, place)) for one in inner]
        yield from min(ways, key=len) if all(ways) else ()
    elif origin is list and isinstance(value, list):
        for number, item in enumerate(value):
            yield from problems(item, inner[0], f"{place}[{number}]")
    elif origin is dict and isinstance(value, dict):
        for key, item in value.items():
            yield from problems(item, inner[1], f"{place}.{key}")
    elif kind is not Any and type(value) not in {float: (float, int)}.get(kind, (kind,)):
        yield f"{place}={value!r}; expected {kind}"


if __name__ == "__main__":
    PAGE.write_text(render(), encoding="utf-8")
