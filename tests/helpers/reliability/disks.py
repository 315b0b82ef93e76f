"""Small file systems that are full: of bytes or of inodes, all but so many."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

PAGE = 4096
BYTES, INODES = 200 * 2**20, 5000


@contextmanager
def mounted(folder: Path) -> Iterator[Path]:
    """A file system of its own with room for `BYTES` and `INODES`; skips who is not root."""
    folder.mkdir()
    options = f"size={BYTES},nr_inodes={INODES}"
    command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
    done = subprocess.run(command, capture_output=True, encoding="utf-8")
    if done.returncode:
        pytest.skip(f"mounting a small file system needs root: {done.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def remount(folder: Path, option: str) -> None:
    """``ro`` or ``rw``."""
    subprocess.run(["mount", "-o", f"remount,{option}", str(folder)], check=True)


def used(folder: Path) -> tuple[int, int]:
    """Bytes and inodes of a file system that are taken."""
    found = os.statvfs(folder)
    return (found.f_blocks - found.f_bfree) * found.f_frsize, found.f_files - found.f_ffree


def leave_bytes(folder: Path, left: int) -> None:
    """Fill the file system with one file, but for so many bytes."""
    free = os.statvfs(folder).f_bfree * PAGE
    with (folder / "ballast").open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, max(PAGE, free - left // PAGE * PAGE))


def leave_inodes(folder: Path, left: int) -> None:
    """Take all inodes of the file system but so many."""
    (folder / "ballast").mkdir()
    for number in range(os.statvfs(folder).f_ffree - left):
        (folder / "ballast" / str(number)).touch()


def give_room(folder: Path) -> None:
    """What `leave_bytes` and `leave_inodes` took."""
    subprocess.run(["rm", "-rf", str(folder / "ballast")], check=True)
