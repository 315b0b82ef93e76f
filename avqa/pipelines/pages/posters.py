"""A few frames of a video side by side, small: what a page of a store shows of it."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from avqa import programs
from avqa.errors import AvqaError
from avqa.extract.media import file_checks
from avqa.machine import num_cores
from avqa.pipelines.extraction.collection.manifest import is_list, listed
from avqa.pipelines.extraction.collection.sources import discover
from avqa.pipelines.pages.page import data_uri

FRAMES = 5
WIDTH, HEIGHT = 80, 46
TIMEOUT_SECONDS = 30.0


def posters(folder: Path, durations: Mapping[str, float]) -> dict[str, str]:
    """Video id → its frames as part of the page, of the videos that are there and can be read.

    Args:
        folder: of the videos, or a list of them, as `avqa extract` takes it.
        durations: seconds of each video that is wanted; NaN where it is not known.

    Raises:
        ConfigError: there is no such folder, or the list cannot be used.
        LibraryMissing: ffmpeg is not there.
    """
    found = listed(folder) if is_list(folder) else discover(folder)
    files = {s.video_id: s.path for s in found.sources if s.video_id in durations}
    programs.ffmpeg()  # says what is missing
    with ThreadPoolExecutor(num_cores()) as pool:
        made = pool.map(lambda name: _frames(files[name], durations[name]), files)
        pairs = zip(files, made, strict=True)
        return {name: data_uri(frames, "image/jpeg") for name, frames in pairs if frames}


def _frames(path: str, duration: float) -> bytes | None:
    """A JPEG; None of what cannot be read: that is told by the store's own statuses."""
    try:
        file_checks.check_file(path)
        done = subprocess.run(
            _command(path, duration),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=TIMEOUT_SECONDS,
        )
    except (AvqaError, OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 and done.stdout else None


def _command(path: str, duration: float) -> Sequence[str]:
    """Frames a fifth of the video apart, each in a box of one size; the first one at least."""
    count = FRAMES if duration > 0 else 1
    places = [(number + 0.5) / count * duration if duration > 0 else 0.0 for number in range(count)]
    allowed = (
        *("-protocol_whitelist", ",".join(file_checks.PROTOCOLS)),
        *("-format_whitelist", ",".join(file_checks.FORMATS), "-threads", "1"),
    )
    inputs = [
        word for at in places for word in (*allowed, "-ss", f"{at:.3f}", "-i", f"file:{path}")
    ]
    size = f"{WIDTH}:{HEIGHT}"
    box = f"scale={size}:force_original_aspect_ratio=decrease,pad={size}:-1:-1:gray,setsar=1"
    parts = [f"[{number}:v:0]{box}[f{number}]" for number in range(count)]
    beside = "".join(f"[f{number}]" for number in range(count))
    joined = f"hstack={count}" if count > 1 else "null"
    return [
        *(programs.ffmpeg(), "-v", "error", "-nostdin", *inputs),
        *("-filter_complex", ";".join([*parts, f"{beside}{joined}"])),
        *("-frames:v", "1", "-q:v", "7"),
        *("-strict", "unofficial", "-f", "mjpeg", "-"),  # the range of colours most videos have
    ]
