"""What this machine has to compute with, without importing torch."""

from __future__ import annotations

import contextlib
import ctypes
import math
import os
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Literal

from avqa.errors import ConfigError, EnvironmentFailure

DEVICES = Path("/dev")
_MEMORY = (
    # limit, use, part of the use that can be freed; of both versions of control groups
    ("memory.max", "memory.current", "inactive_file"),
    ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
)
OWN_PAGES = 128 << 20
"""Bytes from which on an allocation has pages of its own, see `keep_freed_memory`."""
KEPT_FREE = 512 << 20
"""Free bytes at the end of the heap that are kept."""
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
"""Of ``malloc.h``."""
_OF_NANNY = {"MALLOC_TRIM_THRESHOLD_": "65536"}
"""What Dask's nanny sets for every worker: nobody's choice."""
_FIRST_NAMESPACE = "pid:[4026531836]"
"""Linux gives it this number on every machine."""


def check_interpreter() -> None:
    """Refuse a Python that leaves ``assert`` out: zarr (3.x) reads its files inside of some.

    Raises:
        ConfigError: it does.
    """
    if sys.flags.optimize:
        raise ConfigError(
            f"Python runs with -O (optimize={sys.flags.optimize}); expected assert statements to"
            " be kept, since zarr needs them to read a store; leave -O out, or unset"
            " PYTHONOPTIMIZE"
        )


def check_current_folder() -> None:
    """Refuse to run where no path can be told from the current folder; some libraries do not load.

    Raises:
        EnvironmentFailure: it was removed.
    """
    try:
        os.getcwd()
    except FileNotFoundError as error:
        was = os.environ.get("PWD", "?")
        raise EnvironmentFailure(
            f"the current folder {was!r} was removed; expected one that is there; go to another"
            " one with cd"
        ) from error


def num_cores(root: Path = Path("/")) -> int:
    """Cores this process may use; those of its job where SLURM does not bind it to them.

    A container that may use so much processor time (``docker --cpus``) has as many cores, and one
    for what is left over.

    Args:
        root: of the file system.
    """
    has_affinity = hasattr(os, "sched_getaffinity")
    cores = [len(os.sched_getaffinity(0)) if has_affinity else os.cpu_count() or 1]
    of_job = os.environ.get("SLURM_CPUS_PER_TASK", "")
    if of_job.isdecimal():
        cores.append(int(of_job))
    limit = core_limit(root)
    if limit is not None:
        cores.append(max(1, math.ceil(limit)))
    return min(cores)


def core_limit(root: Path = Path("/")) -> float | None:
    """Cores whose time this process may use by a container's limit; None without one.

    Args:
        root: of the file system.
    """
    limits = [
        int(quota) / int(period)
        for quota, period in _quotas(root)
        if quota.isdecimal()  # else "max" or -1
    ]
    return min(limits, default=None)


def _quotas(root: Path) -> Iterator[list[str]]:
    for group in control_groups("cpu", root):
        for names in (("cpu.max",), ("cpu.cfs_quota_us", "cpu.cfs_period_us")):
            if all((group / name).exists() for name in names):
                yield " ".join(_text(group / name) for name in names).split()


def control_groups(controller: str, root: Path = Path("/")) -> Iterator[Path]:
    """Folders of the control groups that hold this process, each before the one around it.

    Args:
        controller: ``cpu`` or ``memory``, for groups of version 1, where each has its own.
        root: of the file system.
    """
    try:
        lines = (root / "proc/self/cgroup").read_text(encoding="utf-8").splitlines()
    except OSError:  # not Linux
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if not controllers or controller in controllers.split(","):
            mounts = root / "sys/fs/cgroup"
            # Of version 1 each is mounted by its own name, or by all the names of one mount.
            together = mounts / controllers
            base = together if together.is_dir() else mounts / controller
            folder = base / path.lstrip("/")
            # Inside a container the path may be the host's, of which only the base exists.
            yield from (group for group in (folder, *folder.parents) if group.is_relative_to(base))


def keep_freed_memory(environ: Mapping[str, str] = os.environ) -> bool:
    """Let the C library (glibc) keep what is freed for what is allocated next, within bounds.

    Otherwise a network's every intermediate result is memory new from the system, which costs a
    page fault for each 4 kB: a Dask worker, told by its nanny to give all back at once, spends a
    fifth of its time on that. What is larger than `OWN_PAGES` still is given back when it is freed,
    and so is what lies free above `KEPT_FREE`; for the rest there is `give_memory_back`.

    Returns:
        Whether it will; not where the user has settings of his own (``MALLOC_…``), or the C library
        is another one.
    """
    tunables = environ.get("GLIBC_TUNABLES", "")
    own = [name for name in environ if name.startswith("MALLOC_") and name not in _OF_NANNY]
    of_nanny = all(environ.get(name, value) == value for name, value in _OF_NANNY.items())
    if own or not of_nanny or "glibc.malloc" in tunables:
        return False
    with contextlib.suppress(AttributeError, OSError):  # another C library
        mallopt = ctypes.CDLL(None).mallopt
        # Any C library before 2.35 takes half a heap at most.
        large = mallopt(_M_MMAP_THRESHOLD, OWN_PAGES) or mallopt(_M_MMAP_THRESHOLD, 32 << 20)
        return bool(large and mallopt(_M_TRIM_THRESHOLD, KEPT_FREE))
    return False


def give_memory_back() -> None:
    """Hand memory that was freed to the system.

    The C library (glibc) keeps it, for every thread that ran apart: networks that are built in new
    threads at each call would take gigabytes more each time in a process that lives on.
    """
    with contextlib.suppress(AttributeError, OSError):  # another C library
        ctypes.CDLL(None).malloc_trim(0)


def free_memory(root: Path = Path("/")) -> int:
    """Bytes that this process can have without swapping, within the limits of its job.

    Args:
        root: of the file system.
    """
    try:
        of_machine = _field(root / "proc/meminfo", "MemAvailable:") * 1024
    except OSError:  # not Linux
        import psutil

        of_machine = psutil.virtual_memory().available
    left = (
        _left(group, limit, use, freeable)
        for group in control_groups("memory", root)
        for limit, use, freeable in _MEMORY
        if (group / limit).exists()
    )
    return max(0, min([of_machine, *left]))


def _left(group: Path, limit: str, use: str, freeable: str) -> int:
    most = _text(group / limit)
    if most == "max":
        return 2**62
    return int(most) - int(_text(group / use)) + _field(group / "memory.stat", freeable)


def _field(file: Path, name: str) -> int:
    found = (line.split() for line in _text(file).splitlines())
    return next(int(words[1]) for words in found if words[0] == name)


def _text(file: Path) -> str:
    return file.read_text(encoding="utf-8").strip()


def visible_gpus() -> tuple[str, ...]:
    """NVIDIA GPUs this process may use, as ``CUDA_VISIBLE_DEVICES`` names each of them.

    That variable restricts and orders them: numbers, ``GPU-…`` or ``MIG-…`` ids. As CUDA does,
    what follows a number that no GPU has (often -1) is not seen.
    """
    present = [p for p in DEVICES.glob("nvidia*") if re.fullmatch(r"nvidia\d+", p.name)]
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is None or not present:
        return tuple(str(number) for number in range(len(present)))
    found: dict[str, None] = {}
    for device in (part.strip() for part in visible.split(",")):
        if not device.startswith(("GPU-", "MIG-")) and not (
            device.isdecimal() and int(device) < len(present)
        ):
            break
        found[device] = None
    return tuple(found)


def num_gpus() -> int:
    """Number of `visible_gpus`."""
    return len(visible_gpus())


def choose_device(
    asked: str, *, gpus: int | None = None, remote: bool = False
) -> Literal["cpu", "cuda"]:
    """``auto | cpu | cuda`` → the kind of device the networks run on.

    Apple's GPU, torch's ``mps``, is none of them: nobody has compared what it computes with what
    stores and runs of other machines hold, and it has no float64. ``auto`` is the CPU there.

    Args:
        asked: ``auto`` goes by this machine.
        gpus: how many it has, from who has asked torch; without, `num_gpus`.
        remote: the workers are elsewhere, so that ``cuda`` is taken at its word.

    Raises:
        ConfigError: another value, or ``cuda`` where there is no GPU.
    """
    gpus = num_gpus() if gpus is None else gpus
    if asked == "cpu" or (asked == "auto" and gpus == 0):
        return "cpu"
    if asked in ("auto", "cuda") and (gpus or remote):
        return "cuda"
    if asked == "cuda":
        raise ConfigError(
            "device=cuda; expected an NVIDIA GPU, none is visible; use --device cpu or check"
            " CUDA_VISIBLE_DEVICES"
        )
    raise ConfigError(f"device={asked!r}; expected auto, cpu or cuda; check --device")


def pid_namespace() -> str:
    """What numbers this process: the same for processes that know each other by number.

    The first namespace of a machine has one name for ever; another's counts until the next boot.
    """
    try:
        name = os.readlink("/proc/self/ns/pid")
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="utf-8").strip()
    except OSError:
        return ""
    return name if name == _FIRST_NAMESPACE else f"{boot}:{name}"
