"""Memory that processes share, and memory that is used again."""

from __future__ import annotations

import contextlib
import math
import shutil
import threading
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

SHARED_MEMORY = Path("dev/shm")
SPARED = 2**20
"""Bytes of it that are left to others: queues and locks lie there, too."""


def shared(tensor: Tensor, root: Path = Path("/")) -> Tensor:
    """The same tensor in memory that processes share, where there is room for it.

    Without room, forked workers share it all the same; started ones get a copy.
    """
    if has_room(tensor.nbytes, root):
        with contextlib.suppress(OSError, RuntimeError):  # another one took it, or no descriptor
            tensor.share_memory_()  # type: ignore[no-untyped-call]
    return tensor


def has_room(size: int, root: Path = Path("/")) -> bool:
    """Whether memory that processes share has room for so many bytes."""
    folder = root / SHARED_MEMORY
    try:
        return folder.is_dir() and size <= shutil.disk_usage(folder).free - SPARED
    except OSError:
        return False


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
