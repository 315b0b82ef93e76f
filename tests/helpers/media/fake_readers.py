"""Readers made for testing the decoder process; loaded there as ``fake_readers:NAME``."""

from __future__ import annotations

import ctypes
import errno
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import ClassVar

import numpy as np

from avqa.errors import MediaError
from avqa.extract import encoders
from avqa.extract.media.types import AudioSamples, Frame, Limits, Probe, Report, TimeTable

# Whoever loads these readers also finds the encoder made for them.
encoders.__path__.append(str(Path(__file__).parent / "fake_encoders"))

FPS = 10
RATE = 16_000


@dataclass
class Fake:
    """Frames [8, 8, 3] full of their own number, audio full of its second / 100.

    The path says how long and, by its words, what goes wrong.
    """

    name: ClassVar[str] = "fake"
    prints: bool = False

    def version(self) -> str:
        return "fake 1.0"

    def probe(self, path: str, limits: Limits) -> Probe:
        words = os.path.basename(path).split("_")
        seconds = int(words[0])
        if "unreadable" in words:
            raise MediaError("not_media", f"no container: path={path!r}", stage="probe")
        pts = np.arange(seconds * FPS, dtype=np.int64) + 7
        times = TimeTable(pts, int(pts[-1]) + 1, Fraction(1, FPS))
        has_audio = "mute" not in words
        fps = Fraction(97, 10) if "odd" in words else None
        return Probe(path, self.name, 8, 8, "raw", float(seconds), times, has_audio, fps, words)

    def frames(
        self, probe: Probe, wanted: Sequence[int], report: Report, *, full: bool = False
    ) -> Iterator[Frame]:
        words = probe.private
        report.planned = not full
        if self.prints:
            os.write(1, b"out " * 100_000)
            os.write(2, b"err " * 100_000)
        for place, index in enumerate(wanted):
            if place == 3:
                misbehave(words)
            if "gap" in words and place == 3:
                continue
            report.packets += 1
            yield Frame(index, np.full((8, 8, 3), index % 256, np.uint8))

    def audio(self, probe: Probe, report: Report) -> Iterator[AudioSamples]:
        first = int(probe.times.pts[0]) * probe.times.time_base
        seconds = len(probe.times.pts) // FPS
        for k in range(seconds):
            if k == 2:
                misbehave([w.removeprefix("audio") for w in probe.private if w[:5] == "audio"])
            start = first + k
            yield AudioSamples(start, RATE, np.full(RATE, k / 100, np.float32))


def misbehave(words: Sequence[str]) -> None:
    if "segfault" in words:
        print("last words", file=sys.stderr, flush=True)
        ctypes.string_at(0)
    if "doze" in words:
        time.sleep(2)
    if "hang" in words:
        time.sleep(1000)
    if "spin" in words:  # a native loop that never gives the interpreter lock back
        ctypes.PyDLL(None).sleep(1000)
    if "hog" in words:
        held = [np.empty(50_000_000, np.uint8) for _ in range(60)]
        del held
    if "raise" in words:
        raise KeyError("no such thing")
    if "corrupt" in words:
        raise MediaError("corrupt", "it is broken")
    if "full" in words:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    if "grandchild" in words:
        with subprocess.Popen(["sleep", "1000"]) as program:
            program.wait()


READER = Fake()
NOISY = Fake(prints=True)


def __getattr__(name: str) -> object:
    """The real default reader, in the company of the fake encoder."""
    if name == "PYAV":
        from avqa.extract.readers.pyav import READER as PYAV

        return PYAV
    raise AttributeError(name)
