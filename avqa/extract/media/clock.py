"""Clocks that restart or jump on the way, as in recordings joined or cut from a live stream.

Players go on where the part before ended. So do readers here, by pure functions of what the file
holds: every packet's time and where it lies. A stamp that goes back begins a new part; so does a
jump forward in all tracks together. A jump forward in one track alone is a gap of that track.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from avqa.extract.media import file_checks
from avqa.extract.media.packet_plan import MISSING

RESTARTS = frozenset({"mpegts", "mpeg", "mpegvideo", "flv", "mov", "matroska"})
"""Containers in which time may go back."""
JUMPS = frozenset({"mpegts", "mpeg", "mpegvideo", "flv"})
"""Containers in which time may jump forward; fragmented MP4 is told by its boxes."""
LONGEST_GAP = 10.0
"""Seconds without a packet of any track that are no gap, but a jump of the clock."""
FALL = 0.1
"""Seconds by which a stamp that goes back must do so."""
WILD = 1.0
"""Seconds by which a stamp is off that damage has changed."""
FEW = 8
"""Packets in a row of which that may be true."""
TORN = 3
"""Packets before a seam, one of which is flagged: which one, depends on how they are found."""
PAUSE = 1.0
"""Seconds without a frame that may lie between two recordings; less is a loss of frames."""
ALONE = 1.0
"""Seconds by which they must, where the audio alone does: less overlaps what was heard."""
REORDERED = 16
"""Frames by which stamps may be out of order where they are no times of decoding."""
UNORDERED = frozenset({"matroska"})
"""Containers without times of decoding: FFmpeg makes them up, wrongly behind a restart."""
OVERLAP = Fraction(1, 10)
"""Seconds of audio that may lie over the end of the part before: encoders pad both ends."""

Ticks = NDArray[np.int64]


@dataclass(frozen=True)
class Track:
    """The packets of one stream, in the order in which they lie in the file."""

    pts: Ticks
    """[N] ticks, `MISSING` where there is none."""
    dts: Ticks
    """[N] ticks, `MISSING` where there is none."""
    duration: Ticks
    """[N] ticks, 0 where unknown."""
    place: NDArray[np.int64]
    """[N] where in the file, ascending: bytes, or numbers among the packets of all streams."""
    time_base: Fraction

    def __len__(self) -> int:
        return len(self.place)

    def ends(self) -> Ticks:
        """[N] tick at which each packet's content ends."""
        return self.starts() + np.where(self.duration > 0, self.duration, self.step())

    def step(self) -> int:
        """Ticks from one packet's content to the next one's, in whatever order they lie."""
        steps = np.abs(np.diff(self.starts()))
        return int(np.percentile(steps[steps > 0], 25)) if steps.any() else 1

    def starts(self) -> Ticks:
        """[N] tick at which each packet's content begins; the one before where none is known."""
        known = np.where(self.pts == MISSING, self.dts, self.pts)
        return _filled(known)

    def extent(self) -> tuple[Fraction, Fraction]:
        """Seconds at which the first packet begins and the last one ends, as far as is declared."""
        starts = self.starts()
        return int(starts.min()) * self.time_base, int(
            (starts + self.duration).max()
        ) * self.time_base

    def seconds(self, ticks: Ticks) -> NDArray[np.float64]:
        """Ticks as seconds."""
        return ticks.astype(np.float64) * float(self.time_base)


def _filled(ticks: Ticks) -> Ticks:
    """The value before stands in for a missing one."""
    there = np.flatnonzero(ticks != MISSING)
    if len(there) == 0:
        return np.zeros_like(ticks)
    before = np.searchsorted(there, np.arange(len(ticks)), side="right") - 1
    return ticks[there[np.maximum(before, 0)]]


@dataclass(frozen=True)
class Shifts:
    """Ticks to add to the stamps of a stream's packets, from a packet's number on."""

    starts: tuple[int, ...] = ()
    ticks: tuple[int, ...] = ()
    seams: tuple[int, ...] = ()
    """Numbers of packets with which another recording begins, whatever becomes of the clock."""

    @classmethod
    def from_ticks(cls, ticks: Ticks, seams: tuple[int, ...] = ()) -> Shifts:
        """Those that add ``ticks`` [N], packet by packet."""
        changes = np.flatnonzero(np.diff(ticks, prepend=0))
        return cls(tuple(changes.tolist()), tuple(ticks[changes].tolist()), seams)

    def of(self, number: int) -> int:
        """Ticks to add to the stamps of packet ``number`` of the stream."""
        place = int(np.searchsorted(self.starts, number, side="right"))
        return self.ticks[place - 1] if place else 0

    def tears(self, number: int) -> bool:
        """Whether a packet lies before a seam, where FFmpeg flags one of a few as corrupt."""
        place = int(np.searchsorted(self.seams, number, side="right"))
        return place < len(self.seams) and self.seams[place] - number <= TORN

    def all(self, count: int) -> Ticks:
        """[N] ticks to add, packet by packet."""
        places = np.searchsorted(self.starts, np.arange(count), side="right")
        return np.array([0, *self.ticks], np.int64)[places]


@dataclass(frozen=True)
class Clock:
    """One clock for a file that has several: what to add to whose stamps."""

    video: Shifts = Shifts()
    audio: Shifts = Shifts()
    joints: tuple[float, ...] = field(default=())
    """Seconds after the first frame at which a new part begins."""

    def note(self) -> str:
        """What the user is told; empty for a file with one clock."""
        if not self.joints:
            return ""
        times = ", ".join(f"{second:.3f} s" for second in self.joints[:5])
        more = f" and {len(self.joints) - 5} more" if len(self.joints) > 5 else ""
        return (
            f"the file's clock restarts or jumps ({len(self.joints)} times): its parts follow each"
            f" other, new ones begin at {times}{more}"
        )


@dataclass(frozen=True)
class _Joint:
    """Numbers of the first packets of a new part; None where that track's clock goes on."""

    video: int | None
    audio: int | None


class Follower:
    """Tells which part a decoded frame is of: they come in order, with the file's own times."""

    def __init__(self, track: Track, shifts: Shifts) -> None:
        """Take the packets of the stream, and what puts them on one clock."""
        bounds = [0, *shifts.starts, len(track)]
        ends = track.seconds(track.ends())
        self._ends = [
            float(ends[begin:until].max(initial=-np.inf))
            for begin, until in zip(bounds, bounds[1:], strict=False)
        ]
        self._ticks = (0, *shifts.ticks)
        self._time_base = float(track.time_base)
        self._part = 0
        self._latest = -np.inf

    def __call__(self, pts: int) -> int:
        """Ticks to add to the time ``pts`` of the next frame."""
        second = pts * self._time_base
        while self._part + 1 < len(self._ticks) and (
            second < self._latest - FALL / 2 or second > self._ends[self._part] + FALL
        ):
            self._part += 1
            self._latest = -np.inf
        self._latest = max(self._latest, second)
        return self._ticks[self._part]


def of_container(
    name: str, path: str, video: Track | None, audio: Track | None, *, slack: int
) -> Clock:
    """The clock of a file in the container that FFmpeg gives this ``name``; see `one_clock`."""
    kind = name.split(",")[0]
    if video is None or len(video) == 0 or kind not in RESTARTS:
        return Clock()
    fragmented = kind == "mov" and file_checks.is_fragmented(path)
    if kind == "mov" and not fragmented:  # stamps go back there where an edit list says so
        return Clock()
    jumps = kind in JUMPS or fragmented
    return one_clock(video, audio, jumps=jumps, ordered=kind not in UNORDERED, slack=slack)


def one_clock(
    video: Track, audio: Track | None, *, jumps: bool, ordered: bool, slack: int
) -> Clock:
    """The clock of a file.

    Args:
        video: packets of the video stream, at least one.
        audio: those of the audio stream, or None.
        jumps: whether time may jump forward in this container, not only go back.
        ordered: whether the stamps that tell when a packet is decoded are true.
        slack: how far from each other, in ``place``, the two tracks' parts may begin: where a
            packet is only found by the next one, tracks are not in order to the last packet.
    """
    audio = audio if audio is not None and len(audio) else None
    if not ordered:
        video = replace(video, dts=np.full_like(video.dts, MISSING))
    wild = [_wild(video), _wild(audio) if audio else Shifts()]
    video, audio = shifted(video, wild[0]), shifted(audio, wild[1]) if audio else None
    clock = _joined(video, audio, jumps=jumps, slack=slack)
    both = zip((video, audio), wild, (clock.video, clock.audio), strict=True)
    shifts = [
        Shifts.from_ticks(one.all(len(track)) + two.all(len(track)), two.starts)
        if track
        else Shifts()
        for track, one, two in both
    ]
    return Clock(shifts[0], shifts[1], clock.joints)


def with_seams(
    clock: Clock, video: Track, audio: Track | None, keys: NDArray[np.bool_], *, slack: int
) -> Clock:
    """The clock with the seams of recordings whose times go on, as of the segments of a stream.

    They begin with a key frame, at once or after a pause.

    Args:
        clock: of the file.
        video: packets of the video stream, on this clock.
        audio: those of the audio stream.
        keys: [N] which of the video's are key frames.
        slack: see `one_clock`.
    """
    if len(video) == 0:
        return clock
    step, pause = video.step(), round(PAUSE / video.time_base)
    starts, reached = video.starts(), np.maximum.accumulate(video.ends())
    seams, pauses = set(clock.video.seams), []
    for key in np.flatnonzero(keys[1:]) + 1:
        gap = starts[key : key + REORDERED].min() - reached[key - 1]
        if gap <= step // 2 or gap >= pause:
            seams.add(int(key))
        if gap >= pause:
            pauses.append(int(key))
    heard = set(clock.audio.seams)
    if pauses and audio is not None:
        silent = audio.starts()[1:] - np.maximum.accumulate(audio.ends())[:-1]
        gaps = (np.flatnonzero(silent * float(audio.time_base) >= PAUSE) + 1).tolist()
        heard.update(_partners(video, pauses, audio, gaps, slack).values())
    return replace(
        clock,
        video=replace(clock.video, seams=tuple(sorted(seams))),
        audio=replace(clock.audio, seams=tuple(sorted(heard))),
    )


def _wild(track: Track) -> Shifts:
    """What puts stamps right that jump and come back: damage has changed them, not the clock."""
    told = _filled(np.where(track.dts == MISSING, track.pts, track.dts))
    seconds, step = track.seconds(told), track.step()
    least = WILD
    if (track.dts == MISSING).all():
        least += REORDERED * step * float(track.time_base)
    ticks = np.zeros(len(track), np.int64)
    i = 1
    while len(jumps := np.flatnonzero(np.abs(np.diff(seconds[i - 1 :])) > least)):
        i += int(jumps[0])
        back = np.flatnonzero(np.abs(seconds[i + 1 : i + 1 + FEW] - seconds[i - 1]) < least)
        until = i + 1 + int(back[0]) if len(back) else i
        for number in range(i, until):
            ticks[number] = told[i - 1] + (number - i + 1) * step - told[number]
        i = until + 1
    return Shifts.from_ticks(ticks)


def _joined(video: Track, audio: Track | None, *, jumps: bool, slack: int) -> Clock:
    joints = list(_falls(video, audio, slack))
    clock = _continued(video, audio, joints)
    if jumps:
        later = _jumps(shifted(video, clock.video), audio and shifted(audio, clock.audio))
        if later:
            joints = sorted([*joints, *later], key=lambda j: _order(j, video, audio))
            clock = _continued(video, audio, joints)
    return clock


def _order(joint: _Joint, video: Track, audio: Track | None) -> int:
    if joint.video is not None:
        return int(video.place[joint.video])
    assert audio is not None  # noqa: S101 - a joint is of some track
    assert joint.audio is not None  # noqa: S101
    return int(audio.place[joint.audio])


def shifted(track: Track, shifts: Shifts) -> Track:
    """The same packets with the time stamps that they should have."""
    add = shifts.all(len(track))
    stamps = (np.where(t == MISSING, t, t + add) for t in (track.pts, track.dts))
    pts, dts = stamps
    return replace(track, pts=pts, dts=dts)


def _fall_places(track: Track, least: float = FALL) -> list[int]:
    """Numbers of the packets whose stamps go back by so many seconds."""
    seconds = track.seconds(_filled(np.where(track.dts == MISSING, track.pts, track.dts)))
    steps = np.diff(seconds)
    if len(steps) and (track.dts == MISSING).all():
        least += REORDERED * track.step() * float(track.time_base)
    found: list[int] = []
    begin = 0
    while True:
        latest = np.maximum.accumulate(seconds[begin:])
        falls = np.flatnonzero(seconds[begin + 1 :] < latest[:-1] - least)
        if len(falls) == 0:
            return found
        begin += int(falls[0]) + 1
        found.append(begin)


def _falls(video: Track, audio: Track | None, slack: int) -> Iterator[_Joint]:
    """Where stamps go back: in both tracks together, or in one whose clock is its own."""
    video_falls = _fall_places(video)
    audio_falls = _fall_places(audio) if audio is not None else []
    partners = _partners(video, video_falls, audio, audio_falls, slack)
    joints = [
        _Joint(v, partners[v] if v in partners else _other(i, video_falls, video, audio))
        for i, v in enumerate(video_falls)
    ]
    alone = set(_fall_places(audio, ALONE) if audio is not None else []) - set(partners.values())
    joints += [_Joint(None, a) for a in alone]
    yield from sorted(joints, key=lambda joint: _order(joint, video, audio))


def _partners(
    video: Track, of_video: list[int], audio: Track | None, of_audio: list[int], slack: int
) -> dict[int, int]:
    """Falls of both tracks that are one: they lie between the same packets of the file."""
    if audio is None:
        return {}
    near = []
    for v in of_video:
        for a in of_audio:
            begin = max(video.place[v - 1], audio.place[a - 1])
            end = min(video.place[v], audio.place[a])
            if begin < end + slack:
                near.append((abs(int(video.place[v]) - int(audio.place[a])), v, a))
    pairs: dict[int, int] = {}
    for _, v, a in sorted(near):
        if v not in pairs and a not in pairs.values():
            pairs[v] = a
    return pairs


def _other(place: int, falls: list[int], video: Track, audio: Track | None) -> int | None:
    """The first audio packet after a fall of the video alone; None if audio went on beside it."""
    if audio is None:
        return None
    bounds = [0, *(int(video.place[fall]) for fall in falls), np.iinfo(np.int64).max]
    before, here, after = bounds[place : place + 3]
    first = int(np.searchsorted(audio.place, here))
    heard_before = first > 0 and audio.place[first - 1] >= before
    heard_after = first < len(audio) and audio.place[first] < after
    return None if heard_before and heard_after else first


def _jumps(video: Track, audio: Track | None) -> list[_Joint]:
    """Where no track has a packet for longer than any gap may last."""
    tracks = [track for track in (video, audio) if track is not None]
    starts = np.concatenate([track.seconds(track.starts()) for track in tracks])
    ends = np.concatenate([track.seconds(track.ends()) for track in tracks])
    order = np.argsort(starts, kind="stable")
    starts, reached = starts[order], np.maximum.accumulate(ends[order])
    holes = np.flatnonzero(starts[1:] - reached[:-1] > LONGEST_GAP) + 1
    joints = []
    for begin in starts[holes]:
        firsts = [_first_from(track, float(begin)) for track in tracks]
        joints.append(_Joint(firsts[0], firsts[1] if len(firsts) > 1 else None))
    return [joint for joint in joints if joint.video is not None]


def _first_from(track: Track, second: float) -> int | None:
    """Number of the first packet of this second or later."""
    later = np.flatnonzero(track.seconds(track.starts()) >= second - FALL)
    return int(later[0]) if len(later) else None


def _continued(video: Track, audio: Track | None, joints: list[_Joint]) -> Clock:
    """Put every part where the one before ended."""
    tracks = {"video": video} if audio is None else {"video": video, "audio": audio}
    found: dict[str, list[tuple[int, int]]] = {name: [] for name in tracks}
    told: list[int] = []
    for i, joint in enumerate(joints):
        firsts = {n: first for n in tracks if (first := getattr(joint, n)) is not None}
        steps = []
        for name, first in firsts.items():
            later = [getattr(j, name) for j in joints[i + 1 :]]
            until = next((n for n in later if n is not None), len(tracks[name]))
            slack = OVERLAP if name == "audio" and "video" in firsts else Fraction(0)
            step = _step(tracks[name], found[name], first, until)
            if step is not None:
                steps.append(step - slack)
        if not steps:
            continue
        for name, first in firsts.items():
            found[name].append((first, round(max(steps) / tracks[name].time_base)))
        if "video" in firsts and firsts["video"] < len(video):
            told.append(firsts["video"])
    clock = Clock(_spelt(found["video"]), _spelt(found.get("audio", [])))
    starts = video.starts() + clock.video.all(len(video))
    joints_at = [int(starts[first:].min() - starts.min()) * video.time_base for first in told]
    return replace(clock, joints=tuple(map(float, joints_at)))


def _step(track: Track, found: list[tuple[int, int]], first: int, until: int) -> Fraction | None:
    """Seconds to add to packets ``first`` to ``until``; None where none is there, or before."""
    if first == 0 or first >= until:
        return None
    end = int((track.ends() + _spelt(found).all(len(track)))[:first].max())
    return (end - int(track.starts()[first:until].min())) * track.time_base


def _spelt(found: list[tuple[int, int]]) -> Shifts:
    return Shifts(tuple(first for first, _ in found), tuple(ticks for _, ticks in found))
