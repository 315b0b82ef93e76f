"""`avqa import npy`: folders of ``<video>.npy`` that others published, into a store.

Every file keeps its dtype and all its rows. What a head of a file said beyond that (a leading 1,
column order, another version) goes to the ledger, so that an export gives the same bytes.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, cast

from avqa.errors import ConfigError
from avqa.pipelines.engine.files import fingerprint
from avqa.pipelines.extraction.collection.sources import printable
from avqa.pipelines.extraction.work import is_same
from avqa.pipelines.npy.importing import ImportReport, Item, Rows, Say, import_sources
from avqa.pipelines.npy.layouts import KINDS, Dtype, Kind, kind_named, kind_of_folder
from avqa.pipelines.npy.npy_files import BadFile, fitted_shape, read_header
from avqa.store.format.records import Fingerprint
from avqa.store.places.files import StorePath


@dataclass(frozen=True)
class Dump:
    """One folder of files of one kind."""

    kind: Kind
    folder: Path
    paths: tuple[Path, ...]


def import_npy(
    source: Path,
    store: StorePath,
    *,
    kind: str | None = None,
    layout: str | None = None,
    truncate: int | None = None,
    say: Say = lambda line: None,
) -> list[ImportReport]:
    """Take in the folder ``source``, or those of its folders that have a published name.

    Raises:
        ConfigError: no folder of a known kind, or none of its files can be taken.
        RecipeMismatch, StoreLocked, StorageFailure, Stopped: as `import_sources`.
    """
    folders = [NpyFolder(dump, truncate, say) for dump in find_dumps(source, kind, layout)]
    return import_sources(folders, store, place=str(source), truncate=truncate, say=say)


def find_dumps(source: Path, kind: str | None = None, layout: str | None = None) -> list[Dump]:
    """The folders to take: ``source`` itself, or those below it that have a published name.

    ``layout``: the repository that they are from, where names alone do not tell.

    Raises:
        ConfigError: there is no such folder, no kind is known for it, or no file in it.
    """
    if not source.is_dir():
        raise ConfigError(
            f"no folder {str(source)!r}; expected one that holds <video>.npy files; check --from"
        )
    if kind is not None:
        return [_dump(source, kind_named(kind).name)]
    own = kind_of_folder(source.resolve().name, layout)
    if own is not None:
        return [_dump(source, own)]
    found: dict[str, Path] = {}
    for folder in sorted(path for path in source.iterdir() if path.is_dir()):
        inner = kind_of_folder(folder.name, layout)
        if inner is None:
            continue
        if inner in found:
            raise ConfigError(
                f"folders {found[inner].name!r} and {folder.name!r} in {str(source)!r} hold the"
                f" same kind={inner}; expected one; give the one to take with --from"
            )
        found[inner] = folder
    if not found:
        raise ConfigError(
            f"folder {str(source)!r} has no published name and holds none that has; expected"
            f" {', '.join(name for k in KINDS.values() for name in k.folders)}; say what its files"
            " are with --kind"
        )
    return [_dump(folder, inner) for inner, folder in found.items()]


def _dump(folder: Path, kind: str) -> Dump:
    # A leading dot marks what copying tools leave beside a file.
    names = [path for path in folder.glob("*.npy") if not path.name.startswith(".")]
    paths = tuple(sorted(path for path in names if path.is_file()))
    if not paths:
        raise ConfigError(
            f"folder {str(folder)!r} holds no .npy file; expected <video>.npy; check --from"
        )
    for path in paths:
        if printable(path.stem) != path.stem:
            raise ConfigError(
                f"file {printable(str(path))!r}: its name is no UTF-8; expected <video>.npy;"
                " rename it"
            )
    return Dump(KINDS[kind], folder, paths)


class NpyFolder:
    """A folder of files as a `Source`."""

    unit = "files"
    origin: Mapping[str, Any] = {}

    def __init__(self, dump: Dump, truncate: int | None, say: Say) -> None:
        """Read the heads of the files, for what most of them have; a bad one is judged later.

        Raises:
            ConfigError: none of them can be taken.
        """
        self.kind = dump.kind
        self._folder = dump.folder.resolve().name
        self._paths = {path.stem: path for path in dump.paths}
        self.video_ids: Sequence[str] = tuple(self._paths)
        self._cut = truncate is not None
        dtypes: Counter[str] = Counter()
        lengths: Counter[int] = Counter()
        bad: list[str] = []
        for path in dump.paths:
            try:
                header = read_header(path)
                shape = fitted_shape(header, dump.kind.row)
            except BadFile as error:
                bad.append(f"file {str(path)!r}: {error}")
                continue
            dtypes[header.dtype.name] += 1
            lengths[shape[0]] += 1
        if not dtypes:
            for line in bad[1:]:
                say(line)
            raise ConfigError(bad[0])
        self.dtype: Dtype = cast(Dtype, dtypes.most_common(1)[0][0])
        self.length = lengths.most_common(1)[0][0]

    def is_same(self, video_id: str, known: Fingerprint | None) -> bool:
        """See `Source`."""
        return is_same(str(self._paths[video_id]), known)

    def items(self, video_ids: Sequence[str]) -> Iterator[Item]:
        """See `Source`."""
        for video_id in video_ids:
            path = self._paths[video_id]
            yield Item(
                video_id,
                f"file {str(path)!r}",
                os.path.join(self._folder, path.name),
                # Before the file is read: one that changes meanwhile is taken again next time.
                fingerprint(str(path)) or Fingerprint(0, 0, ""),
                partial(self._read, path),
            )

    def _read(self, path: Path) -> Rows:
        header = read_header(path)
        shape = fitted_shape(header, self.kind.row)
        if header.dtype.name != self.dtype:
            raise BadFile(
                "dtype",
                f"dtype={header.dtype}, most others are {self.dtype}; expected one dtype per"
                " folder; save it again",
            )
        plain = header.is_plain(shape) or self._cut
        report = {} if plain else {"npy_header": header.raw.decode("latin-1")}
        return Rows(header.memory(path).reshape(shape), report)
