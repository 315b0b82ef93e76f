"""Dying with the process that started us, whatever way it ends."""

from __future__ import annotations

import ctypes
import os
import signal
import sys

# Found on import: a fresh fork must not load anything.
_LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None
_PR_SET_PDEATHSIG = 1


def die_with_parent(parent: int) -> None:
    """Have the kernel kill this process when the thread that started it ends.

    For a decoder process that thread lives as long as its process (see `decoder.spawn`); for
    a program it starts, it is the main thread. The kernel's signal also reaches a process whose
    interpreter lock is held by a native loop, which a watch on standard input cannot.

    Args:
        parent: process id of the parent.
    """
    if _LIBC is not None:
        _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it died before we asked
        os._exit(1)
