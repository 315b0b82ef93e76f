"""What a command tells while it works: lines that stay, and where there is a terminal, one bar.

``say`` is whatever prints a line: a function, or a command's terminal, which can also draw.
"""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from avqa.units import clock

Say = Callable[[str], None]
LINE_SECONDS = 5.0
"""Between two lines, where there is no bar to draw."""
_WINDOW_SECONDS = 120.0
_SETTLE_SECONDS = 10.0
"""In which what is told of the time left goes over to a new estimate."""


@dataclass(frozen=True)
class Shown:
    """Where some work is, for a moment."""

    share: float | None
    """Part that is done, 0 to 1; None if nobody can tell."""
    pieces: tuple[str, ...]
    """In words, the most important first: the last ones go where there is no room."""

    def line(self) -> str:
        """All of it."""
        return " | ".join(self.pieces)

    def fitted(self, width: int) -> str:
        """The share, and as many pieces as a line of ``width`` characters holds."""
        parts = [f"{self.share:4.0%}"] if self.share is not None else []
        for piece in self.pieces:
            if len(" | ".join([*parts, piece])) > width:
                break
            parts.append(piece)
        return " | ".join(parts)[:width]


class Bar:
    """Shows where work is, while entered: as a bar if ``say`` can draw, else by lines in `tick`."""

    def __init__(self, say: Say, shown: Callable[[], Shown]) -> None:
        """``shown`` is asked again and again, also by another thread."""
        self._say = say
        self._shown = shown
        self._end: Callable[[], None] | None = None
        self._said = time.monotonic()

    def __enter__(self) -> Self:
        """Draw."""
        draw = getattr(self._say, "draw", None)
        self._end = draw(self._shown) if draw else None
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Take the bar away."""
        if self._end is not None:
            self._end()

    def tick(self) -> None:
        """Where there is no bar, say a line, at most every five seconds."""
        now = time.monotonic()
        if self._end is None and now - self._said >= LINE_SECONDS:
            self._said = now
            self._say(self._shown().line())


class Watched:
    """Says what another one says, after a look at whether to go on; draws as that one does."""

    def __init__(self, say: Say, look: Callable[[], None]) -> None:
        """``look`` raises where nothing more is to be said."""
        self._say = say
        self._look = look

    def __call__(self, line: str) -> None:
        """Look, and say a line."""
        self._look()
        self._say(line)

    def draw(self, shown: Callable[[], Shown]) -> Callable[[], None] | None:
        """See `Bar`."""
        draw = getattr(self._say, "draw", None)
        end: Callable[[], None] | None = draw(shown) if draw else None
        return end


class Pace:
    """How fast work goes, by its last two minutes, and how long it still takes."""

    def __init__(self) -> None:
        """The clock starts now."""
        self._seen: deque[tuple[float, float]] = deque([(time.monotonic(), 0.0)])
        self._left: tuple[float, float] | None = None

    def rate(self, done: float) -> float:
        """Units per second, when ``done`` of them are."""
        now = time.monotonic()
        self._seen.append((now, done))
        while now - self._seen[0][0] > _WINDOW_SECONDS and len(self._seen) > 2:
            self._seen.popleft()
        since, before = self._seen[0]
        return max(done - before, 0.0) / max(now - since, 1e-9)

    def left(self, done: float, total: float) -> float | None:
        """Seconds to the end; None while nothing is done. It counts down, and settles slowly."""
        rate = self.rate(done)
        if done >= total:
            return 0.0
        estimate = max(total - done, 0.0) / rate if rate else math.inf
        if not math.isfinite(estimate):
            return None
        now = time.monotonic()
        if self._left is not None:
            told, at = self._left
            weight = min((now - at) / _SETTLE_SECONDS, 1.0)
            expected = max(told - (now - at), 0.0)
            estimate = expected + weight * (estimate - expected)
        self._left = estimate, now
        return estimate


_STYLES = {"good": "\x1b[1;32m", "bad": "\x1b[31m"}


def styled(text: str, style: str) -> str:
    """A text in the colour of ``good`` or ``bad``; as it is for an empty style."""
    return f"{_STYLES[style]}{text}\x1b[0m" if style else text


def silent(line: str) -> None:
    """Say nothing."""


@contextmanager
def counting(say: Say, what: str, total: int, unit: str) -> Iterator[Count]:
    """Show the steps of some work: call `Count.step` after each."""
    count = Count(what, total, unit)
    with Bar(say, count.shown) as bar:
        count.on_step = bar.tick
        yield count


class Count:
    """Work of a known number of equal steps: ``verify: 7/40 objects | 0:12 left``."""

    def __init__(self, what: str, total: int, unit: str) -> None:
        """``what`` is done to ``total`` of ``unit``."""
        self._what = what
        self._total = total
        self._unit = unit
        self._pace = Pace()
        self._done = 0
        self.on_step: Callable[[], None] = lambda: None
        """Called after each step."""

    def step(self, number: int = 1) -> None:
        """So many more are done; from any thread."""
        self._done += number
        self.on_step()

    def shown(self) -> Shown:
        """Where it is."""
        left = self._pace.left(self._done, self._total)
        return Shown(
            self._done / self._total if self._total else None,
            (
                f"{self._what}: {self._done}/{self._total} {self._unit}",
                f"{clock(left)} left" if left is not None else "time left unknown yet",
            ),
        )
