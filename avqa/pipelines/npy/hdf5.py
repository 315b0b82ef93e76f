"""`avqa import hdf5`: the HDF5 files of features that the data set AVQA publishes, into a store.

A file tells by the names of its datasets what it holds; ``ids`` names the video of every row. In
the authors' files these are numbers, for which the question files have the names. A row of zeros
stands for a video that could not be read.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

from avqa.datasets.avqa import video_names
from avqa.errors import ConfigError
from avqa.pipelines.npy.hdf5_files import Table, load_library, named, opened, published
from avqa.pipelines.npy.importing import Item, Rows, Say, import_sources, raise_if_failed
from avqa.pipelines.npy.kinds import CLIPS, DATASETS, Dtype
from avqa.pipelines.npy.npy_files import BadFile
from avqa.store.format.records import UNKNOWN_FILE, Fingerprint
from avqa.store.places.files import StorePath

ENDINGS = (".h5", ".hdf5")
SHOWN_IDS = 3


def import_hdf5(
    source: Path,
    store: StorePath,
    *,
    annotations: Path | None = None,
    say: Say = lambda line: None,
) -> Iterator[str]:
    """Take in a file, or all files of a folder; a line on every kind as the last one is done.

    Args:
        source: the file or folder.
        store: a new one, or one that is there.
        annotations: AVQA's question files, which have the names for numbers.
        say: gets a line on everything that cannot be taken.

    Raises:
        PartialFailure: at the end, if something was refused.
        ConfigError: there is no such file, or nothing in it can be taken.
        DatasetError: the question files cannot be read.
        EnvironmentFailure: h5py is not installed.
        RecipeMismatch, StoreLocked, StorageFailure, Stopped: as `import_sources`.
    """
    load_library()
    names = None if annotations is None else video_names(annotations)
    with ExitStack() as files:
        found = _Found(source, files, say)
        kinds = [
            Hdf5Rows(found.tables[name], names, say) for name in DATASETS if name in found.tables
        ]
        sources = [rows for rows in kinds if rows.video_ids]
        if not sources:
            raise ConfigError(
                f"no row in {str(source)!r} has an id of use; expected names of videos, or numbers"
                " that the question files have; see the lines above, check --annotations"
            )
        if any(rows.origin["ids"] == "numbers" for rows in sources):
            say(
                f"{str(source)!r}: ids are numbers, and become the store's; AVQA's questions go by"
                " names: give --annotations, whose files have both"
            )
        reports = import_sources(sources, store, place=str(source), say=say)
    yield from (report.line() for report in reports)
    raise_if_failed(reports, found.bad + sum(rows.without_id for rows in kinds))


class _Found:
    """The tables of a file or a folder, by kind; what cannot be taken is told."""

    def __init__(self, source: Path, files: ExitStack, say: Say) -> None:
        """Open the files for as long as ``files`` stays.

        Raises:
            ConfigError: there is none, or none of them holds what can be taken.
        """
        self.tables: dict[str, list[Table]] = {}
        self.bad = 0
        """Datasets and files that are refused; not files in a folder that hold something else."""
        lines: list[str] = []
        for path in _paths(source):
            try:
                file = files.enter_context(opened(path))
                wanted = published(file)
            except BadFile as error:
                lines.append(f"file {str(path)!r}: {error}")
                self.bad += error.reason != "names"
                continue
            for name in wanted:
                try:
                    table = Table(path, file, name)
                except BadFile as error:
                    lines.append(f"file {str(path)!r}: {error}")
                    self.bad += 1
                else:
                    self.tables.setdefault(name, []).append(table)
        for name, tables in self.tables.items():
            lines += self._of_one_form(name, tables)
        if not any(self.tables.values()):
            for line in lines[1:]:
                say(line)
            raise ConfigError(lines[0])
        for line in lines:
            say(line)

    def _of_one_form(self, name: str, tables: list[Table]) -> Iterator[str]:
        """Leave out tables of another dtype than most rows of the kind have."""
        rows = Counter[str]()
        for table in tables:
            rows[table.dtype] += len(table)
        most = rows.most_common(1)[0][0]
        for table in [table for table in tables if table.dtype != most]:
            tables.remove(table)
            self.bad += 1
            yield (
                f"file {str(table.path)!r}: {name} has dtype={table.dtype}, most others {most};"
                " expected one dtype; save it again"
            )


def _paths(source: Path) -> list[Path]:
    if source.is_file():
        return [source]
    if not source.is_dir():
        raise ConfigError(
            f"no file or folder {str(source)!r}; expected an HDF5 file, or a folder of them; check"
            " --from"
        )
    # A leading dot marks what copying tools leave beside a file.
    found = sorted(
        path
        for path in source.iterdir()
        if path.suffix.lower() in ENDINGS and not path.name.startswith(".") and path.is_file()
    )
    if not found:
        raise ConfigError(
            f"folder {str(source)!r} holds no file {' or '.join('*' + e for e in ENDINGS)};"
            " expected some; check --from"
        )
    return found


class Hdf5Rows:
    """The rows of one kind, of one file or several, as a `Source`."""

    unit = "videos"

    def __init__(self, tables: Sequence[Table], names: Mapping[str, str] | None, say: Say) -> None:
        """Tell what has no usable id.

        Args:
            tables: at least one, all of one kind and dtype.
            names: number of a video → its name; None: numbers stay what they are.
            say: gets a line for people.
        """
        self.kind = tables[0].kind
        self.dtype: Dtype = tables[0].dtype
        self.length = CLIPS if self.kind.whole else tables[0].length
        """Of a whole video's vector, too: what comes into the store later has the clips."""
        self.without_id = 0
        self._places: dict[str, list[tuple[Table, int]]] = {}
        for table in tables:
            self._add(table, names, say)
        repeated = [video_id for video_id, places in self._places.items() if len(places) > 1]
        if repeated:
            say(
                f"{self.kind.name}: {len(repeated)} ids have more than one row, the first is"
                f" {repeated[0]!r}: taken once where the rows are equal"
            )
        self.video_ids: Sequence[str] = tuple(self._places)
        numbers = names is None and any(table.numbers for table in tables)
        self.origin: Mapping[str, Any] = {
            "format": "hdf5",
            "ids": "numbers" if numbers else "names",
            "stream": self.kind.stream,
            **({"span": "video"} if self.kind.whole else {}),
        }

    def _add(self, table: Table, names: Mapping[str, str] | None, say: Say) -> None:
        about = f"file {str(table.path)!r}: {self.kind.name}"
        known = named(table.ids, table.numbers, names) if names is not None else table.ids
        nameless: list[str] = []
        for number, (own, video_id) in enumerate(zip(table.ids, known, strict=True)):
            if own is None:
                self.without_id += 1
                say(
                    f"{about}[{number}]: its id is empty or no UTF-8 text; expected the name of a"
                    " video; correct it in the file"
                )
            elif video_id is None:
                nameless.append(own)
            else:
                self._places.setdefault(video_id, []).append((table, number))
        if nameless:
            told = ", ".join(nameless[:SHOWN_IDS]) + (", …" if nameless[SHOWN_IDS:] else "")
            say(
                f"{about}: {len(nameless)} of {len(table)} rows are left out: no question names the"
                f" videos of their numbers ({told})"
            )

    def is_same(self, video_id: str, known: Fingerprint | None) -> bool:
        """See `Source`. The rows of a file that was touched are read and compared."""
        if known is None:
            return False
        (table, _), *others = self._places[video_id]
        untouched = not others and (known.size, known.mtime_ns) == table.state
        if known == UNKNOWN_FILE or untouched:
            return True
        return self._fingerprint(video_id).quick_hash == known.quick_hash

    def items(self, video_ids: Sequence[str]) -> Iterator[Item]:
        """See `Source`."""
        for video_id in video_ids:
            table, number = self._places[video_id][0]
            yield Item(
                video_id,
                table.what(number),
                table.path.name,
                self._fingerprint(video_id),
                partial(self._read, video_id),
            )

    def _fingerprint(self, video_id: str) -> Fingerprint:
        """The file's size and time, and a hash over the video's rows; none of what is damaged."""
        digest = hashlib.blake2b(digest_size=16)
        try:
            for rows in self._rows(video_id):
                digest.update(rows.tobytes())
            found = digest.hexdigest()
        except BadFile:
            found = ""
        return Fingerprint(*self._places[video_id][0][0].state, found)

    def _rows(self, video_id: str) -> Iterator[Any]:
        (table, number), *others = self._places[video_id]
        yield table.row(number)
        for table, number in others:
            yield table.row_alone(number)

    def _read(self, video_id: str) -> Rows | None:
        values, *others = self._rows(video_id)
        for (table, number), other in zip(self._places[video_id][1:], others, strict=True):
            if values.shape != other.shape or values.tobytes() != other.tobytes():
                raise BadFile(
                    "repeated",
                    f"{table.kind.name}[{number}] of {str(table.path)!r} has the same id and other"
                    " values; expected one row a video; remove the wrong one",
                )
        return Rows(values) if values.any() else None
