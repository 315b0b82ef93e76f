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
from avqa.pipelines.npy.finding import look, nothing_known
from avqa.pipelines.npy.importing import ImportReport, Item, Rows, Say, import_sources
from avqa.pipelines.npy.kinds import KINDS, Dtype, Kind
from avqa.pipelines.npy.layouts import TEN_SECONDS, USUAL_ROWS, Folder, ten_of
from avqa.pipelines.npy.npy_files import BadFile, Header, fitted_shape, read_header
from avqa.store.format.records import Fingerprint
from avqa.store.places.files import StorePath


@dataclass(frozen=True)
class Dump:
    """One folder of files of one kind."""

    kind: Kind
    folder: Path
    paths: tuple[Path, ...]
    of: Folder
    """What is known of its files."""
    layout: str | None = None
    """Repository that they are said to be from."""

    def shape(self, header: Header) -> tuple[int, ...]:
        """The shape ``[T, *row]`` of a file, a leading 1 squeezed.

        Raises:
            BadFile: no array of such rows, or another number of them than the layout has.
        """
        shape = fitted_shape(header, self.kind.row)
        if not self.of.fits(shape[0]):
            wanted = ",".join(map(str, (self.of.rows, *self.kind.row)))
            more = " or more rows" * self.of.longer
            raise BadFile(
                "shape",
                f"shape={header.shape}; expected [{wanted}]{more} in layout={self.layout}; check"
                " --from-layout, or say what the files are with --kind alone",
            )
        return shape

    @property
    def origin(self) -> dict[str, Any]:
        """What the recipe says of the rows, where they are not those of the videos' seconds."""
        if self.of.pick is not ten_of:
            return {}
        return {"rows": TEN_SECONDS, "seconds": ten_of(USUAL_ROWS), "order": "unknown"}


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
    """The folders of videos' files to take, see `look`.

    Raises:
        ConfigError: as `look`; nothing there is known, or no file is in it.
        UnknownName: there is no such kind or layout.
    """
    found = look(source, kind, layout).videos
    if not found:
        raise nothing_known(source, layout)
    return [_dump(path, folder, layout) for folder, path in found.values()]


def _dump(folder: Path, of: Folder, layout: str | None) -> Dump:
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
    return Dump(KINDS[of.kind], folder, paths, of, layout)


class NpyFolder:
    """A folder of files as a `Source`."""

    unit = "files"

    def __init__(self, dump: Dump, truncate: int | None, say: Say) -> None:
        """Read the heads of the files, for what most of them have; a bad one is judged later.

        Raises:
            ConfigError: none of them can be taken.
        """
        self.kind = dump.kind
        self.origin: Mapping[str, Any] = dump.origin
        self._dump = dump
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
                shape = dump.shape(header)
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
        shape = self._dump.shape(header)
        if header.dtype.name != self.dtype:
            raise BadFile(
                "dtype",
                f"dtype={header.dtype}, most others are {self.dtype}; expected one dtype per"
                " folder; save it again",
            )
        plain = header.is_plain(shape) or self._cut
        report = {} if plain else {"npy_header": header.raw.decode("latin-1")}
        return Rows(header.memory(path).reshape(shape), report)
