"""Audio whose time stamps wobble: samples follow each other, and move only where time has.

Recorders stamp packets by the clock on the wall, some milliseconds early or late. Placed each by
its own stamp, they would overlap and leave gaps that nobody heard.
"""

from __future__ import annotations

import statistics
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from fractions import Fraction

from avqa.extract.media.types import AudioSamples

WOBBLE = Fraction(10, 1000)
"""Seconds that a stamp may be early or late, and samples follow each other all the same.

Containers round time stamps (Matroska to 1 ms); placing every packet by its own stamp would
tear holes of a few samples, which sound as clicks. Less than one hop of the log-mel.
"""
UNSURE = Fraction(30, 1000)
"""As much, where the stamps behind it wobble, too."""
ROUNDED = Fraction(3, 1000)
"""Seconds by which stamps differ that do not wobble."""
JUMP = Fraction(60, 1000)
"""A step of more than this is one of time at once, if a long packet or the next one says so."""
AROUND = Fraction(1, 2)
"""Seconds of audio before and behind a packet whose stamps tell whether a small step lasts."""


@dataclass(frozen=True)
class _Stamped:
    run: AudioSamples
    begin: Fraction
    """Seconds of samples before this run."""
    late: Fraction
    """Seconds by which its stamp is later than that."""

    @property
    def end(self) -> Fraction:
        return self.begin + Fraction(self.run.samples.shape[-1], max(1, self.run.sample_rate))


def steady(runs: Iterable[AudioSamples]) -> Iterator[AudioSamples]:
    """The runs, each where it belongs: behind the one before, unless time has moved."""
    before: deque[_Stamped] = deque()
    shift: Fraction | None = None
    for current, behind in _with_later(runs):
        if shift is None:
            shift = current.late
        elif abs(current.late - shift) > WOBBLE:
            moved = _moved(before, current, behind, shift)
            if abs(moved - shift) > JUMP:
                before.clear()
            shift = moved
        before.append(current)
        while before[0].end < current.begin - AROUND:
            before.popleft()
        yield replace(current.run, start_seconds=current.begin + shift)


def _with_later(
    runs: Iterable[AudioSamples],
) -> Iterator[tuple[_Stamped, list[_Stamped]]]:
    """Each run, and those behind it up to `AROUND` later, the next one at least."""
    waiting: deque[_Stamped] = deque()
    begin = Fraction(0)
    for run in runs:
        stamped = _Stamped(run, begin, run.start_seconds - begin)
        begin = stamped.end
        waiting.append(stamped)
        while len(waiting) > 2 and waiting[-1].begin > waiting[0].end + AROUND:
            yield waiting.popleft(), list(waiting)
    while waiting:
        yield waiting.popleft(), list(waiting)


def _moved(
    before: Iterable[_Stamped], current: _Stamped, behind: list[_Stamped], shift: Fraction
) -> Fraction:
    """Where samples are placed from a run on whose stamp is off: at the stamp, or as before."""
    if abs(current.late - shift) > JUMP:
        long = current.end - current.begin > JUMP
        confirmed = long or not behind or abs(behind[0].late - current.late) <= JUMP
        return current.late if confirmed else shift
    near = [s.late for s in (*before, current, *behind) if abs(s.late - shift) <= JUMP]
    middle = statistics.median_low(near)
    later = [s.late for s in behind if abs(s.late - shift) <= JUMP]
    quiet = bool(later) and max(later) - min(later) <= ROUNDED
    return middle if abs(middle - shift) > (WOBBLE if quiet else UNSURE) else shift
