"""Readers, one file each: the file name is the reader's public name.

All readers pass one conformance suite, where they can; what each cannot do is in
``docs/decoders.md``. `ReaderModule` is the contract; ``docs/plugins.md`` has an example.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

from avqa.extract.media.types import Reader
from avqa.plugins import Kind, missing_or_wrong

__all__ = ["READERS", "ReaderModule", "load", "names"]


class ReaderModule(Protocol):
    """What the file of a reader defines. It is imported in the decoder process alone."""

    @property
    def READER(self) -> Reader:
        """The reader itself; its ``name`` is the file's."""


def _complaints(module: ReaderModule) -> Iterator[str]:
    found = [*missing_or_wrong(module.READER, Reader, "READER.")]
    yield from found
    file = getattr(module, "__name__", "").rpartition(".")[2]
    if not found and module.READER.name != file:
        yield f"READER.name is {module.READER.name!r}; expected the file's name, {file!r}"


READERS: Kind[ReaderModule] = Kind("decoder", __name__, "avqa.readers", ReaderModule, _complaints)


def names() -> tuple[str, ...]:
    """Names of all readers, without importing them."""
    return READERS.names()


def load(name: str) -> ReaderModule:
    """Import one reader module.

    Raises:
        UnknownName: if there is no such reader.
        PluginError: if it breaks the contract.
        LibraryMissing: if the library behind it is not installed.
    """
    return READERS.load(name)
