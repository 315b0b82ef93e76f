"""Which files of a folder are taken as videos, and under which id."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from operator import attrgetter
from pathlib import Path
from typing import Literal, cast, get_args

from avqa.errors import ConfigError

EXTENSIONS = (
    *("mp4", "m4v", "mov", "mkv", "webm", "avi", "mpg", "mpeg"),
    *("ts", "mts", "m2ts", "flv", "ogv", "gif", "3gp", "wmv"),
)
"""Taken by default, in any letter case."""

IdRule = Literal["relpath", "stem"]


@dataclass(frozen=True, slots=True)
class Source:
    """One file taken as a video. ``relpath`` may hold surrogates for bytes that are no UTF-8."""

    video_id: str
    relpath: str
    """Below ``folder``; or absolute, or an address in a bucket."""
    folder: str
    """Where it begins; empty for one in a bucket."""

    @property
    def path(self) -> str:
        """The file, wherever this process works: made anew, since there may be millions."""
        return os.path.join(self.folder, self.relpath)


@dataclass
class Discovery:
    """What a walk of the videos folder found: ``sources`` sorted by id, and what it left."""

    sources: list[Source] = field(default_factory=list)
    ignored: Counter[str] = field(default_factory=Counter)
    """Files of other kinds, by extension."""
    skipped_links: list[str] = field(default_factory=list)
    closed_folders: list[str] = field(default_factory=list)
    """Folders that may not be read."""

    def notes(self) -> list[str]:
        """One line each on what was left out, for the user."""
        lines = []
        if self.ignored:
            count = sum(self.ignored.values())
            kinds = ", ".join(sorted(self.ignored))
            lines.append(f"ignored: {count} {'file' if count == 1 else 'files'} ({kinds})")
        if self.skipped_links:
            shown = ", ".join(repr(printable(link)) for link in self.skipped_links[:3])
            more = f" and {len(self.skipped_links) - 3} more" if len(self.skipped_links) > 3 else ""
            lines.append(
                f"skipped: {len(self.skipped_links)} symbolic links that lead out of the folder"
                f" ({shown}{more}); take them with --follow-links"
            )
        if self.closed_folders:
            lines.append(
                f"skipped: {len(self.closed_folders)} folders that cannot be read, the first is"
                f" {printable(self.closed_folders[0])!r}; check their permissions"
            )
        return lines


def printable(name: str) -> str:
    """A name as valid Unicode: bytes that are no UTF-8 appear as backslash escapes."""
    return name if name.isascii() else os.fsencode(name).decode("utf-8", "backslashreplace")


def discover(
    folder: str | os.PathLike[str],
    *,
    extensions: Sequence[str] = EXTENSIONS,
    id_rule: IdRule = "relpath",
    follow_links: bool = False,
) -> Discovery:
    """Walk ``folder`` and give every video an id: its path below the folder, no extension.

    Raises:
        ConfigError: no such folder, nothing taken, or two files that share an id.
    """
    root = Path(os.path.abspath(folder))  # workers may have another working directory
    if not root.is_dir():
        what = "is a file" if root.exists() else "does not exist"
        raise ConfigError(
            f"videos folder {printable(str(root))!r} {what}; expected a folder of videos, or a list"
            " of them ending in .txt, .csv, .tsv, .json or .jsonl; give one with --videos"
        )
    found = Discovery()
    wanted = {extension.lower().lstrip(".") for extension in extensions}
    base = str(root)
    for relpath in _walk(base, follow_links, found):
        stem, ending = os.path.splitext(relpath)
        extension = ending.lower().lstrip(".")
        if extension not in wanted:
            found.ignored[f".{printable(extension)}" if extension else "no extension"] += 1
            continue
        name = stem if id_rule == "relpath" else os.path.basename(stem)
        video_id = printable(name).replace(os.sep, "/")
        found.sources.append(Source(video_id, relpath, base))
    found.sources.sort(key=attrgetter("relpath"))
    found.sources.sort(key=attrgetter("video_id"))  # a pair for each would take as much again
    _refuse(found, root, sorted(wanted))
    return found


def _walk(root: str, follow_links: bool, found: Discovery) -> Iterator[str]:
    """Paths of all regular files relative to ``root``; each real folder is entered once."""
    inside = os.path.realpath(root)
    entered: set[str] = set()
    stack = [""]
    while stack:
        below = stack.pop()
        real = os.path.realpath(os.path.join(root, below))
        if real in entered:
            continue
        entered.add(real)
        start = below + os.sep if below else ""
        try:
            files, folders = _entries(inside, os.path.join(root, below), start, follow_links, found)
        except PermissionError:
            found.closed_folders.append(below)
            continue
        stack += [start + name for name in sorted(folders)]
        for name in sorted(files):
            yield start + name


def _entries(
    inside: str, folder: str, start: str, follow_links: bool, found: Discovery
) -> tuple[list[str], list[str]]:
    """Names of files and of folders in a folder: no more of each, since there may be millions."""
    files, folders, skipped = [], [], []
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_symlink() and not follow_links:
                target = os.path.realpath(entry.path)
                if os.path.commonpath([inside, target]) != inside:
                    skipped.append(start + entry.name)
                    continue
            try:
                if entry.is_dir():
                    folders.append(entry.name)
                elif entry.is_file():
                    files.append(entry.name)
            except OSError:  # a link to itself
                continue
    found.skipped_links += sorted(skipped)
    return files, folders


def _refuse(found: Discovery, root: Path, wanted: list[str]) -> None:
    if not found.sources:
        seen = f"; {found.notes()[0]}" if found.ignored else ""
        raise ConfigError(
            f"no video in {printable(str(root))!r}{seen}; expected files ending in"
            f" {', '.join(wanted)}; choose others with --ext"
        )
    for first, second in zip(found.sources, found.sources[1:], strict=False):
        if first.video_id == second.video_id:
            raise ConfigError(
                f"two files share the id {first.video_id!r}: {printable(first.relpath)!r} and"
                f" {printable(second.relpath)!r}; expected one file per id; rename one, or narrow"
                " the folder with --ext"
            )


def select(
    sources: Sequence[Source], ids: Path | tuple[str, ...] | None, limit: int | None
) -> list[Source]:
    """Restrict a run to ``ids``, or those a file lists one per line, then to the first ``limit``.

    Raises:
        ConfigError: the list cannot be read, or names an id that no file has.
    """
    chosen = list(sources)
    if ids is not None:
        asked = read_ids(ids) if isinstance(ids, Path) else set(ids)
        missing = sorted(asked - {source.video_id for source in chosen})
        if missing:
            where = f" in {str(ids)!r}" if isinstance(ids, Path) else ""
            raise ConfigError(
                f"{len(missing)} of {len(asked)} ids{where} have no video, the first is"
                f" {missing[0]!r}; expected paths below the videos folder without extension;"
                " check --ids or --id"
            )
        chosen = [source for source in chosen if source.video_id in asked]
    return chosen[:limit] if limit is not None else chosen


def read_ids(path: Path) -> set[str]:
    """The video ids of a list, one per line.

    Raises:
        ConfigError: it cannot be read, or is empty.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is no UTF-8 text"
        raise ConfigError(
            f"list of ids {str(path)!r} cannot be read: {why}; expected one id per line;"
            " check --ids"
        ) from error
    found = {line.strip() for line in lines if line.strip()}
    if not found:
        raise ConfigError(
            f"list of ids {str(path)!r} names no video; expected one id per line; check --ids"
        )
    return found


def check_id_rule(value: str) -> IdRule:
    """``value`` if it is a rule for ids.

    Raises:
        ConfigError: otherwise.
    """
    for rule in get_args(IdRule):
        if value == rule:
            return cast(IdRule, value)
    raise ConfigError(f"id={value!r}; expected relpath or stem; check --id")


def check_extensions(text: str | None) -> tuple[str, ...] | None:
    """Extensions between commas; None without any text.

    Raises:
        ConfigError: there is nothing between the commas.
    """
    if text is None:
        return None
    found = tuple(part.strip() for part in text.split(",") if part.strip())
    if not found:
        raise ConfigError(f"ext={text!r}; expected extensions, such as mp4,mkv; check --ext")
    return found
