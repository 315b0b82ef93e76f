"""Small clips whose frames carry their own number and whose audio carries its own second.

Rendered by the bundled ffmpeg from raw frames. `numbered_clip` writes one, `cached_clip` writes
each distinct one once per test session, `read_number` and `read_second` read them back.

Where no clip can be made at all, `test_clips.py` fails and what needs one is skipped: `program`.
"""

from __future__ import annotations

import atexit
import functools
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import imageio_ffmpeg
import numpy as np
import pytest
from numpy.typing import NDArray

SIZE = (160, 96)
"""Width and height of an upright frame."""
SOUND_RATE = 48_000
DARK, LIGHT = 40, 216
PATCHES = ((200, 60, 60), (60, 180, 60), (60, 60, 200))
"""Colours of the strip along the bottom, left to right."""
ROWS, COLUMNS, BITS = 4, 6, 11
CODE_HEIGHT = 0.875
"""Share of the height taken by the bar code; the strip of colours is below it."""
TONE_ON = 0.8
"""Each second's tone sounds for this long, then there is silence."""


def frame(number: int, size: tuple[int, int] = SIZE) -> NDArray[np.uint8]:
    """Draw ``number`` (0 to 2047) as an upright frame [H, W, 3]."""
    width, height = size
    y, x = np.mgrid[0:height, 0:width]
    row = np.minimum(y * ROWS // max(1, int(height * CODE_HEIGHT)), ROWS - 1)
    column = x * COLUMNS // width
    light = _cells(number)[row, column]
    # A faint texture that moves, so that coders predict from other frames.
    texture = 6 * np.sin((x + 3 * number) * 0.5) * np.cos((y + number) * 0.4)
    grey = np.where(light, LIGHT, DARK) + texture
    rgb = np.repeat(grey[..., None], 3, axis=2)
    strip = y >= int(height * CODE_HEIGHT)
    rgb[strip] = np.array(PATCHES)[(x * len(PATCHES) // width)[strip]]
    return rgb.round().astype(np.uint8)


def read_number(rgb: NDArray[np.uint8]) -> int:
    """Number drawn on a frame [H, W, 3] of any size.

    Raises:
        ValueError: if the frame is a blend, turned, or carries no number.
    """
    code = rgb[: max(1, int(rgb.shape[0] * CODE_HEIGHT))].astype(np.float64).mean(axis=2)
    height, width = code.shape
    level = np.empty((ROWS, COLUMNS))
    for r in range(ROWS):
        for c in range(COLUMNS):
            top, left = (r + 0.25) * height / ROWS, (c + 0.25) * width / COLUMNS
            bottom, right = (r + 0.75) * height / ROWS, (c + 0.75) * width / COLUMNS
            level[r, c] = code[int(top) : int(bottom) + 1, int(left) : int(right) + 1].mean()
    middle = (DARK + LIGHT) / 2
    if np.abs(level - middle).min() < 30:
        raise ValueError(f"blended or damaged frame: cell levels {level.round().tolist()}")
    cells = (level > middle).ravel()
    bits, inverse = cells[1 : 1 + BITS], cells[1 + BITS : -1]
    if not cells[0] or cells[-1] or not np.array_equal(bits, ~inverse):
        raise ValueError(f"no number, or a turned frame: cells {cells.astype(int).tolist()}")
    return int(bits @ (1 << np.arange(BITS)))


def _cells(number: int) -> NDArray[np.bool_]:
    """[ROWS, COLUMNS] light or dark: corner mark, bits, inverted bits, corner mark."""
    if not 0 <= number < 1 << BITS:
        raise ValueError(f"{number=} does not fit {BITS} bits")
    bits = (number >> np.arange(BITS)) & 1 == 1
    return np.concatenate([[True], bits, ~bits, [False]]).reshape(ROWS, COLUMNS)


def tone_hertz(second: int) -> float:
    """Frequency that stands for ``second`` (-3 and up)."""
    return 500.0 + 60.0 * second


def audio(start: float, stop: float, rate: int = SOUND_RATE) -> NDArray[np.float32]:
    """Mono samples of the clip's audio for seconds [start, stop) of the frame's clock."""
    t = np.arange(round(start * rate), round(stop * rate)) / rate
    second = np.floor(t)
    wave = 0.5 * np.sin(2 * np.pi * (500.0 + 60.0 * second) * (t - second))
    return np.where(t - second < TONE_ON, wave, 0.0).astype(np.float32)


def read_second(samples: NDArray[np.float32], rate: int) -> int | None:
    """Second that the loudest tone in ``samples`` stands for; None for silence."""
    if len(samples) == 0 or np.abs(samples).max() < 0.02:
        return None
    power = np.abs(np.fft.rfft(samples * np.hanning(len(samples)), 1 << 17))
    hertz = float(power.argmax()) * rate / (1 << 17)
    return round((hertz - 500.0) / 60.0)


def onset(samples: NDArray[np.float32], rate: int) -> float:
    """Seconds from the first sample to the start of the first tone that follows silence."""
    window = max(1, rate // 500)
    loud = np.convolve(np.abs(samples), np.ones(window) / window, mode="valid") > 0.08
    quiet = int((~loud).argmax())
    return (quiet + int(loud[quiet:].argmax()) + window / 2) / rate


def numbered_clip(
    path: Path,
    *,
    codec: str = "libx264",
    fps: Fraction | float = 30,
    seconds: float = 4.0,
    size: tuple[int, int] = SIZE,
    pix_fmt: str = "yuv420p",
    sound_codec: str | None = None,
    sound_from: float = 0.0,
    sound_until: float | None = None,
    picture_delay: float = 0.0,
    times_ms: Sequence[int] | None = None,
    rotation: int = 0,
    filters: str = "",
    extra: Sequence[str] = (),
    remux_input: Sequence[str] = (),
    remux: Sequence[str] | None = None,
) -> Path:
    """Write a clip; frame n carries the number n.

    Args:
        path: where; its extension chooses the container.
        codec: ffmpeg's name of the video encoder.
        fps: frames per second.
        seconds: length of the video stream.
        size: coded width and height before rotation.
        pix_fmt: coded pixel format.
        sound_codec: ffmpeg's name of the audio encoder; None for no audio.
        sound_from: second of the frame's clock at which the audio starts.
        sound_until: where it ends; default: with the frame.
        picture_delay: start of the frame on the file's clock.
        times_ms: a time in milliseconds for each frame, instead of ``fps`` and ``seconds``.
        rotation: degrees (90, 180, 270) by which a player must turn it counter-clockwise.
        filters: ffmpeg video filters, applied after the time stamps are set.
        extra: options of the output.
        remux_input: options before the input of a second, copying pass.
        remux: options of that pass's output; given (even empty) to have the pass made.
    """
    rate = Fraction(fps).limit_denominator(1001)
    count = len(times_ms) if times_ms is not None else max(1, round(seconds * rate))
    length = times_ms[-1] / 1000 + 0.1 if times_ms is not None else seconds
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-y", "-nostdin"]
    command += ["-f", "rawvideo", "-pix_fmt", "rgb24"]
    command += ["-s", f"{size[0]}x{size[1]}", "-r", str(rate), "-i", "pipe:0"]
    with tempfile.TemporaryDirectory(dir=path.parent) as scratch:
        if sound_codec is not None:
            raw = Path(scratch) / "audio.f32"
            raw.write_bytes(audio(sound_from, sound_until or length).tobytes())
            late = sound_from + picture_delay
            command += ["-f", "f32le", "-ar", str(SOUND_RATE), "-ac", "1", "-i", str(raw)]
            command += ["-af", f"asetpts=PTS+{late}/TB", "-c:a", sound_codec]
        if picture_delay:
            filters = f"setpts=PTS+{picture_delay}/TB" + (f",{filters}" if filters else "")
        command += _video_options(codec, pix_fmt, times_ms, filters)
        two_passes = bool(remux is not None or rotation or remux_input)
        first = Path(scratch) / f"first{path.suffix}" if two_passes else path
        frames = b"".join(_coded(n, size, rotation) for n in range(count))
        _run([*command, *extra, str(first)], frames)
        if two_passes:
            turn = ["-display_rotation", str(rotation)] if rotation else []
            command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-y", "-nostdin"]
            command += [*turn, *remux_input, "-i", str(first), "-map", "0", "-c", "copy"]
            _run([*command, *(remux or ()), str(path)])
    return path


def _video_options(
    codec: str, pix_fmt: str, times_ms: Sequence[int] | None, filters: str
) -> list[str]:
    chain = [filters] if filters else []
    passing: list[str] = []
    if times_ms is not None:
        steps = np.diff(times_ms)
        terms = [f"gte(N,{n})*{step}" for n, step in enumerate(steps, start=1)]
        chain.insert(0, f"settb=1/1000,setpts='{times_ms[0]}+" + "+".join(terms or ["0"]) + "'")
        passing = ["-fps_mode", "passthrough", "-enc_time_base", "1/1000"]
    return [
        *(["-vf", ",".join(chain)] if chain else []),
        *passing,
        *("-c:v", codec, "-pix_fmt", pix_fmt),
    ]


def _coded(number: int, size: tuple[int, int], rotation: int) -> bytes:
    upright = size if rotation % 180 == 0 else (size[1], size[0])
    return np.ascontiguousarray(np.rot90(frame(number, upright), -rotation // 90)).tobytes()


NONE = "no clip can be made, see test_clips_can_be_made"


def program() -> str:
    """Path of the bundled ffmpeg; the test is skipped where that cannot make a clip."""
    if why_none():
        pytest.skip(NONE)
    return imageio_ffmpeg.get_ffmpeg_exe()


@functools.cache
def why_none() -> str:
    """Why ffmpeg cannot make even the smallest clip here; empty if it can."""
    try:
        numbered_clip(session_folder() / "smallest.mp4", seconds=0.1, sound_codec="aac")
    except (OSError, RuntimeError) as error:
        return str(error)
    return ""


def _run(command: list[str], data: bytes | None = None) -> None:
    done = subprocess.run(command, input=data, capture_output=True)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}\n{done.stderr.decode(errors='replace')[-2000:]}")


@functools.cache
def session_folder() -> Path:
    """A folder that lives as long as the test session."""
    folder = Path(tempfile.mkdtemp(prefix="avqa-clips-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


_CACHE: dict[str, Path] = {}


def cached_clip(name: str, **options: object) -> Path:
    """`numbered_clip` into the session's folder, once per distinct ``name`` and options.

    Copy the file before changing it.
    """
    program()
    key = f"{name} {sorted(options.items())!r}"
    if key not in _CACHE:
        folder = Path(tempfile.mkdtemp(dir=session_folder()))
        try:
            _CACHE[key] = numbered_clip(folder / name, **options)  # type: ignore[arg-type]
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            why_none.cache_clear()  # the disk may be full by now: then the others are skipped
            raise
    return _CACHE[key]
