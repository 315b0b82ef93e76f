"""Stands in for a GPU: torch says that there is one, and what goes to it stays where it is.

On the path of a check with ``--device stand-in`` only, where Python loads it at every start. What
avqa does for a GPU is then done, sizes of batches, numbers of processes, pinned memory and all;
what CUDA does is not.
"""

from __future__ import annotations

import sys
import weakref
from collections import deque
from collections.abc import Callable
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import SimpleNamespace
from typing import Any

TOTAL, LEAST = 2**26, 2**24
"""Bytes that the stand-in has; below how many nothing more goes to it."""
taken = [0]


def change_machine(machine: Any) -> None:
    """Avqa counts GPUs by the names of devices."""
    machine.DEVICES = Path(__file__).parent / "dev"


def change_packed(packed: Any) -> None:
    """On a GPU no layer is oneDNN's."""
    packed.can_pack = lambda weight: False


def change_torch(torch: Any) -> None:
    """What avqa and its libraries ask torch of CUDA, and what they send there."""
    about = SimpleNamespace(
        name="a stand-in", total_memory=TOTAL, multi_processor_count=1, major=9, minor=0
    )
    answers: dict[str, Callable[..., Any]] = {
        "is_available": lambda: True,
        "device_count": lambda: 1,
        "current_device": lambda: 0,
        "get_device_name": lambda device=0: about.name,
        "get_device_properties": lambda device=0: about,
        "get_device_capability": lambda device=0: (about.major, about.minor),
        "mem_get_info": lambda device=0: (TOTAL - taken[0], TOTAL),
        "max_memory_allocated": lambda device=0: taken[0],
        "is_current_stream_capturing": lambda: False,
        "get_rng_state": lambda device=0: torch.zeros(16, dtype=torch.uint8),
    }
    silent = (
        *("set_device", "synchronize", "empty_cache", "reset_peak_memory_stats"),
        *("manual_seed", "manual_seed_all", "set_rng_state"),
    )
    for name, answer in answers.items():
        setattr(torch.cuda, name, answer)
    for name in silent:
        setattr(torch.cuda, name, lambda *args, **kwargs: None)
    stream = SimpleNamespace(is_capturing=lambda: False)
    torch.accelerator.current_device_index = lambda: 0
    torch.accelerator.set_device_index = lambda device: None
    torch.accelerator.current_stream = lambda device=None: stream
    torch.Tensor.pin_memory = lambda self, device=None: self
    torch.Tensor.to = sent(torch, torch.Tensor.to)
    torch.empty = kept(torch, torch.empty)


def change_streams(streams: Any) -> None:
    """The compiler would follow a GPU's stream, where there is none."""
    if state := getattr(streams, "SymbolicStreamState", None):
        state.__init__ = lambda self: setattr(self, "cur_stream_stack", deque())


def sent(torch: Any, real: Callable[..., Any]) -> Callable[..., Any]:
    """``Tensor.to``, where ``cuda`` is here while it has room."""

    def to(self: Any, *args: Any, **kwargs: Any) -> Any:
        there = [value for value in (*args, kwargs.get("device")) if is_cuda(torch, value)]
        if there and TOTAL - taken[0] < LEAST:
            raise torch.OutOfMemoryError("CUDA out of memory (of a stand-in).")
        args = tuple("cpu" if is_cuda(torch, value) else value for value in args)
        if is_cuda(torch, kwargs.get("device")):
            kwargs["device"] = "cpu"
        return real(self, *args, **kwargs)

    return to


def kept(torch: Any, real: Callable[..., Any]) -> Callable[..., Any]:
    """``torch.empty``, whose bytes on ``cuda`` are counted."""

    def empty(*args: Any, **kwargs: Any) -> Any:
        if not is_cuda(torch, kwargs.get("device")):
            return real(*args, **kwargs)
        made = real(*args, **kwargs | {"device": "cpu"})
        if taken[0] + made.nbytes > TOTAL:
            raise torch.OutOfMemoryError("CUDA out of memory (of a stand-in).")
        add(made.nbytes)
        weakref.finalize(made, add, -made.nbytes)
        return made

    return empty


def add(count: int) -> None:
    """Count bytes as taken."""
    taken[0] += count


def is_cuda(torch: Any, value: object) -> bool:
    """Whether a value names a GPU."""
    if isinstance(value, torch.device):
        return str(value.type) == "cuda"
    return isinstance(value, str) and value.startswith("cuda")


CHANGES: dict[str, Callable[[Any], None]] = {
    "torch": change_torch,
    "torch._dynamo.variables.streams": change_streams,
    "avqa.machine": change_machine,
    "avqa.extract.encoders._parts.packed": change_packed,
}


class Changing(MetaPathFinder):
    """Finds the modules of `CHANGES` as the others do, and changes them once they are loaded."""

    def find_spec(self, name: str, path: Any, target: Any = None) -> ModuleSpec | None:
        """See `MetaPathFinder`."""
        change = CHANGES.get(name)
        if change is None:
            return None
        others = (finder for finder in sys.meta_path if finder is not self)
        found = (finder.find_spec(name, path, target) for finder in others)
        spec = next((spec for spec in found if spec is not None), None)
        if spec is not None and spec.loader is not None:
            real = spec.loader.exec_module

            def load(module: Any) -> None:
                real(module)
                change(module)

            spec.loader.exec_module = load  # type: ignore[method-assign]
        return spec


sys.meta_path.insert(0, Changing())
