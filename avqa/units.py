"""Times and sizes as people read them, ``key=value`` as they type it after ``--set``."""

from __future__ import annotations

from collections.abc import Sequence

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
