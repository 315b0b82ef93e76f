"""Times and sizes as people read them, ``key=value`` as they type it after ``--set``.

And what they give a function: one name or several, a number of whatever library.
"""

from __future__ import annotations

import operator
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
