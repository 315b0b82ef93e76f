"""Rows per second of each network by batch and precision, and what copying back takes of it."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial

import torch

from avqa.extract import encoders, weights
from avqa.pipelines.engine.ticket import inputs_of
from benchmarks.gpu.device import CUDA, peak
from benchmarks.gpu.part import Run
from benchmarks.gpu.rows import build, material

ROWS = 32
"""Different ones; a batch repeats them."""
SECONDS = 0.4
"""Of measuring, for each batch."""
TABLE, PEAKS = "Rows per second by batch", "GB that tensors took at most, by batch"
COPIES = "Copying back, at the engine's batch"


def measure(run: Run) -> None:
    source = weights.resolve(run.weights(), encoders.weights_of(run.setup.features))
    needed = inputs_of(run.setup.features)
    for precision in sorted(run.setup.precisions, key=lambda name: name != "bf16"):
        costs = []
        for name, taps in needed.items():
            encoder, _, key = name.partition("/")
            if run.left() < 5:
                run.note(f"{name} in {precision}: not measured, the time was up")
                continue
            network = build(encoder, weights.load_state(encoder, source), CUDA, precision)
            engines = encoders.load(encoder).BATCH[CUDA]
            empty = {str(size): "" for size in sorted({engines, *run.setup.batches})}
            rates = run.row(TABLE, network=name, precision=precision, **empty)
            peaks = run.row(PEAKS, network=name, precision=precision, **empty)
            rows = torch.from_numpy(material(encoder, key, ROWS))
            for batch in (engines, *(size for size in run.setup.batches if size != engines)):
                full = rows.repeat(-(-batch // len(rows)), *[1] * (rows.ndim - 1))[:batch]
                peak()
                spent = seconds(partial(network.forward, key, full, taps))
                rates[str(batch)] = round(batch / spent)
                peaks[str(batch)] = f"{peak() / 1e9:.2f}"
                run.save()
                if batch == engines:
                    costs.append(spent / batch)
                    out = network.forward(key, full, taps)
                    _copies(run, name, precision, out, spent)
        if len(costs) == len(needed):
            run.row(
                "All networks together",
                precision=precision,
                **{"seconds of video per second": f"{1 / sum(costs):.0f}"},
            )


def _copies(
    run: Run, name: str, precision: str, out: dict[str, torch.Tensor], spent: float
) -> None:
    there = [values.to(CUDA) for values in out.values()]
    back = seconds(lambda: [values.clone().cpu() for values in there])
    size = sum(values.numel() * values.element_size() for values in there)
    run.row(
        COPIES,
        network=name,
        precision=precision,
        **{"MB": round(size / 1e6, 1), "GB/s": round(size / back / 1e9, 2)},
        **{"of a forward": f"{back / spent:.0%}"},
    )


def seconds(work: Callable[[], object]) -> float:
    """Mean of what one call takes, once it is warm."""
    for _ in range(2):
        work()
    torch.cuda.synchronize()
    start, calls = time.perf_counter(), 0
    while calls < 3 or time.perf_counter() - start < SECONDS:
        work()
        calls += 1
    torch.cuda.synchronize()
    return (time.perf_counter() - start) / calls
