"""``python -m benchmarks.curves``: what heads learn from how many questions; docs/curves.md.

Composes the synthetic benchmark without rendering it and trains on exact rows
(`benchmarks.exact_rows`), so that heads alone are judged. Every training becomes a line of
docs/curves.jsonl and the page is written anew after it: run it again to go on, here or elsewhere,
with ``--only NAME`` or ``--sizes`` for some, ``--seeds`` for more. One core, hours for all.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from avqa import heads
from avqa.datasets import Question
from avqa.datasets._parts.floors import floors, score_table
from avqa.datasets._parts.vocabulary import MUSIC_AVQA
from avqa.demo.truth import hits
from avqa.heads import coded_width
from avqa.training.data.exchange import with_exchanged
from avqa.training.data.questions import QuestionSet
from avqa.training.fitting.fit import fit, infer
from avqa.training.scoring import Prediction, predictions
from avqa.training.settings import resolve
from avqa.training.table.flips import Flips
from benchmarks.__main__ import machine
from benchmarks.batches import composed
from benchmarks.curves_page import page
from benchmarks.exact_rows import AUDIO_WIDTH, ExactFeatures
from benchmarks.oracle import Oracle
from benchmarks.trained import Done, Form, Unit, finished, go_on, looks, replace_page

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "curves.md"
KEPT = PAGE.with_suffix(".jsonl")
"""What was trained, a line each."""
SEEN = {120: 200_000, 500: 400_000, 2_000: 600_000, 5_000: 1_200_000, 20_000: 2_000_000}
"""Training videos → questions that a training sees in all its epochs."""
VAL, TEST = 300, 1_000
"""Videos to choose the epoch on, which every epoch answers, and to test on."""
LOOKED = 200
"""Of those to test on, the ones whose attention is held against the truth."""
FITTED = {
    "width": "128",
    "batch_size": "128",
    "learning_rate": "1e-3",
    "stride_seconds": "1",
    "visual": "clip_vit_b32",
    "batches": "together",
    "device": "cpu",
}
"""What so few questions of so little variety want of every head; its own below stand over them."""
LSTM = {"question": "lstm", "pack": "true", "forget_bias": "2"}
BOTH = {"exchange": "both"}


FORMS = {
    "late_fusion": Form("late_fusion", LSTM),
    "avst": Form("avst", LSTM | {"ground_temp": "0.1"}),
    "sasr": Form("sasr", LSTM | {"ground_temp": "0.1"}),
    "mcd": Form("mcd", LSTM | {"num_blocks": "1"}),
    "pstp": Form("pstp", LSTM | {"top_k_segments": "2"}),
    "tjstg": Form("tjstg", LSTM | {"ground_score": "cosine", "ground_on": "norm"}),
    "avaf": Form("avaf", LSTM | {"learning_rate": "3e-4", "temp_loss": "fnac"}),
    **{
        f"late_fusion-{name}": Form("late_fusion", LSTM | given)
        for name, given in (
            ("time-code", {"time_code": "product"}),
            ("product", {"fusion": "product"}),
            ("positions", {"question": "positions"}),
            ("exchange", BOTH),
            ("shuffled", {"batches": "shuffled"}),
        )
    },
    "bilinear": Form("bilinear", BOTH, 2.5),
    **{
        f"bilinear-{name}": Form("bilinear", BOTH | given, 2.5)
        for name, given in (
            ("shuffled", {"batches": "shuffled"}),
            ("plain-rows", {"standardise": "false"}),
            ("steps", {"decay": "step"}),
            ("no-weight-decay", {"weight_decay": "0"}),
            ("no-exchange", {"exchange": "none"}),
            ("lstm", LSTM),
            ("plain-product", {"fusion": "product"}),
            ("no-product", {"fusion": "sum"}),
            ("no-time-code", {"time_code": "none"}),
        )
    },
    "avst-clock-positions": Form(
        "avst", {"ground_temp": "0.1", "question": "positions", "time_code": "clock"}
    ),
}


MADE_FOR = {
    "avst": (("AV-Count", "AV-Local"), "searches each second's picture for its sound"),
    "sasr": (("A-Count", "AV-Exist", "AV-Count"), "gathers sound and picture by instrument"),
    "mcd": (("A-Comp", "AV-Comp"), "reads what a question names beside its words"),
    "pstp": (("V-Local", "AV-Local"), "lets the question pick seconds, then patches of them"),
    "tjstg": (("V-Local", "AV-Local"), "searches the picture for a word of the question, too"),
    "avaf": (("V-Local", "AV-Local"), "lets each word gather from the sound and all patches"),
    "bilinear": (("AV-Local", "AV-Comp", "AV-Temp"), "has the product of the senses and a time"),
}
"""Form → types of question in which its modules should be better than late fusion, and why; written
before any of these was trained on so many videos, but for `bilinear`, which was made for them."""
AGAINST = "late_fusion"


def given(unit: Unit) -> dict[str, str] | None:
    """Settings and options that differ from the head's; None of a form that is not wanted."""
    form = FORMS.get(unit.form)
    if form is None or unit.videos not in SEEN:
        return None
    epochs = max(1, round(form.longer * SEEN[unit.videos] / (unit.videos * 10)))
    schedule = {"epochs": str(epochs), "step_epochs": str(max(1, round(0.7 * epochs)))}
    return FITTED | schedule | form.given


class Bench:
    """Questions and rows of all sizes: more and more training videos, the same held-out ones.

    Whatever sizes are trained, the largest is composed: of fewer videos others would be held out,
    and what was kept of them would be no answer to the page's questions.
    """

    def __init__(self, videos: int = max(SEEN)) -> None:
        # A fifth of all videos each is for val and test.
        everything, self.features = composed(max(5 * TEST, -(-5 * videos // 3)))
        self.train = everything["train"]
        self.val, self.test = _some(everything["val"], VAL), _some(everything["test"], TEST)

    def run(self, unit: Unit) -> Done:
        """Train and test."""
        started = time.monotonic()
        form, wanted = FORMS[unit.form], given(unit)
        assert wanted is not None
        settings, options = resolve(form.head, wanted)
        code = options["time_code"]
        options |= {
            "vocabulary": MUSIC_AVQA.num_words(type_words=form.head == "mcd"),
            "visual_width": coded_width(self.features.visual_width, code),
            "audio_width": coded_width(AUDIO_WIDTH, code),
        }
        torch.manual_seed(unit.seed)
        head = heads.build(form.head, **options)
        train = _some(self.train, unit.videos)
        taught = _set(with_exchanged(train, settings.exchange), self.features, head, training=True)
        with tempfile.TemporaryDirectory() as folder:
            fitted = fit(
                head,
                taught,
                _set(self.val, self.features, head),
                settings,
                seed=unit.seed,
                folder=Path(folder),
                resume=False,
                say=lambda line: None,
                label=unit.name,
            )
        asked = with_exchanged(self.test, "both")
        answered = self.answers(head, asked)
        taught_of = self.answers(head, train[: len(self.test)])
        return Done(
            unit=unit,
            given=wanted,
            correct=np.array([bool(row.correct) for row in answered[: len(self.test)]]),
            best_epoch=fitted.best_epoch,
            val_accuracy=fitted.val_accuracy,
            train_accuracy=float(np.mean([bool(row.correct) for row in taught_of])),
            seconds=time.monotonic() - started,
            parameters=heads.count_parameters(head),
            looked=self.looked(head),
            flips=float(Flips(asked).turned(answered).mean()),
        )

    def answers(self, head: heads.Head, questions: Sequence[Question]) -> list[Prediction]:
        """What it answers, in their order."""
        asked = _set(questions, self.features, head)
        return predictions(asked, infer(head, asked, batch_size=128, device="cpu"))

    def looked(self, head: heads.Head) -> dict[str, tuple[float, float, int]]:
        """Where it looks for its answers about the first test videos, as `Done.looked` has it."""
        asked = _set(_some(self.test, LOOKED), self.features, head)
        rows = (
            (asked.questions[place], head.evidence(batch.inputs.apart(), output), row)
            for batch, output in infer(head, asked, batch_size=128, device="cpu", explain=True)
            for row, place in enumerate(batch.rows.tolist())
        )
        return looks(hits(rows, self.features.truth))


def _some(questions: Sequence[Question], videos: int) -> list[Question]:
    """Those about so many videos, drawn with a fixed seed; fewer are among more.

    The first questions of a file are no fair draw: it has them by type.
    """
    ids = sorted({question.video_id for question in questions})
    chosen = {ids[i] for i in np.random.default_rng(0).permutation(len(ids))[:videos]}
    return [question for question in questions if question.video_id in chosen]


def _set(
    questions: Sequence[Question],
    features: ExactFeatures,
    head: heads.Head,
    *,
    training: bool = False,
) -> QuestionSet:
    videos = [q.video_id for q in questions]
    return QuestionSet(questions, videos, features, None, head, training=training)


def units(forms: Sequence[str], sizes: Sequence[int], seeds: int) -> Iterator[Unit]:
    """All that are asked for, small ones first."""
    for videos in sizes:
        for seed in range(seeds):
            for form in forms:
                yield Unit(form, videos, seed)


def main() -> None:
    """Compose, train what is missing, write the page."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--only", default=",".join(FORMS))
    parser.add_argument("--sizes", default=",".join(map(str, SEEN)))
    parser.add_argument("--seeds", type=int, default=3)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    forms = asked.only.split(",")
    sizes = sorted(map(int, asked.sizes.split(",")))
    bench = Bench()
    wanted = units(forms, sizes, asked.seeds)
    go_on(KEPT, wanted, given, bench.run, lambda: write(bench))


def write(bench: Bench) -> None:
    """The page of all that is done."""
    found = finished(KEPT, given)
    done = [found[unit] for unit in units([*FORMS], [*SEEN], 10) if unit in found]
    about: dict[str, Any] = {"machine": machine(), "seen": SEEN, "val": VAL, "test": TEST}
    about |= {"made_for": MADE_FOR, "against": AGAINST}
    right = Oracle(bench.features).right(bench.test)
    rows = {
        "template floor": floors(bench.train, bench.test)["template"],
        "oracle": score_table(zip(bench.test, right.tolist(), strict=True)),
    }
    replace_page(PAGE, page(about, done, rows, bench.test))


if __name__ == "__main__":
    main()
