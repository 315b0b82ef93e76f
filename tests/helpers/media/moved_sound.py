"""Clips whose sound begins at another time than their picture."""

import subprocess
from pathlib import Path

import imageio_ffmpeg


def move_sound(clip: Path, out: Path, seconds: float) -> Path:
    """Copy ``clip`` to ``out`` with its sound later by ``seconds``, without encoding again."""
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-y", "-nostdin", "-i", str(clip)]
    command += ["-itsoffset", str(seconds), "-i", str(clip)]
    command += ["-map", "0:v", "-map", "1:a", "-c", "copy", str(out)]
    subprocess.run(command, check=True)
    return out
