"""`avqa extract` as typed: what a further clip costs, and what the first one costs besides."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from benchmarks import floor
from benchmarks.real import real_clips
from benchmarks.typed import Typed, typed
from benchmarks.usual_chain import run_chain

COPIES, ROUNDS = 3, 5
"""Of each real clip, and times that it is decoded: seconds of a shared machine vary by half."""


def runs(clips: list[Path], work: Path, precision: str) -> dict[str, dict[str, Any]]:
    """``one`` clip and ``all`` of them, each a `Typed` as a dictionary."""
    found = {"one": _extract(clips[:1], work, precision), "all": _extract(clips, work, precision)}
    return {name: vars(run) for name, run in found.items()}


def marginal(pair: dict[str, dict[str, Any]], num_clips: int) -> float:
    """Seconds that each clip but the first takes."""
    return float(pair["all"]["wall"] - pair["one"]["wall"]) / (num_clips - 1)


def _extract(clips: list[Path], work: Path, precision: str) -> Typed:
    videos, store = work / "typed-videos", work / "typed-store"
    for folder in (videos, store):
        shutil.rmtree(folder, ignore_errors=True)
    videos.mkdir(parents=True)
    for clip in clips:
        (videos / clip.name).hardlink_to(clip)
    return typed(
        *("extract", "--videos", videos, "--out", store, "--precision", precision),
        *("--device", "cpu", "--weights", "pretrained"),
        environ={"AVQA_CACHE": str(work / "cache")},
    )


def of_real_files(work: Path, out: Path) -> dict[str, dict[str, float]]:
    """Kind of clip → seconds per further clip, avqa and the usual chain, and of decoding alone."""
    table = {}
    for kind, clip in real_clips(work / "real").items():
        copies = [clip.with_name(f"{number}-{clip.name}") for number in range(COPIES)]
        for copy in copies:
            copy.unlink(missing_ok=True)
            copy.hardlink_to(clip)
        pair = runs(copies, work, "fp32")
        chain = run_chain([clip], out / "chain", "cpu")
        shutil.rmtree(out / "chain")
        table[kind] = {
            "avqa": marginal(pair, COPIES),
            "chain": sum(chain.values()),
            **floor.decoding([clip], ROUNDS),
        }
    return table
