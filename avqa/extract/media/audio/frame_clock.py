"""Audio on the frame's clock: 16 kHz mono, time 0 at the first frame, T seconds long.

Everything works on blocks of whole seconds, so memory does not grow with the video's length,
and block edges lie at fixed times, so the result depends on the file alone.
"""

from __future__ import annotations

import math
import wave
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from avqa.errors import MediaError
from avqa.extract.media.audio.mixing import Mixer
from avqa.extract.media.audio.steady import steady
from avqa.extract.media.types import SAMPLE_RATE, AudioSamples, Report
from avqa.extract.settings import Mix, Resample

BLOCK_SECONDS = 60
CONTEXT_SECONDS = 1
"""Audio on either side of a block that its resampling sees; the filters need some 20 ms."""
_MOVIEPY_RATE = 44_100
_RATES = range(1_000, 1_000_001)

Waveform = NDArray[np.float32]


@dataclass
class Extent:
    """Where real audio lies, in seconds on the frame's clock; filled while reading."""

    start: float | None = None
    end: float | None = None


class FrameClockAudio:
    """Places runs of audio and resamples them, block by block.

    Iterate once over `blocks`; afterwards `extent` is complete.
    """

    def __init__(
        self,
        runs: Iterable[AudioSamples],
        *,
        start_seconds: Fraction,
        num_seconds: int,
        resample: Resample,
        mix: Mix = "mean",
        report: Report,
    ) -> None:
        """Take a reader's ``runs``.

        Args:
            runs: audio in file order, on the file's clock.
            start_seconds: time of the first frame on the file's clock.
            num_seconds: T, the number of seconds wanted.
            resample: ``soxr_hq``, or ``nearest44k`` for the published MUSIC-AVQA path.
            mix: how channels become one.
            report: gets a warning where audio had to be dropped or mended.
        """
        self.extent = Extent()
        self._runs = steady(runs)
        self._zero = start_seconds
        self._num_seconds = num_seconds
        self._resample = resample
        self._mixer = Mixer(mix)
        self._report = report
        self._by_rate: dict[int, _OneRate] = {}
        self._first_second = 0
        self._end: Fraction | None = None
        self._dropped = Fraction(0)
        self._mended = 0

    def blocks(self) -> Iterator[Waveform]:
        """Yield the waveform in blocks of at most 60 s: T × 16000 float32 samples in all.

        Raises:
            MediaError: if the stream holds no audio at all, or an impossible sample rate.
        """
        for run in self._runs:
            position, samples = self._place(run)
            while samples.size:
                written = self._of_rate(run.sample_rate).write(position, samples)
                position, samples = position + written, samples[written:]
                if samples.size and not self._done():
                    yield self._emit()
                elif samples.size:
                    break
        if self._end is None:
            raise MediaError(
                "corrupt",
                "no audio could be decoded from the audio stream; expected at least one sample; "
                "the frames are not affected",
                stage="sound",
            )
        while not self._done():
            yield self._emit()
        self._warn()

    def _done(self) -> bool:
        return self._first_second >= self._num_seconds

    def _place(self, run: AudioSamples) -> tuple[int, Waveform]:
        """Place the samples, counted at their own rate; what was heard already is cut off."""
        rate, samples = run.sample_rate, self._mend(self._mixer(run))
        if rate not in _RATES:
            raise MediaError(
                "corrupt",
                f"audio with sample_rate={rate}; expected 1000 to 1000000; "
                "the frames are not affected",
                stage="sound",
            )
        start = run.start_seconds - self._zero
        end = self._end
        if end is not None and abs(start - end) <= Fraction(1, rate):
            start = end
        elif end is not None and start < end:
            heard = min(math.ceil((end - start) * rate), samples.size)
            self._dropped += Fraction(heard, rate)
            samples, start = samples[heard:], start + Fraction(heard, rate)
        position = round(start * rate)
        if samples.size:
            self._end = Fraction(position + samples.size, rate)
            self.extent.end = float(self._end)
            if self.extent.start is None:
                self.extent.start = position / rate
        return position, samples

    def _mend(self, samples: Waveform) -> Waveform:
        """Silence what is no number: one NaN would spread over a whole block."""
        finite = np.isfinite(samples)
        if finite.all():
            return samples
        self._mended += int(samples.size - np.count_nonzero(finite))
        return np.where(finite, samples, np.float32(0))

    def _of_rate(self, rate: int) -> _OneRate:
        if rate not in self._by_rate:
            self._by_rate[rate] = _OneRate(rate, self._first_second)
        return self._by_rate[rate]

    def _emit(self) -> Waveform:
        seconds = min(BLOCK_SECONDS, self._num_seconds - self._first_second)
        block = np.zeros(seconds * SAMPLE_RATE, np.float32)
        for rate, one_rate in list(self._by_rate.items()):
            if one_rate.silent():
                del self._by_rate[rate]
                continue
            block += one_rate.resampled(seconds, self._resample)
            one_rate.advance()
        self._first_second += BLOCK_SECONDS
        return block

    def _warn(self) -> None:
        self._mixer.warn(self._report)
        if self._dropped:
            self._report.warnings.append(
                f"audio overlaps itself: dropped {float(self._dropped):.3f} s by time stamp"
            )
        if self._mended:
            self._report.warnings.append(f"audio holds {self._mended} samples that are no number")


class _OneRate:
    """Audio of one sample rate around the current block: [block − 1 s, block + 61 s).

    Almost every file has one rate. Some change it on the way; as resampling is linear,
    the sum over the rates is the whole.
    """

    def __init__(self, rate: int, first_second: int) -> None:
        self._rate = rate
        self._origin = (first_second - CONTEXT_SECONDS) * rate
        self._samples = np.zeros((BLOCK_SECONDS + 2 * CONTEXT_SECONDS) * rate, np.float32)

    def write(self, position: int, samples: Waveform) -> int:
        """Keep what lies in reach; return how many samples are done with (kept or too early)."""
        begin = position - self._origin
        early = min(max(0, -begin), samples.size)
        room = self._samples[begin + early : begin + samples.size]
        room[:] = samples[early : early + room.size]
        return early + room.size

    def silent(self) -> bool:
        return not self._samples.any()

    def resampled(self, seconds: int, resample: Resample) -> Waveform:
        """The block's ``seconds`` at 16 kHz."""
        samples = self._samples[: (seconds + 2 * CONTEXT_SECONDS) * self._rate]
        if resample == "nearest44k":
            return _nearest(_inner(samples, self._rate, _MOVIEPY_RATE))
        return _inner(samples, self._rate, SAMPLE_RATE)

    def advance(self) -> None:
        """Move on to the next block; its context is the end of this one."""
        shift = BLOCK_SECONDS * self._rate
        kept = self._samples.size - shift
        self._samples[:kept] = self._samples[shift:]
        self._samples[kept:] = 0
        self._origin += shift


def _inner(samples: Waveform, rate: int, target: int) -> Waveform:
    """Resample and cut the context off."""
    if rate != target:
        samples = _soxr_hq(samples, rate, target)
    context = CONTEXT_SECONDS * target
    return samples[context : samples.size - context]


def _soxr_hq(samples: Waveform, rate: int, target: int) -> Waveform:
    """What librosa's ``soxr_hq`` gives, to the bit, without the seconds that its import takes."""
    import soxr  # only the decoder process needs it

    count = math.ceil(samples.size * (target / rate))  # its rounding, one sample more at times
    found = soxr.resample(samples, rate, target, quality="soxr_hq")[:count]
    padded: Waveform = np.pad(found, (0, count - found.size))
    return padded


def load_resampler() -> None:
    """Do the slow imports of the first resampling now, rather than on a video's time."""
    _inner(np.zeros(3 * 1_000, np.float32), 1_000, SAMPLE_RATE)


def _nearest(samples: Waveform) -> Waveform:
    """44.1 kHz → 16 kHz by the nearest sample, in 16 bits: what moviepy does to a file."""
    count = samples.size * SAMPLE_RATE // _MOVIEPY_RATE
    index = np.rint(np.arange(count) * _MOVIEPY_RATE / SAMPLE_RATE).astype(np.intp)
    return to_pcm16(samples[index]).astype(np.float32) / np.float32(32768)


def to_pcm16(samples: Waveform) -> NDArray[np.int16]:
    """Round float samples in [−1, 1) to 16 bits; beyond is clipped."""
    scaled = np.clip(np.rint(samples * np.float32(32768)), -32768, 32767)
    pcm: NDArray[np.int16] = scaled.astype(np.int16)
    return pcm


class WindowCutter:
    """Cuts the waveform into the windows that the rows of an audio input are made from."""

    def __init__(self, num_rows: int, hop_seconds: float, window: int) -> None:
        """Row k is the ``window`` samples from round(k × hop × 16000) on."""
        self._num_rows = num_rows
        self._hop = hop_seconds
        self._window = window
        self._next = 0
        self._kept = np.zeros(0, np.float32)
        self._origin = 0

    def push(self, block: Waveform) -> Iterator[tuple[int, Waveform]]:
        """Take the next block; yield (first row, windows [n ≤ 60, window]) that are complete."""
        self._kept = np.concatenate([self._kept, block])
        yield from self._cut(self._origin + self._kept.size)
        used = min(self._start(self._next) - self._origin, self._kept.size)
        self._kept = self._kept[used:].copy()
        self._origin += used

    def finish(self) -> Iterator[tuple[int, Waveform]]:
        """Yield the rows that reach beyond the end, padded with silence."""
        last = self._start(self._num_rows - 1) + self._window
        missing = max(0, last - self._origin - self._kept.size)
        yield from self.push(np.zeros(missing, np.float32))

    def _start(self, row: int) -> int:
        return round(row * self._hop * SAMPLE_RATE)

    def _cut(self, end: int) -> Iterator[tuple[int, Waveform]]:
        ready = self._next
        while ready < self._num_rows and self._start(ready) + self._window <= end:
            ready += 1
        for first in range(self._next, ready, BLOCK_SECONDS):
            begins = [
                self._start(row) - self._origin
                for row in range(first, min(first + BLOCK_SECONDS, ready))
            ]
            yield first, np.stack([self._kept[b : b + self._window] for b in begins])
        self._next = ready


def write_wav(path: str, blocks: Iterable[Waveform]) -> None:
    """Write 16 kHz mono blocks as 16-bit PCM, one block in memory at a time."""
    with wave.open(path, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(SAMPLE_RATE)
        for block in blocks:
            file.writeframes(to_pcm16(block).tobytes())
