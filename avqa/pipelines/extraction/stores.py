"""`avqa status` and `avqa pack` of stores that may still be made, in parts."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from avqa.errors import ConfigError
from avqa.pipelines.extraction.array_job import part_lines, read_videos, refuse_parts
from avqa.pipelines.extraction.collection.roots import root_lines
from avqa.store.checks.summary import summary, video_lines, warning_lines
from avqa.store.collection import read_collection
from avqa.store.commit import Store
from avqa.store.packing.pack import PackReport, pack
from avqa.store.places.files import StorePath


def status_lines(path: StorePath, views: Sequence[str] = ()) -> list[str]:
    """What a store holds, and how far the tasks of an array job are; one fact per line.

    Args:
        path: the store.
        views: what instead: ``videos``, a table of all of them; ``recipes``, everything that
            changed a number; ``warnings``, what readers warned of.

    Raises:
        ConfigError: several views.
        StoreNotFound: there is neither a store nor a part of one.
        StoreError: it has another schema or is damaged.
    """
    if len(views) > 1:
        flags = " ".join(f"--{view}" for view in views)
        raise ConfigError(f"{flags}; expected one of them at a time; leave the others out")
    if views:
        of_view = {
            "videos": lambda: video_lines(path),
            "recipes": lambda: summary(path).recipe_lines(),
            "warnings": lambda: _warnings(path),
        }
        return of_view[views[0]]()
    of_parts = part_lines(path)
    if of_parts and not Store.exists(path):
        return of_parts
    known = read_collection(path)
    of_roots = root_lines(Store.open(path), known) if known.roots else []
    return [*summary(path).lines(), *of_roots, *of_parts]


def _warnings(path: StorePath) -> list[str]:
    """Of a store and its parts."""
    videos = read_videos(path)
    parts = [task.folder(path) for task in videos.tasks()] if videos else []
    stores = [place for place in (path, *parts) if Store.exists(place)] or [path]
    lines = [line for place in stores for line in warning_lines(place)]
    return lines or [f"store {str(path)!r}: no warnings"]


def pack_whole(path: StorePath, out: str, say: Callable[[str], None]) -> PackReport:
    """Pack a store that is not being extracted in parts.

    Raises:
        StoreError: it is.
        ConfigError, StoreNotFound, StoreLocked, StorageFailure: as `pack`.
    """
    refuse_parts(path)
    return pack(path, out, say=say)
