"""Where the time of a training step goes, and how much of it is multiplying."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from typing import Any

SIDE, PRODUCTS, MOST = 1024, 8, 4


def profile(steps: Any) -> dict[str, Any]:
    """GFLOP/s of a step on one core, their share of GEMM's, and the operations that take most."""
    import torch
    from torch.profiler import ProfilerActivity

    with one_core():
        batch = steps.some()
        multiplied = flops(lambda: steps.step(batch))
        start = time.process_time()
        steps.step(batch)
        seconds = time.process_time() - start
        with torch.profiler.profile(activities=[ProfilerActivity.CPU]) as recorded:
            steps.step(batch)
        best = gemm_rate()
    rate = multiplied / seconds / 1e9
    events = recorded.key_averages()
    total = sum(event.self_cpu_time_total for event in events)
    longest = sorted(events, key=lambda event: -event.self_cpu_time_total)[:MOST]
    most = [(e.key.removeprefix("aten::"), e.self_cpu_time_total / total) for e in longest]
    return {"gflops": rate, "share": rate / best, "most": most}


def counted(steps: Any) -> dict[str, Any]:
    """What a step multiplies, as it was and as it is; of that as it was, the videos' own part."""
    batch = steps.some()
    head, apart = steps.head, batch.inputs.apart()
    ready = head.prepared(apart)
    with as_before():
        before = flops(lambda: steps.step(batch, apart=True))
        whole = flops(lambda: head(apart))
        own = flops(lambda: head.encode(head.check(ready))) if head.shares_videos else 0
    return {"fewer": before / flops(lambda: steps.step(batch)), "of_video": own / max(whole, 1)}


@contextlib.contextmanager
def as_before() -> Iterator[None]:
    """Heads compute as in version 0.1: nothing folded, every question's words run through."""
    from avqa.heads._parts.blocks import Attention, LstmQuestion

    folds, beginnings = Attention._folds, LstmQuestion._beginnings
    Attention._folds = lambda *of: False  # type: ignore[method-assign]
    LstmQuestion._beginnings = lambda *of: None  # type: ignore[method-assign]
    try:
        yield
    finally:
        Attention._folds = folds  # type: ignore[method-assign]
        LstmQuestion._beginnings = beginnings  # type: ignore[method-assign]


def flops(compute: Any) -> int:
    """Two for every multiplication and addition of products, torch's own LSTMs included."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    ways = {
        torch.ops.aten.mkldnn_rnn_layer: lambda x, w, u, *more, **_: _of_lstm(x, w, u),
        torch.ops.aten.mkldnn_rnn_layer_backward: lambda x, w, u, *more, **_: 2 * _of_lstm(x, w, u),
    }
    with FlopCounterMode(display=False, custom_mapping=ways) as counter:
        compute()
    return int(counter.get_total_flops())


def _of_lstm(x: Any, w: Any, u: Any) -> int:
    """Of shapes: x [N, B, width], w [4D, width], u [4D, D]."""
    return int(2 * x[0] * x[1] * w[0] * (w[1] + u[1]))


@contextlib.contextmanager
def one_core() -> Iterator[None]:
    """Let torch compute on one core."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def gemm_rate() -> float:
    """GFLOP/s of products of square float32 matrices in this process."""
    import torch

    a, b = torch.rand(2, SIDE, SIDE)
    torch.mm(a, b)
    start = time.process_time()
    for _ in range(PRODUCTS):
        torch.mm(a, b)
    return PRODUCTS * 2 * SIDE**3 / (time.process_time() - start) / 1e9
