"""How much memory can be had, memory that processes share, and memory that is used again."""

from __future__ import annotations

import math
import os
import shutil
import threading
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from avqa.machine import control_groups

SHARED_MEMORY = Path("dev/shm")
_GROUPS = (
    # limit, use, part of the use that can be freed; in control groups of version 2 and 1
    ("memory.max", "memory.current", "inactive_file"),
    ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
)


def free_memory(root: Path = Path("/")) -> int:
    """Bytes that this process can have without swapping, within the limits of its job.

    Args:
        root: of the file system.
    """
    try:
        of_machine = _field(root / "proc/meminfo", "MemAvailable:") * 1024
    except OSError:  # not Linux
        of_machine = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2
    return max(0, min([of_machine, *_within_limits(root)]))


def _within_limits(root: Path) -> Iterator[int]:
    """Bytes left in every control group that holds this process: containers, batch systems."""
    for group in control_groups("memory", root):
        for limit, use, freeable in _GROUPS:
            if (group / limit).exists():
                yield _left(group, limit, use, freeable)


def _left(group: Path, limit: str, use: str, freeable: str) -> int:
    most = _text(group / limit)
    if most == "max":
        return 2**62
    return int(most) - int(_text(group / use)) + _field(group / "memory.stat", freeable)


def _field(file: Path, name: str) -> int:
    found = (line.split() for line in _text(file).splitlines())
    return next(int(words[1]) for words in found if words[0] == name)


def _text(file: Path) -> str:
    return file.read_text(encoding="utf-8").strip()


def shared(tensor: Tensor, root: Path = Path("/")) -> Tensor:
    """The same tensor in memory that processes share, where there is room for it.

    Without room, forked workers share it all the same; started ones get a copy.
    """
    folder = root / SHARED_MEMORY
    if folder.is_dir() and tensor.nbytes <= shutil.disk_usage(folder).free:
        tensor.share_memory_()  # type: ignore[no-untyped-call]
    return tensor


class _Block:
    """Memory, and the array that lives as long as a tensor has it."""

    def __init__(self, size: int) -> None:
        self.memory = np.empty(size, np.uint8)
        self.user: weakref.ref[Any] | None = None

    def is_free(self) -> bool:
        return self.user is None or self.user() is None

    def tensor(self, size: int) -> Tensor:
        part = self.memory[:size]
        self.user = weakref.ref(part)
        return torch.from_numpy(part)


class ReusedMemory:
    """Gives tensors memory, and gives it again once no tensor has it any more.

    The first touch of 385 MB, as 64 questions with patches take, lasts 0.1 s in huge pages, for
    which NumPy asks and torch does not, 0.35 s in small ones, and over 1 s on virtual machines
    that take free memory back; memory that was in use before takes 0.05 s to fill.
    """

    def __init__(self) -> None:
        self._blocks: list[_Block] = []
        self._lock = threading.Lock()

    def empty(self, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
        """Like `torch.empty`; free memory of another size is given up when new one is needed."""
        size = math.prod(shape) * dtype.itemsize
        with self._lock:
            fitting = [
                block
                for block in self._blocks
                if block.is_free() and size <= len(block.memory) <= 4 * size
            ]
            if fitting:
                block = min(fitting, key=lambda block: len(block.memory))
            else:
                block = _Block(size)
                self._blocks = [b for b in self._blocks if not b.is_free()] + [block]
            return block.tensor(size).view(dtype).view(shape)
