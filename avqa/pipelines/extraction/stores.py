"""`avqa status` and `avqa pack` of stores that may still be made, in parts."""

from __future__ import annotations

from collections.abc import Callable

from avqa.pipelines.extraction.array_job import part_lines, refuse_parts
from avqa.store.checks.summary import summary
from avqa.store.commit import Store
from avqa.store.packing.pack import PackReport, pack
from avqa.store.places.files import StorePath


def status_lines(path: StorePath) -> list[str]:
    """What a store holds, and how far the tasks of an array job are; one fact per line.

    Raises:
        StoreNotFound: there is neither a store nor a part of one.
        StoreError: it has another schema or is damaged.
    """
    of_parts = part_lines(path)
    if of_parts and not Store.exists(path):
        return of_parts
    return [*summary(path).lines(), *of_parts]


def pack_whole(path: StorePath, out: str, say: Callable[[str], None]) -> PackReport:
    """Pack a store that is not being extracted in parts.

    Raises:
        StoreError: it is.
        ConfigError, StoreNotFound, StoreLocked, StorageFailure: as `pack`.
    """
    refuse_parts(path)
    return pack(path, out, say=say)
