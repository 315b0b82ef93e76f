"""Can a head learn the synthetic benchmark from seeded random networks? One linear probe each.

``python -m benchmarks.learnable [--videos N --seconds S --instruments I --seed K]`` renders the
benchmark, extracts it with ``--weights random:0`` and fits, on stored features of the training
videos, one linear probe per instrument: is it *sounding* in this second (one row), is it *seen* in
this video (maximum over place and time). Scored on the test videos by the mean over instruments of
balanced accuracy, of which a constant gets 50 %, and of the area under the ROC curve. Beside each,
the same probe fitted on shuffled labels.
"""

from __future__ import annotations

import argparse
import json
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from avqa.datasets._synth.score import check_settings
from avqa.extract.profiles import profile
from avqa.extract.settings import DEFAULT_FEATURES
from avqa.pipelines.extraction.run import ExtractOptions, extract_folder
from avqa.pipelines.synth import TRUTH, VIDEOS, synthesise
from avqa.store.reader import FeatureStore, RandomWeightsWarning, open_store

ROOT = Path(__file__).resolve().parents[1]
SHUFFLES = 5
"""One alone is right or wrong on a whole instrument by luck; their mean is shown."""
PENALTIES = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)
"""Weight of the squared norm; chosen on the validation videos."""
WANTED = {
    ("sounding", "vggish/audio"): (80.0, 0.90),
    ("seen", "resnet18/map"): (75.0, 0.85),
    ("seen", "clip_vit_b32/patch"): (75.0, 0.85),
}

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Examples:
    """Features [n, d], labels [n, instruments] and the split of every example."""

    features: Array
    labels: NDArray[np.bool_]
    split: NDArray[np.str_]

    def of(self, split: str) -> tuple[Array, NDArray[np.bool_]]:
        """Features and labels of one split."""
        return self.features[self.split == split], self.labels[self.split == split]

    def shuffled(self, rng: np.random.Generator) -> Examples:
        """The same with the labels of train and val in another order; test keeps its own."""
        labels = self.labels.copy()
        for split in ("train", "val"):
            here = np.flatnonzero(self.split == split)
            labels[here] = labels[rng.permutation(here)]
        return Examples(self.features, labels, self.split)


def main() -> None:
    """Render, extract, probe, print the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--videos", type=int, default=200)
    parser.add_argument("--seconds", type=int, default=10)
    parser.add_argument("--instruments", default="8")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--features", default=",".join(DEFAULT_FEATURES))
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "learnable")
    asked = parser.parse_args()
    settings = check_settings(asked.videos, asked.seconds, asked.instruments, asked.seed)
    print("\n".join(synthesise(asked.out, settings, print).lines()), flush=True)
    features = tuple(asked.features.split(","))
    choices = profile(
        "default",
        features=features,
        weights="random:0",
        device="cpu",
        chunk_seconds=min(60, settings.seconds),
    )
    report = extract_folder(ExtractOptions(asked.out / VIDEOS, asked.out / "features", choices))
    print(report.summary(), flush=True)
    truth = json.loads((asked.out / TRUTH).read_text(encoding="utf-8"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RandomWeightsWarning)
        store = open_store(asked.out / "features")
    print("\n".join(table(store, truth, features)))


def table(store: FeatureStore, truth: dict, features: Sequence[str]) -> list[str]:
    """One line per question and feature, as Markdown."""
    lines = [
        "| question | feature | balanced accuracy | AUROC | wanted | shuffled labels |",
        "|---|---|---|---|---|---|",
    ]
    rows = {feature: pooled_rows(store, truth, feature) for feature in features}
    for question, examples_of in (("sounding", sounding), ("seen", seen)):
        for feature in features:
            examples = examples_of(rows[feature], truth)
            accuracy, area = probe(examples)
            rng = np.random.default_rng(0)
            chance = np.mean([probe(examples.shuffled(rng)) for _ in range(SHUFFLES)], axis=0)
            wanted = WANTED.get((question, feature))
            lines.append(
                f"| {question} | {feature} | {accuracy:.1f} % | {area:.3f} |"
                f" {f'{wanted[0]:.0f} %, {wanted[1]:.2f}' if wanted else ''} |"
                f" {chance[0]:.1f} %, {chance[1]:.3f} |"
            )
    return lines


def pooled_rows(store: FeatureStore, truth: dict, feature: str) -> dict[str, Array]:
    """Each video's rows [T, d]; maps and patches by their maximum over the place."""
    found = {}
    for video in truth["videos"]:
        values = store.read(video, feature).astype(np.float64)
        found[video] = values.reshape(len(values), -1, values.shape[-1]).max(axis=1)
    return found


def sounding(rows: dict[str, Array], truth: dict) -> Examples:
    """An example per second: which instruments sound in it."""
    names = truth["settings"]["instruments"]
    features, labels, split = [], [], []
    for video, entry in truth["videos"].items():
        for second, row in enumerate(rows[video]):
            heard = {
                player["instrument"]
                for player in entry["players"]
                if any(start <= second < end for start, end in player["sounds"])
            }
            features.append(row)
            labels.append([name in heard for name in names])
            split.append(entry["split"])
    return Examples(np.stack(features), np.array(labels), np.array(split))


def seen(rows: dict[str, Array], truth: dict) -> Examples:
    """An example per video: which instruments stand in the picture."""
    names = truth["settings"]["instruments"]
    features, labels, split = [], [], []
    for video, entry in truth["videos"].items():
        visible = {player["instrument"] for player in entry["players"] if player["place"]}
        features.append(rows[video].max(axis=0))
        labels.append([name in visible for name in names])
        split.append(entry["split"])
    return Examples(np.stack(features), np.array(labels), np.array(split))


def probe(examples: Examples) -> tuple[float, float]:
    """Mean over instruments of balanced accuracy (percent) and AUROC on test."""
    mean, scale = examples.of("train")[0].mean(axis=0), examples.of("train")[0].std(axis=0)
    scale = np.where(scale > 1e-6, scale, np.inf)  # a feature that never changes counts nowhere
    parts = {
        s: ((x - mean) / scale, y) for s in ("train", "val", "test") for x, y in [examples.of(s)]
    }
    best = max(
        (fit(*parts["train"], penalty) for penalty in PENALTIES),
        key=lambda f: _score(f, *parts["val"])[1],
    )
    return _score(best, *parts["test"])


def fit(features: Array, labels: NDArray[np.bool_], penalty: float) -> Array:
    """Weights [d + 1, instruments] of logistic regression; both classes weigh the same."""
    x = torch.from_numpy(np.pad(features, ((0, 0), (0, 1)), constant_values=1.0))
    y = torch.from_numpy(labels.astype(np.float64))
    share = y.mean(dim=0).clamp(1e-6, 1 - 1e-6)
    weight = 0.5 * (y / share + (1 - y) / (1 - share)) / len(y)
    w = torch.zeros(x.shape[1], y.shape[1], dtype=torch.float64, requires_grad=True)
    solver = torch.optim.LBFGS([w], max_iter=200, line_search_fn="strong_wolfe")

    def loss() -> torch.Tensor:
        solver.zero_grad()
        each = torch.nn.functional.binary_cross_entropy_with_logits(
            x @ w, y, weight, reduction="sum"
        )
        total = each + penalty / 2 * w[:-1].square().sum()
        total.backward()
        return total

    solver.step(loss)
    return w.detach().numpy()


def _score(weights: Array, features: Array, labels: NDArray[np.bool_]) -> tuple[float, float]:
    """Balanced accuracy (percent) and AUROC, over the instruments that are there and not there."""
    scores = features @ weights[:-1] + weights[-1]
    both = [k for k in range(labels.shape[1]) if 0 < labels[:, k].sum() < len(labels)]
    accuracy = [balanced_accuracy(scores[:, k] > 0, labels[:, k]) for k in both]
    return 100 * float(np.mean(accuracy)), float(
        np.mean([auroc(scores[:, k], labels[:, k]) for k in both])
    )


def balanced_accuracy(guess: NDArray[np.bool_], truth: NDArray[np.bool_]) -> float:
    """Mean of the shares of positives and of negatives that are right."""
    return float((guess[truth].mean() + (~guess[~truth]).mean()) / 2)


def auroc(scores: Array, truth: NDArray[np.bool_]) -> float:
    """Chance that a positive scores above a negative; ties count half."""
    above = scores[truth][:, None] - scores[~truth][None]
    return float((above > 0).mean() + (above == 0).mean() / 2)


if __name__ == "__main__":
    main()
