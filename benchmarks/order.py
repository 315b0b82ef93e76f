"""``python -m benchmarks.order``: what a code of time changes, on questions about what came first.

Composes the synthetic benchmark without rendering it, keeps its temporal questions alone, and
trains late fusion and AVST on exact rows (`benchmarks.exact_rows`) without a code, with the
clock and with the product, each with every seed. Prints a line a training and a Markdown table; one
core.
"""

from __future__ import annotations

import argparse
import statistics
import time

import torch

from avqa import heads
from avqa.datasets import Question
from avqa.datasets._parts.floors import floors
from avqa.datasets._parts.vocabulary import MUSIC_AVQA
from avqa.heads import coded_width
from avqa.training.settings import resolve
from benchmarks.batches import SETTINGS, composed, tested
from benchmarks.exact_rows import AUDIO_WIDTH, ExactFeatures

CODES = ("none", "clock", "product")
OURS = SETTINGS | {"width": "128", "batch_size": "128", "batches": "together", "question": "lstm"}


def main() -> None:
    """Compose, train, print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--videos", type=int, default=10_000)
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--heads", default="late_fusion,avst")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    everything, features = composed(asked.videos)
    questions = {s: [q for q in these if q.kind == "Temporal"] for s, these in everything.items()}
    floor = floors(questions["train"], questions["test"])["slots"]["All"].percent
    counts = ", ".join(f"{split} {len(these)}" for split, these in questions.items())
    print(f"temporal questions: {counts}; floor {floor:.1f} %", flush=True)
    lines = [f"| head | {' | '.join(CODES)} |", "|---|---|---|---|"]
    for name in asked.heads.split(","):
        cells = []
        for code in CODES:
            found = [
                trained(name, code, seed, asked.epochs, questions, features)
                for seed in range(asked.seeds)
            ]
            spread = statistics.stdev(found) if len(found) > 1 else 0.0
            cells.append(f"{statistics.fmean(found):.1f} ± {spread:.1f}")
        lines.append(f"| {name} | {' | '.join(cells)} |")
    print("\n".join(lines))


def trained(
    name: str,
    code: str,
    seed: int,
    epochs: int,
    questions: dict[str, list[Question]],
    features: ExactFeatures,
) -> float:
    """Percent of the temporal test questions that a head answers right after one training."""
    started = time.monotonic()
    given = {"epochs": str(epochs), "step_epochs": str(max(1, 2 * epochs // 3)), "time_code": code}
    settings, options = resolve(name, OURS | given)
    options |= {
        "vocabulary": MUSIC_AVQA.num_words(),
        "visual_width": coded_width(features.visual_width, code),
        "audio_width": coded_width(AUDIO_WIDTH, code),
    }
    torch.manual_seed(seed)
    percent, _ = tested(heads.build(name, **options), settings, seed, questions, features)
    seconds = time.monotonic() - started
    print(f"{name}, {code}, seed {seed}: {percent:.1f} % in {seconds:.0f} s", flush=True)
    return percent


if __name__ == "__main__":
    main()
