"""Benchmark clips: 60 s of 1280×720 at 30 fps, H.264 (x264 medium) and AAC, lifelike.

Two textured layers with a natural (1/f) spectrum pan at different speeds under a shaking camera,
objects cross the scene, cuts change it, and grain lies over everything: an encoder has to work,
and key frames fall where a camera's would.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import imageio_ffmpeg
import numpy as np
from numpy.typing import NDArray

SECONDS, FPS, WIDTH, HEIGHT = 60, 30, 1280, 720
NUM_ENCODES, NUM_NAMES = 4, 3
GRAIN = 2.0


def natural_texture(rng: np.random.Generator, height: int, width: int) -> NDArray[np.uint8]:
    """A colour frame [height, width, 3] whose amplitude falls with 1/frequency."""
    fy = np.fft.fftfreq(height)[:, None]
    fx = np.fft.rfftfreq(width)[None]
    amplitude = 1 / np.maximum(np.hypot(fy, fx), 1 / width)
    planes = []
    for _ in range(3):
        phase = np.exp(2j * np.pi * rng.random(amplitude.shape))
        plane = np.fft.irfft2(amplitude * phase, (height, width))
        planes.append(plane / plane.std())
    mixed = np.stack([planes[0] + 0.4 * planes[i] for i in range(3)], axis=-1)
    pixels: NDArray[np.uint8] = np.clip(128 + 42 * mixed, 0, 255).astype(np.uint8)
    return pixels


def frames(seed: int) -> Iterator[NDArray[np.uint8]]:
    """Yield the clip's frames as uint8 [HEIGHT, WIDTH, 3]."""
    rng = np.random.default_rng(seed)
    grain = rng.normal(0, GRAIN, (8, HEIGHT, WIDTH, 1)).astype(np.int16)
    cuts = np.sort(rng.integers(90, SECONDS * FPS, 6))
    scene = -1
    for number in range(SECONDS * FPS):
        if (now := int(np.searchsorted(cuts, number, side="right"))) != scene:
            scene = now
            back = natural_texture(rng, HEIGHT + 240, WIDTH + 480)
            objects = [natural_texture(rng, 180, 140) for _ in range(4)]
            speed = rng.uniform(1, 6, (4, 2))
            place = rng.uniform(0, 1, (4, 2)) * (HEIGHT, WIDTH)
        shake = 4 * np.sin(number * np.array([0.31, 0.23]))
        y = int(120 + 100 * np.sin(number / 170) + shake[0])
        x = int(240 + 220 * np.sin(number / 230) + shake[1])
        frame = back[y : y + HEIGHT, x : x + WIDTH].astype(np.int16)
        for sprite, (top, left), (down, right) in zip(objects, place, speed, strict=True):
            t = int(top + down * number) % (HEIGHT - 180)
            s = int(left + right * number) % (WIDTH - 140)
            frame[t : t + 180, s : s + 140] = sprite
        frame += grain[rng.integers(8)]
        yield np.clip(frame, 0, 255).astype(np.uint8)


def render(path: Path, seed: int) -> None:
    """Encode one clip; its audio is pink noise with a warbling tone."""
    unfinished = path.with_name(f"unfinished-{path.name}")
    command = [
        imageio_ffmpeg.get_ffmpeg_exe(), "-nostdin", "-v", "error", "-y",
        "-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{WIDTH}x{HEIGHT}", "-r", str(FPS), "-i", "-",
        "-f", "lavfi", "-t", str(SECONDS), "-i", f"anoisesrc=color=pink:seed={seed}:amplitude=0.3",
        "-f", "lavfi", "-t", str(SECONDS), "-i", "sine=frequency=660:sample_rate=44100",
        "-filter_complex", "[1][2]amix=inputs=2[a]", "-map", "0:v", "-map", "[a]",
        "-c:v", "libx264", "-preset", "medium", "-pix_fmt", "yuv420p",
        "-c:a", "aac", "-b:a", "128k", "-ar", "44100", "-ac", "2", str(unfinished),
    ]  # fmt: skip
    with subprocess.Popen(command, stdin=subprocess.PIPE) as process:
        assert process.stdin is not None
        for frame in frames(seed):
            process.stdin.write(frame.tobytes())
        process.stdin.close()
        if process.wait():
            raise RuntimeError(f"ffmpeg failed on {path}")
    unfinished.rename(path)


def benchmark_clips(folder: Path) -> list[Path]:
    """Four encodes under three names each (copies: nothing is cached between them)."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for seed in range(NUM_ENCODES):
        first = folder / f"clip{seed}_a.mp4"
        if not first.exists():
            print(f"rendering {first.name}", flush=True)
            render(first, seed)
        for letter in "abc"[:NUM_NAMES]:
            path = folder / f"clip{seed}_{letter}.mp4"
            if not path.exists():
                shutil.copyfile(first, path)
            paths.append(path)
    return sorted(paths)
