"""Whether JSON that was read back has the types that were written, before anything goes by it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints, is_typeddict


def require(value: Mapping[str, Any], types: Mapping[str, Any], name: str = "") -> None:
    """Compare the fields that are there with their types; others are for who builds the object.

    Args:
        value: as JSON has it.
        types: field → annotation, or the same of an object inside.
        name: of the object, for the message.

    Raises:
        TypeError: names every field that is of another type.
    """
    problems = list(_problems(value, types, name))
    if problems:
        raise TypeError("; ".join(problems))


def of_class(kind: type, **inner: Any) -> dict[str, Any]:
    """Field → annotation of a dataclass; ``inner`` says what JSON has in place of some."""
    return {**get_type_hints(kind), **inner}


def _problems(value: Any, kind: Any, name: str) -> Iterator[str]:
    if is_typeddict(kind):
        lacking = kind.__required_keys__ - (value.keys() if isinstance(value, dict) else set())
        yield from (f"{name} has no {key!r}" for key in sorted(lacking))
        kind = get_type_hints(kind)
    if isinstance(kind, Mapping):
        if not isinstance(value, Mapping):
            yield _wrong(name, value, "an object")
            return
        for key in kind.keys() & value.keys():
            yield from _problems(value[key], kind[key], f"{name}.{key}" if name else str(key))
    elif (origin := get_origin(kind)) in (dict, list, tuple):
        yield from _in_container(value, origin, get_args(kind), name)
    elif not _is(value, kind):
        yield _wrong(name, value, _words(kind))


def _in_container(value: Any, origin: type, inner: tuple[Any, ...], name: str) -> Iterator[str]:
    if origin is dict:
        if not isinstance(value, dict):
            yield _wrong(name, value, "an object")
            return
        for key, item in value.items():
            yield from _problems(item, inner[1], f"{name}.{key}")
    elif not isinstance(value, list):
        yield _wrong(name, value, "a list")
    else:
        for number, item in enumerate(value):
            yield from _problems(item, inner[0], f"{name}[{number}]")


def _is(value: Any, kind: Any) -> bool:
    if kind is Any:
        return True
    if get_origin(kind) in (Union, UnionType):
        return any(_is(value, one) for one in get_args(kind))
    if get_origin(kind) is Literal:
        return any(type(value) is type(one) and value == one for one in get_args(kind))
    if kind is float:
        return type(value) in (int, float)
    return type(value) is kind


def _wrong(name: str, value: Any, expected: str) -> str:
    shown = repr(value)
    return f"{name or 'it'}={shown[:40] + '…' if len(shown) > 41 else shown}; expected {expected}"


def _words(kind: Any) -> str:
    if get_origin(kind) in (Union, UnionType, Literal):
        return " or ".join(
            repr(one) if get_origin(kind) is Literal else _words(one) for one in get_args(kind)
        )
    return "null" if kind is NoneType else kind.__name__
