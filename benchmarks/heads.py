"""``python -m benchmarks.heads``: questions per second and peak memory of every head.

60 seconds of features at the stride of each head's paper, 49 patches, batch 64 (AVAF-Net 32);
every head in a process of its own. Writes docs/benchmarks_heads.md.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

PAGE = Path(__file__).resolve().parents[1] / "docs" / "benchmarks_heads.md"
SECONDS, PATCHES = 60, 49
BATCH = {"avaf": 32}
DEFAULT_BATCH = 64


def main() -> None:
    """Measure every head, or with ``--only NAME`` print one head's figures as JSON."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only")
    arguments = parser.parse_args()
    if arguments.only:
        print(json.dumps(measure(arguments.only, arguments.rounds)))
        return

    from avqa import heads
    from benchmarks.__main__ import machine

    figures = {}
    for name in heads.names():
        command = [sys.executable, "-m", "benchmarks.heads", "--only", name]
        command += ["--rounds", str(arguments.rounds)]
        done = subprocess.run(command, check=True, capture_output=True, text=True, encoding="utf-8")
        figures[name] = json.loads(done.stdout)
        print(name, figures[name], flush=True)
    PAGE.write_text(page(figures, machine(), arguments.rounds), encoding="utf-8")


def measure(name: str, rounds: int) -> dict[str, Any]:
    """Seconds of a forward pass and of a training step, and this process's peak memory."""
    import torch

    from avqa import heads

    torch.manual_seed(0)
    recipe = heads.load(name).PAPER.recipe
    head = heads.build(name)
    batch = BATCH.get(name, DEFAULT_BATCH)
    seconds = -(-SECONDS // recipe.stride_seconds)
    inputs = heads.random_input(head, batch=batch, seconds=seconds, patches=PATCHES)
    answers = torch.zeros(batch, dtype=torch.long)
    optimizer = torch.optim.Adam(head.parameters(), recipe.learning_rate)

    def forward() -> None:
        with torch.no_grad():
            head.eval()(inputs)

    def train() -> None:
        optimizer.zero_grad()
        heads.total_loss(head, head.train()(inputs), answers).backward()
        optimizer.step()

    times = {}
    for part, step in (("forward", forward), ("train", train)):
        step()
        times[part] = statistics.median(timed(step) for _ in range(rounds))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return {"batch": batch, "rows": seconds, "peak_bytes": peak, **times}


def timed(step: Any) -> float:
    """Wall seconds of one call."""
    start = time.perf_counter()
    step()
    return time.perf_counter() - start


def page(figures: dict[str, dict[str, Any]], machine: str, rounds: int) -> str:
    """The page in Markdown."""
    lines = [
        "# Speed and memory of the heads",
        "",
        "Written by `python -m benchmarks.heads`; do not edit. Medians of"
        f" {rounds} rounds in fp32, {PATCHES} patches, {SECONDS} s at the stride of the paper;"
        " memory is the peak of a process that did nothing else, features included.",
        "",
        f"Machine: {machine}.",
        "",
        "| head | rows | batch | questions/s forward | questions/s training | peak GB |",
        "|---|---|---|---|---|---|",
    ]
    for name, f in figures.items():
        forward, train = f["batch"] / f["forward"], f["batch"] / f["train"]
        lines.append(
            f"| {name} | {f['rows']} | {f['batch']} | {forward:.0f} | {train:.0f}"
            f" | {f['peak_bytes'] / 1e9:.2f} |"
        )
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
