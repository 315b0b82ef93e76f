"""When which frame is shown, as the ffmpeg program tells it: by its packets and decoded frames.

With ``-debug_ts`` it prints each of them in one message, which no other thread's can divide.
"""

from __future__ import annotations

import re
from array import array
from dataclasses import dataclass
from fractions import Fraction
from typing import IO

import numpy as np
from numpy.typing import NDArray

from avqa.errors import MediaError
from avqa.extract.media import clock, ffmpeg_program, file_checks, losses, packet_plan
from avqa.extract.media.audio.lost_sound import LEAST_BYTES, MOST_BYTES, LostSound, means_zeros
from avqa.extract.media.clock import Clock, Follower, Track
from avqa.extract.media.packet_plan import MISSING, PacketTable
from avqa.extract.media.types import Limits, Stretch, TimeTable

START = "[info] Stream mapping:"
QUIET = {"map_metadata": -1, "map_chapters": -1}
"""Keeps text of the file out of the messages, once `START` was printed."""
STRICT = ("-xerror", "-err_detect:v", "explode")
"""Options with which the program ends where a frame or a packet is not whole."""
NEAR_PACKETS = 200
"""Packets of two tracks that begin a new part together lie no further apart than this."""
# These are searched anywhere in a line: another thread's unfinished message may come before.
_SHOWN = re.compile(
    r"decoder -> pts:(\S+) .*? duration:(\S+) .*keyframe:(\d) .*time_base:(\d+)/(\d+)"
)
_PACKET = re.compile(
    r"demuxer\+ffmpeg -> ist_index:0:(\d+) .*?pkt_pts:(\S+) .*?pkt_dts:(\S+) .*? duration:(\S+)"
)
_LOST = re.compile(
    r"\[(?:in#0/)?(?:matroska,webm|ogg) @ \S+ \[error\]|corrupt input packet in stream (\d+)"
)
_ERROR = re.compile(r"^\[(?!in#|out#)\S+ @ \S+ \[error\]")
"""The decoder's, where nothing else is decoded."""
_COPIED = re.compile(r"^\[info\]   Stream #0:(\d+) -> #1:(\d+) \(copy\)")
_CORRUPT = "corrupt decoded frame"


class Run:
    """What one decoding of all frames has printed."""

    def __init__(self, path: str, limits: Limits) -> None:
        """Take a file that `file_checks.check_file` has passed."""
        self._path = path
        self._limits = limits
        self._started = False
        self._packets: dict[int, tuple[array[int], ...]] = {}
        self._order = 0
        self._lost_next: set[int] = set()
        self.pts: list[int] = []
        """Ticks of the decoded frames, in the order of presentation; `MISSING` where unknown."""
        self.keys: list[bool] = []
        self.length = 0
        self.time_base = Fraction(1)
        self._copied: dict[int, int] = {}
        self._output_bases: dict[int, Fraction] = {}
        self.ends: dict[int, Fraction] = {}
        """Seconds at which the tracks end; audio comes first, then video, subtitles, data."""
        self.lost: list[tuple[int, int]] = []
        """Stream and number of packets that are not whole, or that others were lost before."""
        self._lost_sound: dict[int, list[Stretch]] = {}
        self.num_errors = 0
        self.num_corrupt = 0
        self.first_error: int | None = None
        """Decoded frames before the decoder's first error."""
        self.last_error = 0

    def whole(self, stream: int) -> Run:
        """Decode all there is; demux all tracks."""
        command = self._command(stream)
        # The declared length is that of the longest track, whichever it is.
        tracks = [word for kind in "avsd" for word in ("-map", f"0:{kind}?")]
        command += [*tracks, "-c", "copy", "-copy_unknown", "-f", "framecrc", "pipe:1"]
        errors = self._go(command)
        if not self.pts:
            raise file_checks.no_frames(self._path, errors[-1] if errors else "none")
        return self

    def up_to_damage(self, stream: int) -> Run:
        """Decode up to the first frame or packet that is not whole."""
        command = self._command(stream)
        command[1:1] = STRICT[:1]
        place = command.index("-i")
        command[place:place] = STRICT[1:]
        self._go(command)
        return self

    def track(self, stream: int) -> Track | None:
        """The packets of a stream; None without any."""
        if stream not in self._packets:
            return None
        pts, dts, duration, order = (np.array(c, np.int64) for c in self._packets[stream])
        pts = _filled(pts, dts, duration)
        return Track(pts, dts, duration, order, self._output_bases[self._copied[stream]])

    def lost_sound(self, stream: int, codec: str) -> tuple[Stretch, ...]:
        """Where an audio stream has packets of zeros, if its codec has none."""
        if means_zeros(codec) or stream not in self._copied:
            return ()
        return tuple(self._lost_sound.get(self._copied[stream], ()))

    def _command(self, stream: int) -> list[str]:
        output = ffmpeg_program.source(self._limits).output(
            "-", map=f"0:{stream}", fps_mode="passthrough", format="null", **QUIET
        )
        command = ffmpeg_program.arguments(self._path, output)
        command.insert(1, "-debug_ts")
        return command

    def _go(self, command: list[str]) -> list[str]:
        with ffmpeg_program.running(command, self._take) as program:
            self._take_tracks(program.output)
            died = ffmpeg_program.crashed(self._path, program)
            self.num_errors = program.num_errors
        if died is not None:
            raise died
        return list(program.errors)

    def _take(self, line: str) -> None:
        self._started = self._started or line == START
        if not self._started:
            return
        if found := _PACKET.search(line):
            self._take_packet(int(found[1]), [_ticks(found[k]) for k in (2, 3, 4)])
        elif found := _SHOWN.search(line):
            self.pts.append(_ticks(found[1]))
            self.length = max(0, _ticks(found[2]))
            self.keys.append(found[3] == "1")
            self.time_base = Fraction(int(found[4]), int(found[5]))
        elif found := _COPIED.search(line):
            self._copied[int(found[1])] = int(found[2])
        elif found := _LOST.search(line):
            self._lost_next.add(int(found[1]) if found[1] else -1)
        elif _CORRUPT in line or _ERROR.search(line):
            self.num_corrupt += _CORRUPT in line
            self.last_error = len(self.pts)
            if self.first_error is None:
                self.first_error = self.last_error

    def _take_packet(self, stream: int, stamps: list[int]) -> None:
        columns = self._packets.setdefault(stream, tuple(array("q") for _ in range(4)))
        if stream in self._lost_next or -1 in self._lost_next:
            self.lost.append((stream, len(columns[0])))
            self._lost_next -= {stream}
        pts, dts, duration = stamps
        for column, value in zip(columns, (pts, dts, max(0, duration), self._order), strict=True):
            column.append(value)
        self._order += 1

    def _take_tracks(self, lines: IO[bytes]) -> None:
        ends: dict[int, int] = {}
        time_bases: dict[int, Fraction] = {}
        codecs: dict[int, str] = {}
        lost: dict[int, LostSound] = {}
        for line in lines:
            if line.startswith(b"#codec_id "):
                number, _, codec = line.removeprefix(b"#codec_id ").decode().partition(":")
                codecs[int(number)] = codec.strip()
            elif line.startswith(b"#tb "):
                number, _, time_base = line.removeprefix(b"#tb ").decode().partition(":")
                track = int(number)
                time_bases[track] = Fraction(time_base.strip())
                lost[track] = LostSound(self._path, self._lost_sound.setdefault(track, []))
            elif not line.startswith(b"#"):
                fields = line.split(b",")
                track = int(fields[0])
                pts, duration, size = map(int, fields[2:5])
                packet = _Packet(pts, duration, size, time_bases[track])
                ends[track] = max(pts + duration, ends.get(track, 0))
                # The checksum of zeros is zero.
                void = int(fields[5], 16) == 0 and size >= LEAST_BYTES
                most = MOST_BYTES.get(codecs.get(track, ""), size)
                lost[track].take(packet, lost=void, hollow=size > most)
        for of_track in lost.values():
            of_track.finish()
        self.ends = {track: end * time_bases[track] for track, end in ends.items()}
        self._output_bases = time_bases


def _filled(
    pts: NDArray[np.int64], dts: NDArray[np.int64], duration: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Times of presentation with those that a container has left out, where they are even.

    MPEG program streams stamp some pictures only. Each part whose clock goes on is looked at alone:
    of as many even times as it has packets, those that no other packet has are the missing ones.
    """
    filled = pts.copy()
    falls = np.flatnonzero(dts[1:] < dts[:-1]) + 1
    for part in np.split(np.arange(len(pts)), falls):
        missing = part[pts[part] == MISSING]
        known = pts[part][pts[part] != MISSING]
        step = int(duration[part[0]]) if len(part) else 0
        if not len(missing) or not len(known) or step <= 0 or (duration[part] != step).any():
            continue
        even = known.min() + step * np.arange(len(part))
        left = np.setdiff1d(even, known)
        if len(left) != len(missing):
            continue
        waits = pts[part][pts[part] != MISSING] - dts[part][pts[part] != MISSING]
        # No picture waits longer than others do: else the first one shown is among the missing.
        if (np.clip(left - dts[missing], 0, waits.max()) == left - dts[missing]).all():
            filled[missing] = left
    return filled


@dataclass
class _Packet:
    """What is known of a packet that was copied."""

    pts: int
    duration: int
    size: int
    time_base: Fraction
    pos: int | None = None
    is_corrupt: bool = False


def _ticks(word: str) -> int:
    return MISSING if word == "NOPTS" else int(word)


@dataclass(frozen=True)
class Frames:
    """The time table, and which decoded frame is which of it."""

    times: TimeTable
    numbers: NDArray[np.int64]
    """[F] place of each frame among the decoded ones; -1 for one that does not decode."""
    trusted: int
    """Decoded frames before the first that may be damaged."""
    clock: Clock
    corrupt: int
    """Errors, or frames that do not come out of their packets."""

    def end_of(self, heard: Track | None) -> float | None:
        """End in seconds of the audio with these packets."""
        if heard is None:
            return None
        return float(clock.shifted(heard, self.clock.audio).extent()[1])

    def select(self, wanted: list[int]) -> list[tuple[int, int]]:
        """Place in the table and among the decoded frames, of those wanted that can be had."""
        numbers = [(index, int(self.numbers[index])) for index in wanted]
        return [(index, number) for index, number in numbers if 0 <= number < self.trusted]


def read_frames(
    path: str, limits: Limits, video: int, audio: int | None, container: str, fps: Fraction | None
) -> tuple[Run, Frames]:
    """Decode a file to its end, and up to its first damage if there is any.

    Args:
        path: of the file.
        limits: of decoding.
        video: index of the video stream.
        audio: of the audio stream, if there is one.
        container: as the program names it.
        fps: mean rate, for frames without a time stamp.
    """
    run = Run(path, limits).whole(video)
    packets = run.track(video)
    heard = run.track(audio) if audio is not None else None
    one = clock.of_container(container, path, packets, heard, slack=NEAR_PACKETS)
    pts = _told(run, packets, one)
    if one.joints and container.startswith("mov") and packets and len(pts) < len(packets):
        raise _dropped(path)
    lost = {n for stream, n in run.lost if stream == video}
    if packets is not None and lost and container == "mpegts":
        keys = np.isin(packets.pts, np.array(run.pts)[np.array(run.keys)])
        told = clock.shifted(packets, one.video)
        one = clock.with_seams(one, told, heard, keys, slack=NEAR_PACKETS)
        lost = {n for n in lost if not one.video.tears(n)}
    trusted, corrupt = len(pts), run.num_errors
    if run.num_errors or run.num_corrupt or lost:
        trusted = _whole(path, limits, video, run)
        if packets is not None and lost:
            starts = clock.shifted(packets, one.video).starts()
            first = int(starts[max(0, min(lost) - 1) :].min())
            trusted = min(trusted, int(np.searchsorted(pts, first)))
        corrupt = max(corrupt, trusted < len(pts))
    table = packet_plan.closed_table(pts, run.length, run.time_base, fps)
    numbers = np.arange(len(pts))
    kind = container.split(",")[0]
    if (trusted < len(pts) or corrupt) and kind != "avi":  # its packets' times are only counted
        live = kind in clock.JUMPS
        table, numbers = _with_lost(table, run, packets, one, lost, live=live)
    file_checks.check_length(path, float(table.duration), limits)
    table = table.with_keys(pts[np.array(run.keys, np.bool_)])
    return run, Frames(table, numbers, trusted, one, corrupt)


def _whole(path: str, limits: Limits, video: int, run: Run) -> int:
    """How many frames come out before one that may be damaged."""
    whole = len(Run(path, limits).up_to_damage(video).pts)
    if whole < len(run.pts) or not run.last_error:  # none: it begins between two key frames
        return whole
    assert run.first_error is not None  # noqa: S101 - there was a last one
    return run.first_error  # the codec says so, and gives the frame all the same


def _dropped(path: str) -> MediaError:
    return MediaError(
        "no_decoder",
        f"ffmpeg drops frames of path={path!r}: the clock of its fragments goes back; expected one"
        " that goes on; use --decoder pyav, or convert the file",
        stage="probe",
    )


def _told(run: Run, packets: Track | None, one: Clock) -> NDArray[np.int64]:
    """Ticks of the decoded frames on one clock; time cannot go back on the screen."""
    follow = Follower(packets, one.video) if packets is not None else None
    found: list[int] = []
    for pts in run.pts if packets is None else _presented(run, packets, one):
        last = found[-1] if found else 0
        if pts == MISSING:
            pts = last + run.length
        elif follow is not None:
            pts += follow(pts)
        found.append(max(pts, last) if found else pts)
    return np.array(found, np.int64)


def _presented(run: Run, packets: Track, one: Clock) -> list[int]:
    """The frames' times, but for last ones of parts that the program gave another part's.

    A frame whose packet has no time of presentation gets that at which the packet that pushed it
    out is to be decoded: behind the last one of a part, the first packet of the next.
    """
    found = list(run.pts)
    falls = [n for n in range(1, len(found)) if MISSING < found[n] < found[n - 1]]
    if len(falls) != len(one.video.starts):
        return found
    for n, first in zip(falls, one.video.starts, strict=True):
        if found[n] == packets.dts[first] and found[n] not in packets.pts[first:]:
            found[n] = found[n - 1] + run.length
    return found


def _with_lost(
    times: TimeTable,
    run: Run,
    packets: Track | None,
    one: Clock,
    lost: set[int],
    *,
    live: bool,
) -> tuple[TimeTable, NDArray[np.int64]]:
    """The table with places for frames that do not come out, where the packets tell them."""
    numbers = np.arange(len(times.pts))
    if packets is None or packets.time_base != times.time_base:
        return times, numbers
    told = clock.shifted(packets, one.video)
    if (told.pts == MISSING).any() or not np.isin(times.pts, told.pts).all():
        return times, numbers
    # What is before time 0 of a file with an edit list is not shown; a live stream has no start.
    shown = told.pts >= (int(times.pts[0]) if live else min(0, int(times.pts[0])))
    keys = np.isin(told.pts, times.pts[np.array(run.keys)])
    table = PacketTable(told.pts, told.duration, keys, shown)
    gaps = losses.lost_times(table, tuple(sorted(lost)), ())
    missing = np.union1d(told.pts[shown], gaps)
    end = int(told.ends()[shown].max())
    whole, places = losses.with_lost(times, missing, end)
    numbers = np.full(len(whole.pts), -1)
    numbers[places] = np.arange(len(places))
    return whole, numbers
