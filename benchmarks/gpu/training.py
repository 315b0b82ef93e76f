"""Heads trained on the GPU, once in one go, and once killed and resumed."""

from __future__ import annotations

import csv
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from benchmarks.gpu import material, typed
from benchmarks.gpu.device import CUDA
from benchmarks.gpu.part import TRAINED, Run

CLOSE = 0.02
"""Losses of two trainings on a GPU may differ by so much of themselves; on the CPU by nothing."""


def measure(run: Run) -> None:
    store = run.work / "bench-cuda"
    extract(run, store, CUDA)
    lock = threading.Lock()
    with ThreadPoolExecutor(2 * len(run.setup.heads)) as pool:
        pairs = {
            head: [
                pool.submit(whole, run, head, store, run.work / f"{head}-whole"),
                pool.submit(killed, run, head, store, run.work / f"{head}-killed"),
            ]
            for head in run.setup.heads
        }
        for head, (first, second) in pairs.items():
            done, resumed = first.result(), second.result()
            with lock:
                _compare(run, head, done, resumed)


def extract(run: Run, store: Path, device: str) -> None:
    """Features of the ensembles, by one kind of device."""
    bench = Path(run.setup.material) / material.BENCH
    typed.must(
        run,
        f"features of the ensembles on {device}",
        *("extract", "--videos", bench / "videos", "--out", store, "--device", device),
        *("--features", ",".join(run.setup.features), "--weights", run.weights()),
        *("--chunk-seconds", material.ENSEMBLE_SECONDS),
    )


def words(run: Run, head: str, store: Path, out: Path, device: str, epochs: int) -> list[object]:
    """Of ``train-head``."""
    settings = (*TRAINED.get(head, ()), "question=lstm", *run.setup.settings, f"epochs={epochs}")
    return [
        *("train-head", head, "--dataset", "music-avqa", "--store", store, "--out", out),
        *("--annotations", Path(run.setup.material) / material.BENCH / "annotations"),
        *("--device", device, *(word for each in settings for word in ("--set", each))),
    ]


def whole(run: Run, head: str, store: Path, out: Path) -> tuple[typed.Done, Path]:
    """Train to the end."""
    return typed.avqa(*words(run, head, store, out, CUDA, run.setup.epochs)), out


def killed(run: Run, head: str, store: Path, out: Path) -> tuple[typed.Done, Path]:
    """Train, kill it once an epoch is kept, and go on."""
    command = words(run, head, store, out, CUDA, run.setup.epochs)
    begun = typed.begin(*command)
    while begun.process.poll() is None and not epochs(out):
        time.sleep(0.02)
    begun.process.kill()
    begun.end()
    return typed.avqa(*command, "--resume"), out


def epochs(run: Path) -> list[dict[str, str]]:
    """What a run has kept of each epoch of its first member."""
    for path in run.glob("default/seed-0/metrics.csv"):
        with path.open(encoding="utf-8", newline="") as file:
            return list(csv.DictReader(file))
    return []


def _compare(
    run: Run, head: str, done: tuple[typed.Done, Path], resumed: tuple[typed.Done, Path]
) -> None:
    (first, one), (second, two) = done, resumed
    codes = [first.code, second.code]
    run.check(f"{head}: exit codes, whole and resumed", codes, "[0, 0]", not any(codes))
    losses = [[float(row["train_loss"]) for row in epochs(out)] for out in (one, two)]
    counts = [len(found) for found in losses]
    run.check(f"{head}: epochs, whole and resumed", counts, str([run.setup.epochs] * 2),
              counts == [run.setup.epochs] * 2)  # fmt: skip
    apart = max(
        (abs(a - b) / max(abs(a), 1e-9) for a, b in zip(*losses, strict=False)), default=1.0
    )
    most = 0.0 if run.setup.stand_in else CLOSE
    run.check(f"{head}: losses of the resumed run", f"{apart:.1e} of themselves apart",
              f"at most {most:g}", apart <= most)  # fmt: skip
    run.row(
        "Training",
        head=head,
        epochs=counts[0],
        **{"loss, first": f"{losses[0][0]:.3f}" if losses[0] else "–"},
        **{"loss, last": f"{losses[0][-1]:.3f}" if losses[0] else "–"},
        seconds=f"{first.seconds:.1f}",
    )
