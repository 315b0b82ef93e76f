"""``python -m benchmarks.training``: how fast questions reach a head, and how fast heads learn.

On a store of its own with random features. Writes docs/benchmarks_training.md.
"""

from __future__ import annotations

import argparse
import json
import os
import pickle
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "benchmarks_training.md"
VIDEOS = 240
EVERYTHING, NOTHING = 2**50, 0
SMALL_ARRAYS = 2**28
"""Loads frames and audio, and neither patches nor maps, as most machines do with all videos."""
EPOCH = 32_000
STEPS, SECONDS = 8, 20.0
"""A head is measured for so many steps or so long, after a step that does not count."""


@dataclass(frozen=True)
class Case:
    """A way of reading."""

    what: str
    head: str
    budget: int
    workers: int
    target: int | None
    """Questions per second to be reached."""


CASES = (
    Case("frame + audio, loaded", "mcd", EVERYTHING, 0, 2000),
    Case("frame + audio, per video", "mcd", NOTHING, 0, None),
    Case("frame + audio, per video", "mcd", NOTHING, 2, None),
    Case("frame + patch + audio, loaded", "pstp", EVERYTHING, 0, 300),
    Case("frame + patch + audio, patch per video", "pstp", SMALL_ARRAYS, 0, None),
    Case("frame + patch + audio, patch per video", "pstp", SMALL_ARRAYS, 1, 300),
    Case("frame + patch + audio, patch per video", "pstp", SMALL_ARRAYS, 2, None),
    Case("14×14 map + audio, map per video", "avst", SMALL_ARRAYS, 0, None),
    Case("14×14 map + audio, map per video", "avst", SMALL_ARRAYS, 2, 300),
)


def main() -> None:
    """Measure everything, or with ``--only NAME`` print one head's figures as JSON."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--folder", type=Path, default=ROOT / "build", help="for the store")
    parser.add_argument("--only")
    arguments = parser.parse_args()
    if arguments.only:
        print(json.dumps(train(arguments.only, arguments.folder)))
        return

    from avqa import heads
    from benchmarks import training_store
    from benchmarks.__main__ import machine

    busy = os.getloadavg()[0]
    arguments.folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=arguments.folder) as scratch:
        folder = Path(scratch)
        questions = training_store.write(folder / "store", VIDEOS)
        (folder / "questions").write_bytes(pickle.dumps(questions))
        reading: list[tuple[float, ...]] = []
        for case in CASES:
            found = zip(*(read(case, folder) for _ in range(arguments.rounds)), strict=True)
            reading.append(tuple(map(statistics.median, found)))
            print(
                f"{case.what}, {case.workers} workers: {reading[-1][0]:.0f} questions/s", flush=True
            )
        learning = {}
        for name in heads.names():
            command = [sys.executable, "-m", "benchmarks.training", "--only", name]
            done = subprocess.run(
                [*command, "--folder", scratch],
                check=True,
                capture_output=True,
                text=True,
                encoding="utf-8",
            )
            learning[name] = json.loads(done.stdout)
            print(name, learning[name], flush=True)
    PAGE.write_text(page(reading, learning, machine(), busy, arguments.rounds), encoding="utf-8")
    print(f"wrote {PAGE.relative_to(ROOT)}")


def question_set(name: str, folder: Path, budget: int) -> tuple[Any, Any, Any]:
    """A head with its paper's options, its recipe, and the questions as it reads them."""
    from avqa import heads
    from avqa.datasets._parts.labels import instrument_labels
    from avqa.store.reader import FeatureStore
    from avqa.training.data.features import VideoFeatures
    from avqa.training.data.names import feature_names
    from avqa.training.data.questions import QuestionSet

    recipe = heads.load(name).PAPER.recipe
    head = heads.build(name, **({"vocabulary": 101} if name == "mcd" else {}))
    questions = pickle.loads((folder / "questions").read_bytes())
    videos = [question.video_id for question in questions]
    store = FeatureStore(folder / "store")
    names = feature_names(head.FEATURES, recipe.visual)
    features = VideoFeatures(
        store, names, stride_seconds=recipe.stride_seconds, budget_bytes=budget
    )
    features.require(videos, "error")
    features.preload(videos)
    labels = instrument_labels(questions)
    return (
        head,
        recipe,
        QuestionSet(questions, videos, features, store, head, labels, training=True),
    )


def read(case: Case, folder: Path) -> tuple[float, float]:
    """Questions per second, and milliseconds of processor time per question, of one epoch.

    From the start of the workers to what a head is given.
    """
    from avqa.training.data.batches import make_loader

    _, recipe, questions = question_set(case.head, folder, case.budget)
    loader = make_loader(questions, recipe.batch_size, order="grouped", workers=case.workers)
    before, start = cpu_seconds(), time.perf_counter()
    for batch in loader:
        assert batch.inputs is not None
    rate = len(questions) / (time.perf_counter() - start)
    del loader  # ends the workers, whose time counts only then
    return rate, 1000 * (cpu_seconds() - before) / len(questions)


def cpu_seconds() -> float:
    """Processor time of this process and of those it started and saw the end of."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(u.ru_utime + u.ru_stime for u in used)


def train(name: str, folder: Path) -> dict[str, Any]:
    """Speed of a head's training, and the share of it that waits for data.

    If that is over 5 %, again with one worker.
    """
    import torch

    from avqa.training.data.batches import make_loader

    figures: dict[str, Any] = {}
    for workers in (0, 1):
        torch.manual_seed(0)
        head, recipe, questions = question_set(name, folder, SMALL_ARRAYS)
        loader = make_loader(questions, recipe.batch_size, order="grouped", workers=workers)
        measured = list(steps_of(head, recipe, loader))
        waiting, unpacking, learning = (sum(part) for part in zip(*measured, strict=True))
        seconds = waiting + unpacking + learning
        figures |= {"batch": recipe.batch_size, "rows": -(-60 // recipe.stride_seconds)}
        figures[f"waiting_{workers}"] = waiting / seconds
        figures["unpacking"] = unpacking / seconds
        figures[f"rate_{workers}"] = recipe.batch_size * len(measured) / seconds
        if figures["waiting_0"] <= 0.05:
            break
    return figures


def steps_of(head: Any, recipe: Any, loader: Any) -> Iterator[tuple[float, float, float]]:
    """Seconds of waiting for a batch, of making a row of every question, and of learning."""
    import torch

    from avqa import heads

    optimizer = torch.optim.Adam(head.parameters(), recipe.learning_rate)
    head.train()
    batches = iter(loader)
    begin = time.perf_counter()
    for number in range(1 + STEPS):
        start = time.perf_counter()
        batch = next(batches)
        there = time.perf_counter()
        inputs = batch.inputs
        unpacked = time.perf_counter()
        optimizer.zero_grad()
        heads.total_loss(head, head(inputs), batch.answers).backward()
        optimizer.step()
        end = time.perf_counter()
        if number == 0:
            begin = end
            continue
        yield there - start, unpacked - there, end - unpacked
        if end - begin > SECONDS and number > 1:
            return


def page(
    reading: list[tuple[float, ...]],
    learning: dict[str, dict[str, Any]],
    machine: str,
    busy: float,
    rounds: int,
) -> str:
    """The page in Markdown."""
    lines = [
        "# Speed of training",
        "",
        "Written by `python -m benchmarks.training`; do not edit. Random features of videos of"
        f" 60 s, 3.5 questions a video, {VIDEOS} videos, files in the page cache; every head with"
        " its paper's batch, stride and frames.",
        "",
        f"Machine: {machine}; {busy:.1f} other programs were running when it began.",
        "",
        "## Reading alone",
        "",
        "One epoch, from the start of the workers to the tensors that a head is given; medians of"
        f" {rounds} rounds. *Loaded*: the array is in memory; *per video*: read from the store when"
        " its questions come. All cases but the map read 60 rows a video; the map every sixth"
        " second, but the whole of it is decompressed.",
        "",
        "| features | workers | questions/s | target | processor ms per question |",
        "|---|---|---|---|---|",
    ]
    for case, (rate, cost) in zip(CASES, reading, strict=True):
        target = case.target or "–"
        missed = " (missed)" if case.target and rate < case.target else ""
        lines.append(
            f"| {case.what} | {case.workers} | {rate:.0f}{missed} | {target} | {cost:.2f} |"
        )
    lines += [
        "",
        "## Training",
        "",
        "Frames and audio are loaded, patches and maps are read per video, as it is with all 9,288"
        " videos of MUSIC-AVQA in ordinary memory. Waiting is the share of the time until the"
        " loader gives a batch; where it is over 5 % without workers it was measured with one too."
        " Unpacking is the share in which the batch, which holds every video once in float16,"
        f" becomes one row a question in float32. An epoch is {EPOCH:,} questions.",
        "",
        "| head | rows | batch | questions/s | waiting, 0 workers | waiting, 1 worker | unpacking"
        " | minutes an epoch |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, f in learning.items():
        rate = max(f["rate_0"], f.get("rate_1", 0.0))
        with_one = f"{f['waiting_1']:.1%}" if "waiting_1" in f else "–"
        lines.append(
            f"| {name} | {f['rows']} | {f['batch']} | {rate:.1f} | {f['waiting_0']:.1%}"
            f" | {with_one} | {f['unpacking']:.1%} | {EPOCH / rate / 60:.0f} |"
        )
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
