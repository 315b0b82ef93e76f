"""How much memory can be had, and memory that several processes share."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from torch import Tensor

SHARED_MEMORY = Path("dev/shm")
_GROUPS = (
    # what the line of /proc/self/cgroup has, folder, limit, use, part of the use that can be freed
    ("", "sys/fs/cgroup", "memory.max", "memory.current", "inactive_file"),
    (
        *("memory", "sys/fs/cgroup/memory"),
        *("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
    ),
)


def free_memory(root: Path = Path("/")) -> int:
    """Bytes that this process can have without swapping, within the limits of its job.

    Args:
        root: of the file system.
    """
    try:
        of_machine = _field(root / "proc/meminfo", "MemAvailable:") * 1024
    except OSError:  # not Linux
        of_machine = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2
    return max(0, min([of_machine, *_within_limits(root)]))


def _within_limits(root: Path) -> Iterator[int]:
    """Bytes left in every control group that holds this process: containers, batch systems."""
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        for name, base, limit, use, freeable in _GROUPS:
            if name in controllers.split(","):
                folder = root / base / path.lstrip("/")
                # Inside a container the path may be the host's, of which only the base exists.
                for group in (folder, *folder.parents):
                    if group.is_relative_to(root / base) and (group / limit).exists():
                        yield _left(group, limit, use, freeable)


def _left(group: Path, limit: str, use: str, freeable: str) -> int:
    most = (group / limit).read_text().strip()
    if most == "max":
        return 2**62
    return int(most) - int((group / use).read_text()) + _field(group / "memory.stat", freeable)


def _field(file: Path, name: str) -> int:
    found = (line.split() for line in file.read_text().splitlines())
    return next(int(words[1]) for words in found if words[0] == name)


def shared(tensor: Tensor, root: Path = Path("/")) -> Tensor:
    """The same tensor in memory that processes share, where there is room for it.

    Without room, forked workers share it all the same; started ones get a copy.
    """
    folder = root / SHARED_MEMORY
    if folder.is_dir() and tensor.nbytes <= shutil.disk_usage(folder).free:
        tensor.share_memory_()  # type: ignore[no-untyped-call]
    return tensor
