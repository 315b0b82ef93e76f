"""Frames and audio through the bundled ffmpeg program, with a time table of its own.

An independent check of the other readers: nothing here comes from PyAV. It decodes every
frame twice, once for the time stamps and once for the wanted frames.
"""

from __future__ import annotations

import queue
import re
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import IO

import numpy as np
from numpy.typing import NDArray

from avqa.errors import MediaError
from avqa.extract.media import ffmpeg_program, file_checks, packet_plan
from avqa.extract.media.lost_sound import LEAST_BYTES, LostSound, means_zeros
from avqa.extract.media.types import (
    AudioSamples,
    Frame,
    Limits,
    Probe,
    Report,
    Stretch,
    TimeTable,
)

NAME = "ffmpeg"
# One side is stretched to square pixels, none is shrunk.
_SCALE = (
    "scale='max(iw,trunc(iw*sar+0.5))':'max(ih,trunc(ih/sar+0.5))'"
    ":flags=bicubic+full_chroma_int+accurate_rnd+bitexact,setsar=1,format=rgb24"
)
_STREAM = re.compile(r"^\[info\] +Stream #0:(\d+)[^:]*: (Video|Audio): (\w+)(.*)$")
_SIZE = re.compile(r", (\d+)x(\d+)(?: \[SAR (\d+):(\d+))?")
_RATE = re.compile(r", ([\d.]+)(k?) fps")
_INPUT = re.compile(r"^\[info\] Input #0, ([\w,]+), from")
_DURATION = re.compile(r"^\[info\] +Duration: (\d+):(\d+):([\d.]+)(?:, start: ([\d.]+))?")
# These are searched anywhere in a line: another thread's unfinished message may come before.
_TIME_BASE = re.compile(r"\[Parsed_showinfo.*config in time_base: (\d+)/(\d+)")
_SHOWN = re.compile(r"\[Parsed_showinfo\S* @ \S+ \[info\] n: *\d+ pts: *(\S+) .*?duration: *(\S+)")
_HEARD = re.compile(
    r"\[Parsed_ashowinfo.*? n:\d+ pts:(\S+) pts_time:\S+ .*channels:(\d+) .*"
    r"rate:(\d+) nb_samples:(\d+)"
)
_QUIET = {"map_metadata": -1, "map_chapters": -1}
"""Keeps text of the file out of the messages, once `_START` was printed."""
_START = "[info] Stream mapping:"


@dataclass
class _Header:
    """What the program prints about a file."""

    video: list[tuple[int, str, str]] = field(default_factory=list)
    """Index, codec and rest of the line, of each video stream that is no cover image."""
    audio: list[tuple[int, str, str]] = field(default_factory=list)
    declared_seconds: float | None = None
    container: str = ""

    def take(self, line: str) -> None:
        if found := _INPUT.match(line):
            self.container = found[1]
        elif found := _STREAM.match(line):
            stream = (int(found[1]), found[3], found[4])
            if found[2] == "Audio":
                self.audio.append(stream)
            elif "(attached pic)" not in found[4]:
                self.video.append(stream)
        elif found := _DURATION.match(line):
            seconds = int(found[1]) * 3600 + int(found[2]) * 60 + float(found[3])
            start = float(found[4] or 0)
            # Matroska's writers put the time of the end where the length belongs.
            late = "matroska" in self.container and start < seconds
            self.declared_seconds = seconds - start if late else seconds


def _default(streams: list[tuple[int, str, str]]) -> tuple[int, str, str]:
    return next((s for s in streams if "(default)" in s[2]), streams[0])


@dataclass(frozen=True)
class _Private:
    frame: int
    audio: int | None
    num_errors: int
    short: bool
    limits: Limits
    lost_sound: tuple[Stretch, ...]


class FfmpegReader:
    """See the module; a `Reader`."""

    name = NAME

    def version(self) -> str:
        """Name and version; see `avqa.extract.media.ffmpeg_program.version`."""
        return f"ffmpeg {ffmpeg_program.version()}"

    def probe(self, path: str, limits: Limits) -> Probe:
        """Read the header, then decode everything for its time stamps.

        Raises:
            MediaError: see `avqa.extract.media.types.Reader`.
        """
        path = file_checks.check_file(path)
        header = _header(path, limits)
        index, codec, rest = _default(header.video)
        width, height = _declared_size(path, rest, limits)
        file_checks.check_length(path, header.declared_seconds, limits)
        known = [stream for stream in header.audio if stream[1] != "none"] or header.audio
        audio = _default(known) if known else None
        table = _Table(path, limits)
        rate = _RATE.search(rest)
        fps = _exact_rate(float(rate[1]) * (1000 if rate[2] else 1)) if rate else None
        table.fill(index)
        times = table.times(fps)
        return Probe(
            path=path,
            reader=NAME,
            width=width,
            height=height,
            codec=codec,
            declared_seconds=header.declared_seconds,
            times=times,
            has_audio=audio is not None and table.has_audio(header.audio.index(audio)),
            average_fps=fps,
            audio_end_seconds=audio and table.audio_end(header.audio.index(audio)),
            private=_Private(
                index,
                audio and audio[0],
                table.num_errors,
                table.is_short(header.declared_seconds),
                limits,
                table.lost_sound(header.audio.index(audio), audio[1]) if audio else (),
            ),
        )

    def frames(
        self, probe: Probe, wanted: Sequence[int], report: Report, *, full: bool = False
    ) -> Iterator[Frame]:
        """Yield the frames ``wanted``; everything is always decoded."""
        private = _private(probe)
        report.packets = len(probe.times.pts)
        report.why_not_planned = "the ffmpeg program decodes everything"
        report.partial = report.partial or private.short
        report.decoded_seconds = float(probe.times.duration)
        report.corrupt += private.num_errors
        if not wanted:
            return
        with tempfile.NamedTemporaryFile(
            "w", prefix="avqa-", suffix=".filter", encoding="utf-8"
        ) as script:
            script.write(f"select='{_choose(list(wanted))}',{_SCALE}")
            script.flush()
            output = ffmpeg_program.source(private.limits).output(
                "pipe:1",
                **{"map": f"0:{private.frame}", "/filter:v": script.name},
                format="image2pipe",
                vcodec="ppm",
                fps_mode="passthrough",
            )
            with ffmpeg_program.running(
                ffmpeg_program.arguments(probe.path, output), lambda _: None
            ) as program:
                for i in wanted:
                    rgb = _read_ppm(program.output)
                    if rgb is None:
                        return
                    yield Frame(i, rgb)

    def audio(self, probe: Probe, report: Report) -> Iterator[AudioSamples]:
        """Yield the audio by time stamps.

        Raises:
            MediaError: ``no_sound`` or ``corrupt``.
        """
        private = _private(probe)
        if private.audio is None:
            raise file_checks.no_audio(probe.path)
        report.lost_sound += private.lost_sound
        heard: queue.SimpleQueue[re.Match[str]] = queue.SimpleQueue()

        started = False

        def take(line: str) -> None:
            nonlocal started
            started = started or line == _START
            if started and (found := _HEARD.search(line)):
                heard.put(found)

        output = ffmpeg_program.source(private.limits).output(
            "pipe:1",
            map=f"0:{private.audio}",
            af="ashowinfo",
            format="f32le",
            acodec="pcm_f32le",
            **_QUIET,
        )
        count = 0
        with ffmpeg_program.running(ffmpeg_program.arguments(probe.path, output), take) as program:
            try:
                for run in _runs(program.output, heard):
                    count += 1
                    yield run
            finally:  # also if the rest is not wanted
                report.corrupt += program.num_errors
        if count == 0:
            raise MediaError(
                "corrupt",
                f"the audio of path={probe.path!r} does not decode; expected at least one frame; "
                "the file is damaged",
                stage="sound",
            )


READER = FfmpegReader()


def _private(probe: Probe) -> _Private:
    if not isinstance(probe.private, _Private):
        raise TypeError(f"probe of reader={probe.reader!r}; expected one made by {NAME!r}")
    return probe.private


def _header(path: str, limits: Limits) -> _Header:
    header = _Header()
    # Without an output the program describes the input and ends with an error.
    command = ffmpeg_program.arguments(
        path, ffmpeg_program.source(limits).output("x", format="null")
    )[:-3]
    with ffmpeg_program.running(command, header.take) as program:
        died = ffmpeg_program.crashed(path, program.finish())
        errors = [e for e in program.errors if "At least one output" not in e]
    if died is not None:
        raise died
    if not header.video and not header.audio:
        raise file_checks.not_media(path, errors[-1] if errors else "no stream found")
    if not header.video:
        raise file_checks.no_video(path)
    return header


def _declared_size(path: str, rest: str, limits: Limits) -> tuple[int, int]:
    found = _SIZE.search(rest)
    if not found:
        raise file_checks.no_frames(path, "no size is declared or found")
    width, height = int(found[1]), int(found[2])
    file_checks.check_size(path, width, height, limits)
    if found[3] and int(found[3]) and int(found[4]):
        aspect = Fraction(int(found[3]), int(found[4]))
        stretched = max(aspect, 1 / aspect)
        file_checks.check_size(path, round(width * stretched), height, limits)
    return width, height


def _exact_rate(fps: float) -> Fraction:
    """The rate behind a number printed with two decimals: n/1001 ones are the only others."""
    near = Fraction(round(fps) * 1000, 1001)
    if abs(fps - near) < 0.006 and abs(fps - round(fps)) > 0.006:
        return near
    return Fraction(fps).limit_denominator(100)


@dataclass
class _Packet:
    """What is known of a packet that was copied."""

    pts: int
    duration: int
    size: int
    time_base: Fraction
    pos: int | None = None
    is_corrupt: bool = False


class _Table:
    """Time stamps of all frames, and the extent of all tracks, from one full decode."""

    def __init__(self, path: str, limits: Limits) -> None:
        self._path = path
        self._limits = limits
        self._pts: list[int] = []
        self._length = 0
        self._time_base = Fraction(1)
        self._ends: dict[int, Fraction] = {}
        self._lost: dict[int, list[Stretch]] = {}
        self._started = False
        self.num_errors = 0

    def fill(self, frame: int) -> None:
        """Run the program."""
        command = ffmpeg_program.arguments(
            self._path,
            ffmpeg_program.source(self._limits).output(
                "-", map=f"0:{frame}", vf="showinfo=checksum=0", fps_mode="passthrough",
                format="null", enc_time_base="demux", **_QUIET,
            )
        )  # fmt: skip
        # The declared length is that of the longest track, whichever it is.
        tracks = [word for kind in "avsd" for word in ("-map", f"0:{kind}?")]
        command += [*tracks, "-c", "copy", "-copy_unknown", "-f", "framecrc", "pipe:1"]
        with ffmpeg_program.running(command, self._take) as program:
            self._take_ends(program.output)
            died = ffmpeg_program.crashed(self._path, program.finish())
            self.num_errors = program.num_errors
        if died is not None:
            raise died
        if not self._pts:
            raise file_checks.no_frames(
                self._path, program.errors[-1] if program.errors else "none"
            )

    def _take(self, line: str) -> None:
        self._started = self._started or line == _START
        if not self._started:
            return
        if found := _SHOWN.search(line):
            last = self._pts[-1] if self._pts else 0
            pts = last + self._length if found[1] == "NOPTS" else int(found[1])
            self._length = int(found[2]) if found[2] != "NOPTS" else 0
            self._pts.append(max(pts, last) if self._pts else pts)
        elif found := _TIME_BASE.search(line):
            self._time_base = Fraction(int(found[1]), int(found[2]))

    def _take_ends(self, lines: IO[bytes]) -> None:
        time_bases: dict[int, Fraction] = {}
        ends: dict[int, int] = {}
        lost: dict[int, LostSound] = {}
        for line in lines:
            if line.startswith(b"#tb "):
                number, _, time_base = line.removeprefix(b"#tb ").decode().partition(":")
                track = int(number)
                time_bases[track] = Fraction(time_base.strip())
                lost[track] = LostSound(self._path, self._lost.setdefault(track, []))
            elif not line.startswith(b"#"):
                fields = line.split(b",")
                track = int(fields[0])
                pts, duration, size = map(int, fields[2:5])
                packet = _Packet(pts, duration, size, time_bases[track])
                ends[track] = max(packet.pts + packet.duration, ends.get(track, 0))
                # The checksum of zeros is zero.
                void = int(fields[5], 16) == 0 and packet.size >= LEAST_BYTES
                lost[track].take(packet, lost=void, hollow=True)
        for of_track in lost.values():
            of_track.finish()
        self._ends = {track: end * time_bases[track] for track, end in ends.items()}

    def has_audio(self, number: int) -> bool:
        """Whether audio stream ``number`` has packets; the audio streams were mapped first."""
        return number in self._ends

    def lost_sound(self, number: int, codec: str) -> tuple[Stretch, ...]:
        """Where audio stream ``number`` has packets of zeros, if its codec has none."""
        return () if means_zeros(codec) else tuple(self._lost.get(number, ()))

    def audio_end(self, number: int) -> float | None:
        """End of audio stream ``number`` in seconds, if it has packets."""
        return float(self._ends[number]) if number in self._ends else None

    def times(self, fps: Fraction | None) -> TimeTable:
        """The time table."""
        pts = np.array(self._pts, np.int64)
        table = packet_plan.closed_table(pts, self._length, self._time_base, fps)
        file_checks.check_length(self._path, float(table.duration), self._limits)
        return table

    def is_short(self, declared: float | None) -> bool:
        """Whether all tracks end clearly before the declared length."""
        if declared is None:
            return False
        frame_end = (self._pts[-1] + self._length) * self._time_base
        start = min(self._pts[0] * self._time_base, Fraction(0))
        end = float(max(frame_end, *self._ends.values()) - start)
        return end < declared - max(0.5, 0.01 * declared)


def _choose(wanted: list[int]) -> str:
    """Expression that is true for the frames ``wanted``; a search tree, for speed."""
    if len(wanted) == 1:
        return f"eq(n,{wanted[0]})"
    half = len(wanted) // 2
    return f"if(lt(n,{wanted[half]}),{_choose(wanted[:half])},{_choose(wanted[half:])})"


def _read_ppm(stream: IO[bytes]) -> NDArray[np.uint8] | None:
    """Next frame [H, W, 3]; None at the end, or if the program died within one."""
    magic, size, depth = stream.readline(), stream.readline(), stream.readline()
    if magic != b"P6\n" or depth != b"255\n":
        return None
    width, height = map(int, size.split())
    data = stream.read(width * height * 3)
    if len(data) < width * height * 3:
        return None
    return np.frombuffer(data, np.uint8).reshape(height, width, 3)


def _runs(stream: IO[bytes], heard: queue.SimpleQueue[re.Match[str]]) -> Iterator[AudioSamples]:
    """Cut the samples into the frames that were announced."""
    expected = Fraction(0)
    # Samples are written after their announcement, so what is there to read is announced.
    while head := stream.read(4):
        found = heard.get(timeout=60)
        channels, rate, length = int(found[2]), int(found[3]), int(found[4])
        data = head + stream.read(4 * channels * length - 4)
        samples = np.frombuffer(data[: len(data) // (4 * channels) * 4 * channels], np.float32)
        start = expected if found[1] == "NOPTS" else Fraction(int(found[1]), rate)
        expected = start + Fraction(length, rate)
        yield AudioSamples(
            start, rate, samples.reshape(-1, channels).mean(axis=1, dtype=np.float32)
        )
