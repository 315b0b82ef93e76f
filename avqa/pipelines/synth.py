"""`avqa synth`: a small benchmark with known truth, written to a folder."""

from __future__ import annotations

import json
import multiprocessing
import shlex
import signal
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from avqa import datasets
from avqa.datasets._parts.floors import floors
from avqa.datasets._synth.balance import choose, with_both_orders
from avqa.datasets._synth.facts import Facts
from avqa.datasets._synth.questions import Question, ask
from avqa.datasets._synth.render import is_whole, render
from avqa.datasets._synth.score import Scene, Settings, compose, split_of
from avqa.datasets._synth.writing import (
    OF_BEFORE,
    UNFINISHED,
    annotation_rows,
    settings_entry,
    truth,
    write_json,
)
from avqa.errors import ConfigError, StorageFailure
from avqa.machine import num_cores
from avqa.telling import counting
from avqa.units import clock

TRUTH, ANNOTATIONS, VIDEOS = "truth.json", "annotations", "videos"
POOL_FROM = 4
"""Fewer clips than this are rendered here: starting processes takes longer."""


@dataclass(frozen=True)
class SynthReport:
    """What a run wrote."""

    out: Path
    rendered: int
    found: int
    wall_seconds: float
    questions: dict[str, int]
    """Split → how many."""
    chunk_seconds: int
    """What suits clips of this length."""
    floors: dict[str, float]
    """Percent right on test without looking, by what is known of the question, fitted on train."""

    def lines(self) -> list[str]:
        """Counts, floors, and what to run next."""
        counts = ", ".join(f"{split} {count}" for split, count in self.questions.items())
        floors = ", ".join(f"{prior} {percent:.1f} %" for prior, percent in self.floors.items())
        out = shlex.quote(str(self.out))
        store = shlex.quote(str(self.out / "features"))
        return [
            f"{self.rendered + self.found} videos: {self.rendered} rendered, {self.found} already"
            f" there, in {clock(self.wall_seconds)}",
            f"questions: {counts}; read {self.out / ANNOTATIONS} as data set music-avqa",
            f"floors on test, fitted on train: {floors}",
            f"next: avqa extract --videos {out}/{VIDEOS} --out {store} --weights random:0"
            f" --chunk-seconds {self.chunk_seconds}",
        ]


def synthesise(
    out: Path,
    settings: Settings,
    say: Callable[[str], None] = lambda line: None,
    processes: int | None = None,
) -> SynthReport:
    """Write the truth, the question files and every clip that is not there yet.

    The files depend on the settings alone, not on ``processes`` (default: one per core).

    Raises:
        ConfigError: ``out`` holds something else, or the benchmark of other settings.
        EnvironmentFailure: ffmpeg fails, or the disk is full.
    """
    started = time.monotonic()
    _refuse_foreign(out, settings)
    scenes = scenes_of(settings)
    rows = rows_of(settings, scenes)
    try:
        out.mkdir(parents=True, exist_ok=True)
        write_json(out / TRUTH, truth(settings, scenes), 1)  # first: it says whose folder it is
        for folder in (ANNOTATIONS, VIDEOS):
            (out / folder).mkdir(exist_ok=True)
        for split, entries in rows.items():
            write_json(out / ANNOTATIONS / f"avqa-{split}.json", entries, 2)
    except OSError as error:
        raise StorageFailure(
            f"folder {str(out)!r}: {error.strerror}; expected to write there; free space, or give"
            " another OUT"
        ) from error
    clips = {
        scene.number: out / VIDEOS / f"{scene.video_id}.mp4"
        for group in scenes.values()
        for scene in group
    }
    missing = {number: path for number, path in clips.items() if not is_whole(path)}
    _render_all(settings, missing, processes or num_cores(), say)
    wall = time.monotonic() - started
    counts = {split: len(entries) for split, entries in rows.items()}
    return SynthReport(
        out=out,
        rendered=len(missing),
        found=len(clips) - len(missing),
        wall_seconds=wall,
        questions=counts,
        chunk_seconds=min(60, settings.seconds),
        floors=_floors(out),
    )


def scenes_of(settings: Settings) -> dict[str, list[Scene]]:
    """The scores of all clips, by split."""
    return {
        split: [compose(settings, number) for number in numbers]
        for split, numbers in split_of(settings).items()
    }


def rows_of(settings: Settings, scenes: dict[str, list[Scene]]) -> dict[str, list[dict[str, Any]]]:
    """The rows of every split's question file."""
    return annotation_rows(_questions(settings, scenes))


def _floors(out: Path) -> dict[str, float]:
    """As any benchmark's: from the files."""
    fit, score = (
        datasets.read("music-avqa", out / ANNOTATIONS, (split,)) for split in ("train", "test")
    )
    return {prior: table["All"].percent for prior, table in floors(fit, score).items()}


def _refuse_foreign(out: Path, settings: Settings) -> None:
    if out.exists() and not out.is_dir():
        raise ConfigError(f"{str(out)!r} is a file; expected a folder; give another OUT")
    # A kill at the first file leaves it unfinished.
    if not out.exists() or {file.name for file in out.iterdir()} <= {UNFINISHED + TRUTH}:
        return
    asked = settings_entry(settings)
    try:
        entry = json.loads((out / TRUTH).read_text(encoding="utf-8"))["settings"]
        found = {key: entry.get(key, OF_BEFORE.get(key)) for key in asked}
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        raise ConfigError(
            f"folder {str(out)!r} is not empty and has no {TRUTH} of a benchmark; expected a new"
            " folder; give another OUT"
        ) from None
    other = [key for key in asked if asked[key] != found[key]]
    if other:
        there, wanted = (", ".join(f"{k}={_short(d[k])}" for k in other) for d in (found, asked))
        raise ConfigError(
            f"folder {str(out)!r} holds another benchmark: {there}; expected {wanted}; give its"
            " settings to finish it, or another OUT"
        )


def _short(value: object) -> str:
    return ",".join(value) if isinstance(value, list) else str(value)


def _questions(
    settings: Settings, scenes: dict[str, list[Scene]]
) -> dict[str, dict[str, list[Question]]]:
    """Every split balanced by itself."""
    chosen = {}
    for number, (split, group) in enumerate(scenes.items()):
        askable = {s.video_id: list(ask(Facts(s), settings.instruments)) for s in group}
        rng = np.random.default_rng([settings.seed, number, 4])
        chosen[split] = choose(askable, rng, settings.questions)
        if settings.both_orders:
            chosen[split] = with_both_orders(chosen[split], askable)
    return chosen


def _render_all(
    settings: Settings, clips: dict[int, Path], processes: int, say: Callable[[str], None]
) -> None:
    if processes == 1 or len(clips) < POOL_FROM:
        for number, path in clips.items():
            render(settings, number, path)
        return
    pool = ProcessPoolExecutor(
        processes, multiprocessing.get_context("spawn"), initializer=_leave_stopping_to_the_parent
    )
    try:
        waiting = [pool.submit(render, settings, number, path) for number, path in clips.items()]
        with counting(say, "synth", len(clips), "clips rendered") as count:
            for future in as_completed(waiting):
                future.result()
                count.step()
    finally:
        pool.shutdown(cancel_futures=True)


def _leave_stopping_to_the_parent() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
