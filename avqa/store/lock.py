"""One run per store: an exclusive lock file with a heartbeat.

``flock`` is unreliable on some network mounts and knows no other host, so the lock is a file
``S/lock.json`` created exclusively, in a bucket by a create-only put. A holder that died on this
host, in this container, is taken over at once; another only on request, when its heartbeat is old
by the clock of the file system: those of two hosts may differ by more than that.
"""

from __future__ import annotations

import json
import os
import socket
import uuid
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType

from avqa.errors import StoreLocked
from avqa.machine import pid_namespace
from avqa.store.format.layout import refuse_packed
from avqa.store.places.files import StorePath, storage_errors, store_path

LOCK = "lock.json"
STEAL_AFTER_SECONDS = 600.0


@dataclass(frozen=True)
class Holder:
    """Who holds a store."""

    run_id: str
    host: str
    pid: int
    process_start: str
    """Of the process, by `process_start`; empty where nobody could tell."""
    started: str
    heartbeat: str
    pid_namespace: str = ""
    """Where ``pid`` is a process, by `pid_namespace`; empty where nobody could tell."""

    @classmethod
    def me(cls, run_id: str) -> Holder:
        """This process, now."""
        pid, now = os.getpid(), _now()
        start, space = process_start(pid) or "", pid_namespace()
        return cls(run_id, socket.gethostname(), pid, start, now, now, space)

    def is_gone(self) -> bool:
        """Whether the process is known to be dead: only one of this host and container can be."""
        if self.host != socket.gethostname():
            return False
        here = pid_namespace()
        if self.pid_namespace and here and self.pid_namespace != here:
            return False  # containers may share a host's name, and number processes on their own
        start = process_start(self.pid)
        # Who cannot be told from another process with that number may live still.
        return start is None or bool(start and self.process_start and start != self.process_start)


class Lock:
    """The right to write to a store; a context manager that gives it back."""

    def __init__(self, store: StorePath, holder: Holder, *, dead: Holder | None) -> None:
        """Use `acquire`."""
        self._path = store_path(store) / LOCK
        self._holder = holder
        self._dead = dead

    @property
    def took_over(self) -> bool:
        """The last holder did not give the lock back: its run ended uncleanly."""
        return self._dead is not None

    @property
    def no_power_loss(self) -> bool:
        """It was killed on this machine, which has been up ever since: what it wrote is there."""
        if self._dead is None or self._dead.host != self._holder.host:
            return False
        boots = {h.process_start.rpartition(":")[0] for h in (self._dead, self._holder)}
        return len(boots) == 1 and "" not in boots

    @property
    def run_id(self) -> str:
        """Run that holds the lock."""
        return self._holder.run_id

    @classmethod
    def acquire(cls, path: StorePath, run_id: str, steal: bool = False) -> Lock:
        """Take the lock of the store directory ``path``, which is created if it is missing.

        Args:
            path: the store directory S.
            run_id: unique name of this run.
            steal: take it from a holder on another host whose heartbeat is older than
                ten minutes.

        Raises:
            StoreError: it is a packed copy, or damaged.
            StoreLocked: another run holds it; names host, pid, start and heartbeat.
            StorageFailure: the folder cannot be written.
        """
        refuse_packed(path)
        path = store_path(path)
        with storage_errors(f"{str(path / LOCK)!r}"):
            path.make_folder()
            dead = None
            while not (path / LOCK).create(_content(Holder.me(run_id))):
                holder = read_holder(path)
                if holder is None:
                    continue  # given back between the two calls
                age = 0.0 if holder.is_gone() else heartbeat_age(path / LOCK)
                if not (holder.is_gone() or (steal and age > STEAL_AFTER_SECONDS)):
                    raise StoreLocked(_refusal(path, holder, steal, age))
                if _take_over(path / LOCK, holder, Holder.me(run_id)):
                    dead = holder
                    break
        mine = read_holder(path)
        if mine is None or mine.run_id != run_id:
            raise StoreLocked(
                f"store {str(path)!r}: another run took the lock at this moment; expected no"
                " other run; wait for it to end, then run the same command again"
            )
        return cls(path, mine, dead=dead)

    def check(self) -> None:
        """Fence: make sure that the lock is still ours.

        Raises:
            StoreLocked: it was stolen or removed; nothing may be written any more.
        """
        holder = read_holder(self._path.parent)
        if holder is None or holder.run_id != self.run_id:
            now = f"run_id={holder.run_id} host={holder.host}" if holder else "nobody"
            raise StoreLocked(
                f"store {str(self._path.parent)!r}: run_id={self.run_id} lost its lock, now held"
                f" by {now}; expected to hold it until the end; this run stops without writing;"
                " what it committed is kept"
            )

    def heartbeat(self) -> None:
        """Check the fence and give a sign of life."""
        self.check()
        self._holder = replace(self._holder, heartbeat=_now())
        self._path.write_json(asdict(self._holder), durable=False)

    def release(self) -> None:
        """Give the lock back; one that is no longer ours is left alone."""
        holder = read_holder(self._path.parent)
        if holder is not None and holder.run_id == self.run_id:
            self._path.unlink(missing_ok=True)

    def __enter__(self) -> Lock:
        """Hold it."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Give it back."""
        self.release()


def read_holder(store: StorePath) -> Holder | None:
    """Who holds the store directory, None if nobody does.

    Raises:
        StoreLocked: the lock file is damaged, so nobody can tell.
    """
    path = store_path(store) / LOCK
    try:
        return Holder(**path.read_json())
    except FileNotFoundError:
        return None
    except (ValueError, TypeError) as error:
        raise StoreLocked(
            f"lock {str(path)!r} is damaged; expected run_id, host and pid;"
            " remove the file if no run is active"
        ) from error


def process_start(pid: int) -> str | None:
    """What tells a live process from another with its number; None if it is dead or a zombie.

    Linux: id of the boot and tick of the start. Where there is no ``/proc``: nothing of the boot,
    whose time moves with the clock there, and the second of the start; where that is hidden, too,
    all live processes give the empty string.
    """
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="utf-8").strip()
    except OSError:
        return None if Path("/proc/self/stat").exists() else _start_without_proc(pid)
    # The command in parentheses may hold spaces; state and start follow it.
    fields = stat.rpartition(")")[2].split()
    return None if fields[0] in "ZX" else f"{boot}:{fields[19]}"


def _start_without_proc(pid: int) -> str | None:
    import psutil

    try:
        process = psutil.Process(pid)
        if process.status() in (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD):
            return None
        return f":{process.create_time():.0f}"
    except (psutil.Error, OSError):  # gone, or psutil is not told either
        return "" if _answers(pid) else None


def _answers(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def heartbeat_age(lock: StorePath) -> float:
    """Seconds since the last sign of life, by the clock of the file system or bucket."""
    probe = lock.parent / "runs" / f"{uuid.uuid4().hex}.partial"
    try:
        probe.write(b"", durable=False)
        return probe.modified() - lock.modified()
    except FileNotFoundError:  # given back meanwhile
        return 0.0
    finally:
        probe.unlink(missing_ok=True)


def _take_over(path: StorePath, stale: Holder, mine: Holder) -> bool:
    """Replace the lock of ``stale``, but not one that another run just put in its place."""
    try:
        found = path.read_bytes()
    except FileNotFoundError:
        return False
    return Holder(**json.loads(found)) == stale and path.replace_if(found, _content(mine))


def _content(holder: Holder) -> bytes:
    return (json.dumps(asdict(holder), indent=2) + "\n").encode("ascii")


def _refusal(path: StorePath, holder: Holder, steal: bool, age: float) -> str:
    if steal:
        advice = f"--steal-lock waits until the heartbeat is {STEAL_AFTER_SECONDS:.0f} s old"
    else:
        advice = "wait for it to end, or, if it is known to be dead, use --steal-lock"
    return (
        f"store {str(path)!r} is in use by run_id={holder.run_id} host={holder.host}"
        f" pid={holder.pid} started={holder.started} heartbeat={holder.heartbeat}"
        f" ({age:.0f} s ago); expected no other run; {advice}"
    )


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
