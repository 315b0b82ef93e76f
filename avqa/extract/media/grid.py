"""Which frame stands for which second: pure functions of the table of presentation times.

Row k is second [k, k+1) counted from the first frame. The modes:

- ``mid``: the frame on screen at k + 0.5 s; T = round-half-up(duration).
- ``start``: the frame on screen at k; T = number of k before the end.
- ``key``: the key frame nearest to k + 0.5 s, the earlier of two; T as in ``mid``.
- ``music-avqa``: the grid of MUSIC-AVQA's adaptive script, always 60 rows.
- ``ffmpeg-fps1``: the frames that ffmpeg's ``-vf fps=1`` writes.
- ``ffmpeg-r1``: the frames that ``ffmpeg -i x -r 1 %d.jpg`` writes.

T is at least 1 in all of them. Arithmetic is on integers and fractions: a rounding error of one
part in 10^16 would otherwise choose another frame.
"""

from __future__ import annotations

import itertools
from bisect import bisect_left
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from math import ceil, floor, inf

import numpy as np
from numpy.typing import NDArray

from avqa.errors import UnknownName
from avqa.extract.media.types import TimeTable

SLACK = Fraction(1, 2000)
"""Seconds by which time stamps may be late and count as on time: Matroska rounds them to whole
milliseconds. With more, the next frame would be taken at 23.976 and 29.97 a second."""
HALF = Fraction(1, 2)
MUSIC_AVQA_ROWS = 60
KEY = "key"
"""The mode of key frames alone, which takes a reader that tells them."""


@dataclass(frozen=True)
class Grid:
    """The frame of each row."""

    index: NDArray[np.int64]
    """[T] places in `TimeTable.pts`; they never go back, except in ``music-avqa``."""
    pts: NDArray[np.float64]
    """[T] seconds of those frames, the first frame of the file at 0."""

    def __len__(self) -> int:
        return len(self.index)


def build_grid(times: TimeTable, mode: str, average_fps: Fraction | None) -> Grid:
    """Choose the frame of every row.

    Args:
        times: presentation times of all frames, at least one.
        mode: one of `MODES`.
        average_fps: frames per second as the container declares them; used by ``music-avqa``
            only, which falls back on the mean of ``times``.

    Raises:
        UnknownName: if there is no such mode.
        ValueError: if ``times`` holds no frame, or no key frame where one is to be chosen.
    """
    if mode not in MODES:
        raise UnknownName("frame grid", mode, MODES)
    if len(times.pts) == 0:
        raise ValueError("len(times.pts)=0, expected at least one frame")
    if mode == KEY and not widest_gap(times) < inf:
        raise ValueError("times.keys holds no frame, expected at least one key frame")
    index = np.asarray(MODES[mode](times, average_fps), dtype=np.int64)
    return Grid(index, times.seconds()[index])


def widest_gap(times: TimeTable) -> float:
    """Most seconds from one key frame to the next, or to either end; infinite without any."""
    if times.keys is None or len(times.keys) == 0:
        return inf
    edges = np.concatenate([times.pts[:1], times.keys, [times.end]])
    return float(np.diff(edges).max() * times.time_base)


def _mid(times: TimeTable, _fps: Fraction | None) -> NDArray[np.int64]:
    rows = max(1, _round_half_up(times.duration))
    return _on_screen(times, [k + HALF + SLACK for k in range(rows)])


def _key(times: TimeTable, _fps: Fraction | None) -> NDArray[np.int64]:
    assert times.keys is not None  # `build_grid`
    rows = max(1, _round_half_up(times.duration))
    ticks = (times.keys - times.pts[0]).tolist()
    middles = [Fraction(a + b, 2) for a, b in itertools.pairwise(ticks)]  # as near to both
    wanted = [(k + HALF) / times.time_base for k in range(rows)]
    nearest = np.array([bisect_left(middles, tick) for tick in wanted])
    index: NDArray[np.int64] = np.searchsorted(times.pts, times.keys[nearest])
    return index


def _start(times: TimeTable, _fps: Fraction | None) -> NDArray[np.int64]:
    rows = max(1, ceil(times.duration - SLACK))
    return _on_screen(times, [k + SLACK for k in range(rows)])


def _on_screen(times: TimeTable, seconds: list[Fraction]) -> NDArray[np.int64]:
    """Last frame [T] whose time is at most each of ``seconds``, else the first frame."""
    ticks = [floor(second / times.time_base) for second in seconds]
    found = np.searchsorted(times.pts - times.pts[0], np.array(ticks, np.int64), side="right") - 1
    return np.maximum(found, 0)


def _ffmpeg_fps1(times: TimeTable, _fps: Fraction | None) -> NDArray[np.int64]:
    """The filter rounds every time to the nearest second; the last frame of a second wins.

    A frame stays until the rounded time of the next; the last one until the rounded end.
    """
    rows = max(1, _round_half_up(times.duration))
    # round-half-up(pts) <= k is pts < k + 0.5, strictly.
    ticks = [ceil((k + HALF) / times.time_base) for k in range(rows)]
    found = np.searchsorted(times.pts - times.pts[0], np.array(ticks, np.int64), side="left") - 1
    return np.maximum(found, 0)


def _ffmpeg_r1(times: TimeTable, _fps: Fraction | None) -> list[int]:
    """Follow the constant-rate conversion of the ffmpeg command with one row per second.

    Every frame is compared with the time of the next row to write: more than 1.1 s early, it
    is dropped; more than 1.1 s of it still to come, it is repeated, and the frame before it
    fills the gap up to 0.6 s before it. Hence the two extra rows at the start of a usual clip.
    """
    rows: list[int] = []
    gaps = [0, 0, 0]  # rows filled with the frame before, for the last three frames
    for i, (early, length) in enumerate(_r1_times(times)):
        before, count = _r1_repeats(early - len(rows), length)
        rows += [max(0, i - 1)] * min(before, count) + [i] * max(0, count - before)
        gaps = [before, *gaps[:2]]
    # At the end the last frame is repeated as often as gaps were filled of late.
    return rows + [len(times.pts) - 1] * sorted(gaps)[1]


def _r1_repeats(late: Fraction, length: Fraction) -> tuple[int, int]:
    """Rows to write, for a frame ``late`` seconds after the next row's time.

    Returns (how many of them show the frame before it, how many in all).
    """
    over = late + length
    if late < 0 < over:
        late = Fraction(0)
    if over < Fraction(-11, 10):
        return 0, 0
    if over <= Fraction(11, 10):
        return 0, 1
    return (round(late - Fraction(6, 10)) if late > Fraction(11, 10) else 0), round(over)


def _r1_times(times: TimeTable) -> list[tuple[Fraction, Fraction]]:
    """Time and length of each frame in seconds, as the command's encoder side sees them.

    It keeps 16 bits of the fraction and moves what is not a whole second up by half a step,
    so that no time is exactly on a threshold.
    """
    ticks = [int(t) for t in times.pts - times.pts[0]] + [times.end - int(times.pts[0])]
    seen = []
    for start, stop in zip(ticks, ticks[1:], strict=False):
        steps = _round_half_up(start * times.time_base * 65_536)
        early = Fraction(2 * steps + (steps % 65_536 != 0), 131_072)
        seen.append((early, (stop - start) * times.time_base))
    return seen


def _music_avqa(times: TimeTable, average_fps: Fraction | None) -> list[int]:
    """Frame round-half-even((k + 0.5) · fps) − 1 of a clip taken as one of constant rate.

    Beyond the end, the frames of the last begun second are shown again and again.
    """
    total = len(times.pts)
    fps = average_fps or Fraction(total) / max(times.duration, SLACK)
    looped = min(total, int(total % fps) or max(1, int(fps)))
    first = total - looped
    rows = []
    for k in range(MUSIC_AVQA_ROWS):
        place = round((k + HALF) * fps)  # counted from 1
        if place > total:
            place = first + 1 + (place - first - 1) % looped
        rows.append(max(0, place - 1))
    return rows


def _round_half_up(value: Fraction) -> int:
    return floor(value + HALF)


Rule = Callable[[TimeTable, Fraction | None], NDArray[np.int64] | list[int]]
MODES: dict[str, Rule] = {
    "mid": _mid,
    "start": _start,
    KEY: _key,
    "music-avqa": _music_avqa,
    "ffmpeg-fps1": _ffmpeg_fps1,
    "ffmpeg-r1": _ffmpeg_r1,
}
"""The rule of each value of ``--frame-at``."""
