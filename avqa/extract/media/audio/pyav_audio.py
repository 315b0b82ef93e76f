"""Audio by time stamps with PyAV: the only way that keeps the start offset of late audio."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from typing import Any

import numpy as np
from av.error import FFmpegError
from av.error import MemoryError as FFmpegMemoryError
from av.stream import Discard
from numpy.typing import NDArray

from avqa.errors import MediaError
from avqa.extract.media import file_checks
from avqa.extract.media.audio.lost_sound import ZERO_BYTES, LostSound, is_void, means_zeros
from avqa.extract.media.clock import Shifts
from avqa.extract.media.container import audio_stream, opened
from avqa.extract.media.demux import packets_of
from avqa.extract.media.types import AudioSamples, Limits, Report

AS_IT_IS = Shifts()
"""For a file with one clock."""


def read_audio(
    path: str, limits: Limits, report: Report, shifts: Shifts = AS_IT_IS
) -> Iterator[AudioSamples]:
    """Yield the decoded frames of the audio stream as runs on the file's clock.

    ``shifts`` is what puts its packets on one clock.

    Raises:
        MediaError: ``no_sound``, ``no_decoder``, or ``corrupt`` if nothing decodes.
    """
    with opened(path, limits) as container:
        stream = audio_stream(container)
        if stream is None:
            raise file_checks.no_audio(path)
        if stream.codec_context is None:
            raise _no_audio_decoder(path)
        stream.codec_context.thread_count = 1
        for other in container.streams:
            if other.index != stream.index:
                other.discard = Discard.all
        count = 0
        expected: Fraction | None = None
        for frame in _frames(container, stream, path, report, shifts):
            start = frame.pts * stream.time_base if frame.pts is not None else expected
            samples = samples_of(frame)
            run = AudioSamples(
                start or Fraction(0), frame.sample_rate, samples, channels_of(frame.layout)
            )
            expected = run.start_seconds + Fraction(samples.shape[-1], frame.sample_rate)
            count += 1
            yield run
    if count == 0:
        raise MediaError(
            "corrupt",
            f"the audio of path={path!r} does not decode; expected at least one frame; "
            "the file is damaged",
            stage="sound",
        )


def _frames(
    container: Any, stream: Any, path: str, report: Report, shifts: Shifts
) -> Iterator[Any]:
    codec = stream.codec_context
    real = means_zeros(codec.codec.canonical_name)
    lost_sound = LostSound(path, report.lost_sound)
    for packet in packets_of(container, [stream], report.warnings, {stream.index: shifts}):
        frames = None if not real and is_void(packet) else _decoded(codec, packet)
        hollow = not real and ZERO_BYTES in bytes(packet)
        lost_sound.take(packet, lost=frames is None, hollow=hollow)
        report.corrupt += frames is None
        yield from frames or []
    lost_sound.finish()
    frames = _decoded(codec, None)
    report.corrupt += frames is None
    yield from frames or []


def _decoded(codec: Any, packet: Any) -> list[Any] | None:
    """What comes out for a packet, or for None at the end; None if it does not decode."""
    try:
        frames: list[Any] = codec.decode(packet)
    except FFmpegMemoryError:
        raise
    except FFmpegError:
        return None
    return frames


def _no_audio_decoder(path: str) -> MediaError:
    return MediaError(
        "no_decoder",
        f"no decoder for the audio of path={path!r}; expected a codec FFmpeg knows; "
        "convert the audio",
        stage="sound",
    )


def samples_of(frame: Any) -> NDArray[np.float32]:
    """Samples [channels, n], or [n] of one channel, full scale ±1."""
    data = frame.to_ndarray()
    if not frame.format.is_planar:
        data = data.reshape(-1, frame.layout.nb_channels).T
    samples: NDArray[np.float32] = data.astype(np.float32, copy=False)
    if data.dtype == np.uint8:
        samples = (samples - np.float32(128)) / np.float32(128)
    elif np.issubdtype(data.dtype, np.integer):
        samples = np.divide(samples, -float(np.iinfo(data.dtype).min), dtype=np.float32)
    return samples[0] if len(samples) == 1 else samples


def channels_of(layout: Any) -> tuple[str, ...]:
    """Names of the channels; none if the file does not tell them."""
    names = tuple(channel.name for channel in layout.channels)
    return () if "NONE" in names else names
