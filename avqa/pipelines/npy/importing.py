"""`avqa import npy`: folders of ``<video>.npy`` that others published, into a store.

Every file keeps its dtype and all its rows. What a head of a file said beyond that (a leading 1,
column order, another version) goes to the ledger, so that an export gives the same bytes.
"""

from __future__ import annotations

import os
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from avqa.errors import ConfigError, PartialFailure, RecipeMismatch, Stopped
from avqa.pipelines.engine.files import fingerprint
from avqa.pipelines.extraction.collection.sources import printable
from avqa.pipelines.extraction.driver import CHECKPOINT_RECORDS, CHECKPOINT_SECONDS
from avqa.pipelines.extraction.work import is_same
from avqa.pipelines.npy.layouts import KINDS, Dtype, Kind, kind_named, kind_of_folder
from avqa.pipelines.npy.npy_files import BadFile, Header, check_finite, fitted_shape, read_header
from avqa.signals import Signals
from avqa.store.commit import Store
from avqa.store.format.layout import refuse_foreign
from avqa.store.format.recipe_diff import diff_features, require_same
from avqa.store.format.records import (
    FeatureRecord,
    Fingerprint,
    Status,
    VideoRecord,
    fingerprint_from,
)
from avqa.store.format.runs import new_run_id, now
from avqa.store.format.schema import FeatureSpec, num_chunks
from avqa.store.lock import Lock
from avqa.store.places.files import StorePath
from avqa.store.running import running
from avqa.store.writer import ChunkWriter
from avqa.telling import counting

MAX_CHUNK_ROWS = 120
"""Rows per chunk object follow the files, up to this: a chunk of maps must fit in memory."""


@dataclass(frozen=True)
class Dump:
    """One folder of files of one kind."""

    kind: Kind
    folder: Path
    paths: tuple[Path, ...]


@dataclass
class ImportReport:
    """What an import did with the files of one kind."""

    kind: str
    files: int
    imported: int = 0
    finished_before: int = 0
    failed: int = 0
    failed_before: int = 0
    rows: int = 0
    report_path: StorePath | None = field(default=None, repr=False)

    def line(self) -> str:
        """Counts, for people."""
        parts = [f"{self.imported} imported", f"{self.finished_before} already there"]
        if self.failed:
            parts.append(f"{self.failed} refused")
        if self.failed_before:
            parts.append(f"{self.failed_before} refused before and not changed since")
        return f"{self.kind}: {self.files} files: {', '.join(parts)}; {self.rows} rows"


def imported_recipe(kind: Kind, feature: str, dtype: str, truncate: int | None) -> dict[str, Any]:
    """What is known of an imported feature: where it came from, not how it was made."""
    origin: dict[str, Any] = {"kind": kind.name, "convention": "unknown"}
    if truncate is not None:
        origin["truncate"] = truncate
    return {
        "feature": feature,
        "imported": origin,
        "weights": {feature.partition("/")[0]: {"source": "imported"}},
        "storage": {"dtype": dtype},
    }


def import_npy(
    source: Path,
    store: StorePath,
    *,
    kind: str | None = None,
    truncate: int | None = None,
    say: Callable[[str], None] = lambda line: None,
) -> list[ImportReport]:
    """Take in the folder ``source``, or those of its folders that have a published name.

    Files whose fingerprint is the ledger's are skipped, so a second run changes nothing. A file
    that cannot be taken is told to ``say``, recorded as failed, and the others go on.

    Raises:
        ConfigError: no folder of a known kind, or none of its files can be taken.
        RecipeMismatch: the store holds extracted features, or these imported in another way.
        StoreLocked, StorageFailure: the store cannot be written.
        Stopped: a signal came; what was taken is stored.
    """
    dumps = find_dumps(source, kind)
    dtypes = {dump.kind.name: _dtype_of(dump, say) for dump in dumps}
    refuse_foreign(store, "--store")
    features = _features(dumps, dtypes, truncate)
    reports: list[ImportReport] = []
    run_id = new_run_id()
    with (
        Lock.acquire(store, run_id) as lock,
        Signals(lambda: None) as signals,
        running(
            store,
            lock,
            {"argv": sys.argv, "source": str(source), "truncate": truncate},
            lambda reason: {"reason": reason, "import": "; ".join(r.line() for r in reports)},
            create=lambda: _create(store, lock, dumps, dtypes, features, truncate),
        ) as opened,
    ):
        _add_features(opened, features)
        for dump in dumps:
            importer = _Importer(opened, dump, truncate, run_id, say)
            reports.append(importer.report)
            importer.run(signals)
    return reports


def raise_if_failed(reports: Sequence[ImportReport]) -> None:
    """Turn refused files into exit code 3.

    Raises:
        PartialFailure: if a file was refused, now or by an earlier run.
    """
    bad = sum(report.failed + report.failed_before for report in reports)
    if bad:
        files = sum(report.files for report in reports)
        where = next((f"; see {r.report_path}" for r in reports if r.report_path), "")
        raise PartialFailure(
            f"{bad} of {files} files were refused{where}; expected all to be taken; the good ones"
            " are stored; replace the bad ones and run the same command again"
        )


def find_dumps(source: Path, kind: str | None = None) -> list[Dump]:
    """The folders to take: ``source`` itself, or those below it that have a published name.

    Raises:
        ConfigError: there is no such folder, no kind is known for it, or no file in it.
    """
    if not source.is_dir():
        raise ConfigError(
            f"no folder {str(source)!r}; expected one that holds <video>.npy files; check --from"
        )
    if kind is not None:
        return [_dump(source, kind_named(kind).name)]
    own = kind_of_folder(source.resolve().name)
    if own is not None:
        return [_dump(source, own)]
    found: dict[str, Path] = {}
    for folder in sorted(path for path in source.iterdir() if path.is_dir()):
        inner = kind_of_folder(folder.name)
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


def _dtype_of(dump: Dump, say: Callable[[str], None]) -> tuple[Dtype, int]:
    """The most frequent dtype and number of rows; a bad file is judged again when it is read."""
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
    return cast(Dtype, dtypes.most_common(1)[0][0]), lengths.most_common(1)[0][0]


@dataclass(frozen=True)
class _Features:
    """What the dumps become in the store, by feature."""

    specs: dict[str, FeatureSpec] = field(default_factory=dict)
    recipes: dict[str, dict[str, Any]] = field(default_factory=dict)


def _features(
    dumps: Sequence[Dump], facts: dict[str, tuple[Dtype, int]], truncate: int | None
) -> _Features:
    found = _Features()
    for dump in dumps:
        dtype = facts[dump.kind.name][0]
        for part in dump.kind.parts:
            found.specs[part.feature] = part.spec(dtype)
            found.recipes[part.feature] = imported_recipe(dump.kind, part.feature, dtype, truncate)
    return found


def _create(
    path: StorePath,
    lock: Lock,
    dumps: Sequence[Dump],
    facts: dict[str, tuple[Dtype, int]],
    features: _Features,
    truncate: int | None,
) -> Store:
    longest = max(rows for _, rows in facts.values())
    chunk = max(1, min(longest, truncate or longest, MAX_CHUNK_ROWS))
    videos = max(len(dump.paths) for dump in dumps)
    specs = list(features.specs.values())
    return Store.create(path, features.recipes, specs, chunk, videos, lock=lock)


def _add_features(store: Store, features: _Features) -> None:
    """Give the store the features that it lacks, pending.

    Raises:
        RecipeMismatch: it holds extracted features, or these imported in another way.
    """
    recipes, stored = features.recipes, store.recipes()
    extracted = [name for name, recipe in stored.items() if "imported" not in recipe]
    if extracted:
        raise RecipeMismatch(
            f"store {str(store.path)!r} holds extracted features={','.join(extracted)}; expected"
            " imported ones only, since their rows may be other seconds; give another --store"
        )
    differing = diff_features(stored, recipes)
    require_same(f"store {str(store.path)!r}", differing, "give another --store")
    new = [spec for name, spec in features.specs.items() if name not in stored]
    if new:
        store.add_features(new, {spec.name: recipes[spec.name] for spec in new})


class _Importer:
    """Takes the files of one dump into an open store."""

    def __init__(
        self,
        store: Store,
        dump: Dump,
        truncate: int | None,
        run_id: str,
        say: Callable[[str], None],
    ) -> None:
        self._store = store
        self._kind = dump.kind
        self._folder = dump.folder.resolve().name
        self._paths = {path.stem: path for path in dump.paths}
        self._truncate = truncate
        self._run_id = run_id
        self._say = say
        dtype = store.recipes()[dump.kind.parts[0].feature]["storage"]["dtype"]
        self._dtype: str = dtype
        specs = [part.spec(dtype) for part in dump.kind.parts]
        self._writer = ChunkWriter(store.path, specs, store.chunk_seconds)
        self._failures: list[VideoRecord] = []
        self.report = ImportReport(dump.kind.name, len(dump.paths))

    def run(self, signals: Signals) -> None:
        """Take every file that is new or has changed; commit as extraction does."""
        rows = self._store.add_rows(list(self._paths))
        todo = self._todo(rows)
        self._store.set_pending((rows[n], p.feature) for n in todo for p in self._kind.parts)
        buffer: list[VideoRecord] = []
        committed = time.monotonic()
        try:
            with counting(self._say, self._kind.name, len(todo), "files") as count:
                for number, name in enumerate(todo):
                    if signals.check():
                        self._stop(signals, len(todo) - number)
                    buffer.append(self._take(name, rows[name]))
                    count.step()
                    late = time.monotonic() - committed >= CHECKPOINT_SECONDS
                    if late or len(buffer) >= CHECKPOINT_RECORDS:
                        self._commit(buffer)
                        buffer, committed = [], time.monotonic()
        finally:
            self._commit(buffer)
        if self.report.failed_before and self.report.report_path is None:
            self.report.report_path = self._store.write_report(())

    def _stop(self, signals: Signals, left: int) -> None:
        signum = cast(int, signals.received)
        raise Stopped(
            signum,
            f"stopped by signal={signum}: {left} files of {self._kind.name} left;"
            " resume with the same command",
        )

    def _todo(self, rows: dict[str, int]) -> list[str]:
        known = {i.row: i.fingerprint for i in imports(self._store) if i.kind == self._kind.name}
        status = [self._store.status(part.feature) for part in self._kind.parts]
        todo = []
        for name, path in self._paths.items():
            states = {int(column[rows[name]]) for column in status}
            same = is_same(str(path), known.get(rows[name]))
            if same and states == {Status.OK}:
                self.report.finished_before += 1
            elif same and states == {Status.FAILED}:
                self.report.failed_before += 1
            else:
                todo.append(name)
        return todo

    def _take(self, name: str, row: int) -> VideoRecord:
        path = self._paths[name]
        report: dict[str, Any] = {"npy_kind": self._kind.name}
        # Before the file is read: one that changes meanwhile is taken again by the next run.
        known = fingerprint(str(path)) or Fingerprint(0, 0, "")
        try:
            header = read_header(path)
            shape = fitted_shape(header, self._kind.row)
            features = self._write(header, shape, path, row)
            if not header.is_plain(shape) and self._truncate is None:
                report["npy_header"] = header.raw.decode("latin-1")
            self.report.imported += 1
            self.report.rows += features[0].length
        except BadFile as error:
            line = f"file {str(path)!r}: {error}"
            self._say(line)
            self.report.failed += 1
            features = tuple(
                FeatureRecord(part.feature, Status.FAILED, 0, (), error.reason, line, "import")
                for part in self._kind.parts
            )
        record = VideoRecord(
            video_id=name,
            row=row,
            relpath=os.path.join(self._folder, path.name),
            fingerprint=known,
            duration=float("nan"),
            pts=(),
            audio_start=None,
            audio_end=None,
            row_flags=0,
            features=features,
            report=report,
            finished_at=now(),
            run_id=self._run_id,
        )
        if features[0].status == Status.FAILED:
            self._failures.append(record)
        return record

    def _write(
        self, header: Header, shape: tuple[int, ...], path: Path, row: int
    ) -> tuple[FeatureRecord, ...]:
        if header.dtype.name != self._dtype:
            raise BadFile(
                "dtype",
                f"dtype={header.dtype}, most others are {self._dtype}; expected one dtype per"
                " folder; save it again",
            )
        length = min(shape[0], self._truncate or shape[0])
        values = header.memory(path).reshape(shape)
        chunks: list[list[Any]] = [[] for _ in self._kind.parts]
        for number, rows in enumerate(self._blocks(values, length)):
            for part, of_part, written in zip(
                self._kind.parts, self._kind.split(rows), chunks, strict=True
            ):
                written.append(self._writer.write(part.feature, row, number, of_part))
        count = num_chunks(length, self._store.chunk_seconds)
        for part in self._kind.parts:
            self._writer.trim(part.feature, row, count)
        return tuple(
            FeatureRecord(part.feature, Status.OK, length, tuple(written))
            for part, written in zip(self._kind.parts, chunks, strict=True)
        )

    def _blocks(self, values: NDArray[Any], length: int) -> Iterator[NDArray[Any]]:
        for start in range(0, length, self._store.chunk_seconds):
            block = np.asarray(values[start : min(start + self._store.chunk_seconds, length)])
            check_finite(block, start)
            yield block

    def _commit(self, records: Sequence[VideoRecord]) -> None:
        self._store.commit(records)
        if self._failures and records:
            self.report.report_path = self._store.write_report(self._failures)


@dataclass(frozen=True)
class Imported:
    """What the ledger says of the file that a video's features of one kind came from."""

    row: int
    kind: str
    fingerprint: Fingerprint
    header: bytes | None
    """The file's own head where `numpy.save` would write another one."""


def imports(store: Store) -> list[Imported]:
    """The newest import of every (row, kind), in no order."""
    found: dict[tuple[int, str], Imported] = {}
    for segment in store.ledger.segments():
        for plain in segment.plain():
            report = plain.get("report", {})
            kind = report.get("npy_kind")
            if kind is not None:
                head = report.get("npy_header")
                found[plain["row"], kind] = Imported(
                    plain["row"],
                    kind,
                    fingerprint_from(plain["fingerprint"]),
                    None if head is None else head.encode("latin-1"),
                )
    return list(found.values())
