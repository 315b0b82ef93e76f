"""``python -m benchmarks.planted [--jobs N] [--seeds S] [--only HEAD]``: is each module worth it?

Trains every head, with everything on and with modules off, on the tasks of
`benchmarks.planted_tasks`, and measures accuracy and whether explanations point at the planted
place. Finished runs are kept in build/planted.json and not run again; the table in
docs/heads.md is filled as they come.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, field
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from benchmarks.planted_cases import CASES

ROOT = Path(__file__).resolve().parents[1]
KEPT = ROOT / "build" / "planted.json"
PAGE = ROOT / "docs" / "heads.md"
START, END = "<!-- planted -->", "<!-- /planted -->"
BATCH, SCORED = 64, 2000
FALL = 0.3
"""The rate is constant, then falls to 0 in a straight line over this last part of the steps."""


@dataclass
class Results:
    """Runs by key, on disk after each."""

    runs: dict[str, dict[str, Any]] = field(default_factory=dict)

    @classmethod
    def load(cls) -> Results:
        """Those of earlier calls."""
        return cls(json.loads(KEPT.read_text(encoding="utf-8")) if KEPT.exists() else {})

    def keep(self, key: str, figures: dict[str, Any]) -> None:
        """Add one run."""
        self.runs[key] = figures
        KEPT.parent.mkdir(exist_ok=True)
        unfinished = KEPT.with_suffix(".tmp")
        unfinished.write_text(json.dumps(self.runs, indent=1), encoding="utf-8")
        unfinished.replace(KEPT)


def main() -> None:
    """Run what is missing, then write the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--only", help="one head")
    arguments = parser.parse_args()
    results = Results.load()
    todo = [
        (case, seed)
        for seed in range(arguments.seeds)
        for case in CASES
        if arguments.only in (None, case.head) and case.key(seed) not in results.runs
    ]
    print(f"{len(todo)} runs to do, {len(results.runs)} kept", flush=True)
    with ProcessPoolExecutor(arguments.jobs, mp_context=get_context("spawn")) as pool:
        waiting = {pool.submit(train, CASES.index(c), seed): (c, seed) for c, seed in todo}
        for done in as_completed(waiting):
            case, seed = waiting[done]
            results.keep(case.key(seed), done.result())
            print(case.key(seed), done.result(), flush=True)
            write_table(results)
    write_table(results)


def train(number: int, seed: int) -> dict[str, Any]:
    """Train the head of a case on fresh batches, score it on questions it has not seen."""
    import torch

    from avqa import heads
    from benchmarks.planted_tasks import ANSWERS, VOCABULARY, WIDTH, Codes, plant

    case = CASES[number]
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    codes, g = Codes(seed), torch.Generator().manual_seed(seed + 1)
    known = heads.load(case.head).Options.__dataclass_fields__
    sizes = {name: WIDTH for name in known if name == "width" or name.endswith("_width")}
    head = heads.build(
        case.head, **sizes, vocabulary=VOCABULARY, num_answers=ANSWERS, **dict(case.options)
    )
    optimizer = torch.optim.Adam(head.parameters(), case.rate, eps=case.epsilon)
    rate = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: min(1.0, (1 - step / case.steps) / FALL)
    )
    start = time.perf_counter()
    for _ in range(case.steps):
        batch = plant(case.task, codes, BATCH, g)
        loss = heads.total_loss(head, head(batch.inputs), batch.answers)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        rate.step()
    head.eval()
    scored = plant(case.scored or case.task, codes, SCORED, g)
    with torch.no_grad():
        output = head(scored.inputs, explain=True)
    right = (output.logits.argmax(1) == scored.answers).float().mean()
    figures = {"accuracy": 100 * float(right), "seconds": time.perf_counter() - start}
    return figures | {k: float(m(output.explain, scored)) for k, m in case.measures.items()}


def write_table(results: Results) -> None:
    """Put the table between its marks in docs/heads.md; rows without runs stay as they are."""
    page = PAGE.read_text(encoding="utf-8")
    lines = [
        START,
        "",
        "| head | task | form | steps | accuracy % | explanation |",
        "|---|---|---|---|---|---|",
    ]
    for case in CASES:
        runs = [v for k, v in results.runs.items() if k.rpartition(" seed ")[0] == case.name]
        row = f"| {case.head} | {case.task} | {case.form} | {case.steps} |"
        if not runs:
            lines += [line for line in page.splitlines() if line.startswith(f"{row} ")]
            continue
        accuracy = spread([run["accuracy"] for run in runs], "{:.0f}")
        told = ", ".join(
            f"{name} {spread([run[name] for run in runs], '{:.2f}')}" for name in case.measures
        )
        lines.append(f"{row} {accuracy} | {told} |")
    before, _, rest = page.partition(START)
    after = rest.partition(END)[2]
    PAGE.write_text(before + "\n".join([*lines, "", END]) + after, encoding="utf-8")


def spread(values: list[float], form: str) -> str:
    """One value, or mean and range of several."""
    mean = form.format(statistics.mean(values))
    if len(values) == 1:
        return mean
    return f"{mean} ({form.format(min(values))} to {form.format(max(values))})"


if __name__ == "__main__":
    main()
