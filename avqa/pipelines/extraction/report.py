"""What one `avqa extract` did."""

from __future__ import annotations

from dataclasses import dataclass, field

from avqa.errors import PartialFailure
from avqa.store.places.files import StorePath
from avqa.units import clock, size


@dataclass(repr=False)
class RunReport:
    """What a run did; `summary` is its last line."""

    run_id: str
    store: StorePath
    taken: int
    extracted: int = 0
    finished_before: int = 0
    failed: int = 0
    failed_before: int = 0
    without_audio: int = 0
    renamed: int = 0
    """Videos that are there under another id now."""
    pruned: int = 0
    """Videos that were removed since they have no file any more."""
    with_warnings: int = 0
    """Videos that a reader warned of; ``warnings_path`` is the table of what it said."""
    rows: int = 0
    video_seconds: float = 0.0
    n_bytes: int = 0
    wall_seconds: float = 0.0
    stages: dict[str, float] = field(default_factory=dict)
    report_path: StorePath | None = None
    warnings_path: StorePath | None = None
    reason: str = "done"

    def __repr__(self) -> str:
        """The `summary`."""
        return f"<RunReport of {str(self.store)!r}: {self.summary()}>"

    def summary(self) -> str:
        """Counts, time, bytes and the reason the run ended, as one line."""
        parts = [f"{self.extracted} extracted", f"{self.finished_before} already there"]
        if self.failed:
            parts.append(f"{self.failed} failed")
        if self.failed_before:
            parts.append(f"{self.failed_before} failed before (--retry-failed tries them again)")
        if self.without_audio:
            parts.append(f"{self.without_audio} without audio")
        if self.renamed:
            parts.append(f"{self.renamed} renamed")
        if self.pruned:
            parts.append(f"{self.pruned} removed")
        parts += self._warned()
        speed = ""
        if self.rows and self.wall_seconds:
            speed = f" ({self.video_seconds / self.wall_seconds:.1f} h of video per hour)"
        return (
            f"{self.taken} {'video' if self.taken == 1 else 'videos'}: {', '.join(parts)};"
            f" {self.rows} rows, {size(self.n_bytes)} in {clock(self.wall_seconds)}"
            f"{speed}; {self.reason}"
        )

    def counts(self) -> dict[str, object]:
        """The figures, for ``--log-json``."""
        numbers = {key: value for key, value in vars(self).items() if type(value) in (int, float)}
        return {**numbers, "failures": str(self.report_path) if self.report_path else None}

    def _warned(self) -> list[str]:
        """The part of `summary` that tells of warnings, if there are any."""
        if not self.with_warnings:
            return []
        return [f"{self.with_warnings} with warnings (see {self.warnings_path})"]

    def raise_if_failed(self) -> None:
        """Turn failed videos into exit code 3.

        Raises:
            PartialFailure: if a taken video has a failed feature, from this run or an earlier one.
        """
        bad = self.failed + self.failed_before
        if bad:
            where = f"; see {self.report_path}" if self.report_path else ""
            raise PartialFailure(
                f"{bad} of {self.taken} videos failed{where}; expected all to be extracted;"
                f" the good ones are stored; inspect with: avqa status {self.store}"
            )
