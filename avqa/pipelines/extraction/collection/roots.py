"""Whether a folder of videos is the one that a store was made of, and what became of its files.

Ids are paths below the folder, so that another folder, or the same one named one level off, gives
other videos the same ids, or the same videos other ones. Files are told apart by their contents.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from avqa.errors import ConfigError, RootMismatch
from avqa.pipelines.engine.files import in_bucket
from avqa.pipelines.extraction.collection.manifest import is_list, listed
from avqa.pipelines.extraction.collection.sources import (
    EXTENSIONS,
    Discovery,
    IdRule,
    Source,
    check_id_rule,
    discover,
    printable,
)
from avqa.pipelines.extraction.work import Held
from avqa.store.collection import LISTED, Collection, Root
from avqa.store.commit import Store
from avqa.store.renaming import NewName
from avqa.telling import objects


def find(
    videos: Path,
    known: Collection,
    *,
    name: str | None = None,
    id_rule: IdRule | None = None,
    extensions: tuple[str, ...] | None = None,
    follow_links: bool = False,
) -> tuple[Root, Discovery]:
    """The videos of a folder or list, with ids as the store has them.

    Args:
        videos: the folder, or the list.
        known: what the store remembers: it decides what is not given here.
        name: begins the ids.
        id_rule: of a folder's ids.
        extensions: files that are taken from a folder.
        follow_links: out of the folder.

    Raises:
        ConfigError: no such folder or list, nothing taken, or two files that share an id.
    """
    path = os.path.abspath(videos)
    before = [
        root
        for root in known.roots
        if os.path.realpath(root.path) == os.path.realpath(path) and name in (None, root.name)
    ]
    root = before[-1] if before else Root(path)
    root = replace(
        root,
        path=path,
        name=root.name if name is None else check_root_name(name),
        ids=id_rule or root.ids,
        extensions=root.extensions if extensions is None else extensions,
        follow_links=follow_links or root.follow_links,
    )
    if is_list(videos):
        root, found = replace(root, ids=LISTED), listed(videos)
    else:
        found = discover(
            path,
            extensions=root.extensions or EXTENSIONS,
            id_rule=check_id_rule(root.ids),
            follow_links=root.follow_links,
        )
    if root.name:
        found.sources = [
            replace(source, video_id=f"{root.name}/{source.video_id}") for source in found.sources
        ]
    return root, found


@dataclass
class Judgement:
    """What a store's videos are, seen from a folder that may be theirs."""

    renamed: dict[str, NewName] = field(default_factory=dict)
    """Id in the store → what the file of the same content is called now."""
    gone: list[str] = field(default_factory=list)
    """Ids of other videos of the folder's name whose files are not there any more."""


def check_root_name(name: str) -> str:
    """``name`` if ids can begin with it.

    Raises:
        ConfigError: otherwise.
    """
    if not name or name.strip("/") != name or any(ord(letter) < 32 for letter in name):
        raise ConfigError(
            f"root={name!r}; expected a name that ids begin with, such as real; check --root"
        )
    return name


def judge(store: Store, known: Collection, root: Root, sources: Sequence[Source]) -> Judgement:
    """Compare the files of ``root`` with the videos of a store.

    Args:
        store: the store.
        known: what it remembers of its roots; nothing where it was made by version 0.1.
        root: where ``sources`` were found.
        sources: all of its videos.

    Raises:
        RootMismatch: an id stands for another file in the store, or most files have other ids
            there: this is another folder, or another rule for ids.
    """
    if not known.roots:
        return Judgement()
    if not any(_is_same(other, root) for other in known.roots):
        _refuse_others(store, known, root, sources)
    known = without_moved(store, known, root, sources)
    gone = _gone(store, known, root, sources)
    renamed: dict[str, NewName] = {}
    if gone:
        held, left, taken = Held(store), set(gone), set()
        new = [source for source in sources if not held.has(source.video_id)]
        for old, source in held.twins(new):
            if old in left and source.video_id not in taken:
                left.remove(old)
                taken.add(source.video_id)
                renamed[old] = NewName(source.video_id, source.relpath)
    return Judgement(renamed, [name for name in gone if name not in renamed])


def without_moved(
    store: Store, known: Collection, root: Root, sources: Sequence[Source]
) -> Collection:
    """The roots, without those that are gone from here and most of whose videos are in this one."""
    lost = [
        other
        for other in known.named(root.name)
        if not _is_here(other) and not _is_same(other, root)
    ]
    if not lost:
        return known
    here = {source.video_id for source in sources}
    theirs = [name for name in store.video_ids() if _is_of(root.name, name, known)]
    if 2 * sum(name in here for name in theirs) <= len(theirs):
        return known
    return replace(known, roots=tuple(other for other in known.roots if other not in lost))


def _gone(store: Store, known: Collection, root: Root, sources: Sequence[Source]) -> list[str]:
    """Ids of the root's name that have no file in any root of that name."""
    here = {source.video_id for source in sources}
    left = [
        name for name in store.video_ids() if name not in here and _is_of(root.name, name, known)
    ]
    if not left:
        return []
    files, rows, others = store.fingerprints(), store.rows(), known.named(root.name)
    return [
        name
        for name in left
        if not any(_has_file(other, files.relpath(rows[name])) for other in others)
    ]


def _is_same(one: Root, other: Root) -> bool:
    """Whether two roots give every file the same id."""
    same_rule = one.ids == other.ids and one.name == other.name
    return same_rule and os.path.realpath(one.path) == os.path.realpath(other.path)


def _is_of(name: str, video_id: str, known: Collection) -> bool:
    """Whether an id belongs to the roots of a name: the longest that it begins with."""
    fitting = [r.name for r in known.roots if r.holds(video_id)]
    return max(fitting, key=len, default="") == name


def _has_file(root: Root, relpath: str | None) -> bool:
    """Whether the file is there; a folder that is not here as a whole tells nothing."""
    if relpath is None or in_bucket(relpath):  # not extracted, or a rebuilt record; not asked
        return True
    return not os.path.isdir(root.folder) or os.path.exists(os.path.join(root.folder, relpath))


def _refuse_others(store: Store, known: Collection, root: Root, sources: Sequence[Source]) -> None:
    """Make sure that no id stands for two files, and few files for two ids.

    Raises:
        RootMismatch: otherwise.
    """
    held = Held(store)
    common = [source for source in sources if held.has(source.video_id)]
    stale = held.look(common).stale.tolist()
    differing = [source.video_id for source, other in zip(common, stale, strict=True) if other]
    before = ", ".join(_shown(other) for other in known.roots)
    here = printable(root.path)
    if differing:
        raise RootMismatch(
            f"store {str(store.path)!r} was made of {before}; {len(differing)} of"
            f" {len(common)} videos in {here!r} with ids that it has are other files, the first is"
            f" {differing[0]!r}; expected the same files under the same ids; add them under ids of"
            f" their own with --root NAME, or, if they replace those, first: avqa remove"
            f" {store.path} --ids FILE"
        )
    new = [source for source in sources if not held.has(source.video_id)]
    twins = {source.video_id: old for old, source in held.twins(new)}
    if len(twins) > len(common) and 2 * len(twins) >= len(new) and not root.name:
        first = next(iter(twins))
        raise RootMismatch(
            f"store {str(store.path)!r} was made of {before}; it has {len(twins)} of {len(new)} new"
            f" videos in {here!r} under other ids, the first is {first!r}, there {twins[first]!r};"
            " expected one id per file; give the folder and --id as before, or take them again"
            " under ids of their own with --root NAME"
        )


def _shown(root: Root) -> str:
    rule = "" if root.ids == LISTED else f" with --id {root.ids}"
    named = f" --root {root.name}" if root.name else ""
    return f"{printable(root.path)!r}{rule}{named}"


@dataclass(frozen=True)
class Origin:
    """Where videos of a store are from."""

    root: Root
    here: bool
    """It is on this machine."""
    gone: tuple[str, ...] = ()
    """Videos that have no file any more, as far as that can be told."""

    def line(self) -> str:
        """For people."""
        line = f"videos from {_shown(self.root)}"
        if not self.here:
            return f"{line}: not on this machine"
        if self.gone:
            line += (
                f": {len(self.gone)} have no file any more, one is {self.gone[0]!r}; `avqa extract"
                " --prune` removes them"
            )
        return line

    def data(self) -> objects.Origin:
        """For programs."""
        return {
            "path": printable(self.root.path),
            "name": self.root.name,
            "ids": self.root.ids,
            "here": self.here,
            "gone": list(self.gone),
        }


def origins(store: Store, known: Collection) -> list[Origin]:
    """Where the videos of a store are, and which have no file any more: one per root."""
    files, rows = store.fingerprints(), store.rows()
    here = {root: _is_here(root) for root in known.roots}
    found = []
    for root in known.roots:
        alike = [other for other in known.named(root.name) if here[other]]
        gone: tuple[str, ...] = ()
        if here[root] and root == alike[-1] and len(alike) == len(known.named(root.name)):
            gone = tuple(
                name
                for name in store.video_ids()
                if _is_of(root.name, name, known)
                and not any(_has_file(other, files.relpath(rows[name])) for other in alike)
            )
        found.append(Origin(root, here[root], gone))
    return found


def _is_here(root: Root) -> bool:
    return os.path.exists(root.path)
