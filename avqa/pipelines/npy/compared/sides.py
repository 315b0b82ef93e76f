"""The two arguments of `avqa compare`: which features they hold, and how their rows are read."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from avqa.errors import ConfigError, StoreNotFound
from avqa.pipelines.npy.dumps import find_dumps
from avqa.pipelines.npy.exporting import file_names
from avqa.pipelines.npy.finding import look
from avqa.pipelines.npy.kinds import CLASS_TOKEN, FRAME, Kind, kind_named
from avqa.pipelines.npy.layouts import QuestionFolder, folder_at
from avqa.pipelines.npy.npy_files import BadFile, read_header
from avqa.store.commit import Store
from avqa.store.format.records import Status
from avqa.store.places.files import StorePath, store_path
from avqa.store.reader import FeatureStore

UNNAMED = "rows"
"""Stream of a file whose kind nobody said."""

Load = Callable[[], NDArray[Any]]


@dataclass
class Side:
    """One argument: stream → video → how to read its rows ``[T, *row]``."""

    path: StorePath | Path
    streams: dict[str, dict[str, Load]] = field(default_factory=dict)
    is_file: bool = False
    is_store: bool = False
    questions: dict[str, tuple[QuestionFolder, Path]] = field(default_factory=dict)
    """Folders of files that are named by question."""
    choices: Path | None = None
    """The folder of CueSpace's files of multiple choice, which nothing compares yet."""


def read_side(path: StorePath, kind: str | None, layout: str | None = None) -> Side:
    """What an argument holds.

    Raises:
        ConfigError: it is not there, or its files cannot be read.
        StoreNotFound: there is no store at an address.
    """
    if Store.exists(path):
        return _store_side(path)
    file = store_path(path).local
    if file is None:
        raise StoreNotFound(f"no store at {str(path)!r}; expected one; check the address")
    if file.is_dir():
        return _folder_side(file, kind, layout)
    if not file.is_file():
        raise ConfigError(
            f"{str(path)!r} is not there; expected a store, a folder of <video>.npy or an .npy"
            " file; check the path"
        )
    folder = None if kind else folder_at(file.resolve().parent.name, layout)
    known = folder.kind if folder else kind
    of = kind_named(known) if known else None
    try:
        _read_file(file, of)
    except BadFile as error:
        raise ConfigError(f"file {str(path)!r}: {error}") from error
    return Side(file, _streams([file], of), is_file=True)


def _store_side(path: StorePath) -> Side:
    reader = FeatureStore(path)
    names = {i: name.removesuffix(".npy") for i, name in file_names(reader.video_ids).items()}
    side = Side(path, is_store=True)
    for feature in reader.features:
        side.streams[feature] = {
            name: partial(reader.read, video_id, feature)
            for video_id, name in names.items()
            if reader.status(video_id, feature) == Status.OK
        }
    return side


def _folder_side(path: Path, kind: str | None, layout: str | None) -> Side:
    tree = look(path, kind, layout)
    side = Side(path, questions=tree.questions, choices=tree.choices)
    if (side.questions or side.choices) and not tree.videos:
        return side
    for dump in find_dumps(path, kind, layout):
        side.streams |= _streams(dump.paths, dump.kind)
    return side


def _streams(paths: Sequence[Path], kind: Kind | None) -> dict[str, dict[str, Load]]:
    if kind is None:
        return {UNNAMED: {path.stem: partial(_read_file, path, None) for path in paths}}
    return {
        part.feature: {path.stem: partial(_read_part, path, kind, number) for path in paths}
        for number, part in enumerate(kind.parts)
    }


def _read_part(path: Path, kind: Kind, number: int) -> NDArray[Any]:
    rows = _read_file(path, kind)
    return kind.split(rows)[number] if rows.shape[1:] == kind.row else rows


def _read_file(path: Path, kind: Kind | None) -> NDArray[Any]:
    """Rows of a file of any width, a leading 1 squeezed.

    Raises:
        BadFile: no numbers, or no rows of them.
    """
    header = read_header(path)
    if header.dtype.kind not in "fiu":
        raise BadFile("dtype", f"dtype={header.dtype}; expected numbers; check what wrote it")
    rows = header.memory(path)
    rank = len(kind.row) + 1 if kind else 2
    if rows.ndim > rank and rows.shape[0] == 1:
        rows = rows[0]
    if rows.ndim < 2:
        raise BadFile("shape", f"shape={header.shape}; expected rows, rank 2 or more; check it")
    return rows


def pairs_of(
    ours: Side, theirs: Side, feature: str | None
) -> tuple[list[tuple[str, str, str]], list[str]]:
    """(name, stream of ours, stream of theirs), and a line on each stream without a partner."""
    mine, yours = (_asked(side, feature) for side in (ours, theirs))
    pairs = [(name, name, name) for name in mine if name in yours]
    for left, right in ((CLASS_TOKEN, FRAME), (FRAME, CLASS_TOKEN)):
        # An extracted class token is the frame feature.
        if left in mine and left not in yours and right in yours and right not in mine:
            pairs.append((f"{left} with {right}", left, right))
    if not pairs and len(mine) == 1 and len(yours) == 1 and UNNAMED in (mine[0], yours[0]):
        pairs = [(mine[0] if mine[0] != UNNAMED else yours[0], mine[0], yours[0])]
    if not pairs:
        raise ConfigError(
            f"{str(ours.path)!r} holds {', '.join(ours.streams)} and {str(theirs.path)!r} holds"
            f" {', '.join(theirs.streams)}; expected a feature in both; say which with --feature,"
            " or what files are with --kind"
        )
    met = {name for _, *names in pairs for name in names}
    unmatched = [
        f"{name}: only in {whose}, not compared"
        for names, whose in ((mine, "ours"), (yours, "theirs"))
        for name in names
        if name not in met
    ]
    return pairs, unmatched


def _asked(side: Side, feature: str | None) -> list[str]:
    if feature is None or list(side.streams) == [UNNAMED]:
        return list(side.streams)
    if feature in side.streams:
        return [feature]
    if feature == FRAME and CLASS_TOKEN in side.streams:
        return [CLASS_TOKEN]
    raise ConfigError(
        f"{str(side.path)!r} has no {feature}; expected one of {', '.join(side.streams)};"
        " check --feature"
    )
