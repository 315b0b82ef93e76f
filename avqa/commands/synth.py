"""`avqa synth`."""

from __future__ import annotations

from avqa.commands.reporting import reports_errors


@reports_errors
def synth() -> None:
    """Placeholder."""
    raise NotImplementedError
