"""What lies in a folder that others published: which of its folders are known, and what is not.

Nothing is passed over in silence: every folder is taken, or named with the reason why not.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from avqa.errors import ConfigError
from avqa.pipelines.npy.kinds import KINDS, kind_named
from avqa.pipelines.npy.layouts import (
    CHOICES,
    UNREAD,
    Folder,
    QuestionFolder,
    assumed_at,
    folder_at,
    layout_named,
    questions_at,
)


@dataclass
class Tree:
    """The folders of a source."""

    videos: dict[str, tuple[Folder, Path]] = field(default_factory=dict)
    """Kind → the folder of its files."""
    questions: dict[str, tuple[QuestionFolder, Path]] = field(default_factory=dict)
    """Name of the folder → where it is."""
    choices: Path | None = None
    """The folder of CueSpace's files of multiple choice."""
    passed: list[tuple[str, str]] = field(default_factory=list)
    """(path below the source, why it is not taken)."""
    assumed: list[tuple[str, str]] = field(default_factory=list)
    """(path, what is taken for granted of its files)."""

    def lines(self) -> list[str]:
        """A line on every folder that is passed over, or whose name does not tell all."""
        told = [f"{path}: {what}" for path, what in self.assumed]
        return told + [f"{path}: passed over: {why}" for path, why in self.passed]


def look(source: Path, kind: str | None = None, layout: str | None = None) -> Tree:
    """Find what is known: ``source`` itself, folders in it, and folders in these.

    Args:
        source: the root of what was published, or one of its folders.
        kind: what the files in ``source`` itself are.
        layout: the repository that they are from; only its folders are taken.

    Raises:
        ConfigError: there is no such folder, names alone do not tell, or two are of one kind.
        UnknownName: there is no such kind or layout.
    """
    if not source.is_dir():
        raise ConfigError(
            f"no folder {str(source)!r}; expected one that holds <video>.npy files; check --from"
        )
    if layout is not None:
        layout_named(layout)
    if kind is not None:
        tree = Tree({kind: (_of_kind(kind, layout), source)})
    else:
        tree = Tree()
        if not _take(tree, source, source.resolve().name, layout):
            _walk(tree, source, layout)
            return tree
    tree.passed += [(path.name, "lies in a folder of files") for path in _folders(source)]
    return tree


def _of_kind(kind: str, layout: str | None) -> Folder:
    """The layout's own folder of this kind, if it has one: it knows how many rows are needed."""
    name = kind_named(kind).name
    known = layout_named(layout) if layout is not None else ()
    return next((folder for folder in known if folder.kind == name), Folder(name, name))


def _walk(tree: Tree, source: Path, layout: str | None) -> None:
    for folder in _folders(source):
        if _take(tree, folder, folder.name, layout):
            continue
        inner = {path: f"{folder.name}/{path.name}" for path in _folders(folder)}
        taken = {path for path, name in inner.items() if _take(tree, path, name, layout)}
        if taken:
            rest = [(path, name) for path, name in inner.items() if path not in taken]
        elif layout is not None and UNREAD.get(layout) in inner.values():
            rest = [(path, name) for path, name in inner.items()]
        else:
            rest = [(folder, folder.name)]
        tree.passed += [(name, _why(path, name, layout)) for path, name in rest]


def _take(tree: Tree, folder: Path, path: str, layout: str | None) -> bool:
    """Whether the folder is known by this path; if so it is kept."""
    if layout is not None and path == UNREAD.get(layout):
        return False
    of_videos = folder_at(path, layout)
    if of_videos is not None:
        _keep_videos(tree, of_videos, folder)
        if what := assumed_at(path, layout):
            tree.assumed.append((path, what))
        return True
    if path == (CHOICES["cuespace"] if layout is None else CHOICES.get(layout)):
        tree.choices = folder
        return True
    of_questions = questions_at(path, layout)
    if of_questions is not None:
        tree.questions.setdefault(of_questions.name, (of_questions, folder))
        return tree.questions[of_questions.name][1] == folder
    return False


def _keep_videos(tree: Tree, known: Folder, folder: Path) -> None:
    if known.kind in tree.videos:
        other = tree.videos[known.kind][1]
        raise ConfigError(
            f"folders {other.name!r} and {folder.name!r} in {str(folder.parent)!r} hold the same"
            f" kind={known.kind}; expected one; give the one to take with --from"
        )
    tree.videos[known.kind] = (known, folder)


def _why(folder: Path, path: str, layout: str | None) -> str:
    """Why a folder is passed over."""
    if layout is not None and path == UNREAD.get(layout):
        return f"layout={layout} needs the files to be there, and nothing reads their numbers"
    if questions_at(path, layout) is not None:
        return "another folder holds the same questions' files"
    if any(folder.glob("*.npz")):
        return "holds .npz files; expected .npy; `avqa questions` makes the features of texts"
    if not any(folder.glob("*.npy")):
        return "holds no .npy file"
    if layout is not None:
        return f"no folder of layout={layout}"
    return "no published name; say what its files are with --kind"


def _folders(path: Path) -> Iterator[Path]:
    yield from sorted(inner for inner in path.iterdir() if inner.is_dir())


def nothing_known(source: Path, layout: str | None) -> ConfigError:
    """The error for a source without a folder of videos' files."""
    if layout is not None:
        names = (folder.name for folder in layout_named(layout))
        return ConfigError(
            f"folder {str(source)!r} holds no folder of layout={layout}; expected"
            f" {', '.join(names)}; check --from and --from-layout"
        )
    names = (name for kind in KINDS.values() for name in kind.folders)
    return ConfigError(
        f"folder {str(source)!r} has no published name and holds none that has; expected"
        f" {', '.join(names)}; say what its files are with --kind"
    )
