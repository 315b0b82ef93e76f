"""What every reader does in one way, whatever its library does by itself."""

from __future__ import annotations

import subprocess
from pathlib import Path

import numpy as np
import pytest
from helpers.media import clips

from avqa.extract.media.audio.frame_clock import FrameClockAudio
from avqa.extract.media.types import Limits, Reader, Report
from avqa.extract.settings import Mix


def run_ffmpeg(*arguments: str | Path) -> None:
    command = [clips.program(), "-v", "error", "-y", "-nostdin"]
    subprocess.run([*command, *map(str, arguments)], check=True)


# Channels of the audio


LEVELS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6)


def surround(path: Path, codec: str, layout: str) -> Path:
    source = f"aevalsrc={'|'.join(map(str, LEVELS))}:d=1:s=16000:c={layout}"
    frame = "testsrc=d=1:r=5:s=64x64"
    run_ffmpeg("-f", "lavfi", "-i", frame, "-f", "lavfi", "-i", source, "-c:a", codec, path)
    return path


def mixed(reader: Reader, path: Path, mix: Mix) -> tuple[np.ndarray, Report]:
    report = Report()
    probe = reader.probe(str(path), Limits())
    audio = FrameClockAudio(
        reader.audio(probe, report),
        start_seconds=int(probe.times.pts[0]) * probe.times.time_base,
        num_seconds=1, resample="soxr_hq", mix=mix, report=report,
    )  # fmt: skip
    return np.concatenate(list(audio.blocks())), report


@pytest.mark.parametrize(
    ("file", "codec", "layout", "itu"),
    [
        ("a.mkv", "flac", "5.1(side)", 0.311_091),
        ("a.mkv", "pcm_s16le", "5.1", 0.311_091),  # Matroska does not tell PCM's channels
        ("a.avi", "pcm_s16le", "hexagonal", 0.336_399),
    ],
)
def test_channels_are_mixed_by_their_names(
    reader: Reader, file: str, codec: str, layout: str, itu: float, tmp_path: Path
) -> None:
    path = surround(tmp_path / file, codec, layout)
    for mix, expected in (("mean", 0.35), ("itu", itu), ("first", 0.1)):
        samples, report = mixed(reader, path, mix)
        np.testing.assert_allclose(samples[800:-800], expected, atol=1e-4)
        assert bool(report.warnings) == (mix == "first")  # another channel is six times as loud
