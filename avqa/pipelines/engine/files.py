"""Files of videos, on a disk or in a bucket: what tells one from another, and a copy to decode."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from avqa.errors import MediaError
from avqa.store.format.records import Fingerprint
from avqa.store.places.files import storage_errors
from avqa.store.places.objects import SCHEME, ObjectPath

_MEBIBYTE = 1 << 20


def in_bucket(path: str) -> bool:
    """Whether it is ``s3://bucket/key``."""
    return path.startswith(SCHEME)


def facts_of(path: str) -> tuple[int, int]:
    """Bytes of a file, and its last change in nanoseconds since the epoch.

    Both are -1 if there is none, or it cannot be asked.
    """
    try:
        if in_bucket(path):
            return ObjectPath(path).facts()
        stat = os.stat(path)
    except OSError:
        return -1, -1
    return stat.st_size, stat.st_mtime_ns


def fingerprint(path: str, known: Fingerprint | None = None) -> Fingerprint | None:
    """What the file is now; None if it cannot be read.

    The hash is taken over the size and the first, middle and last MiB; it is copied from
    ``known`` where size and modification time are the same.

    Raises:
        StorageFailure: it lies in a bucket that refuses.
    """
    try:
        if in_bucket(path):
            place = ObjectPath(path)
            size, mtime_ns = place.facts()
            return _fingerprint(size, mtime_ns, known, place.read_range)
        stat = os.stat(path)
        with open(path, "rb") as file:

            def read(start: int, length: int) -> bytes:
                file.seek(start)
                return file.read(length)

            return _fingerprint(stat.st_size, stat.st_mtime_ns, known, read)
    except OSError:
        return None


def _fingerprint(
    size: int, mtime_ns: int, known: Fingerprint | None, read: Callable[[int, int], bytes]
) -> Fingerprint:
    if known and (size, mtime_ns) == (known.size, known.mtime_ns):
        return known
    digest = hashlib.blake2b(str(size).encode(), digest_size=16)
    for start in (0, (size - _MEBIBYTE) // 2, size - _MEBIBYTE):
        start = max(0, start)
        length = min(_MEBIBYTE, size - start)
        digest.update(read(start, length) if length else b"")
    return Fingerprint(size, mtime_ns, digest.hexdigest())


@contextmanager
def at_hand(path: str) -> Iterator[str]:
    """The file on a disk: itself, or for the time a copy of what lies in a bucket.

    Raises:
        MediaError: there is no such object.
        StorageFailure: the bucket refuses, or there is no room for the copy.
    """
    if not in_bucket(path):
        yield path
        return
    with tempfile.TemporaryDirectory(prefix="avqa-video-") as folder:
        # Readers go by the extension where the content alone does not tell.
        copy = os.path.join(folder, f"video{os.path.splitext(path)[1]}")
        try:
            with storage_errors(f"a copy of {path!r}"):
                ObjectPath(path).download(copy)
        except FileNotFoundError as error:
            raise MediaError(
                "unreadable",
                f"no object {path!r}; expected the video; correct the list",
                stage="probe",
            ) from error
        yield copy
