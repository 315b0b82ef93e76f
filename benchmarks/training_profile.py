"""Where the time of a training step goes, for `benchmarks.training`."""

from __future__ import annotations

import time
from typing import Any

SIDE, PRODUCTS, MOST = 1024, 8, 4


def profile(steps: Any) -> dict[str, Any]:
    """GFLOP/s of a step on one core, their share of GEMM's, and the operations that take most."""
    import torch
    from torch.profiler import ProfilerActivity
    from torch.utils.flop_counter import FlopCounterMode

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        batch = steps.some()
        with FlopCounterMode(display=False) as counter:
            steps.step(batch)
        start = time.process_time()
        steps.step(batch)
        seconds = time.process_time() - start
        with torch.profiler.profile(activities=[ProfilerActivity.CPU]) as recorded:
            steps.step(batch)
        best = gemm_rate()
    finally:
        torch.set_num_threads(before)
    rate = counter.get_total_flops() / seconds / 1e9
    events = recorded.key_averages()
    total = sum(event.self_cpu_time_total for event in events)
    longest = sorted(events, key=lambda event: -event.self_cpu_time_total)[:MOST]
    most = [(e.key.removeprefix("aten::"), e.self_cpu_time_total / total) for e in longest]
    return {"gflops": rate, "share": rate / best, "most": most}


def gemm_rate() -> float:
    """GFLOP/s of products of square float32 matrices in this process."""
    import torch

    a, b = torch.rand(2, SIDE, SIDE)
    torch.mm(a, b)
    start = time.process_time()
    for _ in range(PRODUCTS):
        torch.mm(a, b)
    return PRODUCTS * 2 * SIDE**3 / (time.process_time() - start) / 1e9
