"""Times and sizes as people read them, ``key=value`` as they type it after ``--set``.

And what they give a function: a path, one name or several, a number of whatever library.
"""

from __future__ import annotations

import math
import numbers
import operator
import os
from collections.abc import Iterable, Sequence

from avqa.errors import ConfigError


def clock(seconds: float) -> str:
    """Seconds as ``1:02:03`` or ``2:03``."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def size(n_bytes: float) -> str:
    """Bytes with a fitting decimal unit."""
    for unit in ("B", "kB", "MB", "GB"):
        if n_bytes < 1000:
            return f"{n_bytes:.0f} {unit}" if unit == "B" else f"{n_bytes:.1f} {unit}"
        n_bytes /= 1000
    return f"{n_bytes:.1f} TB"


def parse_assignments(texts: Sequence[str]) -> dict[str, str]:
    """``key=value`` texts as a mapping; a later one of a key wins.

    Raises:
        ConfigError: names those without ``=``.
    """
    wrong = [text for text in texts if not text.partition("=")[0].strip() or "=" not in text]
    if wrong:
        raise ConfigError(
            f"--set {' '.join(wrong)}; expected key=value, such as epochs=10; check --set"
        )
    return {key.strip(): value.strip() for key, _, value in (text.partition("=") for text in texts)}


def path_text(argument: str, value: object) -> str:
    """A path, given as text or as one of `pathlib`.

    Raises:
        ConfigError: it is something else, or empty.
    """
    path = os.fspath(value) if isinstance(value, os.PathLike) else value
    if not isinstance(path, str) or not path:
        raise ConfigError(f"{argument}={value!r}; expected a path, as str or pathlib.Path")
    return path


def text_of(argument: str, value: object) -> str:
    """A name or a sentence.

    Raises:
        ConfigError: it is no text.
    """
    if not isinstance(value, str):
        raise ConfigError(f"{argument}={value!r}; expected text")
    return str(value)


def names_of(argument: str, value: object) -> tuple[str, ...]:
    """One name, or those of any sequence: list, tuple, array, column of a table.

    Raises:
        ConfigError: it is neither.
    """
    if isinstance(value, str):
        return (value,)
    if isinstance(value, Iterable) and not isinstance(value, bytes):
        found = tuple(value)
        if all(isinstance(name, str) for name in found):
            return tuple(map(str, found))
    raise ConfigError(f"{argument}={value!r}; expected a name, or a sequence of names as str")


def whole_number(argument: str, value: object, *, least: int = 1) -> int:
    """A whole number of Python or numpy.

    Raises:
        ConfigError: it is none, or under ``least``.
    """
    try:
        number = None if isinstance(value, bool) else operator.index(value)  # type: ignore[arg-type]
    except TypeError:
        number = None
    if number is None or number < least:
        raise ConfigError(f"{argument}={value!r}; expected a whole number, {least} or more")
    return number


def number_of(argument: str, value: object, *, most: float = math.inf) -> float:
    """A finite number of Python or numpy, from 0 to ``most``.

    Raises:
        ConfigError: it is none.
    """
    is_number = isinstance(value, numbers.Real) and not isinstance(value, bool)
    number = float(value) if is_number else math.nan  # type: ignore[arg-type]
    if not 0 <= number <= most or math.isinf(number):
        expected = "0 or more" if math.isinf(most) else f"0 to {most:g}"
        raise ConfigError(f"{argument}={value!r}; expected a number, {expected}")
    return number
