"""What a command found: one object, of which people get lines and programs JSON."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

from avqa.telling.objects import SCHEMA

T = TypeVar("T", bound=Mapping[str, Any])


class Found(Protocol):
    """What can be told."""

    def lines(self) -> list[str]:
        """For people."""
        ...

    def data(self) -> Mapping[str, Any]:
        """For programs: an object of `avqa.telling.objects`."""
        ...


@dataclass(frozen=True)
class Listing(Generic[T]):
    """An object, and how its lines are made of it."""

    object: T
    to_lines: Callable[[T], list[str]]

    def lines(self) -> list[str]:
        """For people."""
        return self.to_lines(self.object)

    def data(self) -> T:
        """For programs."""
        return self.object


def to_json(data: Mapping[str, Any]) -> str:
    """An object as JSON, in ASCII whatever the terminal's encoding.

    What is no finite number is null, as what is not known.
    """
    return json.dumps({"schema": SCHEMA, **_plain(data)}, indent=2, allow_nan=False)


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, (str, bool, int)) or value is None:
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Iterable):
        return [_plain(inner) for inner in value]
    return str(value)
