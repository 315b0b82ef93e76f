"""`avqa status` and `avqa pack` of stores that may still be made, in parts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from avqa.errors import ConfigError
from avqa.pipelines.extraction.array_job import Progress, progress, read_videos, refuse_parts
from avqa.pipelines.extraction.collection.roots import Origin, origins
from avqa.store.checks.summary import Summary, summary, videos, warned
from avqa.store.collection import read_collection
from avqa.store.commit import Store
from avqa.store.packing.pack import PackReport, pack
from avqa.store.places.files import StorePath
from avqa.telling import objects
from avqa.telling.found import Found, Listing


@dataclass(frozen=True)
class StoreStatus:
    """What a store holds, and how far the tasks of an array job are."""

    path: StorePath
    summary: Summary | None
    """None where there are parts alone."""
    origins: tuple[Origin, ...]
    parts: Progress | None

    def lines(self) -> list[str]:
        """For people, one fact per line."""
        return [
            *(self.summary.lines() if self.summary else []),
            *(origin.line() for origin in self.origins),
            *(self.parts.lines() if self.parts else []),
        ]

    def data(self) -> objects.Status:
        """For programs."""
        return {
            **(self.summary.data() if self.summary else _nothing(self.path)),
            "origins": [origin.data() for origin in self.origins],
            "parts": self.parts.data() if self.parts else None,
        }


def _nothing(path: StorePath) -> objects.Status:
    """Of parts that are no store yet."""
    return {
        "store": str(path),
        "videos": None,
        "chunk_seconds": None,
        "packed": False,
        "features": [],
        "texts": [],
        "failed": [],
        "failed_more": 0,
        "failures_table": None,
        "warnings_table": None,
        "lock": None,
        "runs": [],
        "origins": [],
        "parts": None,
    }


def status(path: StorePath, views: Sequence[str] = ()) -> Found:
    """What a store holds, and how far the tasks of an array job are.

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
        of_view: dict[str, Callable[[], Found]] = {
            "videos": lambda: videos(path),
            "recipes": lambda: summary(path).recipes(),
            "warnings": lambda: _warnings(path),
        }
        return of_view[views[0]]()
    parts = progress(path)
    if parts and not Store.exists(path):
        return StoreStatus(path, None, (), parts)
    known = read_collection(path)
    of_roots = origins(Store.open(path), known) if known.roots else []
    return StoreStatus(path, summary(path), tuple(of_roots), parts)


def _warnings(path: StorePath) -> Listing[objects.StatusWarnings]:
    """Of a store and its parts."""
    of_parts = read_videos(path)
    parts = [task.folder(path) for task in of_parts.tasks()] if of_parts else []
    stores = [place for place in (path, *parts) if Store.exists(place)] or [path]
    found = [one for place in stores for one in warned(place)]
    return Listing({"store": str(path), "warnings": found}, _warning_lines)


def _warning_lines(found: objects.StatusWarnings) -> list[str]:
    lines = [f"{one['video_id']!r}: {one['warning']}" for one in found["warnings"]]
    return lines or [f"store {found['store']!r}: no warnings"]


def pack_whole(path: StorePath, out: str, say: Callable[[str], None]) -> PackReport:
    """Pack a store that is not being extracted in parts.

    Raises:
        StoreError: it is.
        ConfigError, StoreNotFound, StoreLocked, StorageFailure: as `pack`.
    """
    refuse_parts(path)
    return pack(path, out, say=say)
