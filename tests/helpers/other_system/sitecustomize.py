"""Takes Linux away from a process, and from those that it starts, as far as avqa can see.

On ``PYTHONPATH`` (`helpers.elsewhere.environment`) Python runs this file before anything else. What
macOS lacks is deleted from the modules of the standard library; what lies under ``/proc``, ``/sys``
and ``/dev/shm`` is hidden from avqa alone, since psutil has ways of its own on every system;
processes are spawned; and decord, of which only Linux on x86_64 has a wheel, is not installed.
"""

import builtins
import ctypes
import errno
import fcntl
import functools
import io
import multiprocessing
import os
import resource
import select
import signal
import sys
import sysconfig

HIDDEN = ("/proc", "/sys", "/dev/shm")
ABSENT = {
    os: (
        *("memfd_create", "posix_fallocate", "posix_fadvise", "sched_getaffinity"),
        *("sched_setaffinity", "sched_setscheduler", "sched_getscheduler", "sched_getparam"),
        *("pidfd_open", "eventfd", "eventfd_read", "eventfd_write", "splice", "copy_file_range"),
        *("getrandom", "getxattr", "setxattr", "listxattr", "removexattr", "fdatasync", "pipe2"),
        *("getresuid", "getresgid", "O_TMPFILE", "O_DIRECT", "O_PATH", "O_NOATIME"),
    ),
    select: ("epoll",),
    signal: ("sigwaitinfo", "sigtimedwait", "SIGRTMIN", "SIGRTMAX", "pidfd_send_signal"),
    resource: ("prlimit",),
    fcntl: ("F_OFD_GETLK", "F_OFD_SETLK", "F_OFD_SETLKW", "F_ADD_SEALS", "F_SETPIPE_SZ"),
}
"""Module → what it has on Linux and not on macOS."""
STANDARD = sysconfig.get_path("stdlib") + os.sep
OURS = (os.path.abspath(f"{__file__}/../../../../avqa") + os.sep, "<avqa>")
"""Where code of avqa comes from; the second is a test's own that wants to count as such."""


def asked_by_avqa() -> bool:
    """Whether code of avqa asks, itself or through the standard library."""
    frame = sys._getframe(1)
    while frame is not None:
        file = frame.f_code.co_filename
        ours_or_standard = file == __file__ or file.startswith((STANDARD, "<frozen"))
        if not ours_or_standard or "site-packages" in file.removeprefix(STANDARD):
            return file.startswith(OURS)
        frame = frame.f_back
    return False


def is_hidden(path: object) -> bool:
    """A path or descriptor that avqa must not find."""
    if isinstance(path, int) or path is None:
        return False
    name = os.fsdecode(path)
    return any(name == h or name.startswith(h + "/") for h in HIDDEN) and asked_by_avqa()


def hiding(call):
    """The same call, which finds nothing of the system's own folders for avqa."""

    @functools.wraps(call)
    def hidden(path=".", *args, **kwargs):
        if is_hidden(path):
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)
        return call(path, *args, **kwargs)

    return hidden


class NotInstalled:
    """Finds no decord."""

    @staticmethod
    def find_spec(name, path=None, target=None):
        if name == "decord":
            raise ModuleNotFoundError("No module named 'decord'", name=name)


def without_prctl(look_up):
    """A look-up in a C library, which has no ``prctl``."""

    def found(library, name):
        if name == "prctl":
            raise AttributeError(f"no symbol {name}")
        return look_up(library, name)

    return found


for module, names in ABSENT.items():
    for each in names:
        if hasattr(module, each):
            delattr(module, each)
if hasattr(os, "process_cpu_count"):  # since 3.13, of `sched_getaffinity` where there is one
    os.process_cpu_count = os.cpu_count
for each in ("open", "stat", "lstat", "listdir", "scandir", "readlink", "access"):
    setattr(os, each, hiding(getattr(os, each)))
builtins.open = io.open = hiding(io.open)
ctypes.CDLL.__getattr__ = without_prctl(ctypes.CDLL.__getattr__)
ctypes.CDLL.__getitem__ = without_prctl(ctypes.CDLL.__getitem__)
multiprocessing.set_start_method("spawn", force=True)
sys.meta_path.insert(0, NotInstalled())
