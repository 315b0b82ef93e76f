"""Commands as they are typed: wall time, and processor time of each process, user and system."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import psutil

LOOK_SECONDS = 0.05
ROLES = {"decoder.child": "decoder", "spawn_main": "worker"}
"""What a process's command line says of it; any other is the command itself."""


@dataclass
class Typed:
    """One command, from the shell's call to its end."""

    wall: float
    user: float
    system: float
    faults: int
    """Pages that memory had to be asked for, of all processes."""
    peak: float
    """Bytes of the largest process."""
    processes: dict[str, tuple[float, float]] = field(default_factory=dict)
    """Role → processor seconds, user and system, of all processes of that role together."""
    sign: float | None = None
    """Seconds until it said what was listened for; None: nothing was."""


def typed(*words: str | Path, environ: Mapping[str, str] | None = None, sign: str = "") -> Typed:
    """Run ``avqa`` with these words; ``sign``: what it is to say, and when is noted.

    Raises:
        RuntimeError: it failed, or never said so; with the end of what it said.
    """
    return run([sys.executable, "-m", "avqa", *map(str, words)], environ, sign)


def run(command: Sequence[str], environ: Mapping[str, str] | None = None, sign: str = "") -> Typed:
    """Run a command; see `typed`."""
    start = time.perf_counter()
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env={**_environment(), **(environ or {})},
    )
    assert process.stdout is not None
    os.set_blocking(process.stdout.fileno(), False)
    said, peak, seen = b"", 0.0, dict[int, tuple[str, float, float]]()
    came: float | None = None
    while True:
        said += process.stdout.read() or b""
        if sign and came is None and sign.encode() in said:
            came = time.perf_counter() - start
        said = said[-2000:]
        peak = max(peak, _look(process.pid, seen))
        pid, status, usage = os.wait4(process.pid, os.WNOHANG)
        if pid:
            break
        time.sleep(LOOK_SECONDS)
    wall = time.perf_counter() - start
    process.returncode = os.waitstatus_to_exitcode(status)
    said += process.stdout.read() or b""
    process.stdout.close()
    if process.returncode or (sign and came is None):
        raise RuntimeError(f"{command} exited with {process.returncode}: {said.decode()}")
    shares = dict[str, tuple[float, float]]()
    for role, user, system in seen.values():
        before = shares.get(role, (0.0, 0.0))
        shares[role] = (before[0] + user, before[1] + system)
    # What it waited for is in its own usage.
    return Typed(wall, usage.ru_utime, usage.ru_stime, usage.ru_minflt, peak, shares, came)


def _environment() -> dict[str, str]:
    """Where a user's Python keeps what it compiled, the next start finds it."""
    return {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}


def _look(pid: int, seen: dict[int, tuple[str, float, float]]) -> float:
    """Note every process's times so far; bytes of the largest."""
    largest = 0.0
    try:
        top = psutil.Process(pid)
        family = [top, *top.children(recursive=True)]
    except psutil.Error:
        return largest
    for process in family:
        try:
            with process.oneshot():
                words = " ".join(process.cmdline())
                times = process.cpu_times()
                largest = max(largest, process.memory_info().rss)
        except psutil.Error:
            continue
        known = (role for word, role in ROLES.items() if word in words and process != top)
        role = next(known, "command")
        seen[process.pid] = (role, times.user, times.system)
    return largest
