"""Frames and audio through the bundled ffmpeg program, with a time table of its own.

An independent check of the other readers: nothing here comes from PyAV. It decodes every
frame twice, once for the time stamps and once for the wanted frames.
"""

from __future__ import annotations

import math
import queue
import re
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from avqa.errors import MediaError
from avqa.extract.media import avi, ffmpeg_program, file_checks
from avqa.extract.media.clock import Follower, Track
from avqa.extract.media.ffmpeg_table import QUIET, START, Frames, Run, read_frames
from avqa.extract.media.frame import tone
from avqa.extract.media.types import AudioSamples, Frame, Limits, Probe, Report, Stretch

NAME = "ffmpeg"
# One side is stretched to square pixels, none is shrunk.
_SCALE = (
    "scale='max(iw,trunc(iw*sar+0.5))':'max(ih,trunc(ih/sar+0.5))'"
    ":flags=bicubic+full_chroma_int+accurate_rnd+bitexact,setsar=1,format="
)
_STREAM = re.compile(r"^\[info\] +Stream #0:(\d+)[^:]*: (Video|Audio): (\w+)(.*)$")
_SIZE = re.compile(r", (\d+)x(\d+)(?: \[SAR (\d+):(\d+))?")
_HDR = re.compile(rf"[/, (]({'|'.join(tone.TRANSFERS.values())})[,)]")
_RATE = re.compile(r", ([\d.]+)(k?) fps")
_FORM = re.compile(r", (\d+) Hz, ([\w.]+(?:\([\w-]+\))?),")
_INPUT = re.compile(r"^\[info\] Input #0, ([\w,]+), from")
_DURATION = re.compile(r"^\[info\] +Duration: (\d+):(\d+):([\d.]+)(?:, start: ([\d.]+))?")
# It is searched anywhere in a line: another thread's unfinished message may come before.
_HEARD = re.compile(
    r"\[Parsed_ashowinfo_(\d+).*? n:\d+ pts:(\S+) pts_time:\S+ .*channels:(\d+) chlayout:(.*) "
    r"rate:(\d+) nb_samples:(\d+)"
)


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
    heard: Track | None
    """The packets of the audio."""
    frames: Frames
    short: bool
    form: str
    """Filter that keeps rate and channels of the audio as they are at first."""
    hdr: str
    """The transfer, if it is HDR."""
    limits: Limits
    lost_sound: tuple[Stretch, ...]

    def on_one_clock(self, runs: Iterator[AudioSamples]) -> Iterator[AudioSamples]:
        """The runs of the audio, each where the part that it is of goes on."""
        if self.heard is None or not self.frames.clock.audio.starts:
            yield from runs
            return
        follow = Follower(self.heard, self.frames.clock.audio)
        for run in runs:
            ticks = follow(round(run.start_seconds / self.heard.time_base))
            yield replace(run, start_seconds=run.start_seconds + ticks * self.heard.time_base)


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
        if header.container.split(",")[0] in file_checks.DECLARES_LENGTH:
            file_checks.check_length(path, header.declared_seconds, limits)
        known = [stream for stream in header.audio if stream[1] != "none"] or header.audio
        audio = _default(known) if known else None
        rate = _RATE.search(rest)
        fps = _exact_rate(float(rate[1]) * (1000 if rate[2] else 1)) if rate else None
        run, frames = read_frames(path, limits, index, audio and audio[0], header.container, fps)
        heard = run.track(audio[0]) if audio is not None else None
        return Probe(
            path=path,
            reader=NAME,
            width=width,
            height=height,
            codec=codec,
            declared_seconds=header.declared_seconds,
            times=frames.times,
            has_audio=heard is not None,
            average_fps=fps,
            audio_end_seconds=frames.end_of(heard),
            private=_Private(
                index,
                audio and audio[0],
                heard,
                frames,
                _is_short(run, frames, header.declared_seconds)
                or (header.container == "avi" and _lacks_frames(path, frames, fps)),
                _form(audio[2]) if audio is not None else "",
                hdr[1] if (hdr := _HDR.search(rest)) else "",
                limits,
                run.lost_sound(audio[0], audio[1]) if audio and not frames.clock.joints else (),
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
        report.corrupt += private.frames.corrupt
        report.restarts = list(private.frames.clock.joints)
        if note := private.frames.clock.note():
            report.warnings.append(note)
        if private.hdr:
            report.warnings.append(tone.warning(private.hdr))
        chosen = private.frames.select(list(wanted))
        if not chosen:
            return
        with tempfile.NamedTemporaryFile(
            "w", prefix="avqa-", suffix=".filter", encoding="utf-8"
        ) as script:
            # Straight into rgb48, some versions convert the colours of the first row alone.
            depth = "gbrp16le,format=rgb48be" if private.hdr else "rgb24"
            chosen_ones = _choose([number for _, number in chosen])
            script.write(f"select='{chosen_ones}',{_SCALE}{depth}")
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
                for index, _ in chosen:
                    rgb = _read_ppm(program.output)
                    if rgb is None:
                        ffmpeg_program.require_own_end(probe.path, program)
                        return
                    yield Frame(index, tone.to_sdr(rgb, private.hdr) if private.hdr else rgb)

    def audio(self, probe: Probe, report: Report) -> Iterator[AudioSamples]:
        """Yield the audio by time stamps.

        Raises:
            MediaError: ``no_sound`` or ``corrupt``.
        """
        private = _private(probe)
        if private.audio is None:
            raise file_checks.no_audio(probe.path)
        report.lost_sound += private.lost_sound
        heard = _Heard()
        started = False

        def take(line: str) -> None:
            nonlocal started
            started = started or line == START
            if started and (found := _HEARD.search(line)):
                heard.take(found)

        output = ffmpeg_program.source(private.limits).output(
            "pipe:1",
            map=f"0:{private.audio}",
            af=f"ashowinfo,{private.form},ashowinfo",
            format="f32le",
            acodec="pcm_f32le",
            **QUIET,
        )
        count = 0
        with ffmpeg_program.running(ffmpeg_program.arguments(probe.path, output), take) as program:
            try:
                for run in private.on_one_clock(_runs(program.output, heard)):
                    count += 1
                    yield run
                ffmpeg_program.require_own_end(probe.path, program)
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
        died = ffmpeg_program.crashed(path, program)
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


def _is_short(run: Run, frames: Frames, declared: float | None) -> bool:
    """Whether all tracks end clearly before the declared length."""
    if declared is None or frames.clock.joints:
        return False
    times = frames.times
    start = min(int(times.pts[0]) * times.time_base, Fraction(0))
    end = float(max(times.end * times.time_base, *run.ends.values()) - start)
    return end < declared - max(0.5, 0.01 * declared)


def _lacks_frames(path: str, frames: Frames, fps: Fraction | None) -> bool:
    """Whether an AVI is cut: then the program tells the length of what is left.

    Chunks without a frame count, too, so it is their time that is compared.
    """
    chunks = frames.times.end * frames.times.time_base * (fps or 0)
    return fps is not None and chunks < 0.99 * avi.declared_frames(path) - 1


def _form(rest: str) -> str:
    """The filter for an audio stream that the program describes so."""
    found = _FORM.search(rest)
    return f"aformat=sample_rates={found[1]}:channel_layouts={found[2]}" if found else "anull"


def _choose(wanted: list[int]) -> str:
    """Expression that is true for the frames ``wanted``; a search tree, for speed."""
    if len(wanted) == 1:
        return f"eq(n,{wanted[0]})"
    half = len(wanted) // 2
    return f"if(lt(n,{wanted[half]}),{_choose(wanted[:half])},{_choose(wanted[half:])})"


def _read_ppm(stream: IO[bytes]) -> NDArray[Any] | None:
    """Next frame [H, W, 3], 8 or 16 bits; None at the end, or if the program died within one."""
    magic, size, white = stream.readline(), stream.readline(), stream.readline()
    if magic != b"P6\n" or white not in (b"255\n", b"65535\n"):
        return None
    kind = np.dtype(np.uint8 if white == b"255\n" else ">u2")
    width, height = map(int, size.split())
    count = width * height * 3 * kind.itemsize
    data = stream.read(count)
    if len(data) < count:
        return None
    pixels = np.frombuffer(data, kind).reshape(height, width, 3)
    return pixels.astype(kind.newbyteorder("="), copy=False)


class _Heard:
    """The frames of audio that are announced, each with the channels that it had in the file."""

    def __init__(self) -> None:
        self._queue: queue.SimpleQueue[tuple[re.Match[str], int]] = queue.SimpleQueue()
        self._coded = 0

    def take(self, found: re.Match[str]) -> None:
        """Take an announcement: of a frame as it is in the file, or as it comes out."""
        if found[1] == "0":
            self._coded = int(found[3])
        else:
            self._queue.put((found, self._coded))

    def next(self) -> tuple[re.Match[str], int]:
        """The next frame that comes out. Its samples are written after it was announced."""
        return self._queue.get(timeout=60)


def _runs(stream: IO[bytes], heard: _Heard) -> Iterator[AudioSamples]:
    """Cut the samples into the frames that were announced."""
    expected = Fraction(0)
    while head := stream.read(4):
        found, coded = heard.next()
        channels, rate, length = int(found[3]), int(found[5]), int(found[6])
        data = head + stream.read(4 * channels * length - 4)
        samples = np.frombuffer(data[: len(data) // (4 * channels) * 4 * channels], np.float32)
        if coded == 1 and channels == 2:
            samples = samples * np.float32(math.sqrt(2))  # a change to mono, divided in two
        start = expected if found[2] == "NOPTS" else Fraction(int(found[2]), rate)
        expected = start + Fraction(length, rate)
        planes = samples.reshape(-1, channels).T
        names = ffmpeg_program.channels(found[4]) if channels > 1 else ()
        yield AudioSamples(start, rate, planes[0] if channels == 1 else planes, names)
