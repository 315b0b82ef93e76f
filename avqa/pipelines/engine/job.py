"""One video to extract, and how many bundles of them are under way at a time."""

from __future__ import annotations

from dataclasses import dataclass

THREADS_PER_WORKER = 2
"""Two bundles in progress per worker: one is decoded while the other is encoded."""


@dataclass(frozen=True)
class VideoJob:
    """One video to extract: where it is, which row it fills, which features it still lacks."""

    row: int
    video_id: str
    relpath: str
    path: str
    features: tuple[str, ...]
    max_rows: int | None = None
    """Rows that other features of this video have already: a damaged one has fewer than it says."""
