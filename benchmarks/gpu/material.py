"""What the check looks at: lifelike clips and small ensembles with questions.

Rendered where a bundle is made, with the ffmpeg program that the check does without; there the
clips are only repeated, packet by packet.
"""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
from pathlib import Path

HEIGHTS = (360, 720)
SECONDS, GAP = 10, 0.04
"""Of a clip; between two of its repeats, longer than what its audio is too long by."""
ENSEMBLES, ENSEMBLE_SECONDS = 20, 4
CLIPS, BENCH = "clips", "bench"


def make(folder: Path, seconds: int = SECONDS, heights: tuple[int, ...] = HEIGHTS) -> None:
    """Render what is not there yet."""
    for height in heights:
        path = folder / CLIPS / f"{height}.mp4"
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            render(path, height, seconds)
    size = ("--videos", str(ENSEMBLES), "--seconds", str(ENSEMBLE_SECONDS))
    subprocess.run(
        [sys.executable, "-m", "avqa", "synth", str(folder / BENCH), *size],
        check=True,
        stdout=subprocess.DEVNULL,
    )


def render(path: Path, height: int, seconds: int) -> None:
    """A clip of `benchmarks.clips`, scaled."""
    import imageio_ffmpeg

    from benchmarks.clips import FPS, HEIGHT, WIDTH, frames

    unfinished = path.with_name(f"unfinished-{path.name}")
    command = [
        imageio_ffmpeg.get_ffmpeg_exe(), "-nostdin", "-v", "error", "-y",
        "-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{WIDTH}x{HEIGHT}", "-r", str(FPS), "-i", "-",
        "-f", "lavfi", "-t", str(seconds), "-i", "anoisesrc=color=pink:seed=0:amplitude=0.3",
        "-f", "lavfi", "-t", str(seconds), "-i", "sine=frequency=660:sample_rate=44100",
        "-filter_complex", "[1][2]amix=inputs=2[a]", "-map", "0:v", "-map", "[a]",
        "-vf", f"scale=-2:{height}", "-c:v", "libx264", "-preset", "medium", "-pix_fmt", "yuv420p",
        "-c:a", "aac", "-b:a", "128k", "-ar", "44100", "-ac", "2", str(unfinished),
    ]  # fmt: skip
    with subprocess.Popen(command, stdin=subprocess.PIPE) as process:
        assert process.stdin is not None
        for frame in itertools.islice(frames(0), seconds * FPS):
            process.stdin.write(frame.tobytes())
        process.stdin.close()
        if process.wait():
            raise RuntimeError(f"ffmpeg failed on {path}")
    unfinished.rename(path)


def heights(folder: Path) -> list[int]:
    """Those of the clips that there are, in order.

    Raises:
        FileNotFoundError: there is none.
    """
    found = sorted(int(path.stem) for path in (folder / CLIPS).glob("*.mp4"))
    if not found:
        raise FileNotFoundError(
            f"no clips in {folder}; expected those of `make gpu-bundle`; make them there and carry"
            " the folder here"
        )
    return found


def seconds_of(path: Path) -> float:
    """Length of a clip."""
    import av

    with av.open(str(path)) as clip:
        return float(clip.duration or 0) / av.time_base


def videos(material: Path, folder: Path, height: int, loops: int, count: int) -> list[Path]:
    """So many names of one clip that is repeated ``loops`` times."""
    folder.mkdir(parents=True, exist_ok=True)
    first = folder / f"{height}-000.mp4"
    if not first.exists():
        repeat(material / CLIPS / f"{height}.mp4", first, loops)
    paths = [folder / f"{height}-{number:03}.mp4" for number in range(count)]
    for path in paths:
        if not path.exists():
            os.link(first, path)
    return paths


def repeat(source: Path, target: Path, loops: int) -> None:
    """A clip several times in a row, nothing decoded."""
    import av

    with av.open(str(target), "w") as out:
        with av.open(str(source)) as clip:
            length = (clip.duration or 0) / av.time_base + GAP
            streams = {s.index: out.add_stream_from_template(s) for s in clip.streams}
        for number in range(loops):
            with av.open(str(source)) as clip:
                for packet in clip.demux():
                    if packet.dts is None or packet.pts is None:
                        continue
                    shift = round(number * length / packet.time_base)
                    packet.pts, packet.dts = packet.pts + shift, packet.dts + shift
                    packet.stream = streams[packet.stream.index]
                    out.mux(packet)
