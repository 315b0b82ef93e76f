"""Clips whose audio begins at another time than their frame."""

import subprocess
from pathlib import Path

from helpers.media import clips


def move_sound(clip: Path, out: Path, seconds: float) -> Path:
    """Copy ``clip`` to ``out`` with its audio later by ``seconds``, without encoding again."""
    command = [clips.program(), "-v", "error", "-y", "-nostdin", "-i", str(clip)]
    command += ["-itsoffset", str(seconds), "-i", str(clip)]
    command += ["-map", "0:v", "-map", "1:a", "-c", "copy", str(out)]
    subprocess.run(command, check=True)
    return out
