"""What a repair takes away lies in ``S/removed/<run>/``, under the name that it had."""

from __future__ import annotations

from contextlib import suppress

from avqa.store.format.layout import REMOVED
from avqa.store.places.files import StorePath


class Removed:
    """The place of one repair."""

    def __init__(self, path: StorePath, run_id: str) -> None:
        """Take the store directory; nothing is made before there is something to move."""
        self._path = path
        self.folder = path / REMOVED / run_id

    def move(self, file: StorePath) -> None:
        """Move a file of the store there, if it is still there."""
        target = self._target(file)
        with suppress(FileNotFoundError):
            file.move(target)

    def keep(self, file: StorePath) -> None:
        """Keep a copy of a file that is to be replaced."""
        self._target(file).write(file.read_bytes())

    def save(self, file: StorePath, data: bytes) -> None:
        """Keep what a shard holds of a video, under the name that its own object would have."""
        self._target(file).write(data)

    def _target(self, file: StorePath) -> StorePath:
        target = self.folder / str(file).removeprefix(f"{self._path}/")
        target.parent.make_folder()
        return target

    @property
    def is_used(self) -> bool:
        """Whether anything lies there."""
        return bool(self.folder.all_sizes())
