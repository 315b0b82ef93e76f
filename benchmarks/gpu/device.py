"""What the parts ask of the GPU beside what avqa does with it; a stand-in answers, too."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch

CUDA = "cuda"
SPARE = 2**24
"""Bytes: less than this is not worth taking of a GPU that is to be full."""


def describe() -> dict[str, str]:
    """What it is, for the page."""
    gpu = torch.cuda.get_device_properties(0)
    cudnn: Any = torch.backends.cudnn  # untyped
    return {
        "GPU": f"{gpu.name}, {gpu.total_memory / 2**30:.0f} GiB,"
        f" {gpu.multi_processor_count} multiprocessors",
        "CUDA": f"{torch.version.cuda}, cuDNN {cudnn.version()}",
    }


def peak() -> int:
    """Most bytes that tensors of this process took since the last call."""
    most = int(torch.cuda.max_memory_allocated())
    torch.cuda.reset_peak_memory_stats()
    return most


def used() -> int:
    """Bytes in use, by all processes."""
    free, total = torch.cuda.mem_get_info()
    return int(total - free)


@contextlib.contextmanager
def full() -> Iterator[None]:
    """While entered, there is no room left for a network."""
    torch.cuda.empty_cache()
    kept = []
    size, _ = torch.cuda.mem_get_info()
    while size > SPARE:
        try:
            kept.append(torch.empty(size, dtype=torch.uint8, device=CUDA))
        except torch.OutOfMemoryError:
            size //= 2
    try:
        yield
    finally:
        kept.clear()
        torch.cuda.empty_cache()
