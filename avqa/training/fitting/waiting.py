"""How torch's threads wait for each other: awake while the cores are theirs alone, else asleep.

GNU OpenMP's threads wait at the end of every operation. Spinning is the quickest, as long as no
other program wants the core that spins; then training takes many times as long. Which of the two
is settled when torch is imported, but for one thing that the manual says of ``GOMP_SPINCOUNT``:
where there are more OpenMP threads than cores, the count is that of the throttled, which under
``OMP_WAIT_POLICY=PASSIVE`` is 0. So threads of ours that do nothing but be there send the others
to sleep, and awake again when they end. No number depends on it.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Iterator

import torch

from avqa.surroundings import spins_while_alone

SECONDS = 0.5
"""Between two looks at what else runs."""
SPARE = 0.1
"""Cores that others may use while threads spin: less is the noise of a system at rest."""


@contextlib.contextmanager
def awake_while_alone() -> Iterator[None]:
    """While entered: threads sleep while they wait, but not as long as cores are left for them.

    Does nothing where threads wait in one way from the start (`spins_while_alone`), nor where
    there is one thread.
    """
    threads = torch.get_num_threads()
    if not spins_while_alone() or threads < 2 or busy_seconds() is None:
        yield
        return
    ended = threading.Event()
    watch = threading.Thread(target=_watch, args=(ended, threads), daemon=True)
    watch.start()
    try:
        yield
    finally:
        ended.set()
        watch.join()


def _watch(ended: threading.Event, threads: int) -> None:
    cores = len(os.sched_getaffinity(0))
    crowd = Crowd(threads, cores)
    crowd.gather()  # asleep until it is known that nobody else is there
    others = Others()
    while not ended.wait(SECONDS):
        if others.cores_used() + threads > cores + SPARE:
            crowd.gather()
        else:
            crowd.scatter()
    crowd.scatter()


class Others:
    """Cores that other processes have used since the last look, of those this one may use."""

    def __init__(self) -> None:
        self._last = self._look()

    def cores_used(self) -> float:
        """Mean since the last call; what the machine below a virtual one took counts, too."""
        before, self._last = self._last, self._look()
        wall, own, busy = (new - old for new, old in zip(self._last, before, strict=True))
        return max(0.0, (busy - own) / wall) if wall > 0 else 0.0

    def _look(self) -> tuple[float, float, float]:
        return time.monotonic(), time.process_time(), busy_seconds() or 0.0


def busy_seconds() -> float | None:
    """Processor time of all programs on the cores this process may use; None if not told."""
    try:
        with open("/proc/stat", encoding="ascii") as told:
            lines = [line.split() for line in told if line.startswith("cpu")]
        tick, cores = os.sysconf("SC_CLK_TCK"), os.sched_getaffinity(0)
    except (OSError, ValueError, AttributeError):
        return None
    own = [line[1:] for line in lines if line[0] in {f"cpu{core}" for core in cores}]
    # user, nice, system, idle, iowait, irq, softirq, steal; guests are counted in the first two
    return sum(int(ticks) for line in own for ticks in (*line[:3], *line[5:8])) / tick


class Crowd:
    """Threads of OpenMP that are there and do nothing; more than there are cores for."""

    def __init__(self, threads: int, cores: int) -> None:
        """``threads``: that each operation has; a team of ours brings all but one of them."""
        self._teams = max(1, -(-(cores - threads + 1) // (threads - 1)))
        self._elements = threads * 65_536  # enough that torch divides the work among them all
        self._gone: threading.Event | None = None
        self._leaders: list[threading.Thread] = []

    def gather(self) -> None:
        """Have them there."""
        if self._gone is not None:
            return
        self._gone = gone = threading.Event()
        there = threading.Barrier(self._teams + 1)
        self._leaders = [
            threading.Thread(target=self._lead, args=(there, gone), daemon=True)
            for _ in range(self._teams)
        ]
        for leader in self._leaders:
            leader.start()
        there.wait()

    def _lead(self, there: threading.Barrier, gone: threading.Event) -> None:
        torch.zeros(self._elements).add_(1)  # starts this thread's team, which stays as long as it
        there.wait()
        gone.wait()

    def scatter(self) -> None:
        """Have them gone."""
        if self._gone is None:
            return
        self._gone.set()
        self._gone = None
        for leader in self._leaders:
            leader.join()
