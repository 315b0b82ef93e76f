"""The GPU that is checked, and the CPU that stands in for it where there is none."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any, Protocol

SPARE = 2**24
"""Bytes: less than this is not worth taking of a GPU that is to be full."""


class Device(Protocol):
    """What the parts need of a device besides what `avqa` does with it."""

    name: str

    def describe(self) -> dict[str, str]:
        """What it is, for the page."""

    def synchronize(self) -> None:
        """Wait until everything it was given is done."""

    def peak(self) -> int:
        """Most bytes that tensors of this process took since the last call."""

    def used(self) -> int:
        """Bytes of it in use, by all processes."""

    def full(self) -> contextlib.AbstractContextManager[None]:
        """While entered, there is no memory left for a network."""


class Gpu:
    """The first GPU that torch sees."""

    name = "cuda"

    def describe(self) -> dict[str, str]:
        """See `Device`."""
        import torch

        gpu = torch.cuda.get_device_properties(0)
        return {
            "GPU": f"{gpu.name}, {gpu.total_memory / 2**30:.0f} GiB,"
            f" {gpu.multi_processor_count} multiprocessors",
            "CUDA": f"{torch.version.cuda}, cuDNN {torch.backends.cudnn.version()}",
        }

    def synchronize(self) -> None:
        """See `Device`."""
        import torch

        torch.cuda.synchronize()

    def peak(self) -> int:
        """See `Device`."""
        import torch

        most = int(torch.cuda.max_memory_allocated())
        torch.cuda.reset_peak_memory_stats()
        return most

    def used(self) -> int:
        """See `Device`."""
        import torch

        free, total = torch.cuda.mem_get_info()
        return int(total - free)

    @contextlib.contextmanager
    def full(self) -> Iterator[None]:
        """See `Device`."""
        import torch

        torch.cuda.empty_cache()
        kept = []
        size, _ = torch.cuda.mem_get_info()
        while size > SPARE:
            try:
                kept.append(torch.empty(size, dtype=torch.uint8, device=self.name))
            except torch.OutOfMemoryError:
                size //= 2
        try:
            yield
        finally:
            kept.clear()
            torch.cuda.empty_cache()


class StandIn:
    """The CPU: every line but those of `Gpu` runs on it."""

    name = "cpu"

    def describe(self) -> dict[str, str]:
        """See `Device`."""
        return {"GPU": "none: the CPU stands in for it, and no figure here is one of a GPU"}

    def synchronize(self) -> None:
        """See `Device`."""

    def peak(self) -> int:
        """See `Device`: nothing is on a GPU."""
        return 0

    def used(self) -> int:
        """See `Device`."""
        return 0

    @contextlib.contextmanager
    def full(self) -> Iterator[None]:
        """See `Device`: what a network would raise."""
        import torch

        from avqa.pipelines.engine import engine

        def none_left(self: Any, encoder: str) -> Any:
            raise torch.OutOfMemoryError("stand-in: no memory is left")

        real = engine._Networks.get
        engine._Networks.get = none_left  # type: ignore[method-assign]
        try:
            yield
        finally:
            engine._Networks.get = real  # type: ignore[method-assign]


def device(name: str) -> Device:
    """The device of a `Setup`."""
    return Gpu() if name == "cuda" else StandIn()
