"""What a page shows of a video's file: small frames side by side, and the spectrum of its sound."""

from __future__ import annotations

import math
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from avqa import programs
from avqa.errors import AvqaError
from avqa.extract.media import file_checks
from avqa.machine import num_cores
from avqa.pipelines.extraction.collection.manifest import is_list, listed
from avqa.pipelines.extraction.collection.sources import discover
from avqa.pipelines.pages.page import data_uri

Key = TypeVar("Key")
FRAMES = 5
WIDTH, HEIGHT = 80, 46
SOUND_HEIGHT = 32
MOST_SOUND_SECONDS = 600
"""Of a video's sound that is drawn: what follows costs decoding and no longer shows."""
TIMEOUT_SECONDS = 30.0


def evenly(duration: float | None) -> list[float]:
    """Seconds of `FRAMES` frames over a video; the first frame where its length is not known."""
    if duration is None or not 0 < duration < math.inf:
        return [0.0]
    return [(number + 0.5) / FRAMES * duration for number in range(FRAMES)]


class Videos:
    """The videos of a folder, or of a list, as `avqa extract` takes it.

    Raises:
        ConfigError: there is no such folder, or the list cannot be used.
        LibraryMissing: ffmpeg is not there.
    """

    def __init__(self, folder: Path) -> None:
        """Look what there is."""
        found = listed(folder) if is_list(folder) else discover(folder)
        self._paths = {source.video_id: source.path for source in found.sources}
        programs.ffmpeg()  # says what is missing

    @property
    def ids(self) -> list[str]:
        """Of all videos."""
        return list(self._paths)

    def frames(self, wanted: Mapping[Key, tuple[str, Sequence[float]]]) -> dict[Key, str]:
        """Key → frames of a video at some seconds as part of a page, of those that can be read.

        Args:
            wanted: key → the video's id and the seconds.
        """
        commands = {
            key: (path, _frames(path, seconds))
            for key, (name, seconds) in wanted.items()
            if (path := self._paths.get(name)) is not None
        }
        return _pictures(commands)

    def spectra(self, names: Iterable[str]) -> dict[str, str]:
        """Video id → the spectrum of its sound over time, of those that have one."""
        there = {name: path for name in names if (path := self._paths.get(name)) is not None}
        return _pictures({name: (path, _spectrum(path)) for name, path in there.items()})


def _pictures(commands: Mapping[Key, tuple[str, Sequence[str]]]) -> dict[Key, str]:
    """Key → what the command makes of the file, on all cores."""
    with ThreadPoolExecutor(num_cores()) as pool:
        made = pool.map(lambda command: _run(*command), commands.values())
        pairs = zip(commands, made, strict=True)
        return {key: data_uri(jpeg, "image/jpeg") for key, jpeg in pairs if jpeg}


def _run(path: str, command: Sequence[str]) -> bytes | None:
    """A JPEG; None of what cannot be read: that is told by the store's own statuses."""
    try:
        file_checks.check_file(path)
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, timeout=TIMEOUT_SECONDS
        )
    except (AvqaError, OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 and done.stdout else None


_ALLOWED = (
    *("-protocol_whitelist", ",".join(file_checks.PROTOCOLS)),
    *("-format_whitelist", ",".join(file_checks.FORMATS), "-threads", "1"),
)
_JPEG = (
    *("-frames:v", "1", "-q:v", "7"),
    *("-strict", "unofficial", "-f", "mjpeg", "-"),  # the range of colours most videos have
)


def _frames(path: str, places: Sequence[float]) -> Sequence[str]:
    """Frames side by side, each in a box of one size."""
    inputs = [
        word for at in places for word in (*_ALLOWED, "-ss", f"{at:.3f}", "-i", f"file:{path}")
    ]
    size = f"{WIDTH}:{HEIGHT}"
    box = f"scale={size}:force_original_aspect_ratio=decrease,pad={size}:-1:-1:gray,setsar=1"
    parts = [f"[{number}:v:0]{box}[f{number}]" for number in range(len(places))]
    beside = "".join(f"[f{number}]" for number in range(len(places)))
    joined = f"hstack={len(places)}" if len(places) > 1 else "null"
    return [
        *(programs.ffmpeg(), "-v", "error", "-nostdin", *inputs),
        *("-filter_complex", ";".join([*parts, f"{beside}{joined}"])),
        *_JPEG,
    ]


def _spectrum(path: str) -> Sequence[str]:
    """Time across, frequency up, as wide as `FRAMES` frames."""
    drawn = f"showspectrumpic=s={FRAMES * WIDTH}x{SOUND_HEIGHT}:legend=0:saturation=0:scale=log"
    return [
        *(programs.ffmpeg(), "-v", "error", "-nostdin", *_ALLOWED),
        *("-t", str(MOST_SOUND_SECONDS), "-i", f"file:{path}"),
        *("-filter_complex", f"[0:a:0]aformat=channel_layouts=mono,{drawn}"),
        *_JPEG,
    ]
