"""The built-in sample: a handful of short clips with frame, motion and audio.

``python -m avqa.demo.sample FOLDER STORE`` renders them with the bundled ffmpeg and
extracts them: the main job with no video at hand and nothing that must be downloaded.
"""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import ffmpeg
import typer

from avqa import programs
from avqa.cli import app
from avqa.commands.reporting import reports_errors
from avqa.errors import EnvironmentFailure, WeightsUnavailable


@dataclass(frozen=True)
class Clip:
    """One sample clip: ffmpeg's synthetic sources for frame and audio, and its encoding."""

    name: str
    frame: str
    audio: str | None
    seconds: float
    options: tuple[tuple[str, str], ...] = ()


CLIPS = (
    Clip("counter.mp4", "testsrc2=size=640x360:rate=30", "sine=frequency=440:beep_factor=4", 8),
    Clip("zoom.mp4", "mandelbrot=size=480x360:rate=25", "aevalsrc=sin(200*t*t)", 6),
    Clip(
        "cells.webm",
        "life=size=320x240:rate=24:mold=10:random_seed=1",
        "anoisesrc=color=pink:seed=1:amplitude=0.4",
        5,
        (("c:v", "libvpx-vp9"), ("deadline", "realtime"), ("c:a", "libopus")),
    ),
    Clip("bars_portrait.mov", "smptehdbars=size=360x640:rate=30000/1001", "sine=frequency=880", 5),
    Clip("silent_movie.mp4", "testsrc=size=320x180:rate=15", None, 4),
)


def render_sample(folder: Path) -> list[Path]:
    """Render every clip that is not there yet; returns all their paths.

    Raises:
        EnvironmentFailure: if ffmpeg fails.
    """
    folder.mkdir(parents=True, exist_ok=True)
    return [_render(clip, folder / clip.name) for clip in CLIPS]


def _render(clip: Clip, path: Path) -> Path:
    if path.exists():
        return path
    streams = [ffmpeg.input(clip.frame, f="lavfi", t=clip.seconds)]
    if clip.audio is not None:
        streams.append(ffmpeg.input(clip.audio, f="lavfi", t=clip.seconds))
    unfinished = path.with_name(f"unfinished-{path.name}")
    options = {"pix_fmt": "yuv420p", "threads": 2, **dict(clip.options)}
    command = (
        ffmpeg.output(*streams, str(unfinished), **options)
        .global_args("-nostdin", "-v", "error")
        .overwrite_output()
        .compile(cmd=programs.ffmpeg())
    )
    done = subprocess.run(command, capture_output=True, timeout=300, check=False)
    if done.returncode:
        raise EnvironmentFailure(
            f"sample clip {clip.name}: ffmpeg failed: {done.stderr.decode(errors='replace')[-300:]}"
        )
    unfinished.rename(path)
    return path


def choose_weights() -> str:
    """``pretrained`` where those can be had, else seeded random ones, and a loud warning."""
    from avqa.extract import weights

    try:
        for name in weights.default_weights():
            weights.ensure(name)
    except WeightsUnavailable as error:
        print(
            "\n"
            "WARNING  No pretrained weights: the networks get SEEDED RANDOM weights.\n"
            "WARNING  The store is complete and well formed, but its features mean nothing.\n"
            f"WARNING  ({error})\n",
            file=sys.stderr,
        )
        return "random:0"
    return "pretrained"


@reports_errors
def main(arguments: list[str]) -> None:
    """``FOLDER STORE [options of avqa extract]``: render the sample and extract it."""
    folder, store, *options = arguments
    clips = render_sample(Path(folder))
    print(f"{len(clips)} sample clips in {folder}", file=sys.stderr)
    if "--weights" not in options:
        options += ["--weights", choose_weights()]
    command = ["extract", "--videos", folder, "--out", store, *options]
    print("$ avqa " + " ".join(command), file=sys.stderr)

    app(command)


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except typer.Exit as ended:
        sys.exit(ended.exit_code)
