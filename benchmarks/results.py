"""``python -m benchmarks.results``: every head on the synthetic benchmark; docs/results.md.

Renders and extracts what is missing, then trains every head on every kind of features (see
`benchmarks.results_units`), two at a time with one thread each. Whatever is done already is kept:
run it again to go on, with more ``--seeds`` to add some, with ``--only HEAD`` for one head. Before
it begins it says how long each part will take; the page is written anew after each.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

from avqa.store.reader import FeatureStore
from avqa.units import clock
from benchmarks.__main__ import machine
from benchmarks.results_page import page
from benchmarks.results_units import KINDS, SLOW, Bench, Done, Unit

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "build" / "results"
PAGE = ROOT / "docs" / "results.md"
AT_ONCE = 2
READ = ("vggish/audio", "clip_vit_b32/frame", "clip_vit_b32/patch")
EPOCHS = {"avaf": 6, "sasr": 6}
"""Of heads that would take longer than their share of the 90 minutes with all of them."""
HEADS = ("question_only", "late_fusion", "avst", "pstp", "mcd", "tjstg", "sasr", "avaf")
PREPARED = {
    "bench": "avqa synth {bench} --videos 200 --seconds 10 --instruments 8 --seed 0",
    "features": "avqa extract --videos {bench}/videos --out {store} --weights random:0"
    " --chunk-seconds 10",
    "texts": "avqa questions --dataset music-avqa --annotations {bench}/annotations"
    " --store {store} --weights random:0",
}


def main() -> None:
    """Prepare, say how long it will take, train, write the page."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--epochs", type=int, default=15, help="the most, 15 at most")
    parser.add_argument("--only", choices=HEADS)
    parser.add_argument("--out", type=Path, default=FOLDER)
    parser.add_argument("--unit", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    bench = Bench(asked.out)
    wanted = units(asked.seeds, min(asked.epochs, 15))
    if asked.unit:
        [unit] = [unit for unit in wanted if unit.name == asked.unit]
        train(bench, unit)
        return
    prepare(asked.out)
    wanted = [unit for unit in wanted if asked.only in (None, unit.head)]
    waiting = [unit for unit in wanted if not finished(bench, unit)]
    announce(bench, wanted, waiting)
    write(bench, wanted)
    with ThreadPoolExecutor(AT_ONCE) as pool:
        running = {pool.submit(start, asked, unit): unit for unit in waiting}
        for future in as_completed(running):
            if future.result():
                print(f"{running[future].name} failed; run again to go on with it", flush=True)
            write(bench, wanted)


def units(seeds: int, most_epochs: int) -> list[Unit]:
    """All of them, in the order in which they are trained."""
    return [
        Unit(head, kind, seed, min(most_epochs, EPOCHS.get(head, most_epochs)))
        for seed in range(seeds)
        for kind in KINDS
        for head in HEADS
        if kind != "exact" or head != "question_only"
    ]


def prepare(out: Path) -> None:
    """Render and extract; each command leaves alone what is there."""
    names = {"bench": out / "bench", "store": out / "features"}
    for part, command in PREPARED.items():
        words = command.format(**names).split()
        print("$", " ".join(words), flush=True)
        started = time.monotonic()
        avqa = Path(sys.executable).with_name("avqa")
        subprocess.run([str(avqa), *words[1:]], check=True, stderr=subprocess.DEVNULL)
        print(f"{part}: {clock(time.monotonic() - started)}", flush=True)


def announce(bench: Bench, wanted: Sequence[Unit], waiting: Sequence[Unit]) -> None:
    """Say what there is to do and how long it will take, by a few steps of every head."""
    from benchmarks.results_speed import seconds_per_question

    print(f"{len(wanted) - len(waiting)} of {len(wanted)} trainings are done", flush=True)
    counts = {split: len(these) for split, these in bench.questions().items()}
    total = 0.0
    for head in dict.fromkeys(unit.head for unit in waiting):
        training, answering = seconds_per_question(head, bf16=head in SLOW)
        for unit in (unit for unit in waiting if unit.head == head):
            seconds = unit.epochs * (counts["train"] * training + counts["val"] * answering)
            total += seconds
            print(f"  {unit.name}: {unit.epochs} epochs, about {clock(seconds)}", flush=True)
    print(f"about {clock(total / AT_ONCE)} in all, {AT_ONCE} at a time", flush=True)


def start(asked: argparse.Namespace, unit: Unit) -> int:
    """Train a unit in a process of its own, with one thread; its exit status."""
    command = [sys.executable, "-m", "benchmarks.results", "--unit", unit.name]
    command += ["--seeds", str(asked.seeds), "--epochs", str(asked.epochs), "--out", str(asked.out)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.run(command, check=False, cwd=ROOT, env=environment).returncode


def train(bench: Bench, unit: Unit) -> None:
    """What that process does."""
    started = time.monotonic()
    done = bench.run(unit, lambda line: print(line, flush=True) if " done " in line else None)
    print(
        f"{unit.name}: test {done.scores['All'].percent:.2f} %, weights of epoch"
        f" {done.best_epoch}, {clock(time.monotonic() - started)}",
        flush=True,
    )


def finished(bench: Bench, unit: Unit) -> Done | None:
    """The unit's result, if it was trained in just this way."""
    path = bench.result_path(unit)
    done = Done.read(path) if path.exists() else None
    return done if done and done.assignments == unit.assignments else None


def write(bench: Bench, wanted: Sequence[Unit]) -> None:
    """The page of what is done."""
    done = [result for unit in wanted if (result := finished(bench, unit))]
    store = FeatureStore(bench.store)
    recipes = ", ".join(f"{name} {store.recipe_hash(name)[:12]}" for name in READ)
    about = {
        "machine": f"{machine()}; {AT_ONCE} trainings at a time with one thread each.",
        "store": f"Recipes of the features: {recipes}; weights random:0.",
        "progress": f"{len(done)} of {len(wanted)} trainings done.",
    }
    unfinished = PAGE.with_name(f"unfinished-{PAGE.name}")
    unfinished.write_text(page(about, done, bench.rows), encoding="utf-8")
    unfinished.replace(PAGE)


if __name__ == "__main__":
    main()
