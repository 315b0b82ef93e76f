"""Two blocks of shared memory through which the decoder process hands over arrays."""

from __future__ import annotations

import mmap
import os
import tempfile
from collections.abc import Sequence
from math import prod

import numpy as np
from numpy.typing import NDArray

SLOTS = 2
SLOT_BYTES = 64 * 2**20
"""Most that one block may hold; the file is sparse, so only bytes once written cost memory."""


def new_file() -> int:
    """Open the file behind a ring and return its descriptor; nobody else can name it.

    A memory file where the system has them, else an unlinked temporary file. Not ``/dev/shm``,
    which is 64 MB in many containers.
    """
    if hasattr(os, "memfd_create"):
        fd = os.memfd_create("avqa-ring", os.MFD_CLOEXEC)
    else:
        with tempfile.TemporaryFile() as file:
            fd = os.dup(file.fileno())
    os.ftruncate(fd, SLOTS * SLOT_BYTES)
    return fd


class Ring:
    """One process's view of the two blocks. Who may touch which is agreed by messages."""

    def __init__(self, fd: int) -> None:
        """Map the file ``fd`` of `new_file`; the descriptor stays the caller's."""
        self._map = mmap.mmap(fd, SLOTS * SLOT_BYTES)

    def put(self, slot: int, array: NDArray[np.generic]) -> None:
        """Copy ``array`` into a block.

        Raises:
            ValueError: if it does not fit.
        """
        if array.nbytes > SLOT_BYTES:
            raise ValueError(f"a block takes {SLOT_BYTES} bytes; got {array.nbytes=}")
        target = np.frombuffer(
            self._map, array.dtype, count=array.size, offset=slot * SLOT_BYTES
        ).reshape(array.shape)
        np.copyto(target, array)

    def take(self, slot: int, dtype: str, shape: Sequence[int]) -> NDArray[np.generic]:
        """Return a block's content as an array of its own.

        Raises:
            ValueError: if the description exceeds a block.
        """
        count = prod(shape)
        if not 0 <= slot < SLOTS or count * np.dtype(dtype).itemsize > SLOT_BYTES:
            raise ValueError(f"no such block: {slot=}, {dtype=}, {shape=}")
        view = np.frombuffer(self._map, dtype, count=count, offset=slot * SLOT_BYTES)
        return view.reshape(tuple(shape)).copy()

    def close(self) -> None:
        """Unmap."""
        self._map.close()
