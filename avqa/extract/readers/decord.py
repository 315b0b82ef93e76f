"""Frames through decord, one thread, by its own time stamps.

decord has no white list, no limits and drops the start offset of audio. So the file is opened by
PyAV first, which applies the first two, and the audio is PyAV's.

decord seeks by time stamps that MPEG streams, AVI and WMV do not index, resumes at frames that
are complete only a refresh sweep later, counts frames before time 0 and does not find the others
by that count: such files are refused, as are those whose time stamps it changes, those that are
cropped in a way it does not know, and HDR. It takes all colours for BT.601; its FFmpeg 4.1 has no
AV1 decoder.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import av
import decord
import numpy as np
from av.error import FFmpegError
from numpy.typing import NDArray
from PIL import Image

from avqa.errors import MediaError
from avqa.extract.media import container as _container
from avqa.extract.media import demux, file_checks, packet_plan
from avqa.extract.media.audio import pyav_audio
from avqa.extract.media.types import AudioSamples, Frame, Limits, Probe, Report, TimeTable

NAME = "decord"
WRONG_CONTAINERS = frozenset({"mpegts", "mpeg", "mpegvideo", "asf"})
"""It seeks by time stamps that these do not index."""
SLACK_SECONDS = Fraction(2, 1000)
"""Containers round time stamps to 1 ms, and decord gives them as floating numbers."""


@dataclass(frozen=True)
class _Private:
    aspect: Fraction
    short: bool
    limits: Limits


class DecordReader:
    """See the module; a `Reader`."""

    name = NAME

    def version(self) -> str:
        """Decord's version, and that of PyAV, which reads its audio."""
        return f"decord {decord.__version__}, sound by pyav {av.__version__}"

    def probe(self, path: str, limits: Limits) -> Probe:
        """Check the file with PyAV, then take decord's time stamps.

        Raises:
            MediaError: see `avqa.extract.media.types.Reader`.
        """
        path = file_checks.check_file(path)
        with _container.opened(path, limits) as container:
            stream = _container.video_stream(container, path)
            _container.check_stream(container, stream, path, NAME, limits)
            codec = stream.codec_context
            found = demux.demux(container, stream, path, limits)
            _refuse(path, container.format.name, found, stream.format)
            if hdr := _container.hdr_of(stream):
                raise _wrong(path, f"HDR (transfer={hdr}), which it shows as if it were SDR")
            if any(_container.crop_of(container, stream)):
                raise _wrong(path, "a crop by the container, which it does not apply")
            if _is_cut_on_the_left(path, stream.index, limits):
                raise _wrong(path, "a bitstream that is cut on the left, which it squeezes instead")
            aspect = _container.aspect_of(stream)
            short = found.is_short_of(container)
            with _video(path, short) as video:
                stamps = _stamps(video, path)
            if stamps[0, 0] < 0:
                raise _wrong(path, "frames before time 0, which it counts")
            ticks = np.rint(stamps / float(stream.time_base)).astype(np.int64)
            length = int(ticks[-1, 1] - ticks[-1, 0])
            ticks += _start(found.packets) - ticks[0, 0]
            fps = stream.average_rate or stream.guessed_rate
            times = packet_plan.closed_table(ticks[:, 0].copy(), length, stream.time_base, fps)
            _compare(path, container.format.name, found, times)
            times = times.with_keys(found.packets.key_ticks)
            return Probe(
                path=path,
                reader=NAME,
                width=codec.width,
                height=codec.height,
                codec=codec.codec.canonical_name,
                declared_seconds=_container.declared_seconds(container),
                times=times,
                has_audio=found.has_audio,
                average_fps=fps,
                audio_end_seconds=found.audio_end,
                private=_Private(aspect, short, limits),
            )

    def frames(
        self, probe: Probe, wanted: Sequence[int], report: Report, *, full: bool = False
    ) -> Iterator[Frame]:
        """Yield the frames ``wanted``; decord seeks by itself, ``full`` makes no difference."""
        private = _private(probe)
        report.packets = len(probe.times.pts)
        report.why_not_planned = "decord seeks by itself"
        report.partial = report.partial or private.short
        report.decoded_seconds = float(probe.times.duration)
        with _video(probe.path, private.short) as video:
            for index in wanted:
                try:
                    rgb = video[index].asnumpy()
                except (decord.DECORDError, IndexError):
                    report.corrupt += 1
                    continue
                yield Frame(index, _square(rgb, private.aspect, probe.width))

    def audio(self, probe: Probe, report: Report) -> Iterator[AudioSamples]:
        """Yield the audio by time stamps."""
        return pyav_audio.read_audio(probe.path, _private(probe).limits, report)


READER = DecordReader()


def _private(probe: Probe) -> _Private:
    if not isinstance(probe.private, _Private):
        raise TypeError(f"probe of reader={probe.reader!r}; expected one made by {NAME!r}")
    return probe.private


@contextmanager
def _video(path: str, short: bool) -> Iterator[Any]:
    """Open with decord; it takes only UTF-8, so other names go through an open file.

    Raises:
        MediaError: ``truncated`` or ``corrupt`` where decord cannot read on, else ``no_decoder``.
    """
    decord.logging.set_level(decord.logging.QUIET)
    descriptor = None
    name = path
    try:
        path.encode("utf-8")
    except UnicodeEncodeError:
        descriptor = os.open(path, os.O_RDONLY)
        name = f"/proc/self/fd/{descriptor}"
    try:
        try:
            video = decord.VideoReader(name, ctx=decord.cpu(0), num_threads=1)
        except (decord.DECORDError, RuntimeError) as error:
            raise _cannot_open(path, short, str(error)) from error
        yield video
    finally:
        if descriptor is not None:
            os.close(descriptor)


def _refuse(path: str, container: str, found: demux.Demuxed, pixels: Any) -> None:
    """Refuse what decord shows wrong frames of.

    Raises:
        MediaError: ``no_decoder``.
    """
    if set(container.split(",")) & WRONG_CONTAINERS:
        raise _wrong(path, f"container {container}, whose packets it does not find again")
    if any(number + 1 < len(found.packets) for number in found.damaged):
        raise _wrong(path, "packets that are damaged or missing, without which it goes on")
    if found.clock.joints:
        raise _wrong(path, "a clock that restarts or jumps")
    if found.traits.gradual:
        raise _wrong(path, "intra refresh: frames that are complete only after a sweep")
    if pixels.name.startswith(("gray", "pal8")) and "mov" in container:
        raise _wrong(path, f"{pixels.name} pixels in QuickTime")


def _is_cut_on_the_left(path: str, index: int, limits: Limits) -> bool:
    """Whether frames are decoded wider than they are shown, as FFmpeg does if not told better."""
    with _container.opened(path, limits) as container:
        codec = container.streams[index].codec_context
        codec.thread_count = 1
        try:
            frame = next(container.decode(container.streams[index]), None)
        except FFmpegError:
            return False
        return frame is not None and frame.width != codec.width


def _compare(path: str, container: str, found: demux.Demuxed, times: TimeTable) -> None:
    """Refuse a file of which decord gives other times than its packets have.

    Raises:
        MediaError: ``no_decoder``.
    """
    if packet_plan.why_no_table(found.packets, "", container, found.traits):
        return
    told = np.sort(found.packets.pts[found.packets.shown])
    near = round(SLACK_SECONDS / times.time_base)
    if len(told) != len(times.pts) or (np.abs(told - times.pts) > near).any():
        raise _wrong(path, "time stamps that it changes")


def _wrong(path: str, what: str) -> MediaError:
    return MediaError(
        "no_decoder",
        f"decord shows wrong frames of path={path!r}: {what}; expected a file it reads rightly;"
        " use --decoder pyav, or convert the file",
        stage="probe",
    )


def _cannot_open(path: str, short: bool, message: str) -> MediaError:
    if "av_read_frame failed" not in message and not short:
        return file_checks.no_decoder(path, NAME, "one decord cannot open")
    return MediaError(
        "truncated" if short else "corrupt",
        f"decord cannot read path={path!r} to its end; expected a whole file; "
        "repair it or choose another --decoder",
        stage="probe",
    )


def _stamps(video: Any, path: str) -> NDArray[np.float64]:
    """Begin and end [F, 2] of every frame in seconds on the file's clock."""
    if len(video) == 0:
        raise file_checks.no_frames(path)
    stamps: NDArray[np.float64] = video.get_frame_timestamp(range(len(video))).astype(np.float64)
    return stamps[np.argsort(stamps[:, 0], kind="stable")]


def _start(packets: packet_plan.PacketTable) -> int:
    """Tick of the first frame on the file's clock; decord counts from the stream's start."""
    stamps = packets.pts[packets.shown & (packets.pts != packet_plan.MISSING)]
    return int(stamps.min()) if len(stamps) else 0


def _square(rgb: NDArray[np.uint8], aspect: Fraction, coded_width: int) -> NDArray[np.uint8]:
    """Stretch [H, W, 3] to square pixels; decord has turned it upright already."""
    height, width = rgb.shape[:2]
    if height == coded_width != width:
        aspect = 1 / aspect
    size = _container.display_size(width, height, aspect)
    if size == (width, height):
        return rgb
    return np.asarray(Image.fromarray(rgb).resize(size, Image.Resampling.BICUBIC))
