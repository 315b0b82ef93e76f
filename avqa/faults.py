"""What is the machine's fault, and neither damage nor a defect: disks, memory, limits.

A file that cannot be read says nothing of its bytes: who takes a refusal of the system for damage
removes what is good.
"""

from __future__ import annotations

import errno
import functools
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from avqa.errors import AvqaError, EnvironmentFailure, StorageFailure

NOT_THERE = (FileNotFoundError, IsADirectoryError, NotADirectoryError)
"""The system's answers for a file that is not there; all others speak of the machine."""
_DISK = "check the disk or mount"
_THREADS = (
    "raise the number of processes and threads (`ulimit -u`, the container's or job's pids limit)"
)
_ADVICE = {
    errno.ENOSPC: "free space",
    errno.EDQUOT: "free space or raise the quota",
    errno.EROFS: "it lies on something that is read-only",
    errno.EACCES: "check its permissions and who runs this",
    errno.EPERM: "check its permissions and who runs this",
    errno.EMFILE: "raise the number of open files (`ulimit -n`)",
    errno.ENFILE: "raise the number of open files of this machine",
    errno.ENOMEM: "give it more memory",
    errno.EAGAIN: _THREADS,
}

_LIMITS = {errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EAGAIN}


def is_limit(error: OSError) -> bool:
    """Whether the machine has no more of something, for this file as for any other."""
    return error.errno in _LIMITS


def machine_fault(error: BaseException) -> tuple[str, str] | None:
    """What the machine refused, and what to do about it; None if it is not to blame."""
    if isinstance(error, MemoryError):
        return "no memory", _ADVICE[errno.ENOMEM]
    if isinstance(error, RuntimeError) and "can't start new thread" in str(error):
        return "no thread can be started", _THREADS
    if isinstance(error, OSError) and error.errno and not isinstance(error, NOT_THERE):
        name = errno.errorcode.get(error.errno, str(error.errno))
        return name, _ADVICE.get(error.errno, _DISK)
    return None


@functools.cache
def require_thread() -> None:
    """Make sure that a thread can be started, before zarr tries: its own failure is not clean.

    Raises:
        RuntimeError: none can.
    """
    thread = threading.Thread(target=bool)
    thread.start()
    thread.join()


@contextmanager
def reading(what: str, then: str = "run the same command again") -> Iterator[None]:
    """Turn a fault of the machine while ``what`` is read into exit code 5.

    Raises:
        StorageFailure: a file cannot be read.
        EnvironmentFailure: there is no memory, or no thread.
    """
    try:
        yield
    except AvqaError:
        raise
    except (OSError, MemoryError, RuntimeError) as error:
        fault = machine_fault(error)
        if fault is None:
            raise
        kind = StorageFailure if isinstance(error, OSError) else EnvironmentFailure
        name = getattr(error, "filename", None)
        of = f" ({name!s})" if name and str(name) not in what else ""
        raise kind(
            f"cannot read {what}: {fault[0]}{of}; expected a readable file on a machine that is"
            f" well; {fault[1]}, then {then}; nothing stored is lost"
        ) from error
