"""Frames that were lost on the way: a place is kept for each, so that no other stands in for it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from avqa.extract.media.packet_plan import MISSING, PacketTable
from avqa.extract.media.types import TimeTable

LONGER = 1.5
"""A distance of so many usual ones holds a frame that is not there, if that is near damage."""
TWICE = 1.9
"""As much, where nothing else tells of damage: films are shown at 2 and 3 fields by turns."""
EVEN = frozenset({"mpeg1video", "mpeg2video"})
"""Codecs whose frames follow each other evenly."""
VARIES = 0.1
"""Share of such distances beyond which a file has no usual one."""


def lost_times(
    packets: PacketTable, damaged: tuple[int, ...], known: tuple[int, ...]
) -> NDArray[np.int64]:
    """Ticks of frames that are missing: those ``known``, and one for each gap around damage.

    From the key frame before the damage to the one behind it. A gap anywhere else is one that
    the file means.
    """
    told = np.array(known, np.int64)
    shown = np.flatnonzero(packets.shown)
    order = shown[np.argsort(packets.pts[shown], kind="stable")]
    pts = packets.pts[order]
    steps = np.diff(pts)
    if len(steps) == 0 or not damaged or known:
        return told
    usual = float(np.median(steps))
    wide = steps > LONGER * usual
    near = np.zeros(len(packets), np.bool_)
    keys = np.flatnonzero(packets.key)
    for number in damaged:
        before = keys[keys < number]
        behind = keys[keys > number]
        near[before[-1] if len(before) else 0 : behind[0] + 1 if len(behind) else None] = True
    if (wide & ~near[order[:-1]]).mean() > VARIES:
        return told
    gaps = wide & near[order[:-1]]
    lost: NDArray[np.int64] = pts[:-1][gaps] + round(usual)
    return lost


def behind_gaps(packets: PacketTable, pause: int) -> set[int]:
    """Numbers of the packets behind a gap, of a codec whose frames follow each other evenly.

    One of ``pause`` ticks and more is meant.
    """
    shown = np.flatnonzero(packets.shown & (packets.pts != MISSING))
    order = shown[np.argsort(packets.pts[shown], kind="stable")]
    steps = np.diff(packets.pts[order])
    if len(steps) == 0:
        return set()
    wide = (steps > TWICE * np.median(steps)) & (steps < pause)
    return set() if wide.mean() > VARIES else set(order[1:][wide].tolist())


def with_lost(
    times: TimeTable, lost: NDArray[np.int64], end: int | None
) -> tuple[TimeTable, NDArray[np.int64]]:
    """The table with places for the frames ``lost``, and where each frame that is there is now.

    ``end`` is the tick at which the last one leaves the screen, if something tells that.
    """
    lost = np.setdiff1d(lost, times.pts)
    order = np.argsort(np.concatenate([times.pts, lost]), kind="stable")
    pts = np.concatenate([times.pts, lost])[order]
    places = np.empty(len(pts), np.int64)
    places[order] = np.arange(len(pts))
    last = max(times.end, end or times.end)
    return TimeTable(pts, last, times.time_base), places[: len(times.pts)]
