"""``python -m benchmarks.results``: every head on rendered clips, as typed; docs/results.md.

Renders and extracts what is missing, then trains every form by ``avqa train-head``, one thread
each. Every training becomes a line of docs/results.jsonl and the page is written anew after it: run
it again to go on, here or elsewhere, with ``--only NAME`` for some, ``--seeds`` for more. Hours for
all; what is rendered, extracted and half trained stays in build/results.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path

import numpy as np

from avqa import datasets
from avqa.datasets import Question
from avqa.datasets._parts.floors import Table, floors
from avqa.datasets._parts.question import SPLITS
from avqa.demo.looked import looked
from avqa.demo.truth import hits
from avqa.store.reader import FeatureStore
from avqa.training.data.features import VideoFeatures
from avqa.training.data.names import feature_names
from avqa.training.fitting.history import METRICS
from avqa.training.run import DEFAULT, Member, member_path
from avqa.training.table.table import saved_answers
from avqa.units import clock
from benchmarks.__main__ import machine
from benchmarks.curves import FORMS as FITTED
from benchmarks.results_page import page
from benchmarks.results_probe import probe
from benchmarks.trained import Done, Form, Unit, finished, go_on, looks, replace_page

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "build" / "results"
PAGE = ROOT / "docs" / "results.md"
KEPT = PAGE.with_suffix(".jsonl")
VIDEOS, TRAIN = 1_000, 600
READ = ("vggish/audio", "clip_vit_b32/frame", "clip_vit_b32/patch")
PREPARED = {
    "bench": f"avqa synth {{bench}} --videos {VIDEOS} --seconds 10 --instruments 8 --seed 0",
    "features": "avqa extract --videos {bench}/videos --out {store} --weights random:0"
    f" --features {','.join(READ)} --chunk-seconds 10",
    "texts": "avqa questions --dataset music-avqa --annotations {bench}/annotations"
    " --store {store} --weights random:0",
}
ROWS = {"stride_seconds": "1", "max_seconds": "10", "visual": "clip_vit_b32"}
"""All ten of a video, of every head: the papers' strides leave one or two."""
TOGETHER = {"batches": "together", "device": "cpu"}
PAPERS = ("avst", "pstp", "tjstg", "sasr", "mcd", "avaf")
EPOCHS = {"paper": "15", "fitted": "20"}
FEW = {
    "batch_size": "64",
    "learning_rate": "1e-3",
    "width": "128",
    "standardise": "true",
    "exchange": "both",
    "epochs": EPOCHS["fitted"],
    "step_epochs": "14",
}
"""What so few questions, and rows of untrained networks, want of every head; what one wants beside
it is that of the learning curves."""
FORMS = {
    "question_only": Form("question_only", ROWS | TOGETHER | {"epochs": EPOCHS["fitted"]}),
    **{
        head: Form(head, ROWS | TOGETHER | FEW | FITTED[head].given)
        for head in ("late_fusion", "bilinear", *PAPERS)
    },
    **{
        f"{head}-paper": Form(head, ROWS | TOGETHER | {"epochs": EPOCHS["paper"]})
        for head in PAPERS
    },
}


def given(unit: Unit) -> dict[str, str] | None:
    """Settings and options that differ from the head's; None of a form that is not wanted."""
    return FORMS[unit.form].given if unit.form in FORMS and unit.videos == TRAIN else None


class Bench:
    """The benchmark's folder: ``bench`` (questions, truth), ``features`` (store), ``runs``."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.bench, self.store = root / "bench", root / "features"
        self.annotations = self.bench / "annotations"

    def prepare(self) -> None:
        """Render and extract; each command leaves alone what is there."""
        for part, command in PREPARED.items():
            started = time.monotonic()
            self._avqa(command.format(bench=self.bench, store=self.store))
            print(f"{part}: {clock(time.monotonic() - started)}", flush=True)

    @staticmethod
    def _avqa(command: str) -> None:
        print("$", command, flush=True)
        program = Path(sys.executable).with_name("avqa")
        environment = os.environ | {"OMP_NUM_THREADS": "1"}
        words = [str(program), *shlex.split(command)[1:]]
        subprocess.run(words, check=True, stderr=subprocess.DEVNULL, env=environment)

    @cached_property
    def questions(self) -> dict[str, list[Question]]:
        """Split → questions."""
        everything = datasets.read("music-avqa", self.annotations)
        return {split: [q for q in everything if q.split == split] for split in SPLITS}

    @cached_property
    def rows(self) -> dict[str, Table]:
        """What needs no training of a head: floors, and a linear probe of what heads read."""
        priors = floors(self.questions["train"], self.questions["test"])
        stored = VideoFeatures(
            FeatureStore(self.store), feature_names(("audio", "patch"), "clip_vit_b32")
        )
        return {
            "template floor": priors["template"],
            "template and slots floor": priors["slots"],
            "linear probe": probe(self.questions, stored),
        }

    def run(self, unit: Unit) -> Done:
        """Train as typed, or go on with it; hold against the truth where the head looks."""
        form, out = FORMS[unit.form], self.root / "runs" / unit.form
        words = [f"--set {key}={value}" for key, value in form.given.items()]
        words += [f"--seeds {unit.seed + 1}", *(["--resume"] * (out / "run.json").exists())]
        self._avqa(
            f"avqa train-head {form.head} --store {self.store} --dataset music-avqa"
            f" --annotations {self.annotations} --out {out} {' '.join(words)}"
        )
        return self.read(unit, Member.load(member_path(out, DEFAULT, unit.seed)))

    def read(self, unit: Unit, member: Member) -> Done:
        """What became of it."""
        result, test = member.result, self.questions["test"]
        answers = {row.key: bool(row.correct) for row in saved_answers(member)}
        with (member.path / METRICS).open(encoding="utf-8", newline="") as rows:
            (best,) = (r for r in csv.DictReader(rows) if int(r["epoch"]) == result.best_epoch)
        truth = json.loads((self.bench / "truth.json").read_text(encoding="utf-8"))
        return Done(
            unit=unit,
            given=FORMS[unit.form].given,
            correct=np.array([answers[question.key] for question in test]),
            best_epoch=result.best_epoch,
            val_accuracy=result.val_accuracy,
            train_accuracy=float(best["train_accuracy"]),
            seconds=result.seconds,
            parameters=result.parameters,
            looked=looks(hits(looked(member, test), truth)),
        )


def units(forms: Sequence[str], seeds: int) -> Iterator[Unit]:
    """All of them, in the order in which they are trained."""
    for seed in range(seeds):
        for form in forms:
            yield Unit(form, TRAIN, seed)


def main() -> None:
    """Prepare, train what is missing, write the page."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--only", default=",".join(FORMS))
    parser.add_argument("--out", type=Path, default=FOLDER)
    asked = parser.parse_args()
    bench = Bench(asked.out)
    bench.prepare()
    wanted = units(asked.only.split(","), asked.seeds)
    go_on(KEPT, wanted, given, bench.run, lambda: write(bench))


def write(bench: Bench) -> None:
    """The page of all that is done."""
    found = finished(KEPT, given)
    done = [found[unit] for unit in units([*FORMS], 10) if unit in found]
    store = FeatureStore(bench.store)
    recipes = ", ".join(f"{name} {store.recipe_hash(name)[:12]}" for name in READ)
    about = {
        "machine": machine(),
        "store": f"Recipes of the features: {recipes}; weights random:0.",
        "commands": PREPARED,
        "forms": len(FORMS),
    }
    replace_page(PAGE, page(about, done, bench.rows, bench.questions))


if __name__ == "__main__":
    main()
