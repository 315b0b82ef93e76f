"""What a run says while it goes on: counts, rates, time left, where the time goes."""

from __future__ import annotations

import json
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from avqa.store.format.records import Status, VideoRecord
from avqa.units import clock

INTERVAL_SECONDS = 5.0
_RATE_WINDOW_SECONDS = 120.0
STAGES = {"probe": "decode", "decode": "decode", "prepare": "prepare", "sound": "prepare"}
"""Finer stages of a record → the ones shown; others keep their name."""


class Durations:
    """Seconds of video still to do: known lengths, the mean for those not probed yet.

    Sums are kept, since a run may ask at every bundle of millions of videos.
    """

    def __init__(self, video_ids: Sequence[str]) -> None:
        """All of ``video_ids`` are to do and none is known."""
        self._left = set(video_ids)
        self._known: dict[str, float] = {}
        self._sum = 0.0
        self._left_sum = 0.0
        """Of those to do whose length is known."""
        self._left_unknown = len(self._left)
        self._lock = threading.Lock()

    def learn(self, video_id: str, seconds: float) -> None:
        """Note a video's declared or true length."""
        with self._lock:  # a probe learns in a thread of its own
            before = self._known.get(video_id)
            self._known[video_id] = seconds
            self._sum += seconds - (before or 0.0)
            if video_id in self._left:
                self._left_sum += seconds - (before or 0.0)
                self._left_unknown -= before is None

    def done(self, video_id: str) -> None:
        """Take a video off the list."""
        with self._lock:
            if video_id in self._left:
                self._left.remove(video_id)
                self._left_sum -= self._known.get(video_id, 0.0)
                self._left_unknown -= video_id not in self._known

    def mean(self) -> float:
        """Mean length of the videos known so far; a minute before any is known."""
        return self._sum / len(self._known) if self._known else 60.0

    def left(self) -> float:
        """Seconds of video still to do."""
        return self._left_sum + self._left_unknown * self.mean()


@dataclass
class Progress:
    """Counts of a run and the lines that show them; ``say`` prints one line."""

    total: int
    durations: Durations
    say: Callable[[str], None]
    as_json: bool = False
    ok: int = 0
    failed: int = 0
    without_audio: int = 0
    with_warnings: int = 0
    rows: int = 0
    video_seconds: float = 0.0
    n_bytes: int = 0
    stages: dict[str, float] = field(default_factory=dict)
    started: float = field(default_factory=time.monotonic)

    def __post_init__(self) -> None:
        """Begin the rate window at zero."""
        self._window: deque[tuple[float, int, float]] = deque([(self.started, 0, 0.0)])
        self._said = self.started

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
            self.durations.learn(record.video_id, record.duration)
        self.durations.done(record.video_id)
        for feature in record.features:
            self.n_bytes += sum(chunk.n_bytes for chunk in feature.chunks)
        for stage, seconds in record.timings.items():
            shown = STAGES.get(stage, stage)
            self.stages[shown] = self.stages.get(shown, 0.0) + seconds
        now = time.monotonic()
        self._window.append((now, self.done, self.video_seconds))
        while now - self._window[0][0] > _RATE_WINDOW_SECONDS and len(self._window) > 2:
            self._window.popleft()

    def event(self, name: str, **values: object) -> None:
        """Say that something happened: a line of text, or of JSON with ``--log-json``."""
        if self.as_json:
            self.say(json.dumps({"event": name, **values}))
        else:
            self.say(f"{name}: " + ", ".join(f"{key}={value}" for key, value in values.items()))

    def tick(self) -> None:
        """Say where the run is, at most every five seconds."""
        now = time.monotonic()
        if now - self._said >= INTERVAL_SECONDS:
            self._said = now
            self.say(json.dumps(self.facts()) if self.as_json else self.line())

    def facts(self) -> dict[str, object]:
        """The figures of a progress line."""
        first, last = self._window[0], self._window[-1]
        span = max(time.monotonic() - first[0], 1e-9)
        speed = (last[2] - first[2]) / span
        return {
            "event": "progress",
            "done": self.ok,
            "failed": self.failed,
            "with_warnings": self.with_warnings,
            "total": self.total,
            "videos_per_second": round((last[1] - first[1]) / span, 3),
            "video_hours_per_hour": round(speed, 2),
            "gigabytes": round(self.n_bytes / 1e9, 3),
            "seconds_left": round(self.durations.left() / speed) if speed else None,
            "stages": shares(self.stages),
        }

    def line(self) -> str:
        """The figures as one line of text."""
        facts = self.facts()
        stages = " ".join(f"{name} {share} %" for name, share in shares(self.stages).items())
        left = facts["seconds_left"]
        return (
            f"{self.done}/{self.total} videos"
            + (f" ({self.failed} failed)" if self.failed else "")
            + f" | {facts['videos_per_second']} videos/s"
            f" | {facts['video_hours_per_hour']} h of video per hour"
            f" | {facts['gigabytes']} GB | "
            + (f"{clock(float(str(left)))} left" if left is not None else "time left unknown yet")
            + (f" | {stages}" if stages else "")
        )


def shares(stages: Mapping[str, float]) -> dict[str, int]:
    """Each stage's share of all processor time, in percent, largest first."""
    total = sum(stages.values())
    ordered = sorted(stages.items(), key=lambda item: -item[1])
    return {name: round(100 * seconds / total) for name, seconds in ordered} if total else {}
