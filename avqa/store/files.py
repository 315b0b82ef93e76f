"""Small durable files, and what the operating system's refusals mean for a run."""

from __future__ import annotations

import errno
import json
import os
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from avqa.errors import StorageFailure

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
_READ_ONLY = frozenset({errno.EROFS, errno.EACCES, errno.EPERM})
_PASSING = frozenset({errno.EIO, errno.ESTALE})
_TRIES = 3
T = TypeVar("T")


def write_atomic(path: Path, data: bytes, *, durable: bool = True) -> None:
    """Replace a file so that a reader sees all of it or the old one.

    With ``durable`` also after power loss.
    """
    partial = path.with_name(f"{path.name}.{uuid.uuid4().hex}.partial")
    try:
        with partial.open("wb") as file:
            file.write(data)
            file.flush()
            if durable:
                os.fsync(file.fileno())
        partial.replace(path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
    if durable:
        sync(path.parent)


def sync(path: Path) -> None:
    """Make a file's content, or the names in a folder, survive a power loss."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_json(path: Path, value: Mapping[str, Any], *, durable: bool = True) -> None:
    """Write a JSON object atomically, readable by people."""
    write_atomic(path, (json.dumps(value, indent=2) + "\n").encode("ascii"), durable=durable)


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object."""
    value: dict[str, Any] = json.loads(path.read_bytes())
    return value


@contextmanager
def storage_errors(what: str) -> Iterator[None]:
    """Turn a refusal that concerns the whole run into `StorageFailure`.

    Raises:
        StorageFailure: disk or quota full, read-only, or no permission.
    """
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            advice = "disk or quota is full; free space and run the same command again"
        elif error.errno in _READ_ONLY:
            advice = "the folder is not writable; choose another --out or change its permissions"
        elif error.errno in _PASSING:
            advice = f"failed {_TRIES} times; check the disk or mount and run the command again"
        else:
            raise
        code = errno.errorcode[error.errno]
        raise StorageFailure(
            f"cannot write {what}: {code}; {advice}; nothing stored is lost"
        ) from error


def is_disk_full(error: BaseException) -> bool:
    """Whether a `StorageFailure` came from a full disk or quota."""
    cause = error.__cause__
    return isinstance(cause, OSError) and cause.errno in _FULL


def with_retries(action: Callable[[], T], *, pause: float = 0.2) -> T:
    """Run ``action``; on EIO or ESTALE, which network mounts give in passing, try thrice.

    Args:
        action: idempotent.
        pause: seconds before the second try; doubled before the third.
    """
    for attempt in range(1, _TRIES):
        try:
            return action()
        except OSError as error:
            if error.errno not in _PASSING:
                raise
        time.sleep(pause * 2 ** (attempt - 1))
    return action()
