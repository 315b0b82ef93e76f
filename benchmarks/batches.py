"""``python -m benchmarks.batches``: questions shuffled, grouped by video, or video after video.

Composes the synthetic benchmark without rendering it and trains MCD, TJSTG and AVST on exact rows
(`benchmarks.exact_rows`) with the papers' batches of 64, once in each order with each seed:
everything else is the same. The losses with other videos of the batch are on. Prints a line a
training and a Markdown table; one core, some fifteen minutes.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from avqa import datasets, heads
from avqa.datasets import Question
from avqa.datasets._parts.floors import floors
from avqa.datasets._parts.question import SPLITS
from avqa.datasets._parts.vocabulary import MUSIC_AVQA
from avqa.datasets._synth.score import check_settings
from avqa.datasets._synth.writing import truth
from avqa.pipelines.synth import rows_of, scenes_of
from avqa.training.data.batches import (
    ShuffledBatches,
    VideoGroupedBatches,
    VideoTogetherBatches,
)
from avqa.training.data.questions import QuestionSet
from avqa.training.fitting.fit import FitResult, fit, infer
from avqa.training.scoring import predictions, score
from avqa.training.settings import TrainSettings, resolve
from benchmarks.exact_rows import ExactFeatures

ORDERS: dict[str, Any] = {
    "shuffled": lambda ids, size: ShuffledBatches(len(ids), size),
    "grouped": VideoGroupedBatches,
    "together": VideoTogetherBatches,
}
SECONDS, INSTRUMENTS = 10, "8"
SETTINGS = {
    "width": "64",
    "stride_seconds": "1",
    "visual": "clip_vit_b32",
    "batch_size": "64",
    "learning_rate": "1e-3",
    "pack": "true",
    "forget_bias": "2",
    "device": "cpu",
}
OF_HEAD = {
    "mcd": {"num_blocks": "1"},
    "tjstg": {"ground_score": "cosine", "ground_on": "norm", "ground_temp": "0.1"},
    "avst": {"ground_temp": "0.1"},
}
"""What lets a head find planted evidence, in the forms that docs/training.md was measured with."""


def main() -> None:
    """Compose, train, print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--videos", type=int, default=300)
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--heads", default=",".join(OF_HEAD))
    asked = parser.parse_args()
    torch.set_num_threads(1)
    questions, features = composed(asked.videos)
    floor = floors(questions["train"], questions["test"])["template"]["All"].percent
    counts = ", ".join(f"{split} {len(these)}" for split, these in questions.items())
    print(f"questions: {counts}; template floor {floor:.1f} %", flush=True)
    for order in ORDERS:
        print(f"{order}: {videos_of_a_batch(questions['train'], order):.0f} videos a batch of 64")
    lines = [
        "| head | shuffled | grouped | together | shuffled − grouped | shuffled − together |",
        "|---|---|---|---|---|---|",
    ]
    for head in asked.heads.split(","):
        found: dict[str, list[float]] = {order: [] for order in ORDERS}
        for seed in range(asked.seeds):
            for order, percents in found.items():
                percents.append(trained(head, order, seed, asked.epochs, questions, features))
        lines.append(row(head, found))
    print("\n".join(lines))


def composed(videos: int) -> tuple[dict[str, list[Question]], ExactFeatures]:
    """Questions by split and the rows of their videos."""
    settings = check_settings(videos, SECONDS, INSTRUMENTS, 0)
    scenes = scenes_of(settings)
    with tempfile.TemporaryDirectory() as folder:
        for split, rows in rows_of(settings, scenes).items():
            path = Path(folder) / f"avqa-{split}.json"
            path.write_text(json.dumps(rows), encoding="utf-8")
        everything = datasets.read("music-avqa", folder)
    questions = {split: [q for q in everything if q.split == split] for split in SPLITS}
    return questions, ExactFeatures(truth(settings, scenes), narrow=True)


def videos_of_a_batch(questions: Sequence[Question], order: str) -> float:
    """Mean number of videos that a batch of the papers' size asks about."""
    ids = [q.video_id for q in questions]
    batches = ORDERS[order](ids, 64)
    return statistics.fmean(len({ids[place] for place in batch}) for batch in batches)


def trained(
    name: str,
    order: str,
    seed: int,
    epochs: int,
    questions: dict[str, list[Question]],
    features: ExactFeatures,
) -> float:
    """Percent of the test questions that a head answers right after one training."""
    started = time.monotonic()
    given = {"epochs": str(epochs), "step_epochs": str(max(1, 2 * epochs // 3)), "batches": order}
    settings, options = resolve(name, SETTINGS | OF_HEAD[name] | given)
    options |= {"vocabulary": MUSIC_AVQA.num_words(type_words=name == "mcd")}
    torch.manual_seed(seed)
    head = heads.build(name, **options | {"visual_width": features.visual_width})
    percent, fitted = tested(head, settings, seed, questions, features)
    print(
        f"{name} {order} seed {seed}: test {percent:.1f} %, val {100 * fitted.val_accuracy:.1f} %"
        f" of epoch {fitted.best_epoch}, {time.monotonic() - started:.0f} s",
        flush=True,
    )
    return percent


def tested(
    head: heads.Head,
    settings: TrainSettings,
    seed: int,
    questions: dict[str, list[Question]],
    features: ExactFeatures,
) -> tuple[float, FitResult]:
    """Train a head; percent of the test questions that it answers right, and how it went."""
    sets = {
        split: QuestionSet(
            these, [q.video_id for q in these], features, None, head, training=split == "train"
        )
        for split, these in questions.items()
    }
    with tempfile.TemporaryDirectory() as folder:
        fitted = fit(
            head,
            sets["train"],
            sets["val"],
            settings,
            seed=seed,
            folder=Path(folder),
            resume=False,
            say=lambda line: None,
            label=head.name,
        )
    answers = predictions(sets["test"], infer(head, sets["test"], batch_size=64, device="cpu"))
    columns = datasets.load("music-avqa").COLUMNS
    return score(questions["test"], answers, columns)["All"].percent, fitted


def row(head: str, found: Mapping[str, Sequence[float]]) -> str:
    """Mean and standard deviation of each order, and what it changes in each seed."""
    cells = [f"{statistics.fmean(x):.1f} ± {statistics.stdev(x):.1f}" for x in found.values()]
    shuffled, *others = found.values()
    changes = [
        ", ".join(f"{s - o:+.1f}" for s, o in zip(shuffled, other, strict=True)) for other in others
    ]
    return f"| {head} | {' | '.join([*cells, *changes])} |"


if __name__ == "__main__":
    main()
