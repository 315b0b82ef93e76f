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
from avqa.extract.media.container import audio_stream, opened, packets_of
from avqa.extract.media.lost_sound import ZERO_BYTES, LostSound, is_void, means_zeros
from avqa.extract.media.types import AudioSamples, Limits, Report


def read_audio(path: str, limits: Limits, report: Report) -> Iterator[AudioSamples]:
    """Yield the decoded frames of the audio stream as mono runs on the file's clock.

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
        for frame in _frames(container, stream, path, report):
            start = frame.pts * stream.time_base if frame.pts is not None else expected
            samples = mono(frame)
            run = AudioSamples(start or Fraction(0), frame.sample_rate, samples)
            expected = run.start_seconds + Fraction(len(samples), frame.sample_rate)
            count += 1
            yield run
    if count == 0:
        raise MediaError(
            "corrupt",
            f"the audio of path={path!r} does not decode; expected at least one frame; "
            "the file is damaged",
            stage="sound",
        )


def _frames(container: Any, stream: Any, path: str, report: Report) -> Iterator[Any]:
    codec = stream.codec_context
    real = means_zeros(codec.codec.canonical_name)
    lost_sound = LostSound(path, report.lost_sound)
    for packet in packets_of(container, [stream], report.warnings):
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


def mono(frame: Any) -> NDArray[np.float32]:
    """Mean of the channels [n], full scale ±1."""
    data = frame.to_ndarray()
    if not frame.format.is_planar:
        data = data.reshape(-1, frame.layout.nb_channels).T
    if data.dtype == np.uint8:
        scaled = (data.astype(np.float32) - 128) / 128
    elif np.issubdtype(data.dtype, np.integer):
        scaled = data.astype(np.float32) / -float(np.iinfo(data.dtype).min)
    else:
        scaled = data
    mixed: NDArray[np.float32] = scaled.mean(axis=0, dtype=np.float32)
    return mixed
