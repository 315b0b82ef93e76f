"""Holes in a file, of which its container says nothing: where packets were, there are none.

Matroska, MPEG-TS and others go on behind what they cannot read. Then time stamps jump, and zeros
lie in the file between two packets, or one of them is known to be damaged.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from avqa.extract.media.packet_plan import CONTEXT_PACKETS, PacketTable
from avqa.extract.media.types import TimeTable

ZERO_BYTES = bytes(1024)
"""In a file, what was never written or could not be read."""
JUMP = 1.5
"""A step of so many usual ones is a jump."""
MOST_SECONDS = 10
"""Beyond it a jump beside a damaged packet is of the clock: where two recordings meet, say."""
_BLOCK = 1 << 20


def has_zeros(path: str, start: int, end: int) -> bool:
    """Whether a long row of zeros lies between two places of a file."""
    with open(path, "rb") as file:
        file.seek(start)
        kept = b""
        while block := file.read(max(0, min(_BLOCK, end - file.tell()))):
            if ZERO_BYTES in kept + block:
                return True
            kept = block[-len(ZERO_BYTES) :]
    return False


class Holes:
    """Finds the holes before packets of one stream, which come in file order."""

    def __init__(self, path: str, usual: float) -> None:
        """``usual`` ticks are from packet to packet where they do not say it themselves."""
        self._path = path
        self._usual = usual
        self._decoded: int | None = None
        self._shown: int | None = None
        """The latest time stamp."""
        self._end = 0
        """Place in the file behind the last packet."""
        self._damaged = False
        self._count = 0
        self.found: list[int] = []
        """Numbers of the packets behind holes."""

    def take(self, packet: Any) -> None:
        """Look at the next packet."""
        if self._is_damaged(packet) or self._is_behind_zeros(packet):
            self.found.append(self._count)
        self._count += 1
        self._damaged = packet.is_corrupt
        self._decoded = packet.dts
        if packet.pts is not None:
            self._shown = max(packet.pts, packet.pts if self._shown is None else self._shown)
        if packet.pos is not None:
            self._end = packet.pos + packet.size

    def _is_damaged(self, packet: Any) -> bool:
        if not (self._damaged or packet.is_corrupt):
            return False
        step = self._jump(packet, packet.dts, self._decoded)
        return bool(0 < step * packet.time_base <= MOST_SECONDS)

    def _is_behind_zeros(self, packet: Any) -> bool:
        """Times of decoding may be guessed from the others, and jump too late."""
        if packet.pos is None or packet.pos - self._end < len(ZERO_BYTES):
            return False
        step = self._jump(packet, packet.pts, self._shown)
        return step > 0 and has_zeros(self._path, self._end, packet.pos)

    def _jump(self, packet: Any, now: int | None, before: int | None) -> int:
        """Ticks between two time stamps if they are more than usual, else 0."""
        usual = packet.duration or self._usual
        if now is None or before is None or not usual:
            return 0
        return now - before if now - before > JUMP * usual else 0


def with_missing(times: TimeTable, packets: PacketTable, holes: Iterable[int]) -> TimeTable:
    """The time table with a frame where each hole begins: it will not decode.

    Without, the frame before the hole would stay on the screen.
    """
    step = int(np.median(np.diff(times.pts))) if len(times.pts) > 1 else 0
    missing: list[int] = []
    for number in holes:
        near = packets.pts[max(0, number - CONTEXT_PACKETS) : number + CONTEXT_PACKETS]
        first, last = np.searchsorted(times.pts, [near.min(), near.max()])
        shown: NDArray[np.int64] = times.pts[first : last + 1]
        missing += [int(pts) + step for pts in shown[:-1][np.diff(shown) > JUMP * step]]
    pts = np.union1d(times.pts, np.array(missing, np.int64))
    return TimeTable(pts, times.end, times.time_base)
