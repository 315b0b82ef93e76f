"""What a run says while it goes on: counts, rates, time left, where the time goes."""

from __future__ import annotations

import json
import math
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from avqa.store.format.records import Status, VideoRecord
from avqa.store.format.runs import now
from avqa.telling import LINE_SECONDS, Bar, Pace, Say, Shown
from avqa.units import clock

STAGES = {"probe": "decode", "decode": "decode", "prepare": "prepare", "sound": "prepare"}
"""Finer stages of a record → the ones shown; others keep their name."""


class Durations:
    """Seconds of video still to do: known lengths, the mean for those not probed yet.

    Sums are kept, since a run may ask at every bundle of millions of videos.
    """

    def __init__(self, rows: Sequence[int] | NDArray[np.int64]) -> None:
        """The videos of all ``rows`` are to do and none is known."""
        size = int(np.max(rows, initial=-1)) + 1
        self._left = np.zeros(size, bool)
        self._left[rows] = True
        self._known = np.full(size, np.nan)
        self._num_known = 0
        self._sum = 0.0
        self._left_sum = 0.0
        """Of those to do whose length is known."""
        self._left_unknown = len(rows)
        self._lock = threading.Lock()

    def learn(self, row: int, seconds: float) -> None:
        """Note a video's declared or true length."""
        with self._lock:  # a probe learns in a thread of its own
            before = float(self._known[row])
            is_new = before != before
            self._known[row] = seconds
            self._num_known += is_new
            self._sum += seconds - (0.0 if is_new else before)
            if self._left[row]:
                self._left_sum += seconds - (0.0 if is_new else before)
                self._left_unknown -= is_new

    def done(self, row: int) -> None:
        """Take a video off the list."""
        with self._lock:
            if self._left[row]:
                self._left[row] = False
                known = float(self._known[row])
                is_known = known == known
                self._left_sum -= known if is_known else 0.0
                self._left_unknown -= not is_known

    def mean(self) -> float:
        """Mean length of the videos known so far; a minute before any is known."""
        return self._sum / self._num_known if self._num_known else 60.0

    def left(self) -> float:
        """Seconds of video still to do."""
        return self._left_sum + self._left_unknown * self.mean()


@dataclass
class Progress:
    """Counts of a run and how they are shown; ``say`` prints one line, or draws a bar."""

    total: int
    durations: Durations
    say: Say
    as_json: bool = False
    under_way: Callable[[], tuple[int, float]] = lambda: (0, 0.0)
    """Videos finished that were not taken yet, and seconds of video done in those and others."""
    ok: int = 0
    failed: int = 0
    without_audio: int = 0
    with_warnings: int = 0
    rows: int = 0
    video_seconds: float = 0.0
    n_bytes: int = 0
    stages: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Start the clock."""
        self._pace = Pace()
        self._taken_seconds = 0.0
        self._bar = Bar(self.say, self.shown)
        self._said = time.monotonic()

    def __enter__(self) -> Self:
        """Draw a bar, where there is a terminal."""
        if not self.as_json:
            self._bar.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        """Take it away."""
        if not self.as_json:
            self._bar.__exit__(*error)

    @property
    def done(self) -> int:
        """Videos finished, well or badly."""
        return self.ok + self.failed

    def take(self, record: VideoRecord) -> None:
        """Count a finished video."""
        statuses = {feature.status for feature in record.features}
        if Status.FAILED in statuses:
            self.failed += 1
        else:
            self.ok += 1
        self.without_audio += Status.ABSENT in statuses
        self.with_warnings += bool(record.warnings)
        if record.pts:
            self.rows += len(record.pts)
            self.video_seconds += record.duration
            self.durations.learn(record.row, record.duration)
        before = self.durations.left()
        self.durations.done(record.row)
        self._taken_seconds += max(before - self.durations.left(), 0.0)
        for feature in record.features:
            self.n_bytes += sum(chunk.n_bytes for chunk in feature.chunks)
        for stage, seconds in record.timings.items():
            shown = STAGES.get(stage, stage)
            self.stages[shown] = self.stages.get(shown, 0.0) + seconds
        if self.as_json:
            self.event("video", **_told_of(record))

    def event(self, name: str, **values: object) -> None:
        """Say that something happened: a line of text, or of JSON with ``--log-json``."""
        if self.as_json:
            self.say(json_line(name, **values))
        else:
            self.say(f"{name}: " + ", ".join(f"{key}={value}" for key, value in values.items()))

    def tick(self) -> None:
        """Say where the run is, at most every five seconds, where there is no bar."""
        if not self.as_json:
            self._bar.tick()
        elif time.monotonic() - self._said >= LINE_SECONDS:
            self._said = time.monotonic()
            self.say(json_line("progress", **self.facts()))

    def facts(self) -> dict[str, Any]:
        """Where the run is, videos under way included."""
        finished, seconds = self.under_way()
        done = self._taken_seconds + seconds
        total = max(self._taken_seconds + self.durations.left(), done)
        left = self._pace.left(done, total)
        return {
            "done": self.ok,
            "failed": self.failed,
            "finished": min(self.done + finished, self.total),
            "with_warnings": self.with_warnings,
            "total": self.total,
            "seconds_done": round(done, 1),
            "seconds_total": round(total, 1),
            "video_hours_per_hour": round(self._pace.rate(done), 2),
            "gigabytes": round(self.n_bytes / 1e9, 3),
            "seconds_left": None if left is None else round(left),
            "stages": shares(dict(self.stages)),
        }

    def shown(self) -> Shown:
        """The figures in words."""
        facts = self.facts()
        left, stages = facts["seconds_left"], facts["stages"]
        pieces = (
            f"{facts['finished']}/{self.total} videos",
            f"{clock(left)} left" if left is not None else "time left unknown yet",
            *([f"{self.failed} failed"] if self.failed else []),
            f"{facts['video_hours_per_hour']} h of video per hour",
            f"{facts['gigabytes']} GB",
            *([" ".join(f"{name} {share} %" for name, share in stages.items())] if stages else []),
        )
        total = facts["seconds_total"]
        return Shown(facts["seconds_done"] / total if total else None, pieces)


def json_line(event: str, **values: object) -> str:
    """An event of ``--log-json``: what, when, and its values."""
    return json.dumps({"event": event, "time": now(), **values})


def _told_of(record: VideoRecord) -> dict[str, object]:
    """What ``--log-json`` says of a finished video."""
    return {
        "video": record.video_id,
        "status": {f.feature: f.status.name.lower() for f in record.features},
        "rows": len(record.pts),
        "seconds": record.duration if math.isfinite(record.duration) else None,
        "processor_seconds": round(sum(record.timings.values()), 3),
    }


def shares(stages: Mapping[str, float]) -> dict[str, int]:
    """Each stage's share of all processor time, in percent, largest first."""
    total = sum(stages.values())
    ordered = sorted(stages.items(), key=lambda item: -item[1])
    return {name: round(100 * seconds / total) for name, seconds in ordered} if total else {}
