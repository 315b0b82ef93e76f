"""Small durable files, and what the operating system's refusals mean for a run.

A store lies in a folder or in a bucket. What both can do is a method of `pathlib.Path` and of
`ObjectPath`; what they do in different ways is a function here.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

from avqa.errors import ConfigError, StorageFailure
from avqa.store.places.objects import SCHEME, ObjectPath

StorePath = Path | ObjectPath

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
_READ_ONLY = frozenset({errno.EROFS, errno.EACCES, errno.EPERM})
_PASSING = frozenset({errno.EIO, errno.ESTALE})
_TRIES = 3
T = TypeVar("T")


def store_path(text: str | os.PathLike[str] | ObjectPath) -> StorePath:
    """Where a store lies: a folder, or ``s3://bucket/prefix``.

    Raises:
        ConfigError: another kind of address.
    """
    if isinstance(text, ObjectPath):
        return text
    name = os.fspath(text)
    if name.startswith(SCHEME):
        return ObjectPath(name)
    if "://" in name:
        raise ConfigError(
            f"store {name!r}; expected a folder or s3://bucket/prefix; other object storage is"
            " reached through its S3 address, with AWS_ENDPOINT_URL set"
        )
    return Path(name)


def write_atomic(path: StorePath, data: bytes, *, durable: bool = True) -> None:
    """Replace a file so that a reader sees all of it or the old one.

    With ``durable`` also after power loss; the folder is made where there is none.
    """
    if isinstance(path, ObjectPath):
        path.write_bytes(data)
        return
    make_folder(path.parent)
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


def create_exclusively(path: StorePath, data: bytes) -> bool:
    """Create a file with its content in one step; False, with nothing done, if it exists.

    Its folder is made where there is none.

    No crash leaves an empty one, and of many that try at once one succeeds.
    """
    if isinstance(path, ObjectPath):
        return path.create(data)
    make_folder(path.parent)
    partial = aside(path)
    write_atomic(partial, data)
    try:
        os.link(partial, path)
    except FileExistsError:
        return False
    except OSError:
        return _create_without_links(path, data)
    finally:
        partial.unlink(missing_ok=True)
    return True


def _create_without_links(path: Path, data: bytes) -> bool:
    """For file systems without hard links."""
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
    except FileExistsError:
        return False
    with os.fdopen(handle, "wb") as file:
        file.write(data)
    return True


def aside(path: Path) -> Path:
    """A new name in ``runs/``: a crash leaves nothing strange in the store directory itself."""
    folder = path.parent / "runs"
    folder.mkdir(exist_ok=True)
    return folder / f"{path.name}.{uuid.uuid4().hex}.partial"


def make_folder(path: StorePath) -> None:
    """Make a folder and those above it; buckets know none."""
    if isinstance(path, Path):
        path.mkdir(parents=True, exist_ok=True)


def remove_folder(path: StorePath, *, last: str = "") -> None:
    """Remove everything below ``path``, the file ``last`` after all others, and the folder."""
    if isinstance(path, ObjectPath):
        names = [entry["path"].removeprefix(f"{path.key}/") for entry in path.listed()]
        for name in sorted(names, key=lambda name: name == last):
            (path / name).unlink(missing_ok=True)
        return
    for entry in path.iterdir() if path.is_dir() else ():
        if entry.is_dir():
            shutil.rmtree(entry)
        elif entry.name != last:
            entry.unlink()
    shutil.rmtree(path, ignore_errors=True)


def move(source: StorePath, target: StorePath) -> None:
    """Give a file of a store another name in it; in a bucket a crash may leave both."""
    if isinstance(source, ObjectPath):
        assert isinstance(target, ObjectPath)
        source.replace(target)
    else:
        assert isinstance(target, Path)
        source.replace(target)


def sizes(folder: StorePath) -> dict[str, int]:
    """File name → size of everything right in a folder: one listing."""
    if isinstance(folder, ObjectPath):
        start = len(folder.key) + 1
        names = {entry["path"][start:]: entry["size"] for entry in folder.listed()}
        return {name: size for name, size in names.items() if "/" not in name}
    found = {}
    with os.scandir(folder) as entries:
        for entry in entries:
            # A run may rename or delete the file meanwhile.
            with suppress(FileNotFoundError):
                found[entry.name] = entry.stat().st_size
    return found


def all_sizes(folder: StorePath) -> list[int]:
    """Sizes of all files in a folder and those below it."""
    if isinstance(folder, ObjectPath):
        return [entry["size"] for entry in folder.listed()]
    return [file.stat().st_size for file in folder.rglob("*") if file.is_file()]


def size_and_tail(path: StorePath, count: int) -> tuple[int, bytes]:
    """Size of a file and its last ``count`` bytes, or all if it is shorter.

    Raises:
        FileNotFoundError: there is none.
    """
    if isinstance(path, ObjectPath):
        return path.tail(count)
    with path.open("rb") as file:
        n_bytes = file.seek(0, os.SEEK_END)
        file.seek(-min(count, n_bytes), os.SEEK_END)
        return n_bytes, file.read(count)


def read_range(path: StorePath, start: int, length: int) -> bytes:
    """``length`` bytes of a file from byte ``start`` on.

    Raises:
        FileNotFoundError: there is none.
    """
    if isinstance(path, ObjectPath):
        return path.read_range(start, length)
    with path.open("rb") as file:
        file.seek(start)
        return file.read(length)


def modified(path: StorePath) -> float:
    """Time of a file's last change, in seconds since the epoch.

    Raises:
        FileNotFoundError: there is none.
    """
    return path.modified() if isinstance(path, ObjectPath) else path.stat().st_mtime


def free_bytes(path: StorePath) -> int | None:
    """Room on the disk of the nearest existing folder; None where nobody can tell."""
    if isinstance(path, ObjectPath):
        return None
    path = path.absolute()
    while not path.exists():
        path = path.parent
    return shutil.disk_usage(path).free


def sync(path: StorePath) -> None:
    """Make a file's content, or the names in a folder, survive a power loss."""
    if isinstance(path, ObjectPath):
        return  # what a bucket has acknowledged is safe
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_json(path: StorePath, value: Mapping[str, Any], *, durable: bool = True) -> None:
    """Write a JSON object atomically, readable by people."""
    write_atomic(path, (json.dumps(value, indent=2) + "\n").encode("ascii"), durable=durable)


def read_json(path: StorePath) -> dict[str, Any]:
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
