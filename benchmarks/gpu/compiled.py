"""Whether ``torch.compile`` makes a step of training quicker, and how long it takes to begin.

The last part: compiling may take all the time there is, and nothing waits for it.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import torch

from avqa import heads
from benchmarks.gpu.device import CUDA
from benchmarks.gpu.networks import seconds
from benchmarks.gpu.part import Run

BATCH, ROWS, PATCHES = 64, 10, 49
CLOSE = 1e-3
"""Of the largest logit: by so much products in another order may differ."""
TABLE = "A step of training, plain and compiled"


def measure(run: Run) -> None:
    for name in run.setup.heads:
        if run.left() < 10:
            run.note(f"{name}: not compiled, the time was up")
            continue
        _head(run, name, 2 if run.setup.stand_in else BATCH)


def _head(run: Run, name: str, batch: int) -> None:
    torch.manual_seed(0)
    head = heads.build(name).to(CUDA)
    inputs = heads.random_input(head, batch=batch, seconds=ROWS, patches=PATCHES).to(CUDA)
    answers = torch.zeros(batch, dtype=torch.long).to(CUDA)
    row = run.row(TABLE, head=name, batch=batch)
    plain = _step(head, head, inputs, answers)
    row["plain, ms"] = f"{1000 * seconds(plain):.2f}"
    run.save()
    # What turns graphs into kernels has its own GPU; the stand-in has everything before that.
    compiled = torch.compile(head, backend="aot_eager" if run.setup.stand_in else "inductor")
    before, began = _graphs(), time.perf_counter()
    quick = _step(head, compiled, inputs, answers)
    quick()
    torch.cuda.synchronize()
    row["compiling, s"] = f"{time.perf_counter() - began:.1f}"
    row["graphs"] = _graphs() - before
    run.save()
    row["compiled, ms"] = f"{1000 * seconds(quick):.2f}"
    run.save()
    head.eval()
    with torch.no_grad():
        found, expected = compiled(inputs).logits, head(inputs).logits
    apart = float((found - expected).abs().max() / expected.abs().max())
    run.check(f"{name}: logits of the compiled head", f"{apart:.1e} of the largest apart",
              f"at most {CLOSE:g}", apart <= CLOSE)  # fmt: skip


def _graphs() -> int:
    """How many this process has compiled: a head that torch cannot take whole has several."""
    from torch._dynamo.utils import counters

    return int(counters["stats"]["unique_graphs"])


def _step(
    head: heads.Head,
    called: Callable[[heads.HeadInput], heads.HeadOutput],
    inputs: heads.HeadInput,
    answers: torch.Tensor,
) -> Callable[[], None]:
    optimizer = torch.optim.Adam(head.parameters(), 1e-3)
    head.train()

    def step() -> None:
        optimizer.zero_grad()
        loss = heads.total_loss(head, called(inputs), answers)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()

    return step
