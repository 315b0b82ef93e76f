"""What passes between readers, the decoder process and those who use them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Stretch = tuple[float, float]
"""Begin and end in seconds."""

SAMPLE_RATE = 16_000
"""Samples per second of the audio every encoder sees."""


@dataclass(frozen=True)
class Limits:
    """What one video may cost before it is refused or its decoder killed."""

    max_pixels: int = 64_000_000
    """Declared width × height beyond which a video is refused as ``too_large``."""
    max_gap_seconds: float = 10.0
    """Without a key frame, beyond which a video is refused as ``sparse_keys`` where rows are of key
    frames."""
    max_length_seconds: float = 7_200.0
    """Declared or demuxed length beyond which a video is refused as ``too_long``."""
    timeout_seconds: float = 300.0
    """Seconds spent waiting for the decoder process, per video, beside the video's own length:
    once the header tells it, its seconds are added."""
    memory_bytes: int = 3_000_000_000
    """Data a decoder process may allocate beyond what it has after its imports."""


@dataclass(frozen=True)
class TimeTable:
    """Presentation times of all shown frames, in order of presentation.

    ``pts`` [F] int64 are ticks of ``time_base`` seconds, ascending, on the file's own clock;
    ``end`` is the tick at which the last frame leaves the screen. Time 0 of everything avqa
    stores is ``pts[0]``.
    """

    pts: NDArray[np.int64]
    end: int
    time_base: Fraction
    keys: NDArray[np.int64] | None = None
    """[K] ascending ticks of the frames among them at which decoding may begin; None where a
    reader does not tell."""

    @property
    def duration(self) -> Fraction:
        """Seconds from the first frame's appearance to the last one's end."""
        return (self.end - int(self.pts[0])) * self.time_base

    def with_keys(self, ticks: NDArray[np.int64]) -> TimeTable:
        """The same table, whose key frames are those of these ticks that it has."""
        return replace(self, keys=np.intersect1d(self.pts, ticks))

    def seconds(self) -> NDArray[np.float64]:
        """Times [F] in seconds, the first frame at 0."""
        ticks: NDArray[np.float64] = (self.pts - self.pts[0]).astype(np.float64)
        return ticks * float(self.time_base)


@dataclass
class Probe:
    """What a reader knows of a file before it decodes frames for rows."""

    path: str
    reader: str
    width: int
    height: int
    codec: str
    declared_seconds: float | None
    times: TimeTable
    has_audio: bool
    average_fps: Fraction | None
    """Mean frames per second as the container declares it; used by published grids only."""
    private: object = None
    """The reader's own state (a packet table, say)."""
    audio_end_seconds: float | None = None
    """End of the audio's last packet on the file's clock; None where that is not known."""


@dataclass
class Frame:
    """One decoded frame: ``rgb`` [H, W, 3] uint8, rotation and pixel aspect applied."""

    index: int
    """Place in `TimeTable.pts`."""
    rgb: NDArray[np.uint8]


@dataclass
class AudioSamples:
    """A run of decoded audio beginning at a time of the file's clock."""

    start_seconds: Fraction
    sample_rate: int
    samples: NDArray[np.float32]
    """[n] of one channel, or [channels, n]; full scale ±1."""
    channels: tuple[str, ...] = ()
    """FFmpeg's name of each channel (``FL``, ``LFE``, …); empty if the file does not tell."""


@dataclass
class Report:
    """How the reading went; stored with the video's record."""

    packets: int = 0
    skipped: int = 0
    """Packets not decoded because no wanted frame depends on them."""
    corrupt: int = 0
    """Packets or frames that failed to decode and were passed over."""
    planned: bool = False
    why_not_planned: str = ""
    partial: bool = False
    """Fewer seconds could be decoded than the file declares."""
    decoded_seconds: float | None = None
    """Seconds that the file's packets cover, whether or not each of them decodes."""
    restarts: list[float] = field(default_factory=list)
    """Seconds after the first frame at which the file's clock restarted or jumped."""
    warnings: list[str] = field(default_factory=list)
    lost_rows: list[int] = field(default_factory=list)
    """Rows whose frame did not decode, found by the decoder process."""
    lost_sound: list[Stretch] = field(default_factory=list)
    """Sound that damage has taken: on the file's clock while it is read, afterwards on the frames'
    clock and within T."""


class Reader(Protocol):
    """A way to read frames and audio; `avqa.extract.readers.<name>` holds one each.

    All errors about the file are `avqa.errors.MediaError`.
    """

    name: str

    def version(self) -> str:
        """Version of the library and of the codecs inside it; part of the recipe."""

    def probe(self, path: str, limits: Limits) -> Probe:
        """Open ``path``, refuse what the limits forbid, and build the time table."""

    def frames(
        self, probe: Probe, wanted: Sequence[int], report: Report, *, full: bool = False
    ) -> Iterator[Frame]:
        """Yield the frames ``wanted`` (ascending, distinct places in the time table).

        ``full`` decodes everything instead of planning. Fills ``report`` on the way.
        """

    def audio(self, probe: Probe, report: Report) -> Iterator[AudioSamples]:
        """Yield all audio in order; runs may leave gaps or overlap where the file does."""
