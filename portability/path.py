"""The main path as typed: ``python portability/path.py FOLDER [--avqa COMMAND]``.

From a rendered benchmark over features, training and an explained answer to packed stores and
exported files, each with the command that a person would type, in ``FOLDER`` and with relative
paths. Every step must end well and leave what it promises. Needs no package; runs any ``avqa``.
"""

from __future__ import annotations

import argparse
import os
import shlex
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

FEATURES = "clip_vit_b32/frame,clip_vit_b32/patch,resnet18/pool,vggish/audio"
NUM_VIDEOS, SECONDS = 10, 4
CLIP = "bench/videos/00000001.mp4"
ASKED = "--dataset music-avqa --annotations bench/annotations"


@dataclass(frozen=True)
class Step:
    """A command, what it must print, and the files that it must leave."""

    words: str
    prints: str = ""
    leaves: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """For the table: the command's own name."""
        return self.words.split()[0]


EXTRACT = f"extract --videos bench/videos --out store --features {FEATURES} --weights random:0"
STEPS = (
    Step("--version", "Python"),
    Step(f"synth bench --videos {NUM_VIDEOS} --seconds {SECONDS}", leaves=(CLIP,)),
    Step(EXTRACT, f"{NUM_VIDEOS} extracted, 0 already there"),
    Step(EXTRACT, f"0 extracted, {NUM_VIDEOS} already there"),
    Step("status store", f"{NUM_VIDEOS}        0       0"),
    Step("verify store --level sample --videos bench/videos"),
    Step(f"questions {ASKED} --store store --weights random:0"),
    Step(
        f"train-head pstp --store store {ASKED} --out run --set epochs=1 --set batch_size=16",
        "ours: pstp",
        ("run/default/seed-0/model.safetensors", "run/table.txt"),
    ),
    Step("evaluate run --split test", "ours: pstp"),
    Step("predict run --out answers.json", leaves=("answers.json",)),
    Step(
        f"ask run {CLIP} 'Where is the first sounding instrument?' --explain why",
        "answer",
        ("why/explanation.png",),
    ),
    Step(f"frames {CLIP} --out frames", leaves=("frames/frames.json",)),
    Step(f"frames {CLIP} --out frames", leaves=("frames/frames.json", "frames/00000.png")),
    Step("export npy --store store --layout pstp --out npy", leaves=("npy",)),
    Step("pack store packed", leaves=("packed",)),
    Step("verify packed --level crc"),
)


class Failed(Exception):
    """A step did not do what it has to."""


def go(folder: Path, avqa: list[str], environ: dict[str, str]) -> float:
    """Take all steps in an empty folder; the seconds they took.

    Raises:
        Failed: the first that fails, with all it said.
    """
    started = time.monotonic()
    for step in STEPS:
        command = [*avqa, *shlex.split(step.words)]
        begun = time.monotonic()
        done = subprocess.run(
            command, cwd=folder, env=environ, capture_output=True, text=True, encoding="utf-8"
        )
        lost = [name for name in step.leaves if not (folder / name).exists()]
        if done.returncode or step.prints not in done.stdout or lost:
            raise Failed(
                f"avqa {step.words}\nexit code {done.returncode}; expected 0, {step.prints!r} in"
                f" its output, and {', '.join(step.leaves) or 'no files'}\n"
                f"{done.stdout}{done.stderr}"
            )
        print(f"  {time.monotonic() - begun:6.1f} s  avqa {step.words}", flush=True)
    return time.monotonic() - started


def main() -> int:
    """Entry point: 0 if every step did what it has to."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="made; must not be there")
    parser.add_argument("--avqa", default="avqa", help="the command, with its first words")
    chosen = parser.parse_args()
    chosen.folder.mkdir(parents=True)
    try:
        go(chosen.folder, shlex.split(chosen.avqa), dict(os.environ))
    except Failed as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
