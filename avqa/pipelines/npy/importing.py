"""Taking features that others published into a store, wherever they lie.

What they came from keeps its dtype and all its rows. `avqa.pipelines.npy.dumps` reads folders of
``<video>.npy``, `avqa.pipelines.npy.hdf5` datasets of HDF5 files.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, cast

import numpy as np
from numpy.typing import NDArray

from avqa.errors import PartialFailure, RecipeMismatch, Stopped
from avqa.pipelines.extraction.driver import CHECKPOINT_RECORDS, CHECKPOINT_SECONDS
from avqa.pipelines.npy.kinds import Dtype, Kind
from avqa.pipelines.npy.npy_files import BadFile, check_finite
from avqa.signals import Signals
from avqa.store.commit import Store
from avqa.store.format.layout import refuse_foreign
from avqa.store.format.recipe_diff import diff_features, is_imported, require_same
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
KIND = "npy_kind"
"""Key of a record's report: which kind its features were imported as, of HDF5 files, too."""
FINISHED = {int(Status.OK), int(Status.ABSENT)}
Say = Callable[[str], None]


@dataclass(frozen=True)
class Rows:
    """What a source has of one video."""

    values: NDArray[Any]
    """``[T, *row]``, which may be read where it is touched."""
    report: dict[str, Any] = field(default_factory=dict)
    """What the ledger keeps of how they lay there."""


@dataclass(frozen=True)
class Item:
    """One video of a source."""

    video_id: str
    what: str
    """As messages about it begin."""
    relpath: str
    fingerprint: Fingerprint
    read: Callable[[], Rows | None]
    """None if what is there stands for a video that could not be read. Raises BadFile."""


class Source(Protocol):
    """Where the features of one kind lie."""

    kind: Kind
    unit: str
    """What is counted: ``files``."""
    video_ids: Sequence[str]
    dtype: Dtype
    length: int
    """Rows of most videos."""
    origin: Mapping[str, Any]
    """What the recipe says of it."""

    def is_same(self, video_id: str, known: Fingerprint | None) -> bool:
        """Whether a video is what its newest record was made from."""

    def items(self, video_ids: Sequence[str]) -> Iterator[Item]:
        """These videos, which are some of its own in its order."""


@dataclass
class ImportReport:
    """What an import did with the videos of one kind."""

    kind: str
    files: int
    unit: str = "files"
    imported: int = 0
    finished_before: int = 0
    absent: int = 0
    failed: int = 0
    failed_before: int = 0
    rows: int = 0
    report_path: StorePath | None = field(default=None, repr=False)

    def line(self) -> str:
        """Counts, for people."""
        parts = [f"{self.imported} imported", f"{self.finished_before} already there"]
        if self.absent:
            parts.append(f"{self.absent} missing (rows of zeros)")
        if self.failed:
            parts.append(f"{self.failed} refused")
        if self.failed_before:
            parts.append(f"{self.failed_before} refused before and not changed since")
        return f"{self.kind}: {self.files} {self.unit}: {', '.join(parts)}; {self.rows} rows"


def imported_recipe(source: Source, feature: str, truncate: int | None) -> dict[str, Any]:
    """What is known of an imported feature: where it came from, not how it was made."""
    origin = {"kind": source.kind.name, "convention": "unknown", **source.origin}
    if truncate is not None:
        origin["truncate"] = truncate
    return {
        "feature": feature,
        "imported": origin,
        "weights": {feature.rpartition("/")[0]: {"source": "imported"}},
        "storage": {"dtype": source.dtype},
    }


def import_sources(
    sources: Sequence[Source],
    store: StorePath,
    *,
    place: str,
    truncate: int | None = None,
    say: Say = lambda line: None,
) -> list[ImportReport]:
    """Take in what is new or has changed, so a second run changes nothing.

    What cannot be taken is told to ``say``, recorded as failed, and the others go on.

    Args:
        sources: one per kind.
        store: a new one, or one that is there.
        place: where the sources lie, for the run's file.
        truncate: keep the first rows of a video only.
        say: gets lines for people.

    Raises:
        RecipeMismatch: the store holds extracted features, or these imported in another way.
        StoreLocked, StorageFailure: the store cannot be written.
        Stopped: a signal came; what was taken is stored.
    """
    refuse_foreign(store, "--store")
    features = _features(sources, truncate)
    reports: list[ImportReport] = []
    run_id = new_run_id()
    with (
        Lock.acquire(store, run_id) as lock,
        Signals(lambda: None) as signals,
        running(
            store,
            lock,
            {"argv": sys.argv, "source": place, "truncate": truncate},
            lambda reason: {"reason": reason, "import": "; ".join(r.line() for r in reports)},
            create=lambda: _create(store, lock, sources, features, truncate),
        ) as opened,
    ):
        _add_features(opened, features)
        for source in sources:
            importer = _Importer(opened, source, truncate, run_id, say)
            reports.append(importer.report)
            importer.run(signals)
    return reports


def raise_if_failed(reports: Sequence[ImportReport], others: int = 0) -> None:
    """Turn what was refused into exit code 3.

    Args:
        reports: of all kinds.
        others: what was refused and told, but is no video.

    Raises:
        PartialFailure: if a video was refused, now or by an earlier run, or ``others``.
    """
    bad = sum(report.failed + report.failed_before for report in reports)
    told = [f"{others} of what the files hold"] if others else []
    if bad:
        files = sum(report.files for report in reports)
        told.insert(0, f"{bad} of {files} {reports[0].unit}")
    if told:
        where = next((f"; see {r.report_path}" for r in reports if r.report_path), "")
        raise PartialFailure(
            f"{' and '.join(told)} were refused{where}; expected all to be taken; the good ones"
            " are stored; replace the bad ones and run the same command again"
        )


@dataclass(frozen=True)
class _Features:
    """What the sources become in the store, by feature."""

    specs: dict[str, FeatureSpec] = field(default_factory=dict)
    recipes: dict[str, dict[str, Any]] = field(default_factory=dict)


def _features(sources: Sequence[Source], truncate: int | None) -> _Features:
    found = _Features()
    for source in sources:
        for part in source.kind.parts:
            found.specs[part.feature] = part.spec(source.dtype)
            found.recipes[part.feature] = imported_recipe(source, part.feature, truncate)
    return found


def _create(
    path: StorePath,
    lock: Lock,
    sources: Sequence[Source],
    features: _Features,
    truncate: int | None,
) -> Store:
    longest = max(source.length for source in sources)
    chunk = max(1, min(longest, truncate or longest, MAX_CHUNK_ROWS))
    specs = list(features.specs.values())
    return Store.create(path, features.recipes, specs, chunk, lock=lock)


def _add_features(store: Store, features: _Features) -> None:
    """Give the store the features that it lacks, pending.

    Raises:
        RecipeMismatch: it holds extracted features, or these imported in another way.
    """
    recipes, stored = features.recipes, store.recipes()
    extracted = [name for name, recipe in stored.items() if not is_imported(recipe)]
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
    """Takes the videos of one source into an open store."""

    def __init__(
        self,
        store: Store,
        source: Source,
        truncate: int | None,
        run_id: str,
        say: Say,
    ) -> None:
        self._store = store
        self._source = source
        self._kind = source.kind
        self._truncate = truncate
        self._run_id = run_id
        self._say = say
        dtype = store.recipes()[self._kind.parts[0].feature]["storage"]["dtype"]
        specs = [part.spec(dtype) for part in self._kind.parts]
        self._writer = ChunkWriter(store.path, specs, store.chunk_seconds)
        self._failures: list[VideoRecord] = []
        self.report = ImportReport(self._kind.name, len(source.video_ids), source.unit)

    def run(self, signals: Signals) -> None:
        """Take every video that is new or has changed; commit as extraction does."""
        rows = self._store.add_rows(self._source.video_ids)
        todo = self._todo(rows, signals)
        self._store.set_pending((rows[n], p.feature) for n in todo for p in self._kind.parts)
        buffer: list[VideoRecord] = []
        committed = time.monotonic()
        try:
            with counting(self._say, self._kind.name, len(todo), self._source.unit) as count:
                for number, item in enumerate(self._source.items(todo)):
                    if signals.check():
                        self._stop(signals, len(todo) - number)
                    buffer.append(self._take(item, rows[item.video_id]))
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
            f"stopped by signal={signum}: {left} {self._source.unit} of {self._kind.name} left;"
            " resume with the same command",
        )

    def _todo(self, rows: dict[str, int], signals: Signals) -> list[str]:
        known = {i.row: i.fingerprint for i in imports(self._store) if i.kind == self._kind.name}
        status = [self._store.status(part.feature) for part in self._kind.parts]
        todo: list[str] = []
        names = self._source.video_ids
        with counting(
            self._say, f"{self._kind.name}: compared", len(names), self._source.unit
        ) as c:
            for number, name in enumerate(names):
                if signals.check():
                    self._stop(signals, len(todo) + len(names) - number)
                states = {int(column[rows[name]]) for column in status}
                same = self._source.is_same(name, known.get(rows[name]))
                if same and states <= FINISHED:
                    self.report.finished_before += 1
                elif same and states == {Status.FAILED}:
                    self.report.failed_before += 1
                else:
                    todo.append(name)
                c.step()
        return todo

    def _take(self, item: Item, row: int) -> VideoRecord:
        report: dict[str, Any] = {KIND: self._kind.name}
        try:
            found = item.read()
            if found is None:
                self.report.absent += 1
                features = self._unwritten(Status.ABSENT)
            else:
                features = self._write(found.values, row)
                report |= found.report
                self.report.imported += 1
                self.report.rows += features[0].length
        except BadFile as error:
            line = f"{item.what}: {error}"
            self._say(line)
            self.report.failed += 1
            features = self._unwritten(Status.FAILED, error.reason, line, "import")
        record = VideoRecord(
            video_id=item.video_id,
            row=row,
            relpath=item.relpath,
            fingerprint=item.fingerprint,
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

    def _unwritten(self, status: Status, *why: str) -> tuple[FeatureRecord, ...]:
        return tuple(FeatureRecord(part.feature, status, 0, (), *why) for part in self._kind.parts)

    def _write(self, values: NDArray[Any], row: int) -> tuple[FeatureRecord, ...]:
        length = min(len(values), self._truncate or len(values))
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
            kind = report.get(KIND)
            if kind is not None:
                head = report.get("npy_header")
                found[plain["row"], kind] = Imported(
                    plain["row"],
                    kind,
                    fingerprint_from(plain["fingerprint"]),
                    None if head is None else head.encode("latin-1"),
                )
    return list(found.values())
