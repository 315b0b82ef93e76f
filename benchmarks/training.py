"""``python -m benchmarks.training``: how fast questions reach a head, and how fast heads learn.

On a store of its own with random features. Each head's steps are measured in turn with rows of its
own for every question, as version 0.1 computed them, and as they are now. What is found is kept in
docs/benchmarks_training.json, and docs/benchmarks_training.md is written from it: with ``--heads``
only those are measured anew, with ``--loaded`` only what other programs do not change much.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import itertools
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
QUESTIONS_PER_VIDEO, MORE_QUESTIONS = 3.5, (8.0,)
"""As MUSIC-AVQA's training split has, and about as the synthetic benchmark has."""
STEPS, SECONDS, ROUNDS = 8, 20.0, 3
"""A head is measured for so many steps or so long, after a step that does not count."""
GAINS = {"avst": 3, "sasr": 3, "mcd": 3, "tjstg": 1.5, "pstp": 1.5, "avaf": 1.5, "late_fusion": 1.5}
"""How much less processor time a step should take than one of version 0.1."""
SHARE = 0.6
"""Of GEMM's rate."""
FEW = {"avaf": (8, 5), "cuespace": (8, 1), "qa_tiger": (8, 1)}
"""Questions a batch, and every how many seconds a row, where the papers' would take minutes."""
KEPT = PAGE.with_suffix(".json")
"""Beside the page, so that one can go on elsewhere."""


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
    """Measure and write the page, or with ``--only NAME`` print one head's figures as JSON."""
    from avqa import heads

    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--folder", type=Path, default=ROOT / "build", help="for the store")
    parser.add_argument("--heads", default=",".join(heads.names()))
    parser.add_argument("--loaded", action="store_true", help="processor time and counts alone")
    parser.add_argument("--only")
    asked = parser.parse_args()
    if asked.only:
        print(json.dumps(train(asked.only, asked.folder, speeds=not asked.loaded)))
        return
    asked.folder.mkdir(parents=True, exist_ok=True)
    kept = json.loads(KEPT.read_text(encoding="utf-8")) if KEPT.exists() else {"heads": {}}
    for found in measured(asked, kept):
        KEPT.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
        PAGE.write_text(page(found), encoding="utf-8")
    print(f"wrote {PAGE.relative_to(ROOT)}")


def measured(asked: argparse.Namespace, kept: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Everything that is asked for, head by head, over what was kept."""
    from benchmarks import training_store
    from benchmarks.__main__ import machine

    with tempfile.TemporaryDirectory(dir=asked.folder) as scratch:
        folder = Path(scratch)
        questions = training_store.write(folder / "store", VIDEOS)
        (folder / "questions").write_bytes(pickle.dumps(questions))
        if not asked.loaded:
            kept |= {"machine": machine(), "busy": os.getloadavg()[0], "rounds": asked.rounds}
            kept["reading"] = [medians(case, folder, asked.rounds) for case in CASES]
            yield kept
        for name in asked.heads.split(","):
            command = [sys.executable, "-m", "benchmarks.training", "--only", name]
            command += ["--folder", scratch, *(["--loaded"] if asked.loaded else [])]
            done = subprocess.run(
                command, check=True, stdout=subprocess.PIPE, text=True, encoding="utf-8"
            )
            found = json.loads(done.stdout) | {"machine": machine()}
            kept["heads"][name] = kept["heads"].get(name, {}) | found
            print(name, found, flush=True)
            yield kept


def medians(case: Case, folder: Path, rounds: int) -> list[float]:
    """Of `read`."""
    found = zip(*(read(case, folder) for _ in range(rounds)), strict=True)
    figures = [statistics.median(values) for values in found]
    print(f"{case.what}, {case.workers} workers: {figures[0]:.0f} questions/s", flush=True)
    return figures


def question_set(
    name: str, folder: Path, budget: int, per_video: float = QUESTIONS_PER_VIDEO
) -> tuple[Any, Any, Any]:
    """A head with its paper's options, its recipe, and the questions as it reads them."""
    from avqa import heads
    from avqa.datasets._parts.labels import instrument_labels
    from avqa.store.reader import FeatureStore
    from avqa.training.data.features import VideoFeatures
    from avqa.training.data.names import feature_names
    from avqa.training.data.questions import QuestionSet

    recipe = heads.load(name).PAPER.recipe
    options = heads.load(name).Options()
    widths = {
        stream: heads.coded_width(getattr(options, stream), options.time_code)
        for stream in ("visual_width", "audio_width")
    }
    head = heads.build(name, **widths, **({"vocabulary": 101} if name == "mcd" else {}))
    questions = pickle.loads((folder / "questions").read_bytes())
    if per_video != QUESTIONS_PER_VIDEO:
        few = max(2, round(len(questions) / per_video))
        questions = [
            dataclasses.replace(question, video_id=f"{number % few:08d}")
            for number, question in enumerate(questions)
        ]
    videos = [question.video_id for question in questions]
    store = FeatureStore(folder / "store")
    names = feature_names(head.FEATURES, recipe.visual, recipe.audio, patch=recipe.patch)
    features = VideoFeatures(
        store, names, stride_seconds=_stride(name, recipe), budget_bytes=budget
    )
    features.require(videos, "error")
    features.preload(videos)
    labels = instrument_labels(questions)
    given = QuestionSet(
        *(questions, videos, features, store, head, labels), text=recipe.text, training=True
    )
    return head, recipe, given


def _stride(name: str, recipe: Any) -> int:
    """Every how many seconds a row is taken."""
    return FEW[name][1] if name in FEW else int(recipe.stride_seconds)


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


def train(name: str, folder: Path, *, speeds: bool) -> dict[str, Any]:
    """Where a head's time goes, what is spared of it, and with ``speeds`` how fast it learns.

    Speed is by questions a video, with the share of it that waits for data; if that is over 5 %,
    again with one worker.
    """
    from avqa.machine import keep_freed_memory
    from benchmarks.training_profile import counted, profile

    keep_freed_memory()  # as in every command
    figures: dict[str, Any] = {}
    for workers in (0, 1) if speeds else ():
        steps = Steps(name, folder, QUESTIONS_PER_VIDEO, workers)
        timed = list(steps.timed())
        waiting, learning = (sum(part) for part in zip(*timed, strict=True))
        figures[f"waiting_{workers}"] = waiting / (waiting + learning)
        figures |= {f"rate_{workers}": steps.rate(timed), "rate_batch": steps.batch_size}
        figures["rate_rows"] = steps.rows
        if figures["waiting_0"] <= 0.05:
            break
    for per_video in (QUESTIONS_PER_VIDEO, *MORE_QUESTIONS):
        steps = Steps(name, folder, per_video, 0)
        figures["batch"] = steps.batch_size
        pairs = [(steps.learning(True), steps.learning(False)) for _ in range(ROUNDS + 1)][1:]
        figures[f"gain_{per_video}"] = statistics.median(own / once for own, once in pairs)
    return figures | counted(steps) | profile(steps)


class Steps:
    """Steps of a head's training."""

    def __init__(self, name: str, folder: Path, per_video: float, workers: int) -> None:
        import torch

        from avqa.training.data.batches import make_loader

        torch.manual_seed(0)
        self.head, recipe, questions = question_set(name, folder, SMALL_ARRAYS, per_video)
        self.batch_size = FEW.get(name, (recipe.batch_size,))[0]
        self.rows = -(-60 // _stride(name, recipe))
        loader = make_loader(questions, self.batch_size, order="together", workers=workers)
        self._batches = itertools.chain.from_iterable(itertools.repeat(loader))
        self._optimizer = torch.optim.Adam(self.head.parameters(), recipe.learning_rate)
        self.head.train()

    def timed(self) -> Iterator[tuple[float, float]]:
        """Seconds of waiting for a batch and of learning, after a step that does not count."""
        begin = time.perf_counter()
        for number in range(1 + STEPS):
            start = time.perf_counter()
            batch = next(self._batches)
            there = time.perf_counter()
            self.step(batch)
            end = time.perf_counter()
            if number == 0:
                begin = end
                continue
            yield there - start, end - there
            if end - begin > SECONDS and number > 1:
                return

    def learning(self, apart: bool) -> float:
        """Processor seconds of one step on one core; ``apart``: as in version 0.1."""
        from benchmarks.training_profile import as_before, one_core

        batch = next(self._batches)
        with one_core(), as_before() if apart else contextlib.nullcontext():
            before = time.process_time()
            self.step(batch, apart)
            return time.process_time() - before

    def step(self, batch: Any, apart: bool = False) -> None:
        """Learn from a batch; ``apart``: with rows of its own for every question."""
        from avqa import heads

        self._optimizer.zero_grad()
        inputs = batch.inputs.apart() if apart else batch.inputs
        heads.total_loss(self.head, self.head(inputs), batch.answers).backward()
        self._optimizer.step()

    def some(self) -> Any:
        """The next batch."""
        return next(self._batches)

    def rate(self, measured: list[tuple[float, float]]) -> float:
        """Questions a second."""
        return self.batch_size * len(measured) / sum(map(sum, measured))


def page(kept: dict[str, Any]) -> str:
    """The page in Markdown."""
    lines = [
        "# Speed of training",
        "",
        "Written by `python -m benchmarks.training`; do not edit. Random features of videos of"
        f" 60 s, 3.5 questions a video, {VIDEOS} videos, files in the page cache; every head with"
        " its paper's stride, frames and batch, but for "
        + "; ".join(f"`{n}`: {b} questions and every {s} s" for n, (b, s) in FEW.items())
        + ", since theirs would take minutes.",
        "",
        f"Machine: {kept['machine']}; {kept['busy']:.1f} other programs were running when the"
        f" reading was measured.{_elsewhere(kept)}",
        "",
        "## Reading alone",
        "",
        "One epoch, from the start of the workers to the tensors that a head is given; medians of"
        f" {kept['rounds']} rounds. *Loaded*: the array is in memory; *per video*: read from the"
        " store when its questions come. All cases but the map read 60 rows a video; the map every"
        " sixth second, but the whole of it is decompressed.",
        "",
        "| features | workers | questions/s | target | processor ms per question |",
        "|---|---|---|---|---|",
    ]
    for case, (rate, cost) in zip(CASES, kept["reading"], strict=True):
        target = case.target or "–"
        missed = " (missed)" if case.target and rate < case.target else ""
        lines.append(
            f"| {case.what} | {case.workers} | {rate:.0f}{missed} | {target} | {cost:.2f} |"
        )
    heads = dict(sorted(kept["heads"].items()))
    lines += ["", *training(heads), "", *gains(heads), "", *profiles(heads)]
    return "\n".join(lines) + "\n"


def _elsewhere(kept: dict[str, Any]) -> str:
    """Which heads were measured on other machines than the reading, later."""
    there: dict[str, list[str]] = {}
    for name, figures in sorted(kept["heads"].items()):
        there.setdefault(figures.get("machine", kept["machine"]), []).append(f"`{name}`")
    there.pop(kept["machine"], None)
    return "".join(f" On {where}: {', '.join(names)}." for where, names in there.items())


def training(learning: dict[str, dict[str, Any]]) -> Iterator[str]:
    """How fast heads learn."""
    yield "## Training"
    yield ""
    yield (
        "Frames and audio are loaded, patches and maps are read per video, as it is with all 9,288"
        " videos of MUSIC-AVQA in ordinary memory; `batches=together`. Waiting is the share of the"
        " time until the loader gives a batch; where it is over 5 % without workers it was measured"
        f" with one too. An epoch is {EPOCH:,} questions."
    )
    yield ""
    yield (
        "| head | rows | batch | questions/s | waiting, 0 workers | waiting, 1 worker"
        " | minutes an epoch |"
    )
    yield "|---|---|---|---|---|---|---|"
    for name, f in learning.items():
        if "rate_0" not in f:
            continue
        rate = max(f["rate_0"], f.get("rate_1", 0.0))
        with_one = f"{f['waiting_1']:.1%}" if "waiting_1" in f else "–"
        yield (
            f"| {name} | {f['rate_rows']} | {f['rate_batch']} | {rate:.1f} | {f['waiting_0']:.1%}"
            f" | {with_one} | {EPOCH / rate / 60:.0f} |"
        )


def gains(learning: dict[str, dict[str, Any]]) -> Iterator[str]:
    """What is spared of a step, and how much could be."""
    yield "## What is spared"
    yield ""
    yield (
        "Processor time of a step as version 0.1 computed it, with rows of its own for every"
        " question, over that of a step now, on one core, medians of"
        f" {ROUNDS} pairs in turn, by questions a video: 3.5 are those of MUSIC-AVQA's training"
        " split, 8 about those of the synthetic benchmark. A step now meets each video once,"
        " runs the LSTM once over what questions begin with alike, and folds the projections of"
        " attention where few rows meet many."
    )
    yield ""
    yield (
        "*Of the video*: share of the multiplications of an answer, as version 0.1 computed it,"
        " that no word of the question enters. *Sharing, at most*: 1 ÷ (1 − share + share ÷ 8), by"
        " which 8 questions multiply less if nothing but that is done once a video. *All, at most*:"
        " multiplications of a step of version 0.1 over those of a step now. Time follows them in"
        " a head that mostly multiplies (`avaf`, `pstp`), for which they are bounds; a head that"
        " mostly moves maps gains more, since rows of its own for every question are copies, too."
        " Without them (–): measured when only a video was met once."
    )
    yield ""
    yield (
        "| head | batch | of the video | sharing, at most | all, at most | gain at 3.5"
        " | gain at 8 | target |"
    )
    yield "|---|---|---|---|---|---|---|---|"
    for name, f in learning.items():
        if f"gain_{QUESTIONS_PER_VIDEO}" not in f:
            continue
        at_three, at_eight = (f[f"gain_{n}"] for n in (QUESTIONS_PER_VIDEO, *MORE_QUESTIONS))
        target = GAINS.get(name)
        missed = " (missed)" if target and at_eight < target else ""
        at_most = "– | – | –"  # a figure of before they were counted
        if "fewer" in f:
            own = f["of_video"]
            sharing = 1 / (1 - own + own / MORE_QUESTIONS[0])
            at_most = f"{own:.0%} | {sharing:.2f} | {f['fewer']:.2f}"
        yield (
            f"| {name} | {f.get('batch', f.get('rate_batch'))} | {at_most}"
            f" | {at_three:.2f} | {at_eight:.2f}{missed} | {target or '–'} |"
        )


def profiles(learning: dict[str, dict[str, Any]]) -> Iterator[str]:
    """Where a step's time goes."""
    yield "## Where the time goes"
    yield ""
    yield (
        "One step (forward, backward, Adam) with 8 questions a video, on one core. Rate:"
        " multiplications and additions of products, LSTMs included, over the time; its share of"
        " what a product of two matrices of 1024 × 1024 reaches in the same minute, of which"
        f" {SHARE:.0%} are wanted."
    )
    yield ""
    yield "| head | GFLOP/s | share of GEMM's | most processor time |"
    yield "|---|---|---|---|"
    for name, f in learning.items():
        if "fewer" not in f:  # of before LSTMs were counted
            continue
        most = ", ".join(f"{op} {share:.0%}" for op, share in f["most"])
        missed = " (missed)" if f["share"] < SHARE else ""
        yield f"| {name} | {f['gflops']:.1f} | {f['share']:.0%}{missed} | {most} |"


if __name__ == "__main__":
    main()
