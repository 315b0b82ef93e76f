"""A pack that is killed before one of its changes of the disk."""

from __future__ import annotations

import os
import signal
from pathlib import Path

from helpers.store.crashing import dies_before, guard

import avqa.store.packing.pack as packing
from avqa.store.packing.pack import pack


def pack_and_die(path: Path, out: Path, change: int) -> None:
    """Kill this process before its change number ``change``, counted from 0."""
    guard(dies_before(change))
    pack(path, out)


def pack_and_die_in_a_bucket(path: Path, out: str) -> None:
    """Kill this process before it publishes."""

    def kill(*values: object) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    packing.publish = kill
    pack(path, out)
