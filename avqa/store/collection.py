"""``S/collection.json``: of which videos a store is, and where the weights of its networks lay.

Nothing that the store says of a row depends on it: it lets a later run be asked with fewer
options, and tells a folder of other videos from the one that the store was made of. A file that
is lost or damaged reads as an empty one, and the next run writes it again.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from avqa.store.places.files import StorePath, store_path

FILE = "collection.json"
FORMAT = 1
LISTED = "listed"
"""Rule of ids that a list gives."""


@dataclass(frozen=True)
class Root:
    """A folder of videos, or a list of them, and how their ids came from it."""

    path: str
    """Absolute; may hold surrogates for bytes that are no UTF-8."""
    name: str = ""
    """Ids begin with it and a slash; empty: they have no such beginning."""
    ids: str = "relpath"
    """Rule of the ids: ``relpath``, ``stem``, or ``listed`` for a list."""
    extensions: tuple[str, ...] = ()
    """Files that are taken; empty: the usual ones."""
    follow_links: bool = False

    @property
    def folder(self) -> str:
        """Where paths of its files begin."""
        return os.path.dirname(self.path) if self.ids == LISTED else self.path

    def holds(self, video_id: str) -> bool:
        """Whether the id may be of this root, by its beginning."""
        return not self.name or video_id.startswith(f"{self.name}/")


@dataclass(frozen=True)
class Collection:
    """All roots of a store, and the folder of its weights."""

    roots: tuple[Root, ...] = ()
    weights: str = ""
    """Folder given with ``--weights``; empty: they came from elsewhere."""

    def with_root(self, root: Root) -> Collection:
        """This one, with the root instead of the one of the same name and path."""
        others = [r for r in self.roots if (r.name, r.path) != (root.name, root.path)]
        return replace(self, roots=(*others, root))

    def named(self, name: str) -> list[Root]:
        """The roots of a name."""
        return [root for root in self.roots if root.name == name]


def read_collection(store: StorePath) -> Collection:
    """What is known of a store's videos; an empty collection if nothing is."""
    try:
        plain = (store_path(store) / FILE).read_json()
        roots = tuple(_root(entry) for entry in plain["roots"])
        weights = plain["weights"]
    except (FileNotFoundError, NotADirectoryError, ValueError, KeyError, TypeError, AttributeError):
        return Collection()
    return Collection(roots, weights if isinstance(weights, str) else "")


def videos_typed(store: StorePath) -> str:
    """What follows ``--videos`` in an advice: the store's folder or list, if it has one alone."""
    roots = read_collection(store).roots
    return shlex.quote(roots[0].path) if len(roots) == 1 else "DIR"


def write_collection(store: StorePath, collection: Collection) -> None:
    """Keep it, unless it is known already."""
    if collection == read_collection(store):
        return
    (store_path(store) / FILE).write_json({"format": FORMAT, **asdict(collection)})


def _root(entry: Mapping[str, Any]) -> Root:
    root = Root(
        path=entry["path"],
        name=entry["name"],
        ids=entry["ids"],
        extensions=tuple(entry["extensions"]),
        follow_links=entry["follow_links"],
    )
    texts = (root.path, root.name, root.ids, *root.extensions)
    if not all(isinstance(text, str) for text in texts) or type(root.follow_links) is not bool:
        raise TypeError(f"no root: {entry}")
    return root
