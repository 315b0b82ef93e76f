"""What is the machine's fault, and neither damage nor a defect: disks, memory, limits.

A file that cannot be read says nothing of its bytes: who takes a refusal of the system for damage
removes what is good. What is neither, nor raised on purpose, is a defect of ours: its traceback is
kept in a file, so that nobody has to run again to see it.
"""

from __future__ import annotations

import errno
import functools
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from avqa.errors import AvqaError, ConfigError, EnvironmentFailure, LibraryMissing, StorageFailure

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
    errno.EFBIG: "raise the size of files (`ulimit -f`)",
}

_TRACEBACK = "_avqa_traceback"
"""Where an error says which file holds its traceback."""
_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EROFS}
_OUTSIDE = {
    # Who kills a process for its memory or its time, and what is built for other processors.
    *("SIGKILL", "SIGTERM", "SIGHUP", "SIGINT", "SIGXCPU", "SIGXFSZ", "SIGSYS", "SIGBUS", "SIGILL"),
}
_OF_FILE = {errno.ENOENT, errno.EACCES, errno.EPERM, errno.EISDIR, errno.ENOTDIR, errno.ELOOP}
_LOADING = ("shared object", "static TLS", "DLL load failed", "dlopen")
_LIMITS = {errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EAGAIN}


def is_limit(error: BaseException) -> bool:
    """Whether the machine has no more of something, for this file as for any other."""
    if isinstance(error, OSError):
        return error.errno in _LIMITS
    return isinstance(error, RuntimeError) and "can't start new thread" in str(error)


def is_from_outside(returncode: int) -> bool:
    """Whether a process was ended by others, and not by what it did: by the system, for one."""
    return returncode < 0 and signal.Signals(-returncode).name in _OUTSIDE


def is_of_disk(error: OSError) -> bool:
    """Whether it speaks of the disk or mount that a file lies on, rather than of the file."""
    return error.errno is not None and error.errno not in _OF_FILE | _LIMITS


def of_machine(error: BaseException) -> EnvironmentFailure | ConfigError | None:
    """What an error of the system says of the machine, or of a name; None for another kind."""
    text = " ".join(str(error).split()) or type(error).__name__
    if isinstance(error, OSError) and error.errno == errno.ENAMETOOLONG:
        name = os.path.basename(os.fsencode(error.filename or ""))
        return ConfigError(
            f"a name is too long: {os.fsdecode(name)!r} has {len(name)} bytes; expected at most"
            " 255, and at most 4095 for a whole path; choose a shorter one"
        )
    if "No usable temporary directory" in text:
        return EnvironmentFailure(
            f"no place for temporary files: {text}; expected a folder that can be written; set"
            " TMPDIR to one"
        )
    if isinstance(error, (ImportError, OSError)) and any(word in text for word in _LOADING):
        return LibraryMissing(
            f"a library does not load: {text}; expected it whole, and memory to spare for it;"
            " raise the limits (ulimit -v, ulimit -d), or repair the installation"
        )
    if isinstance(error, MemoryError) or getattr(error, "errno", None) == errno.ENOMEM:
        return EnvironmentFailure(
            f"out of memory: {text}; expected some to spare; end other programs, or use another"
            " machine"
        )
    if is_limit(error):
        return EnvironmentFailure(
            f"the system gives no more: {text}; expected files, processes and threads to spare;"
            " raise the limits (ulimit -n, ulimit -u, a container's pids limit), or use fewer"
            " --decoders or workers"
        )
    if isinstance(error, OSError) and error.errno in _NO_ROOM:
        return StorageFailure(f"cannot write: {text}; expected room to write; make some")
    fault = machine_fault(error)
    if fault is None:
        return None
    return EnvironmentFailure(
        f"the machine refused: {fault[0]} ({text}); {fault[1]}, then run again"
    )


def machine_fault(error: BaseException) -> tuple[str, str] | None:
    """What the machine refused, and what to do about it; None if it is not to blame."""
    if isinstance(error, MemoryError):
        return "no memory", _ADVICE[errno.ENOMEM]
    if isinstance(error, RuntimeError) and "can't start new thread" in str(error):
        return "no thread can be started", _THREADS
    if isinstance(error, OSError) and error.errno and not isinstance(error, NOT_THERE):
        if error.errno == errno.ENAMETOOLONG:
            return None
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


def is_defect(error: BaseException) -> bool:
    """Whether an error is a defect of ours: neither raised on purpose nor the machine's fault."""
    is_error = isinstance(error, Exception) and not isinstance(error, AvqaError)
    return is_error and of_machine(error) is None


@contextmanager
def traceback_kept_in(name: str, write: Callable[[bytes], object]) -> Iterator[None]:
    """Keep the traceback of an unexpected error that passes by.

    Args:
        name: of the file, for the message.
        write: takes the file's content.
    """
    try:
        yield
    except BaseException as error:
        if is_defect(error) and traceback_of(error) is None:
            with suppress(Exception):  # the error itself matters more
                write(traceback_text(error))
                setattr(error, _TRACEBACK, name)
        raise


def traceback_of(error: BaseException) -> str | None:
    """The file that holds the traceback of an error; None if none does."""
    name: str | None = getattr(error, _TRACEBACK, None)
    return name


def in_folder(folder: Path) -> tuple[str, Callable[[bytes], object]]:
    """For `traceback_kept_in`: ``traceback.txt`` of a folder that is there."""
    path = folder / "traceback.txt"
    return str(path), path.write_bytes


def traceback_text(error: BaseException) -> bytes:
    """The traceback, below the version and the command."""
    from avqa import __version__

    lines = [f"avqa {__version__}\n", f"{sys.argv}\n", *traceback.format_exception(error)]
    return "".join(lines).encode("utf-8", "backslashreplace")
