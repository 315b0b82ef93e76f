"""Does a store hold what its ledger says it holds? `avqa verify`."""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Literal
from uuid import uuid4

import numpy as np
from numpy.typing import NDArray

from avqa.errors import DifferenceFound, MediaError
from avqa.machine import num_cores
from avqa.store.checks.indexcheck import check_index
from avqa.store.checks.textcheck import TextReport, check_texts, repair_texts
from avqa.store.commit import Store
from avqa.store.format import layout, schema
from avqa.store.format.chunks import chunk_path, object_sizes, remove_chunks
from avqa.store.format.frame_times import FrameTimes
from avqa.store.format.integrity import ChunkChecker
from avqa.store.format.records import FeatureRecord, Status
from avqa.store.format.shards import ShardChecker
from avqa.store.lock import Lock, read_holder
from avqa.store.places.files import LocalPath, StorePath, store_path
from avqa.store.reader import FeatureStore, has_random_weights

Level = Literal["size", "crc", "sample"]
Extract = Callable[[str, str, tuple[str, ...]], Mapping[str, NDArray[Any]]]
"""(video id, relpath, features) → feature → ``[T, *shape]``, extracted again."""

PARTIAL_SECONDS = 3600.0
"""While a run holds the store, younger leftovers may be writes in progress."""
LEAST_COSINE = 0.999


@dataclass(frozen=True)
class Problem:
    """One thing that is not as it should be."""

    kind: str
    """missing, size, crc, not_finite, padding, status, length, index, orphan, partial, foreign,
    sample, unreadable (the video, by ``sample``)."""
    array: str
    video_id: str
    row: int
    detail: str
    path: StorePath | None = None
    of_texts: bool = False
    """Concerns the questions' features."""

    def __str__(self) -> str:
        """One line."""
        who = f" video={self.video_id!r} row={self.row}" if self.row >= 0 else ""
        return f"{self.kind}: {self.array}{who}: {self.detail}"


@dataclass
class VerifyReport:
    """What was checked and what was found."""

    path: StorePath
    level: Level
    videos: int = 0
    objects: int = 0
    n_bytes: int = 0
    uncommitted: int = 0
    """Objects of pending rows: an unfinished run's, to be written again. No problem."""
    problems: list[Problem] = field(default_factory=list)
    repaired: bool = False
    """Something was repaired; foreign files are left as they are."""
    texts: TextReport = field(default_factory=TextReport)
    """What was found of the questions' features; its problems are among ``problems``."""
    random_weights: bool = False
    """Some feature was made with random weights."""
    packed: bool = False
    """The store is a packed copy: it cannot be repaired."""

    @property
    def counts(self) -> dict[str, int]:
        """Kind → number of problems."""
        return dict(Counter(problem.kind for problem in self.problems))

    def raise_if_bad(self) -> None:
        """Turn problems that are not repaired into exit code 6.

        Raises:
            DifferenceFound: there are some.
        """
        left = [p for p in self.problems if not self.repaired or p.kind == "foreign"]
        if left:
            advice = "mark them for extraction with --repair, then run `avqa extract` again"
            if self.packed:
                advice = "fetch this packed copy again, or `avqa pack` the working store again"
            raise DifferenceFound(
                f"store {str(self.path)!r}: problems={len(left)}; expected none; {advice}"
            )

    def lines(self) -> list[str]:
        """Every problem, then the totals."""
        end = "no problem"
        if self.problems:
            kinds = ", ".join(f"{number} {kind}" for kind, number in sorted(self.counts.items()))
            number = len(self.problems)
            end = f"{number} problem{'s' if number > 1 else ''} ({kinds})"
        if self.repaired:
            commands = [
                f"`avqa {'questions' if of_texts else 'extract'}`"
                for of_texts in sorted({problem.of_texts for problem in self.problems})
            ]
            again = " and ".join(commands)
            end += f"; repaired, run {again} again to fill what is pending now"
        foreign = self.counts.get("foreign", 0)
        if foreign:
            end += f"; avqa never removes foreign files: remove {foreign} by hand"
        if self.uncommitted:
            end += f"; {self.uncommitted} objects of unfinished videos"
        total = (
            f"store {str(self.path)!r} level={self.level}: {self.videos} videos,"
            f"{f' {self.texts.texts} texts,' if self.texts.texts else ''}"
            f" {self.objects} objects, {self.n_bytes / 1e6:.1f} MB checked; {end}"
        )
        lines = [*map(str, self.problems), total]
        if self.random_weights:
            lines.append("RANDOM WEIGHTS: the store is in order, but its features mean nothing")
        return lines


def verify(
    path: str | StorePath,
    level: Level = "crc",
    repair: bool = False,
    *,
    extract: Extract | None = None,
    num_sample: int = 20,
) -> VerifyReport:
    """Compare a store with its ledger.

    Args:
        path: the store directory.
        level: ``size`` lists all objects; ``crc`` also reads and decodes them; ``sample``
            lists them and extracts some videos again.
        repair: make what is bad pending and remove objects that do not belong; takes the lock.
        extract: extracts one video again; needed by ``sample``.
        num_sample: videos to extract again.

    Returns:
        The report, also if there are problems.

    Raises:
        StoreNotFound: there is no store.
        StoreError: ``repair``, and it is a packed copy.
        StoreLocked: ``repair``, and a run holds the store.
        StorageFailure: ``repair``, and the store cannot be written.
        ValueError: ``level="sample"`` without ``extract``.
    """
    if level == "sample" and extract is None:
        raise ValueError("level='sample' needs extract")
    path = store_path(path)
    if repair:
        layout.refuse_packed(path)
    store = Store.open(path, tolerant=True)
    report = _inspect(store, level)
    if level == "sample" and extract is not None:
        report.problems += _sample(store, extract, num_sample)
    if repair and any(problem.kind != "foreign" for problem in report.problems):
        with Lock.acquire(path, f"verify-{uuid4().hex[:8]}") as lock:
            _repair(path, lock, report)
    return report


def _inspect(store: Store, level: Level) -> VerifyReport:
    report = VerifyReport(store.path, level, videos=len(store.video_ids()), packed=store.packed)
    _inspect_texts(report, level)
    recipes = (*store.recipes().values(), *store.text_recipes().values())
    report.random_weights = any(map(has_random_weights, recipes))
    for name in store.damaged:
        report.problems.append(Problem("index", name, "", -1, "column cannot be read"))
    for file in FrameTimes(store.root).damaged_objects():
        report.problems.append(Problem("index", schema.PTS, "", -1, "cannot be read", file))
    if schema.VIDEO_ID in store.damaged:
        return report  # without ids every row would look like a stranger's
    records: dict[str, dict[int, FeatureRecord]] = {name: {} for name in store.features()}
    rows = store.rows()
    for video_id, row, record in store.ledger.newest():
        if rows.get(video_id) != row:
            detail = "in the ledger, but not in the index"
            report.problems.append(Problem("index", schema.VIDEO_ID, video_id, row, detail))
        elif record.feature in records:
            records[record.feature][row] = record
    names = {row: name for name, row in rows.items()}
    for array, row, wrong in check_index(store):
        report.problems.append(Problem("index", array, names[row], row, wrong))
    for feature, of_feature in records.items():
        _FeatureCheck(store, feature, of_feature, report).run(level)
    return report


def _inspect_texts(report: VerifyReport, level: Level) -> None:
    report.texts = found = check_texts(report.path, read=level == "crc")
    report.objects += found.objects
    report.n_bytes += found.n_bytes
    report.problems += [
        Problem(p.kind, p.array, "", -1, p.detail, p.path, of_texts=True) for p in found.problems
    ]


class _FeatureCheck:
    """Checks one feature and adds to the report."""

    def __init__(
        self, store: Store, feature: str, records: dict[int, FeatureRecord], report: VerifyReport
    ) -> None:
        self._store = store
        self._feature = feature
        self._records = records
        self._report = report
        self._ids = {row: name for name, row in store.rows().items()}
        self._status = store.status(feature)
        self._length = store.length(feature)
        self._num_axes = len(schema.open_array(store.root, feature, "r").shape) - 2

    def run(self, level: Level) -> None:
        objects = object_sizes(self._store.root, self._feature)
        self._report.objects += len(objects)
        self._report.n_bytes += sum(objects.values())
        agreeing = [row for row in self._ids if self._agrees(row)]
        if self._store.packed:
            records = {row: self._records[row] for row in agreeing}
            checker = ShardChecker(self._store.root, self._feature)
            for wrong in checker.check(records, objects, read=level == "crc"):
                self._add(wrong.kind, wrong.row, wrong.detail)
            return
        if level == "crc":
            self._read(agreeing)
        else:
            for row in agreeing:
                self._compare_sizes(row, objects)
        self._find_strangers(objects)

    def _add(self, kind: str, row: int, detail: str, path: StorePath | None = None) -> None:
        name = self._ids.get(row, "")
        self._report.problems.append(Problem(kind, self._feature, name, row, detail, path))

    def _agrees(self, row: int) -> bool:
        """Whether the row is ok in both the array and the ledger; tells where they differ."""
        status, record = Status(int(self._status[row])), self._records.get(row)
        if status == Status.PENDING:
            return False
        if record is None or record.status != status:
            told = record.status.name.lower() if record else "nothing"
            self._add("status", row, f"is {status.name.lower()}, ledger says {told}")
            return False
        if self._length[row] != record.length:
            self._add("length", row, f"is {self._length[row]}, ledger says {record.length}")
            return False
        return status == Status.OK

    def _read(self, rows: list[int]) -> None:
        checker = ChunkChecker(self._store.root, self._feature)
        with ThreadPoolExecutor(max_workers=num_cores()) as pool:
            found = pool.map(lambda row: checker.check(row, self._records[row]), rows)
            for row, wrong in zip(rows, found, strict=True):
                if wrong is not None:
                    self._add(wrong[0], row, wrong[1])

    def _compare_sizes(self, row: int, objects: Mapping[str, int]) -> None:
        for number, chunk in enumerate(self._records[row].chunks):
            name = chunk_path(LocalPath(), self._feature, row, number, self._num_axes).name
            if name not in objects:
                self._add("missing", row, f"chunk={number}: no object")
            elif objects[name] != chunk.n_bytes:
                detail = f"chunk={number}: {objects[name]} bytes, ledger says {chunk.n_bytes}"
                self._add("size", row, detail)

    def _find_strangers(self, objects: Mapping[str, int]) -> None:
        folder = self._store.root / self._feature
        held = read_holder(self._store.path) is not None
        for name in sorted(objects):
            parts = name.split(".")
            if name.endswith(".partial"):
                if not held or _age(folder / name) > PARTIAL_SECONDS:
                    self._add("partial", -1, f"{name}: left by a killed writer", folder / name)
            elif parts[0] != "c" or not all(p.isdigit() for p in parts[1:]) or len(parts) < 3:
                self._add("foreign", -1, f"{name}: not written by avqa")
            else:
                self._judge_object(int(parts[1]), int(parts[2]), folder / name)

    def _judge_object(self, row: int, chunk: int, path: StorePath) -> None:
        status = Status(int(self._status[row])) if row in self._ids else Status.DELETED
        if status == Status.PENDING:
            self._report.uncommitted += 1
        elif status != Status.OK:
            self._add("orphan", row, f"{path.name}: the row is {status.name.lower()}", path)
        elif chunk >= schema.num_chunks(int(self._length[row]), self._store.chunk_seconds):
            self._add("orphan", row, f"{path.name}: beyond the video's end", path)


def _age(path: StorePath) -> float:
    try:
        return time.time() - path.modified()
    except FileNotFoundError:
        return 0.0


def _sample(store: Store, extract: Extract, num_sample: int) -> list[Problem]:
    """Extract some videos again and compare row by row."""
    reader = FeatureStore(store.path)
    paths = {r.video_id: r.relpath for s in store.ledger.segments() for r in s.records()}
    ok = {
        name: tuple(f for f in reader.features if reader.status(name, f) == Status.OK)
        for name in reader.video_ids
    }
    candidates = sorted(name for name, features in ok.items() if features)
    chosen = random.Random(0).sample(candidates, min(num_sample, len(candidates)))
    problems = []
    for name in chosen:
        row = store.rows()[name]
        try:
            again = extract(name, paths[name], ok[name])
        except MediaError as error:
            problems.append(Problem("unreadable", "all features", name, row, str(error)))
            continue
        for feature in ok[name]:
            wrong = "the file has no such stream any more"
            if feature in again:
                wrong = _difference(reader.read(name, feature), again[feature]) or ""
            if wrong:
                problems.append(Problem("sample", feature, name, row, wrong))
    return problems


def _difference(stored: NDArray[Any], again: NDArray[Any]) -> str | None:
    if stored.shape != again.shape:
        return f"shape {stored.shape}, extracted again {again.shape}"
    left, right = (v.reshape(len(v), -1).astype(np.float64) for v in (stored, again))
    norms = np.linalg.norm(left, axis=1) * np.linalg.norm(right, axis=1)
    # Two zero rows are equal; a zero row and another one are not.
    zero = (left == 0).all(axis=1) & (right == 0).all(axis=1)
    cosine = np.where(zero, 1.0, (left * right).sum(axis=1) / np.where(norms == 0, 1.0, norms))
    worst = int(cosine.argmin())
    if cosine[worst] < LEAST_COSINE:
        return f"second={worst} has cosine={cosine[worst]:.4f}, expected {LEAST_COSINE}"
    return None


def _repair(path: StorePath, lock: Lock, report: VerifyReport) -> None:
    store = Store.open(path, lock)
    of_texts = [problem for problem in report.problems if problem.of_texts]
    repair_texts(path, lock, report.texts.problems)
    report.problems = [problem for problem in report.problems if not problem.of_texts]
    lost = [problem for problem in report.problems if problem.kind == "index"]
    for problem in lost:
        if problem.path is not None:
            problem.path.unlink(missing_ok=True)
    store.recover(rebuild=bool(lost))
    if lost:
        # What else was found while the index was damaged cannot be trusted: look again.
        found = _inspect(store, "size").problems
        report.problems = lost + [problem for problem in found if not problem.of_texts]
    unfit = {"missing", "size", "crc", "not_finite", "padding", "status", "length", "sample"}
    bad = {(p.row, p.array) for p in report.problems if p.kind in unfit}
    store.set_pending(sorted(bad))
    for row, feature in sorted(bad):
        num_axes = len(schema.open_array(store.root, feature).shape) - 2
        known = schema.open_array(store.root, feature).shape[1] // store.chunk_seconds
        remove_chunks(store.root, feature, row, 0, known, num_axes)
    for problem in report.problems:
        if problem.kind in {"orphan", "partial"} and problem.path is not None:
            problem.path.unlink(missing_ok=True)
    report.problems += of_texts
    number = sum(problem.kind != "foreign" for problem in report.problems)
    store.finish_run({"reason": f"repaired problems={number}"})
    report.repaired = True
