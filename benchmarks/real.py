"""Clips of real files: those of ``../shared/media`` looped to a minute, and encoded anew.

The files are not part of the repository: without them the page says so.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

import imageio_ffmpeg

from benchmarks.clips import SECONDS

MEDIA = Path(__file__).resolve().parents[2] / "shared" / "media"
KINDS = {
    "H.264 360p": ["-vf", "scale=-2:360", "-c:v", "libx264", "-preset", "medium"],
    "H.264 720p": ["-vf", "scale=-2:720", "-c:v", "libx264", "-preset", "medium"],
    "VP9 360p": ["-vf", "scale=-2:360", "-c:v", "libvpx-vp9", "-deadline", "realtime"],
    "HEVC 720p": ["-vf", "scale=-2:720", "-c:v", "libx265", "-preset", "fast"],
}
"""Name → how ffmpeg encodes it."""


def real_clips(folder: Path) -> dict[str, Path]:
    """Kind → a clip of a minute; empty where there are no real files.

    "as it is" is the longest file, looped and not encoded again.
    """
    files = sorted(MEDIA.glob("*.mp4"), key=lambda path: path.stat().st_size)
    if not files:
        return {}
    found = {"as it is": _looped(files[-1], folder / "looped.mp4", ["-c", "copy"])}
    for kind, options in KINDS.items():
        path = folder / f"{kind.replace(' ', '_').replace('.', '')}.mp4"
        found[kind] = _looped(files[-1], path, [*options, "-pix_fmt", "yuv420p", "-c:a", "aac"])
    return found


def _looped(source: Path, target: Path, options: list[str]) -> Path:
    target.parent.mkdir(parents=True, exist_ok=True)
    if not target.exists():
        unfinished = target.with_name(f"unfinished-{target.name}")
        command = [imageio_ffmpeg.get_ffmpeg_exe(), "-nostdin", "-v", "error", "-y"]
        command += ["-stream_loop", "-1", "-i", str(source), "-t", str(SECONDS)]
        # An unfinished one is not taken for a clip.
        subprocess.run([*command, *options, str(unfinished)], check=True)
        unfinished.rename(target)
    return target
