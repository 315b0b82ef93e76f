"""One video to extract, and what tells its file from another."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass

from avqa.store.format.records import Fingerprint

_MEBIBYTE = 1 << 20


@dataclass(frozen=True)
class VideoJob:
    """One video to extract: where it is, which row it fills, which features it still lacks."""

    row: int
    video_id: str
    relpath: str
    path: str
    features: tuple[str, ...]
    max_rows: int | None = None
    """Rows that other features of this video have already: a damaged one has fewer than it says."""


def fingerprint(path: str, known: Fingerprint | None = None) -> Fingerprint | None:
    """What the file is now; None if it cannot be read.

    The hash is taken over the size and the first, middle and last MiB; it is copied from
    ``known`` where size and modification time are the same.
    """
    try:
        stat = os.stat(path)
        if known and (stat.st_size, stat.st_mtime_ns) == (known.size, known.mtime_ns):
            return known
        digest = hashlib.blake2b(str(stat.st_size).encode(), digest_size=16)
        with open(path, "rb") as file:
            for start in (0, (stat.st_size - _MEBIBYTE) // 2, stat.st_size - _MEBIBYTE):
                file.seek(max(0, start))
                digest.update(file.read(_MEBIBYTE))
    except OSError:
        return None
    return Fingerprint(stat.st_size, stat.st_mtime_ns, digest.hexdigest())
