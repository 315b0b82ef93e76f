"""Which packets must be decoded to get the wanted frames: pure functions of the packet table."""

from __future__ import annotations

from dataclasses import dataclass, field
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from avqa.extract.media.types import TimeTable

MISSING = np.iinfo(np.int64).min
"""Stands for a time stamp that a packet does not have."""

DROP, DECODE, DECODE_IF_REFERENCE = range(3)
"""What becomes of a packet."""

PLANNED_CODECS = frozenset({"h264", "hevc", "av1", "vp8", "vp9", "mjpeg"})
SKIPS_NON_REFERENCE = frozenset({"h264", "hevc"})
"""Codecs whose decoders can pass over frames no other depends on. AV1 loses shown ones."""

CONTEXT_PACKETS = 16
"""Packets before a key packet that its leading frames may depend on: the largest number of
reference frames of H.264 and HEVC. Key packets can be closer together than that."""


@dataclass(frozen=True)
class PacketTable:
    """All packets of the video stream, in decode order."""

    pts: NDArray[np.int64]
    """[N] ticks, `MISSING` where there is none."""
    duration: NDArray[np.int64]
    """[N] ticks, 0 where unknown."""
    key: NDArray[np.bool_]
    """[N] decoding may start here."""
    shown: NDArray[np.bool_]
    """[N] false for packets outside the edit list and for hidden frames."""

    def __len__(self) -> int:
        return len(self.pts)

    @property
    def key_ticks(self) -> NDArray[np.int64]:
        """Times of the shown frames at which decoding may start."""
        ticks: NDArray[np.int64] = self.pts[self.key & self.shown & (self.pts != MISSING)]
        return ticks


@dataclass
class Traits:
    """What was seen in the packets' bits; see `_bitstream`."""

    gradual: bool = False
    """Some H.264 key packet does not begin with an intra frame."""
    layered: bool = False
    """HEVC with temporal layers."""
    reorders: bool = False
    """The decoder gives frames in another order than it takes packets (B frames)."""
    warnings: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Plan:
    """What to do with each packet."""

    action: NDArray[np.int8]
    """[N] `DROP`, `DECODE` or `DECODE_IF_REFERENCE`."""
    fresh: NDArray[np.bool_]
    """[N] drain and reset the decoder before this packet: what it needs begins with it."""


def are_decode_times(packets: PacketTable, codec: str, traits: Traits) -> bool:
    """Whether time stamps say when packets are decoded, as AVI's do: B frames would fall back.

    Of other codecs the decoder does not tell whether there are B frames.
    """
    reorders = traits.reorders and codec in SKIPS_NON_REFERENCE
    return reorders and len(packets) > 1 and bool((np.diff(packets.pts) > 0).all())


def why_no_table(
    packets: PacketTable, codec: str, container: str, traits: Traits, *, cut_at_start: bool = False
) -> str:
    """Why the packets do not tell when which frame is shown; empty if they do.

    ``cut_at_start`` says that the first packet is damaged: then its time is still that of a frame.
    """
    pts = packets.pts[packets.shown]
    if (packets.pts == MISSING).any():
        return "missing time stamps"
    if len(np.unique(pts)) < len(pts):
        return "repeated time stamps"
    if are_decode_times(packets, codec, traits):
        return "time stamps of frames that are reordered are those of decoding"
    if codec == "mpeg4" and container == "avi":
        return "MPEG-4 part 2 in AVI may pack two frames into a packet"
    if cut_at_start or len(packets) == 0:
        return ""
    if not packets.key[0]:
        return "the file does not begin with a key frame"
    first = slice(0, _first_group(packets))
    if (packets.shown[first] & (packets.pts[first] < packets.pts[:1])).any():
        return "the file begins with frames that depend on ones before it"
    return ""


def _first_group(packets: PacketTable) -> int:
    later = np.flatnonzero(packets.key[1:])
    return int(later[0]) + 1 if len(later) else len(packets)


def why_not_planned(packets: PacketTable, codec: str, traits: Traits) -> str:
    """Why this file must be decoded in full; empty if it need not."""
    if codec not in PLANNED_CODECS:
        return f"codec {codec} is always decoded in full"
    if traits.gradual:
        return "key packets without an intra frame (intra refresh)"
    return ""


def time_table(
    packets: PacketTable, time_base: Fraction, average_fps: Fraction | None
) -> TimeTable:
    """Presentation times of the shown frames; the packets must have them."""
    shown = np.flatnonzero(packets.shown)
    order = shown[np.argsort(packets.pts[shown], kind="stable")]
    pts = packets.pts[order]
    length = int(packets.duration[order[-1]])
    return closed_table(pts, length, time_base, average_fps)


def closed_table(
    pts: NDArray[np.int64], length: int, time_base: Fraction, average_fps: Fraction | None
) -> TimeTable:
    """Table that ends ``length`` ticks after the last frame began.

    Without a length (0), a frame's mean length or the distance before it is taken.
    """
    if length <= 0 and average_fps:
        length = round(1 / (average_fps * time_base))
    if length <= 0 and len(pts) > 1:
        length = int(np.median(np.diff(pts)))
    return TimeTable(pts, int(pts[-1]) + max(1, length), time_base)


def make_plan(packets: PacketTable, wanted: NDArray[np.int64], codec: str, traits: Traits) -> Plan:
    """Plan to decode the frames with the time stamps ``wanted`` and what they depend on.

    A group is the packets from one key packet up to the next, in decode order. What follows the
    last wanted frame of a group is dropped, unless the next group has a wanted leading
    frame (earlier than its key frame): that one depends on the group before.
    """
    starts = np.flatnonzero(packets.key)
    ends = np.append(starts[1:], len(packets))
    is_wanted = packets.shown & np.isin(packets.pts, wanted)
    stop = starts.copy()  # decode from each group's start up to here
    for g in range(len(starts)):
        places = np.flatnonzero(is_wanted[starts[g] : ends[g]]) + starts[g]
        if len(places) == 0:
            continue
        stop[g] = places[-1] + 1
        if (packets.pts[places] < packets.pts[starts[g]]).any():
            _keep_context(starts, ends, stop, g)
    return _spell_out(packets, starts, ends, stop, is_wanted, codec, traits)


def _keep_context(
    starts: NDArray[np.int64], ends: NDArray[np.int64], stop: NDArray[np.int64], g: int
) -> None:
    """Keep whole groups before group ``g``, until they hold all its leading frames need."""
    context = 0
    while g > 0 and context < CONTEXT_PACKETS:
        g -= 1
        stop[g] = ends[g]
        context += int(ends[g] - starts[g])


def _spell_out(
    packets: PacketTable,
    starts: NDArray[np.int64],
    ends: NDArray[np.int64],
    stop: NDArray[np.int64],
    is_wanted: NDArray[np.bool_],
    codec: str,
    traits: Traits,
) -> Plan:
    action = np.full(len(packets), DROP, np.int8)
    fresh = np.zeros(len(packets), np.bool_)
    skips = codec in SKIPS_NON_REFERENCE and not traits.layered
    continues = True  # nothing was dropped since the decoder's last packet
    for start, end, until in zip(starts, ends, stop, strict=True):
        if until == start:
            continues = False
            continue
        action[start:until] = DECODE_IF_REFERENCE if skips else DECODE
        fresh[start] = not continues
        continues = bool(until == end)
    action[is_wanted] = DECODE
    # A key frame is always needed, and skipping must not apply to it.
    action[starts[stop > starts]] = DECODE
    return Plan(action, fresh)
