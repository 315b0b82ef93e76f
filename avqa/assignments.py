"""``key=value``, as typed after ``--set``."""

from __future__ import annotations

from collections.abc import Sequence

from avqa.errors import ConfigError


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
