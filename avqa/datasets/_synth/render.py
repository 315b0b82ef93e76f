"""One clip as an MP4 file: pictures and sound of a scene through the bundled ffmpeg."""

from __future__ import annotations

import os
import struct
import subprocess
import tempfile
import wave
from pathlib import Path

import ffmpeg

from avqa import programs
from avqa.datasets._synth.drawing import FPS, SIZE, pictures
from avqa.datasets._synth.score import Settings, compose
from avqa.datasets._synth.sound import RATE, to_pcm16, waveform
from avqa.errors import EnvironmentFailure

_SOUND, _OUTPUT = "sound.wav", "clip.mp4"
"""Stand in for the paths in the command line."""


def render(settings: Settings, number: int, path: Path) -> None:
    """Write clip ``number``; it appears under ``path`` only when it is complete.

    One thread and no names of versions in the file: the same settings give the same bytes.

    Raises:
        EnvironmentFailure: if ffmpeg fails.
    """
    scene = compose(settings, number)
    unfinished = path.with_name(f"unfinished-{path.name}")
    with tempfile.TemporaryDirectory() as scratch:
        sound = Path(scratch) / "sound.wav"
        with wave.open(str(sound), "wb") as file:
            file.setnchannels(1)
            file.setsampwidth(2)
            file.setframerate(RATE)
            samples = waveform(scene, settings.instruments, settings.seed)
            file.writeframes(to_pcm16(samples).tobytes())
        with (
            tempfile.TemporaryFile() as complaints,
            subprocess.Popen(
                _command(sound, unfinished), stdin=subprocess.PIPE, stderr=complaints
            ) as process,
        ):
            assert process.stdin is not None
            try:
                for picture in pictures(scene, settings.seed):
                    process.stdin.write(picture)
                process.stdin.close()
            except BrokenPipeError:
                pass  # ffmpeg says why
            if process.wait():
                complaints.seek(0)
                said = " ".join(complaints.read().decode(errors="replace").split())[-300:]
                raise EnvironmentFailure(
                    f"clip {path.name}: ffmpeg failed: {said}; expected an MP4 file; check the"
                    " disk, then run again"
                )
    with unfinished.open("rb") as file:
        os.fsync(file.fileno())  # a name that outlasts a power loss has its bytes then
    unfinished.replace(path)


def is_whole(path: Path) -> bool:
    """Whether a clip is there from its first box to its last, as `render` writes it."""
    names, place = set(), 0
    try:
        n_bytes = path.stat().st_size
        with path.open("rb") as file:
            while place < n_bytes:
                size, name = struct.unpack(">I4s", file.read(8))
                names.add(name)
                place += max(size, 8)
                file.seek(place)
    except (FileNotFoundError, struct.error):
        return False
    return place == n_bytes and {b"ftyp", b"mdat", b"moov"} <= names


def _command(sound: Path, out: Path) -> list[str]:
    raw = {"format": "rawvideo", "pix_fmt": "rgb24", "s": f"{SIZE}x{SIZE}", "r": FPS}
    command: list[str] = (
        ffmpeg.output(
            ffmpeg.input("pipe:", **raw),
            ffmpeg.input(_SOUND),
            _OUTPUT,
            vcodec="libx264",
            preset="veryfast",
            crf=20,
            pix_fmt="yuv420p",
            threads=1,
            acodec="aac",
            audio_bitrate="96k",
            fflags="+bitexact",
            **{"flags:v": "+bitexact", "flags:a": "+bitexact"},
            map_metadata=-1,
        )
        .global_args("-v", "error")
        .overwrite_output()
        .compile(cmd=programs.ffmpeg())
    )
    # ffmpeg-python takes names of UTF-8 alone.
    names = {_SOUND: str(sound), _OUTPUT: f"file:{out}"}
    return [names.get(word, word) for word in command]
