"""The clips of the conformance suite, what is true of each, and what a reader makes of it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from math import floor
from typing import Any

import numpy as np
from helpers.media import clips
from numpy.typing import NDArray

from avqa.errors import MediaError
from avqa.extract.media.grid import Grid, build_grid
from avqa.extract.media.types import Frame, Limits, Probe, Reader, Report

MS = Fraction(1, 1000)
MILLISECONDS = (".mkv", ".webm", ".flv")
"""Containers that round time stamps to them."""
SECONDS = 3.2
SOUND_SLACK = 0.012
"""Seconds by which an onset may be off: half an AAC frame."""


@dataclass(frozen=True)
class Case:
    """One clip and what is true of it."""

    file: str
    options: dict[str, Any]
    first: int = 0
    """Number of the first frame shown."""
    shape: tuple[int, int] = (96, 160)
    """Height and width of an upright frame."""
    levels: bool = False
    """Whether grey levels and colours are checked."""
    sound_until: float = field(default=3.0)
    sound_from: float = field(default=0.0)

    def times(self) -> list[Fraction]:
        """Seconds of every frame from ``first``, the first at 0, as the container has them."""
        if "times_ms" in self.options:
            return [
                Fraction(t - self.options["times_ms"][0], 1000) for t in self.options["times_ms"]
            ]
        fps = Fraction(self.options.get("fps", 30)).limit_denominator(1001)
        count = max(1, round(self.options.get("seconds", SECONDS) * fps))
        exact = [n / fps for n in range(count - self.first)]
        if self.file.endswith(MILLISECONDS):
            return [Fraction(floor(t * 1000 + Fraction(1, 2)), 1000) for t in exact]
        return exact

    def duration(self) -> Fraction:
        """Seconds until the last frame leaves the screen."""
        times = self.times()
        if "times_ms" in self.options:
            return times[-1] + times[-1] - times[-2]
        return times[-1] + 1 / Fraction(self.options.get("fps", 30)).limit_denominator(1001)


def case(file: str, codec: str = "libx264", **options: Any) -> Case:
    """A `Case`; what it has no field for is an option of `clips.numbered_clip`."""
    own = {
        k: options.pop(k)
        for k in ("first", "shape", "levels", "sound_until", "sound_from_expected")
        if k in options
    }
    if "sound_from_expected" in own:
        own["sound_from"] = own.pop("sound_from_expected")
    if "times_ms" not in options:
        options.setdefault("seconds", SECONDS)
    return Case(file, {"codec": codec, **options}, **own)


def x264(params: str) -> list[str]:
    return ["-preset", "medium", "-x264-params", f"keyint=20:scenecut=0:{params}"]


def x265(params: str) -> list[str]:
    return ["-x265-params", f"keyint=20:log-level=none:pools=1:frame-threads=1:{params}"]


PYRAMID = x264("open-gop=1:bframes=3:b-pyramid=normal")
FREEZE = [0, 33, 67, 100, 133, 4_200, 4_233, 4_267, 6_100, 6_133]
VARIABLE = [0, 20, 110, 260, 470, 480, 900, 1_490, 1_510, 1_520, 2_010, 2_480, 2_520, 2_900, 3_010]
FULL_RANGE = "scale=out_range=full"

CASES: dict[str, Case] = {
    # Frame codecs
    "h264 closed GOP, mp4": case("a.mp4", extra=x264("open-gop=0:bframes=3")),
    "h264 open GOP with pyramid, mp4": case("a.mp4", extra=PYRAMID),
    "h264 open GOP with pyramid, mkv": case("a.mkv", extra=PYRAMID),
    "h264 open GOP with pyramid, ts": case("a.ts", extra=PYRAMID),
    "h264 interlaced, mp4": case("a.mp4", extra=x264("interlaced=1")),
    "h264 interlaced, ts": case("a.ts", extra=x264("interlaced=1")),
    "h264 intra refresh": case("a.mp4", extra=x264("intra-refresh=1")),
    "h264, flv": case("a.flv", extra=x264("bframes=2"), sound_codec="aac"),
    "hevc default, mp4": case("a.mp4", "libx265", extra=x265("open-gop=1")),
    "hevc closed GOP, mkv": case("a.mkv", "libx265", extra=x265("open-gop=0")),
    "vp8 with hidden frames": case(
        "a.webm", "libvpx", extra=["-auto-alt-ref", "1", "-lag-in-frames", "16", "-g", "20"]
    ),
    "vp9 with hidden frames": case(
        "a.webm", "libvpx-vp9",
        extra=["-auto-alt-ref", "1", "-lag-in-frames", "16", "-g", "20", "-cpu-used", "5"],
    ),
    "av1 by aom, mp4": case("a.mp4", "libaom-av1", extra=["-g", "20", "-cpu-used", "8"]),
    "av1 by svt, mkv": case("a.mkv", "libsvtav1", extra=["-g", "20", "-preset", "10"]),
    "mpeg1": case("a.mpg", "mpeg1video", extra=["-bf", "2", "-q:v", "2"]),
    "mpeg2, mpg": case("a.mpg", "mpeg2video", extra=["-bf", "2", "-q:v", "2"], sound_codec="mp2"),
    "mpeg2, ts": case("a.ts", "mpeg2video", extra=["-bf", "2", "-q:v", "2"]),
    "mpeg4, avi": case("a.avi", "mpeg4", extra=["-q:v", "2"], sound_codec="pcm_s16le"),
    "mpeg4 with B frames, avi": case("a.avi", "mpeg4", extra=["-bf", "2", "-q:v", "2"]),
    "mpeg4 with B frames, mp4": case("a.mp4", "mpeg4", extra=["-bf", "2", "-q:v", "2"]),
    "theora": case("a.ogv", "libtheora", extra=["-q:v", "8"], sound_codec="libvorbis"),
    "mjpeg, avi": case("a.avi", "mjpeg", pix_fmt="yuvj420p"),
    "mjpeg, mov": case("a.mov", "mjpeg", pix_fmt="yuvj420p"),
    "gif": case("a.gif", "gif", pix_fmt="rgb8", fps=10),
    "flv1": case("a.flv", "flv", extra=["-q:v", "2"]),
    "wmv2": case("a.wmv", "wmv2", extra=["-q:v", "2"], sound_codec="wmav2"),
    # Audio codecs and offsets
    "aac, mp4": case("a.mp4", sound_codec="aac"),
    "aac, mkv": case("a.mkv", sound_codec="aac"),
    "aac, ts": case("a.ts", sound_codec="aac"),
    "mp3, mp4": case("a.mp4", sound_codec="libmp3lame"),
    "mp3, mkv": case("a.mkv", sound_codec="libmp3lame"),
    "opus, webm": case("a.webm", "libvpx", sound_codec="libopus"),
    "vorbis, webm": case("a.webm", "libvpx", sound_codec="libvorbis"),
    "flac, mkv": case("a.mkv", sound_codec="flac"),
    "pcm, mov": case("a.mov", sound_codec="pcm_s16le"),
    "ac3, ts": case("a.ts", sound_codec="ac3"),
    "late audio, mp4": case(
        "a.mp4", sound_codec="aac", sound_from=1.0, sound_from_expected=1.0
    ),
    "late audio, mkv": case(
        "a.mkv", sound_codec="flac", sound_from=1.0, sound_from_expected=1.0
    ),
    "late audio, ts": case("a.ts", sound_codec="aac", sound_from=1.0, sound_from_expected=1.0),
    "late frame, mp4": case("a.mp4", sound_codec="aac", sound_from=-1.0, picture_delay=1.0),
    "late frame, mkv": case("a.mkv", sound_codec="aac", sound_from=-1.0, picture_delay=1.0),
    # Time
    "edit list": case(
        "a.mp4", extra=PYRAMID, sound_codec="aac", first=31, remux_input=["-ss", "1.03"],
        sound_until=2.0,
    ),
    "negative offset, mp4": case(
        "a.mp4", sound_codec="aac", first=15, sound_until=2.0,
        remux=["-output_ts_offset", "-0.5", "-avoid_negative_ts", "disabled"],
    ),
    "wrapped time stamps, ts": case(
        "a.ts", sound_codec="aac", remux=["-output_ts_offset", "95441"]
    ),
    "variable rate, mkv": case("a.mkv", times_ms=VARIABLE, extra=x264("bframes=2")),
    "variable rate, mp4": case("a.mp4", times_ms=VARIABLE, extra=x264("bframes=2")),
    "freezes, mp4": case("a.mp4", times_ms=FREEZE, extra=x264("bframes=0")),
    "29.97 frames a second": case("a.mp4", fps=Fraction(30000, 1001)),
    "23.976 frames a second, mkv": case("a.mkv", fps=Fraction(24000, 1001)),
    "60 frames a second": case("a.mp4", fps=60),
    "a frame every 2 seconds": case("a.mp4", fps=0.5, seconds=8),
    "one frame": case("a.mp4", seconds=0.03),
    "0.3 s": case("a.mp4", seconds=0.3, sound_codec="aac", sound_until=0.0),
    # Frames
    "turned by 90": case("a.mp4", rotation=90, size=(96, 160)),
    "turned by 180": case("a.mp4", rotation=180),
    "turned by 270": case("a.mov", rotation=270, size=(96, 160)),
    "wide pixels": case("a.mp4", size=(80, 96), filters="setsar=2"),
    "high pixels, mkv": case("a.mkv", size=(160, 48), filters="setsar=1/2"),
    "wide pixels, turned by 90": case(
        "a.mp4", size=(96, 80), filters="setsar=2", rotation=90, shape=(192, 80)
    ),
    "8 bit": case("a.mp4", extra=["-crf", "8"], levels=True),
    "10 bit h264": case("a.mp4", pix_fmt="yuv420p10le", extra=["-crf", "8"], levels=True),
    "10 bit hevc": case(
        "a.mp4", "libx265", pix_fmt="yuv420p10le", extra=x265("crf=8"), levels=True
    ),
    "4:4:4": case("a.mp4", pix_fmt="yuv444p", extra=["-crf", "8"], levels=True),
    "full range": case(
        "a.mp4", pix_fmt="yuv420p", filters=FULL_RANGE,
        extra=["-crf", "8", "-color_range", "pc"], levels=True,
    ),
    "BT.709 colours": case(
        "a.mp4", filters="scale=out_color_matrix=bt709:out_range=tv",
        extra=["-crf", "8", "-colorspace", "bt709", "-color_range", "tv"], levels=True,
    ),
    "grey": case("a.mp4", pix_fmt="gray", extra=["-crf", "8"], levels=True),
    # Names
    "name that is no UTF-8": case("caf\udce9.mp4"),
    "name with a dash, a space and a newline": case("-a b\nc.mp4"),
}  # fmt: skip


def measure(reader: Reader, of: Case) -> frozenset[str]:
    """What goes wrong when the reader reads the clip: aspects, or the reason of its error.

    The aspects are explained in `decoders_page.MEANING`.
    """
    path = str(clips.cached_clip(of.file, **of.options))
    try:
        probe = reader.probe(path, Limits())
        grid = build_grid(probe.times, "mid", probe.average_fps)
        wanted = sorted(set(grid.index.tolist()))
        report = Report()
        frames = {p.index: p for p in reader.frames(probe, wanted, report)}
        wrong = set(_wrong_pictures(of, grid, frames))
        if report.corrupt or report.partial:
            wrong.add("report")
        if "sound_codec" in of.options and _wrong_sound(of, reader, probe):
            wrong.add("sound")
    except MediaError as error:
        return frozenset({error.reason})
    return frozenset(wrong)


def _wrong_pictures(of: Case, grid: Grid, frames: dict[int, Frame]) -> Iterator[str]:
    times = of.times()
    rows = max(1, int(of.duration() + Fraction(1, 2)))
    if len(grid) != rows:
        yield "rows"
    for k, (index, pts) in enumerate(zip(grid.index.tolist(), grid.pts, strict=True)):
        expected = max(i for i, t in enumerate(times) if i == 0 or t <= k + Fraction(1, 2) + MS / 2)
        if abs(float(times[expected]) - pts) > 0.0021:
            yield "times"
        if index not in frames:
            yield "missing"
            continue
        rgb = frames[index].rgb
        if rgb.shape[:2] != of.shape:
            yield "shape"
        try:
            number = clips.read_number(rgb)
        except ValueError:
            number = -1
        if number != of.first + expected:
            yield "pictures"
        elif of.levels and not _levels_agree(rgb, number, of.options.get("pix_fmt") == "gray"):
            yield "levels"


def _levels_agree(rgb: NDArray[np.uint8], number: int, grey: bool) -> bool:
    """Whether the means of cells and colour patches are within 2 of what was drawn."""
    drawn = clips.frame(number).astype(float)
    seen = rgb.astype(float)
    code = int(drawn.shape[0] * clips.CODE_HEIGHT) // clips.ROWS * clips.ROWS
    worst = 0.0
    for x in range(clips.COLUMNS):
        for y in range(clips.ROWS):
            height, width = code / clips.ROWS, drawn.shape[1] / clips.COLUMNS
            cell = np.s_[int((y + 0.2) * height) : int((y + 0.8) * height),
                         int((x + 0.2) * width) : int((x + 0.8) * width)]  # fmt: skip
            worst = max(
                worst, float(np.abs(seen[cell].mean((0, 1)) - drawn[cell].mean((0, 1))).max())
            )
    for p in range(0 if grey else len(clips.PATCHES)):
        width = drawn.shape[1] / len(clips.PATCHES)
        patch = np.s_[code + 5 : -3, int((p + 0.3) * width) : int((p + 0.7) * width)]
        worst = max(worst, float(np.abs(seen[patch].mean((0, 1)) - clips.PATCHES[p]).max()))
    return worst <= 2.5


def picture_clock(reader: Reader, probe: Probe, seconds: float) -> tuple[NDArray[np.float32], int]:
    """All audio from the first frame on, and its rate."""
    runs = list(reader.audio(probe, Report()))
    rate = runs[0].sample_rate
    wave = np.zeros(int((seconds + 1) * rate), np.float32)
    for run in runs:
        at = round(
            float(run.start_seconds - int(probe.times.pts[0]) * probe.times.time_base) * rate
        )
        samples = run.samples[max(0, -at) :]
        at = max(0, at)
        room = max(0, min(len(samples), len(wave) - at))
        wave[at : at + room] = samples[:room]
    return wave, rate


def _wrong_sound(of: Case, reader: Reader, probe: Probe) -> bool:
    """Whether some second does not hold its own tone, or holds it too early or late."""
    wave, rate = picture_clock(reader, probe, SECONDS)
    begin = float(of.first / Fraction(of.options.get("fps", 30)).limit_denominator(1001))
    for k in range(int(of.sound_from), int(of.sound_until)):
        second = int(np.ceil(begin)) + k
        at = second - begin
        if clips.read_second(wave[int((at + 0.1) * rate) : int((at + 0.6) * rate)], rate) != second:
            return True
        if at >= 0.15:
            from_silence = wave[int((at - 0.15) * rate) : int((at + 0.3) * rate)]
            if abs(clips.onset(from_silence, rate) - 0.15) > SOUND_SLACK:
                return True
    if of.sound_from > 0:
        return bool(np.abs(wave[: int((of.sound_from - 0.1) * rate)]).max() > 0.02)
    return False
