"""What a store needs of the place it lies in: one class for each kind of place."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Self


class StorePath(ABC):
    """A file or folder of a store; the methods of `pathlib.Path` that stores use, and these.

    `avqa.store.places.files.LocalPath` lies in a folder, `avqa.store.places.objects.ObjectPath` in
    a bucket.
    """

    @abstractmethod
    def __truediv__(self, name: str, /) -> Self:
        """What lies below it."""

    @property
    @abstractmethod
    def name(self) -> str:
        """Last part."""

    @property
    @abstractmethod
    def stem(self) -> str:
        """`name` without its suffix."""

    @property
    @abstractmethod
    def parent(self) -> Self:
        """All but the last part."""

    @property
    @abstractmethod
    def local(self) -> Path | None:
        """The same on a disk; None where there is no disk to speak of."""

    @abstractmethod
    def absolute(self) -> Self:
        """The same, wherever this process works."""

    @abstractmethod
    def exists(self) -> bool:
        """Whether it is there."""

    @abstractmethod
    def read_bytes(self) -> bytes:
        """Content of a file.

        Raises:
            FileNotFoundError: there is none.
        """

    @abstractmethod
    def unlink(self, missing_ok: bool = False) -> None:
        """Remove a file."""

    @abstractmethod
    def glob(self, pattern: str) -> Iterator[Self]:
        """What lies below it and fits ``pattern``."""

    @abstractmethod
    def write(self, data: bytes, *, durable: bool = True) -> None:
        """Replace a file so that a reader sees all of it or the old one.

        With ``durable`` also after power loss; its folder is made where there is none.
        """

    @abstractmethod
    def create(self, data: bytes) -> bool:
        """Create a file with its content in one step; False, with nothing done, if it exists.

        No crash leaves an empty one, and of many that try at once one succeeds.
        """

    @abstractmethod
    def replace_if(self, old: bytes, new: bytes) -> bool:
        """Replace a file if its content is ``old``; False if not.

        Of many that try at once one succeeds.
        """

    @abstractmethod
    def move(self, target: Self) -> None:
        """Give a file another name in the same place; in a bucket a crash may leave both."""

    @abstractmethod
    def make_folder(self) -> None:
        """Make a folder and those above it; buckets know none."""

    @abstractmethod
    def remove_folder(self, *, last: str = "") -> None:
        """Remove everything below it, the file ``last`` after all others, and the folder."""

    @abstractmethod
    def sizes(self, wanted: Callable[[str], bool] = lambda name: True) -> dict[str, int]:
        """File name → size of everything right in a folder that is ``wanted``: one listing."""

    @abstractmethod
    def all_sizes(self) -> list[int]:
        """Sizes of all files in a folder and those below it."""

    @abstractmethod
    def tail(self, count: int) -> tuple[int, bytes]:
        """Size of a file and its last ``count`` bytes, or all if it is shorter.

        Raises:
            FileNotFoundError: there is none.
        """

    @abstractmethod
    def read_range(self, start: int, length: int) -> bytes:
        """``length`` bytes of a file from byte ``start`` on.

        Raises:
            FileNotFoundError: there is none.
        """

    @abstractmethod
    def modified(self) -> float:
        """Time of a file's last change, in seconds since the epoch.

        Raises:
            FileNotFoundError: there is none.
        """

    @abstractmethod
    def sync(self) -> None:
        """Make a file's content, or the names in a folder, survive a power loss."""

    @abstractmethod
    def zarr(self) -> tuple[Any, str]:
        """The store that zarr opens, and the path in it."""

    def write_json(self, value: Mapping[str, Any], *, durable: bool = True) -> None:
        """Replace a file by a JSON object that people can read, as `write` does."""
        self.write((json.dumps(value, indent=2) + "\n").encode("ascii"), durable=durable)

    def read_json(self) -> dict[str, Any]:
        """Read a JSON object.

        Raises:
            FileNotFoundError: there is none.
            ValueError: it is no JSON.
        """
        value: dict[str, Any] = json.loads(self.read_bytes())
        return value
