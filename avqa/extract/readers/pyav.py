"""Frames through PyAV, packet by packet, decoding only what the wanted ones depend on."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import av
import numpy as np
from av.codec.context import Flags
from av.error import FFmpegError
from av.error import MemoryError as FFmpegMemoryError
from av.stream import Discard
from av.video.frame import PictureType
from numpy.typing import NDArray

from avqa.extract.media import container as _container
from avqa.extract.media import file_checks, losses, packet_plan
from avqa.extract.media.audio import pyav_audio
from avqa.extract.media.clock import Clock
from avqa.extract.media.demux import Demuxed, demux, packets_of
from avqa.extract.media.frame import tone
from avqa.extract.media.frame.upright import Upright
from avqa.extract.media.packet_plan import MISSING, PacketTable, Traits
from avqa.extract.media.types import AudioSamples, Frame, Limits, Probe, Report, TimeTable

NAME = "pyav"
MOST_AHEAD = 16
"""So many frames at most lie between a frame and a later one it is predicted from."""


@dataclass(frozen=True)
class _Private:
    """What `PyavReader.probe` found, for reading later."""

    stream_index: int
    packets: PacketTable
    traits: Traits
    places: NDArray[np.int64] | None
    """Place in the time table of each frame that comes out, where time stamps do not tell."""
    why_not_planned: str
    clock: Clock
    damaged: frozenset[int]
    """Numbers of packets whose frames, and all predicted from them, are not to be trusted."""
    guessed: float
    """Ticks behind damage of which the times are guessed."""
    short: bool
    """The packets end before the declared length."""
    decoded_seconds: float
    limits: Limits


class _CannotPlan(Exception):
    """Planned decoding met something that only a full decode settles."""


class PyavReader:
    """See the module; a `Reader`."""

    name = NAME

    def version(self) -> str:
        """PyAV's version and those of the FFmpeg libraries inside it."""
        inside = av.library_versions
        parts = (f"{lib} {'.'.join(map(str, inside[lib]))}" for lib in ("libavcodec", "libswscale"))
        return f"pyav {av.__version__} ({', '.join(parts)})"

    def probe(self, path: str, limits: Limits) -> Probe:
        """Demux all packets; decode only where they do not tell the time stamps.

        Raises:
            MediaError: see `avqa.extract.media.types.Reader`.
        """
        path = file_checks.check_file(path)
        with _container.opened(path, limits) as container:
            stream = _container.video_stream(container, path)
            _container.check_stream(container, stream, path, NAME, limits)
            codec = stream.codec_context
            found = demux(container, stream, path, limits)
            if not found.packets.shown.any():
                raise file_checks.no_frames(path, "no packet of it is shown")
            fps = stream.average_rate or stream.guessed_rate
            name = codec.codec.canonical_name
            times, places, why = _times(path, container, stream, found, limits)
            times = times.with_keys(found.packets.key_ticks)
            private = _Private(
                stream_index=stream.index,
                packets=found.packets,
                traits=found.traits,
                places=places,
                why_not_planned=why
                or ("the file is damaged" if found.damaged else "")
                or packet_plan.why_not_planned(found.packets, name, found.traits),
                clock=found.clock,
                damaged=frozenset(found.damaged),
                guessed=found.guessed / float(stream.time_base),
                short=found.is_short_of(container),
                decoded_seconds=float(times.duration),
                limits=limits,
            )
            return Probe(
                path=path,
                reader=NAME,
                width=codec.width,
                height=codec.height,
                codec=name,
                declared_seconds=found.declared_by(container, stream),
                times=times,
                has_audio=found.has_audio,
                average_fps=fps,
                audio_end_seconds=found.audio_end,
                private=private,
            )

    def frames(
        self, probe: Probe, wanted: Sequence[int], report: Report, *, full: bool = False
    ) -> Iterator[Frame]:
        """Yield the frames ``wanted``; see `avqa.extract.media.types.Reader`."""
        private = _private(probe)
        report.packets = len(private.packets)
        report.partial = report.partial or private.short
        report.decoded_seconds = private.decoded_seconds
        report.warnings += private.traits.warnings
        report.restarts = list(private.clock.joints)
        why = "a full decode was asked for" if full else private.why_not_planned
        done, corrupt = -1, report.corrupt
        if not why:
            try:
                report.planned = True
                for frame in _planned(probe, private, wanted, report):
                    done = frame.index
                    yield frame
                return
            except _CannotPlan as error:
                why = str(error)
        report.planned, report.why_not_planned, report.skipped = False, why, 0
        report.corrupt = corrupt  # the full decode comes by the same damage again
        yield from _in_full(probe, private, [i for i in wanted if i > done], report)

    def audio(self, probe: Probe, report: Report) -> Iterator[AudioSamples]:
        """Yield the audio by time stamps."""
        private = _private(probe)
        return pyav_audio.read_audio(probe.path, private.limits, report, private.clock.audio)


READER = PyavReader()


def _private(probe: Probe) -> _Private:
    if not isinstance(probe.private, _Private):
        raise TypeError(f"probe of reader={probe.reader!r}; expected one made by {NAME!r}")
    return probe.private


class _Decoder:
    """One open file with its codec, fed packet by packet."""

    def __init__(self, container: Any, private: _Private, report: Report) -> None:
        self._stream = container.streams[private.stream_index]
        self.codec: Any = self._stream.codec_context
        self.codec.options = {"max_pixels": str(file_checks.codec_pixels(private.limits))}
        self.codec.thread_count = 1
        # Else what the bitstream cuts off on the left would be shown, but for whole 32 bytes.
        self.codec.flags |= Flags.unaligned
        for other in container.streams:
            if other.index != private.stream_index:
                other.discard = Discard.all
        self._container = container
        self._private = private
        self._report = report
        self.upright = Upright(
            _container.aspect_of(self._stream), _container.crop_of(container, self._stream)
        )
        self._damaged_at: int | None = None
        if (hdr := _container.hdr_of(self._stream)) and tone.warning(hdr) not in report.warnings:
            report.warnings.append(tone.warning(hdr))

    def packets(self) -> Iterator[Any]:
        """All packets with content, in decode order; what is bad is passed over."""
        shifts = {self._stream.index: self._private.clock.video}
        return packets_of(self._container, [self._stream], [], shifts)

    def decode(self, packet: Any) -> list[Any]:
        """Frames that come out for one packet; None drains the decoder."""
        try:
            frames: list[Any] = self.codec.decode(packet)
        except FFmpegMemoryError:
            raise
        except FFmpegError:
            self.damage(
                None if packet is None else packet.dts if packet.pts is None else packet.pts
            )
            return []
        return frames

    def is_sound(self, frame: Any) -> bool:
        """Whether no damage can show in ``frame``, the next one that came out.

        A damaged frame shows in all that were predicted from it, and those are not marked:
        none is trusted until a clean key frame later than the damage.
        """
        if frame.is_corrupt:
            self.damage(frame.pts)
        elif (
            self._damaged_at is not None
            and frame.key_frame
            and (frame.pts is None or frame.pts > self._damaged_at + self._private.guessed)
            and self._begins_anew(frame.pts)
        ):
            self._damaged_at = None
        return self._damaged_at is None

    def _begins_anew(self, pts: int | None) -> bool:
        """Whether the packet says so, too: AV1's decoder says it of frames that it repeats."""
        packets = self._private.packets
        return pts not in packets.pts or bool(packets.key[packets.pts == pts].any())

    def damage(self, pts: int | None) -> None:
        """Trust no frame that comes out from here on, up to a clean key frame after ``pts``."""
        self._report.corrupt += 1
        pts = MISSING if pts is None else pts
        self._damaged_at = pts if self._damaged_at is None else max(pts, self._damaged_at)


class _Held:
    """Frames that came out before one that they may be predicted from.

    A B frame is predicted from later ones, up to the next frame of another kind; whether
    that is whole shows when it comes out.
    """

    def __init__(self) -> None:
        self._held: deque[tuple[int, Frame]] = deque()
        self._count = 0

    def __len__(self) -> int:
        return len(self._held)

    def put(self, frame: Frame) -> None:
        """Hold the frame of the frame that came out last."""
        self._held.append((self._count, frame))

    def after(self, frame: Any) -> Iterator[Frame]:
        """Give those that are sure now that ``frame`` came out whole, itself perhaps."""
        sure = self._count - (MOST_AHEAD if frame.pict_type == PictureType.B else 0)
        self._count += 1
        while self._held and self._held[0][0] <= sure:
            yield self._held.popleft()[1]

    def rest(self) -> Iterator[Frame]:
        """Give all, at the end."""
        while self._held:
            yield self._held.popleft()[1]

    def drop(self) -> None:
        """Give none: damage came after them."""
        self._held.clear()


def _planned(
    probe: Probe, private: _Private, wanted: Sequence[int], report: Report
) -> Iterator[Frame]:
    """Decode by plan; everything unexpected raises `_CannotPlan`."""
    plan = packet_plan.make_plan(
        private.packets, probe.times.pts[list(wanted)], probe.codec, private.traits
    )
    report.skipped = int((plan.action == packet_plan.DROP).sum())
    before = report.corrupt
    with _container.opened(probe.path, private.limits) as container:
        decoder = _Decoder(container, private, report)
        held = _Held()
        waiting = [(int(i), int(probe.times.pts[i])) for i in wanted]
        for frame in _planned_frames(decoder, private.packets, plan):
            if report.corrupt > before or frame.is_corrupt:
                raise _CannotPlan("a packet or a frame was corrupt")
            if waiting and frame.pts == waiting[0][1]:
                held.put(Frame(waiting.pop(0)[0], decoder.upright(frame)))
            elif waiting and (frame.pts is None or frame.pts > waiting[0][1]):
                break
            yield from held.after(frame)
        if report.corrupt > before:
            raise _CannotPlan("a packet or a frame was corrupt")
        yield from held.rest()
        if waiting:
            raise _CannotPlan("a wanted frame did not come out of the decoder")


def _planned_frames(
    decoder: _Decoder, packets: PacketTable, plan: packet_plan.Plan
) -> Iterator[Any]:
    num_left = int((plan.action != packet_plan.DROP).sum())
    i = -1
    for i, packet in enumerate(decoder.packets()):
        if i >= len(packets) or _stamp(packet) != packets.pts[i]:
            raise _CannotPlan("the packets changed between two readings")
        if plan.fresh[i]:
            yield from decoder.decode(None)
            decoder.codec.flush_buffers()
        if plan.action[i] == packet_plan.DROP:
            continue
        lazy = plan.action[i] == packet_plan.DECODE_IF_REFERENCE
        decoder.codec.skip_frame = "NONREF" if lazy else "DEFAULT"
        yield from decoder.decode(packet)
        num_left -= 1
        if num_left == 0:
            break
    yield from decoder.decode(None)


def _stamp(packet: Any) -> int:
    return MISSING if packet.pts is None else int(packet.pts)


def _in_full(
    probe: Probe, private: _Private, wanted: Sequence[int], report: Report
) -> Iterator[Frame]:
    """Decode everything up to the last wanted frame; what damage may show in is left out."""
    if not wanted:
        return
    with _container.opened(probe.path, private.limits) as container:
        decoder = _Decoder(container, private, report)
        held = _Held()
        waiting = list(wanted)
        for order, frame in enumerate(_all_frames(decoder, private.damaged)):
            index = _place(order, frame, probe.times, private.places)
            is_sound = decoder.is_sound(frame)
            if not is_sound:
                held.drop()
            while waiting and index is not None and waiting[0] < index:
                waiting.pop(0)  # it did not decode; the caller sees the gap
            if waiting and index == waiting[0]:
                waiting.pop(0)
                if is_sound:
                    held.put(Frame(index, decoder.upright(frame)))
            yield from held.after(frame)
            if not waiting and not held:
                return
        yield from held.rest()


def _place(
    order: int, frame: Any, times: TimeTable, places: NDArray[np.int64] | None
) -> int | None:
    if places is not None:
        return int(places[order]) if order < len(places) else None
    pts = frame.pts if frame.pts is not None else frame.dts
    if pts is None:
        return None
    index = int(np.searchsorted(times.pts, pts))
    return index if index < len(times.pts) and times.pts[index] == pts else None


def _all_frames(decoder: _Decoder, damaged: frozenset[int] = frozenset()) -> Iterator[Any]:
    for number, packet in enumerate(decoder.packets()):
        if number in damaged:
            decoder.damage(packet.pts)
        yield from decoder.decode(packet)
    yield from decoder.decode(None)


def _times(
    path: str, container: Any, stream: Any, found: Demuxed, limits: Limits
) -> tuple[TimeTable, NDArray[np.int64] | None, str]:
    """Time table; place in it of each frame that comes out, and why packets do not tell that."""
    fps = stream.average_rate or stream.guessed_rate
    name, kind = stream.codec_context.codec.canonical_name, container.format.name.split(",")[0]
    why = packet_plan.why_no_table(
        found.packets, name, kind, found.traits, cut_at_start=0 in found.damaged
    )
    delay = found.counted.delay
    if why:
        in_order = packet_plan.are_decode_times(found.packets, name, found.traits)
        times = _decoded_times(path, stream.index, limits, fps, in_order, found.clock)
        if found.packed is not None and len(found.packed) == len(times.pts):
            times = packet_plan.closed_table(found.packed, 1, times.time_base, fps)
            delay = 0
        lost = np.array(found.counted.lost, np.int64)
    else:
        times = packet_plan.time_table(found.packets, stream.time_base, fps)
        lost = losses.lost_times(found.packets, found.damaged, found.counted.lost)
    end = found.counted.end
    times, places = losses.with_lost(times, lost, None if end is None else end + delay)
    return times, places if why else None, why


def _decoded_times(
    path: str,
    stream_index: int,
    limits: Limits,
    fps: Fraction | None,
    in_order: bool,
    clock: Clock,
) -> TimeTable:
    """Time table from a full decode, for files whose packets do not tell.

    Args:
        path: of the file.
        stream_index: of the video stream.
        limits: of decoding.
        fps: mean rate, for frames without a time stamp.
        in_order: the time stamps are right for the frames as they come, but not each for its own.
        clock: of the file.
    """
    nothing = frozenset[int]()
    private = _Private(
        stream_index, _NO_PACKETS, Traits(), None, "", clock, nothing, 0.0, False, 0.0, limits
    )
    stamps: list[int] = []
    length = 0
    time_base = Fraction(1)
    with _container.opened(path, limits) as container:
        time_base = container.streams[stream_index].time_base
        for frame in _all_frames(_Decoder(container, private, Report())):
            stamp = frame.pts if frame.pts is not None else frame.dts
            if stamp is None:
                step = round(1 / (fps * time_base)) if fps else 1
                stamp = stamps[-1] + max(1, length or step) if stamps else 0
            length = frame.duration or 0
            # Time cannot go back on the screen.
            stamps.append(stamp if in_order or not stamps else max(stamp, stamps[-1]))
    if not stamps:
        raise file_checks.no_frames(path)
    if in_order:
        stamps.sort()
    pts: NDArray[np.int64] = np.array(stamps, np.int64)
    return packet_plan.closed_table(pts, length, time_base, fps)


_EMPTY = np.empty(0, np.int64)
_NO_PACKETS = PacketTable(_EMPTY, _EMPTY, np.empty(0, np.bool_), np.empty(0, np.bool_))
