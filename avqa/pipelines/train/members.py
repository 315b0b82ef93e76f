"""Who trains which member of a run: one process, by the lock ``RUN/locks/<variant>/seed-<n>``."""

from __future__ import annotations

import contextlib
import threading
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from avqa.errors import AvqaError, StoreError, StoreLocked
from avqa.pipelines.extraction.array_job import Partition
from avqa.store.lock import LOCK, STEAL_AFTER_SECONDS, Lock, read_holder
from avqa.store.places.files import store_path
from avqa.store.places.path import StorePath

LOCKS = "locks"
BEAT_SECONDS = 60.0
"""Between two signs of life, whatever an epoch lasts."""


class Held:
    """The right to train a member, until another process took it over."""

    def __init__(self, path: Path, lock: Lock) -> None:
        """Use `hold_member`."""
        self._path = path
        self._lock = lock
        self._ended = threading.Event()

    def check(self) -> None:
        """Fence: make sure that the member is still ours.

        Raises:
            StoreLocked: its lock was taken over or removed.
        """
        try:
            self._lock.check()
        except StoreLocked as error:
            raise StoreLocked(
                f"member {str(self._path)!r}: another process took its lock over; expected to hold"
                " it to the end; this one stops without writing; the other one goes on"
            ) from error

    def _beat(self) -> None:
        while not self._ended.wait(BEAT_SECONDS):
            with contextlib.suppress(AvqaError, OSError):  # `check` tells what is wrong
                self._lock.heartbeat()

    @contextmanager
    def _beating(self) -> Iterator[None]:
        thread = threading.Thread(target=self._beat, daemon=True)
        thread.start()
        try:
            yield
        finally:
            self._ended.set()
            thread.join()


def take_member(path: Path, *, steal: bool = False) -> Lock:
    """Take a member's lock; that of a process that died on this machine is taken over.

    Args:
        path: its folder.
        steal: also that of one elsewhere that gave no sign of life for ten minutes.

    Raises:
        StoreLocked: another process has it; says which.
        StoreError: it is damaged, so that nobody can tell.
        StorageFailure: the folder cannot be written.
    """
    _require_whole(path)
    try:
        return Lock.acquire(_place(path), uuid.uuid4().hex, steal)
    except StoreLocked as error:
        raise StoreLocked(_busy(path, steal=steal)) from error


@contextmanager
def hold_member(path: Path, lock: Lock) -> Iterator[Held]:
    """Keep a member's lock alive, and give it back at the end."""
    held = Held(path, lock)
    with lock, held._beating():
        yield held


def _require_whole(path: Path) -> None:
    """A member that nobody trains must not pass for one of another process."""
    try:
        read_holder(_place(path))
    except StoreLocked as error:
        raise StoreError(f"member {str(path)!r}: {error}") from error


def share_line(partition: Partition, members: Sequence[str]) -> str:
    """Which of a run's members a task of an array job trains."""
    names = partition.share(members)
    of = f"task {partition}: {len(names)} of {len(members)} members"
    return f"{of}: {', '.join(names)}" if names else f"{of}: nothing to do"


def is_held(path: Path) -> bool:
    """Whether a process that may be alive trains the member in this folder."""
    holder = read_holder(_place(path))
    return holder is not None and not holder.is_gone()


def _place(path: Path) -> StorePath:
    return store_path(path.parents[1] / LOCKS / path.parent.name / path.name)


def _busy(path: Path, *, steal: bool) -> str:
    holder = read_holder(_place(path))
    who = (
        f"host={holder.host} pid={holder.pid} heartbeat={holder.heartbeat}" if holder else "unknown"
    )
    advice = (
        f"--steal-lock waits until that is {STEAL_AFTER_SECONDS:.0f} s old"
        if steal
        else "wait for it, or, if it is known to be dead, use --steal-lock or remove"
        f" {str(_place(path) / LOCK)!r}"
    )
    return f"member {str(path)!r} is trained by another process ({who}); expected none; {advice}"
