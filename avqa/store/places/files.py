"""Stores in a folder, small durable files, and what the system's refusals mean for a run."""

from __future__ import annotations

import errno
import fcntl
import functools
import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path, PosixPath
from typing import Any, TypeVar

from avqa.caches import remove_leftovers, unfinished_name
from avqa.errors import ConfigError, EnvironmentFailure, StorageFailure
from avqa.faults import machine_fault
from avqa.store.places.objects import SCHEME, ObjectPath
from avqa.store.places.path import StorePath as StorePath

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
_READ_ONLY = frozenset({errno.EROFS, errno.EACCES, errno.EPERM})
_PASSING = frozenset({errno.EIO, errno.ESTALE})
_LIMITS = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EAGAIN})
_TRIES = 3
_NOT_THERE = frozenset({errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL, errno.ENOTTY})
"""What a file system answers that has no such call."""
T = TypeVar("T")


def write_atomic(path: Path, data: bytes, *, durable: bool = True) -> None:
    """Replace a file, as `StorePath.write` does; what a kill left in its folder goes."""
    _tidy(path.parent)
    LocalPath(path).write(data, durable=durable)


def write_json(path: Path, value: Mapping[str, Any], *, durable: bool = True) -> None:
    """Replace a file by a JSON object, as `StorePath.write_json` and `write_atomic` do."""
    _tidy(path.parent)
    LocalPath(path).write_json(value, durable=durable)


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object, as `StorePath.read_json` does."""
    return LocalPath(path).read_json()


def to_disk(handle: int) -> None:
    """Return when what was written to an open file or folder outlasts a power loss."""
    # On macOS fsync stops at the drive's own memory, and only this goes on to the disk.
    if through := getattr(fcntl, "F_FULLFSYNC", None):
        try:
            fcntl.fcntl(handle, through)
            return
        except OSError as error:  # network mounts and foreign disks
            if error.errno not in _NOT_THERE:
                raise
    os.fsync(handle)


def take_room(handle: int, n_bytes: int) -> None:
    """Give an empty open file so many bytes of the disk, so that they can be given back later.

    Raises:
        OSError: they are not there.
    """
    if hasattr(os, "posix_fallocate"):
        try:
            os.posix_fallocate(handle, 0, n_bytes)
            return
        except OSError as error:  # C libraries that do not write the bytes themselves
            if error.errno not in _NOT_THERE:
                raise
    block = bytes(2**20)  # macOS has no such call
    with os.fdopen(handle, "wb", closefd=False) as file:
        for start in range(0, n_bytes, len(block)):
            file.write(block[: n_bytes - start])
    os.fsync(handle)  # only then are they taken from the disk


def _partial_name() -> str:
    """Of fixed length: a name may have 255 bytes, and that of the file may have all of them."""
    return f"{unfinished_name()}.partial"


@functools.cache
def _tidy(folder: Path) -> None:
    """Once for a process: a folder may hold ten thousand files."""
    remove_leftovers(folder)


class LocalPath(PosixPath, StorePath):
    """A file or folder on a disk."""

    @property
    def local(self) -> Path:
        """Itself."""
        return self

    def write(self, data: bytes, *, durable: bool = True) -> None:
        """See `StorePath.write`."""
        self.parent.make_folder()
        partial = self.with_name(_partial_name())
        try:
            with partial.open("wb") as file:
                file.write(data)
                file.flush()
                if durable:
                    to_disk(file.fileno())
            partial.replace(self)
        except BaseException:
            partial.unlink(missing_ok=True)
            raise
        if durable:
            self.parent.sync()

    def create(self, data: bytes) -> bool:
        """See `StorePath.create`."""
        self.parent.make_folder()
        partial = self._aside()
        partial.write(data)
        try:
            return self._link(partial, data)
        finally:
            partial.unlink(missing_ok=True)

    def _link(self, partial: LocalPath, data: bytes) -> bool:
        """Have a file with these data under this name, too, if there is none."""
        try:
            os.link(partial, self)
        except FileExistsError:
            return False
        except OSError:
            return self._create_without_links(data)
        return True

    def _create_without_links(self, data: bytes) -> bool:
        """For file systems without hard links: exFAT, some network mounts."""
        try:
            handle = os.open(self, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
        except FileExistsError:
            return False
        with os.fdopen(handle, "wb") as file:
            file.write(data)
        return True

    def replace_if(self, old: bytes, new: bytes) -> bool:
        """See `StorePath.replace_if`."""
        taken = self._aside()
        try:
            self.rename(taken)
        except FileNotFoundError:
            return False
        try:
            content = taken.read_bytes()
            if content != old:  # one that another run just put in its place
                self._link(taken, content)
                return False
        finally:
            taken.unlink(missing_ok=True)
        return self.create(new)

    def _aside(self) -> LocalPath:
        """A new name in ``runs/``: a crash leaves nothing strange in the store directory itself."""
        folder = self.parent / "runs"
        folder.mkdir(exist_ok=True)
        return folder / _partial_name()

    def move(self, target: LocalPath) -> None:
        """See `StorePath.move`."""
        self.replace(target)

    def make_folder(self) -> None:
        """See `StorePath.make_folder`."""
        self.mkdir(parents=True, exist_ok=True)

    def remove_folder(self, *, last: str = "") -> None:
        """See `StorePath.remove_folder`."""
        for entry in self.iterdir() if self.is_dir() else ():
            if entry.is_dir():
                shutil.rmtree(entry)
            elif entry.name != last:
                entry.unlink()
        shutil.rmtree(self, ignore_errors=True)

    def sizes(self, wanted: Callable[[str], bool] = lambda name: True) -> dict[str, int]:
        """See `StorePath.sizes`."""
        found = {}
        with os.scandir(self) as entries:
            for entry in entries:
                if not wanted(entry.name):
                    continue
                # A run may rename or delete the file meanwhile.
                with suppress(FileNotFoundError):
                    found[entry.name] = entry.stat().st_size
        return found

    def all_sizes(self) -> list[int]:
        """See `StorePath.all_sizes`."""
        return [file.stat().st_size for file in self.rglob("*") if file.is_file()]

    def tail(self, count: int) -> tuple[int, bytes]:
        """See `StorePath.tail`; a run that goes on after a kill asks for millions."""
        handle = os.open(self, os.O_RDONLY)
        try:
            n_bytes = os.fstat(handle).st_size
            start = max(n_bytes - count, 0)
            return n_bytes, os.pread(handle, n_bytes - start, start)
        finally:
            os.close(handle)

    def read_range(self, start: int, length: int) -> bytes:
        """See `StorePath.read_range`."""
        with self.open("rb") as file:
            file.seek(start)
            return file.read(length)

    def modified(self) -> float:
        """See `StorePath.modified`."""
        return self.stat().st_mtime

    def sync(self) -> None:
        """See `StorePath.sync`."""
        handle = os.open(self, os.O_RDONLY)
        try:
            to_disk(handle)
        finally:
            os.close(handle)

    def zarr(self) -> tuple[Any, str]:
        """See `StorePath.zarr`."""
        return self, ""


def store_path(text: str | os.PathLike[str] | StorePath) -> StorePath:
    """Where a store lies: a folder, or ``s3://bucket/prefix``.

    Raises:
        ConfigError: another kind of address.
    """
    if isinstance(text, StorePath):
        return text
    name = os.fspath(text)
    if name.startswith(SCHEME):
        return ObjectPath(name)
    if "://" in name:
        raise ConfigError(
            f"store {name!r}; expected a folder or s3://bucket/prefix; other object storage is"
            " reached through its S3 address, with AWS_ENDPOINT_URL set"
        )
    return LocalPath(name)


def free_bytes(path: StorePath | Path) -> int | None:
    """Room on the disk of the nearest existing folder; None where nobody can tell."""
    place = store_path(path).local
    if place is None:
        return None
    place = place.absolute()
    while not place.exists():
        place = place.parent
    return shutil.disk_usage(place).free


@contextmanager
def storage_errors(what: str) -> Iterator[None]:
    """Turn a refusal that concerns the whole run into `StorageFailure`.

    Raises:
        StorageFailure: disk or quota full, read-only, or no permission.
        EnvironmentFailure: no memory, no thread, too many open files.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        fault = machine_fault(error)
        if fault is None:
            raise
        raise EnvironmentFailure(
            f"cannot write {what}: {fault[0]}; expected a machine that is well; {fault[1]}, then"
            " run the same command again; nothing stored is lost"
        ) from error
    except OSError as error:
        if error.errno in _FULL:
            advice = "disk or quota is full; free space and run the same command again"
        elif error.errno in _READ_ONLY:
            advice = "the folder is not writable; choose another --out or change its permissions"
        elif error.errno in _PASSING:
            advice = f"failed {_TRIES} times; check the disk or mount and run the command again"
        elif error.errno in _LIMITS and (fault := machine_fault(error)):
            advice = f"{fault[1]} and run the same command again"
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
