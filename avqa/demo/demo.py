"""From nothing to a trained head and an explained answer: ``python -m avqa.demo.demo FOLDER``.

Renders the synthetic benchmark, extracts its features, trains two heads, prints their tables and
asks one of them about a clip that no training saw. Every step is a public command, printed as it
could be typed. What is done already is kept: run it again to go on.
"""

from __future__ import annotations

import shlex
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import typer

from avqa import datasets
from avqa.cli import app
from avqa.commands.reporting import reports_errors, say
from avqa.datasets import Question
from avqa.demo.sample import choose_weights
from avqa.pipelines.synth import ANNOTATIONS, TRUTH, VIDEOS
from avqa.units import clock

NUM_VIDEOS, SECONDS = 120, 10
INSTRUMENTS, QUESTIONS = 4, 30
"""Few instruments and many questions a video: what 72 training videos can teach."""
DATASET = "music-avqa"
FEATURES = "clip_vit_b32/frame,clip_vit_b32/patch,vggish/audio"
"""What the heads below read, and no more."""
SETTINGS = (
    *("batch_size=16", "width=128", "visual=clip_vit_b32", "stride_seconds=1"),
    *("standardise=true", "question=positions", "exchange=both"),
)
"""What so few questions, and rows of untrained networks, want of every head."""
HEADS = {
    "late_fusion": (*SETTINGS, "learning_rate=3e-4", "epochs=10", "step_epochs=7"),
    "avst": (*SETTINGS, "learning_rate=1e-3", "epochs=15", "step_epochs=11", "ground_temp=0.1"),
}
"""Head → settings; the last one is asked."""
TEMPLATE = "What is the instrument on the <LR> of <Object>?"
"""The question that is asked: of a kind that is learnt from so little, and a picture shows it."""


class Demo:
    """The demo's folder and the time that its steps took."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.bench, self.store = folder / "bench", folder / "features"
        self.annotations = self.bench / ANNOTATIONS
        self.times: dict[str, float] = {}

    def run(self, weights: str | None) -> None:
        """All steps, one after the other.

        Raises:
            typer.Exit: a step failed, with its exit code.
        """
        videos = ("--videos", str(self.bench / VIDEOS))
        asked = ("--dataset", DATASET, "--annotations", str(self.annotations))
        store = ("--store", str(self.store))
        size = (
            *("--videos", str(NUM_VIDEOS), "--seconds", str(SECONDS)),
            *("--instruments", str(INSTRUMENTS), "--questions", str(QUESTIONS)),
        )
        self.step("render", "synth", str(self.bench), *size)
        chosen = ("--weights", self.weights(weights))
        few = ("--features", FEATURES, "--chunk-seconds", str(SECONDS))
        self.step("extract", "extract", *videos, "--out", str(self.store), *few, *chosen)
        for head, settings in HEADS.items():
            assigned = [word for setting in settings for word in ("--set", setting)]
            self.step(
                f"train {head}", "train-head", head, *store, *asked, *self.out(head), *assigned
            )
        question = self.held_back()
        clip = self.bench / VIDEOS / f"{question.video_id}.mp4"
        run, explained = self.folder / head, self.folder / "explained"
        self.step(
            *("ask", "ask", str(run), str(clip), f"{question.text}?"),
            *("--explain", str(explained)),
        )
        say(f"right answer, which no training saw: {question.answer}")
        say("")
        for line in self.looked(run, question):
            say(line)
        self.tell(explained)

    def step(self, name: str, *command: str) -> None:
        """Run one command of the program in this process.

        Raises:
            typer.Exit: it failed.
        """
        say(f"\n$ avqa {shlex.join(command)}")
        started = time.monotonic()
        code = app(list(command), standalone_mode=False)
        if code:
            raise typer.Exit(code)
        self.times[name] = time.monotonic() - started
        say(f"{name}: {clock(self.times[name])}")

    def weights(self, given: str | None) -> str:
        """Those given, those of the run before, or what can be had."""
        kept = self.folder / "weights"
        if given is None and kept.exists():
            return kept.read_text(encoding="utf-8")
        chosen = given or choose_weights()
        kept.write_text(chosen, encoding="utf-8")
        return chosen

    def out(self, head: str) -> tuple[str, ...]:
        """Options that name a run's folder, and go on with what is in it."""
        run = self.folder / head
        return ("--out", str(run), *(("--resume",) if (run / "run.json").exists() else ()))

    def held_back(self) -> Question:
        """The first test question of `TEMPLATE`, else the first of all."""
        questions = self.tested()
        return next((q for q in questions if q.template == TEMPLATE), questions[0])

    def tested(self) -> list[Question]:
        """Questions about clips that no training saw."""
        return datasets.read(DATASET, self.annotations, ("test",))

    def looked(self, run: Path, question: Question) -> list[str]:
        """Whether the head looked where the truth says."""
        from avqa.demo.looked import lines

        return lines(run, self.tested(), self.bench / TRUTH, question)

    def tell(self, explained: Path) -> None:
        """The time of every step, and where the results are."""
        total = clock(sum(self.times.values()))
        say("; ".join(f"{name} {clock(t)}" for name, t in self.times.items()) + f"; all {total}")
        tables = ", ".join(str(self.folder / head / "table.txt") for head in HEADS)
        curves = ", ".join(str(self.folder / head / "default/seed-0/curves.png") for head in HEADS)
        say(f"tables    {tables} (also .csv, .md)")
        say(f"curves    {curves}")
        say(f"pictures  {explained}: {_names(explained)}")


def _names(folder: Path) -> str:
    return ", ".join(sorted(path.name for path in folder.iterdir() if path.suffix == ".png"))


@reports_errors
def main(arguments: Sequence[str]) -> None:
    """``FOLDER [--weights pretrained|random:SEED|DIR]``."""
    folder, *options = arguments
    weights = options[1] if options[:1] == ["--weights"] else None
    Demo(Path(folder)).run(weights)


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except typer.Exit as ended:
        sys.exit(ended.exit_code)
