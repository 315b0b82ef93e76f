"""Charts as places in an SVG; ``templates/charts.html`` draws them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

WIDTH, HEIGHT = 520, 270
LEFT, RIGHT, TOP, BOTTOM = 46, 12, 12, 38
NUM_TICKS = 5


@dataclass(frozen=True)
class Line:
    """Values over the epochs, from 1."""

    label: str
    kind: str
    """``train`` or ``val``: how it is drawn."""
    colour: int
    """Number of the seed, from 0."""
    values: tuple[float, ...]
    best: int | None = None
    """Epoch to mark."""


@dataclass(frozen=True)
class Level:
    """A value that lines are seen against."""

    label: str
    value: float
    kind: str
    """``floor`` or ``only``."""


@dataclass(frozen=True)
class Dot:
    """A place with what it is of."""

    x: float
    y: float
    label: str
    best: bool


@dataclass(frozen=True)
class Drawn:
    """A line as it is drawn."""

    line: Line
    points: str
    dots: tuple[Dot, ...]


@dataclass(frozen=True)
class Chart:
    """Lines, levels and axes, in the pixels of a picture of `WIDTH` × `HEIGHT`."""

    title: str
    lines: tuple[Drawn, ...]
    levels: tuple[tuple[Level, float], ...]
    """Each with its y."""
    across: tuple[tuple[float, str], ...]
    """Ticks of the x axis."""
    up: tuple[tuple[float, str], ...]
    """Ticks of the y axis."""


@dataclass(frozen=True)
class Scale:
    """Numbers → pixels."""

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        """Pixel of a number."""
        span = (self.high - self.low) or 1.0
        return round(self.start + (value - self.low) / span * (self.end - self.start), 2)


def ticks(low: float, high: float, count: int = NUM_TICKS) -> tuple[float, ...]:
    """Round numbers, 1, 2 or 5 times a power of ten apart, from at or below to at or above.

    At most about twice ``count`` of them, and at least two.
    """
    span = high - low if high > low else abs(high) or 1.0
    raw = span / count
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= raw * (1 - 1e-9))
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return tuple(round(step * k, 10) for k in range(first, max(last, first + 1) + 1))


def over_epochs(
    title: str, lines: Sequence[Line], levels: Iterable[Level] = (), unit: str = ""
) -> Chart | None:
    """Lines over the epochs; None where no value is a number."""
    shown = tuple(levels)
    known = [v for line in lines for v in line.values if math.isfinite(v)]
    if not known:
        return None
    known += [level.value for level in shown]
    marks = ticks(min(known), max(known))
    longest = max(len(line.values) for line in lines)
    x = Scale(1, max(longest, 2), LEFT, WIDTH - RIGHT)
    y = Scale(marks[0], marks[-1], HEIGHT - BOTTOM, TOP)
    every = [n for n in ticks(1, longest) if n == int(n) and 1 <= n <= longest]
    return Chart(
        title=f"{title}{unit and f' ({unit})'}",
        lines=tuple(_drawn(line, x, y, unit) for line in lines),
        levels=tuple((level, y(level.value)) for level in shown),
        across=tuple((x(n), f"{n:.0f}") for n in dict.fromkeys([1, *every])),
        up=tuple((y(n), f"{n:g}") for n in marks),
    )


def _drawn(line: Line, x: Scale, y: Scale, unit: str) -> Drawn:
    after = f" {unit}" if unit else ""
    dots = tuple(
        Dot(
            x(epoch), y(value), f"{line.label}, epoch {epoch}: {value:.4g}{after}",
            epoch == line.best,
        )
        for epoch, value in enumerate(line.values, 1)
        if math.isfinite(value)
    )  # fmt: skip
    return Drawn(line, " ".join(f"{dot.x:g},{dot.y:g}" for dot in dots), dots)
