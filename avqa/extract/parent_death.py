"""Dying with the process that started us, whatever way it ends."""

from __future__ import annotations

import ctypes
import os
import signal

# Found on import: a fresh fork must not load anything. None where the system has no such call.
_PRCTL = getattr(ctypes.CDLL(None), "prctl", None)
_PR_SET_PDEATHSIG = 1


def die_with_parent(parent: int) -> None:
    """Have the kernel kill this process when the thread that started it ends.

    For a decoder process that thread lives as long as its process (see `decoder.spawn`); for
    a program it starts, it is the main thread. The kernel's signal also reaches a process whose
    interpreter lock is held by a native loop, which a watch on standard input cannot.

    Only Linux has the call. Elsewhere a decoder ends when its standard input does (`decoder.link`),
    a program it started when nobody reads its output any more; one in a native loop, when that
    is over.

    Args:
        parent: process id of the parent.
    """
    if _PRCTL is not None:
        _PRCTL(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it died before we asked
        os._exit(1)
