"""`avqa questions`."""

from __future__ import annotations

from avqa.commands.reporting import reports_errors


@reports_errors
def questions() -> None:
    """Placeholder."""
    raise NotImplementedError
