"""Are the texts of a store what their columns say? The texts' part of `avqa verify`.

Texts have no ledger. A key follows from its content, a position from the content too, and whether a
text is there from its values: where a text is not ok they are NaN.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from avqa.errors import StoreError
from avqa.faults import is_limit
from avqa.store.checks.removed import Removed
from avqa.store.checks.textrepair import drop, keep_statuses, mend_columns
from avqa.store.format import layout, schema
from avqa.store.format.chunks import object_sizes
from avqa.store.format.columns import read_column
from avqa.store.format.decoding import ChunkDecoder, DamagedObject, read_object
from avqa.store.format.records import Status
from avqa.store.format.runs import RUNNING, Runs
from avqa.store.format.texts import (
    CHUNK_TEXTS,
    COLUMNS,
    EOT,
    KEY,
    TextIndex,
    mark_of,
    object_name,
    text_recipes,
)
from avqa.store.lock import Lock, read_holder
from avqa.store.places.files import StorePath
from avqa.store.text_writer import Texts

EndOfText = Callable[[Sequence[str]], Sequence[int]]
"""Texts → position of each one's end-of-text token."""
TextRemedy = Literal["pending", "aside", "texts", "none"]
MOST_TOKENS = 77
_STATUSES = [int(status) for status in Status]


@dataclass(frozen=True)
class TextProblem:
    """One thing that is not as it should be."""

    kind: str
    """As of `report.Problem`."""
    array: str
    detail: str
    chunk: int = -1
    """Chunk whose texts have to be encoded again."""
    path: StorePath | None = None
    """File that does not belong."""

    @property
    def remedy(self) -> TextRemedy:
        """What a repair does about it."""
        if self.path is not None:
            return "aside"
        if self.kind == "foreign":
            return "none"
        return "pending" if self.chunk >= 0 else "texts"


@dataclass
class TextReport:
    """What was checked of the texts and what was found."""

    texts: int = 0
    objects: int = 0
    n_bytes: int = 0
    problems: list[TextProblem] = field(default_factory=list)
    unread: list[tuple[str, str]] = field(default_factory=list)
    """(array, what the machine said) of objects that it did not give."""


def check_texts(path: StorePath, *, read: bool) -> TextReport:
    """Compare the texts' columns with each other, and their chunk objects with their statuses.

    Args:
        path: the store directory.
        read: also read and decode every object.
    """
    root = path / schema.GROUP
    recipes = text_recipes(layout.read_attributes(path))
    report = TextReport()
    if not recipes:
        return report
    sizes = {feature: object_sizes(root, feature) for feature in recipes}  # before the statuses
    report.objects = sum(map(len, sizes.values()))
    report.n_bytes = sum(size for of_feature in sizes.values() for size in of_feature.values())
    report.problems += _lost_columns(root)
    if report.problems:
        return report
    try:
        index = TextIndex(root, recipes, strict=False)
    except StoreError as error:
        report.problems.append(TextProblem("index", "text", str(error)))
        return report
    report.texts = len(index.keys)
    report.problems += _wrong_columns(index, mark_of(recipes))
    held = read_holder(path) is not None
    unfinished = held or any(run["state"] == RUNNING for run in Runs(path / "runs").all())
    for feature, objects in sizes.items():
        check = _FeatureCheck(root, feature, index.status[feature], objects, report)
        check.run(read=read, unfinished=unfinished)
        num_texts = len(index.status[feature])
        report.problems += _strangers(root / feature, feature, num_texts, objects, held)
    return report


def _lost_columns(root: StorePath) -> Iterator[TextProblem]:
    for name in COLUMNS:
        try:
            _, lost = read_column(root, name, schema.open_array(root, name, "r"))
        except StoreError:
            continue  # told with the index
        if lost:
            yield TextProblem("index", name, f"{lost[0]} is gone")


def _wrong_columns(index: TextIndex, mark: str) -> Iterator[TextProblem]:
    if len(set(index.keys)) < len(index.keys):
        yield TextProblem("index", KEY, "a key occurs twice")
    for row, (key, content) in enumerate(zip(index.keys, index.contents, strict=True)):
        if key != key_of(content, mark):
            detail = f"text={row} is not the SHA-256 of text/content, {content[:80]!r}"
            yield TextProblem("index", KEY, detail)
            break
    ends = index.eot
    least = np.array([2 if content.strip() else 1 for content in index.contents])
    wrong = np.flatnonzero((ends < least) | (ends >= MOST_TOKENS))
    for row in wrong[:1].tolist():
        detail = f"text={row} ends at {ends[row]}; expected {least[row]} to {MOST_TOKENS - 1}"
        yield TextProblem("index", EOT, detail)


def key_of(content: str, mark: str) -> str:
    """The key of what was tokenised: without the mark."""
    return hashlib.sha256(content.removesuffix(mark).encode()).hexdigest()


class _FeatureCheck:
    """Checks the statuses and objects of one feature and adds to the report."""

    def __init__(
        self,
        root: StorePath,
        feature: str,
        status: NDArray[np.uint8],
        objects: dict[str, int],
        report: TextReport,
    ) -> None:
        self._feature = feature
        self._folder = root / feature
        self._status = status
        self._objects = objects
        self._report = report
        array: Any = schema.open_array(root, feature, "r")
        self._num_axes = array.ndim - 1
        self._decoder = ChunkDecoder(array)
        self._n_bytes = int(np.prod(array.chunks)) * array.dtype.itemsize + 4  # its checksum

    def run(self, *, read: bool, unfinished: bool) -> None:
        name = schema.status_name(self._feature)
        odd = np.flatnonzero(~np.isin(self._status, _STATUSES))
        if len(odd):
            detail = f"text={odd[0]} is {self._status[odd[0]]}, which is no status"
            self._report.problems.append(TextProblem("status", name, detail))
            return
        for start in range(0, len(self._status), CHUNK_TEXTS):
            of_chunk = self._status[start : start + CHUNK_TEXTS]
            wrong = self._wrong(start // CHUNK_TEXTS, of_chunk == Status.OK, read, unfinished)
            if wrong is not None:
                self._report.problems.append(wrong)

    def _wrong(
        self, chunk: int, ok: NDArray[np.bool_], read: bool, unfinished: bool
    ) -> TextProblem | None:
        name = object_name(chunk, self._num_axes)
        size = self._objects.get(name)
        of = f"chunk={chunk} of {int(ok.sum())} texts"
        if size is None:
            missing = TextProblem("missing", self._feature, f"{of}: no object", chunk)
            return missing if ok.any() else None
        if ok.any() and size != self._n_bytes:
            detail = f"{of}: {size} bytes, expected {self._n_bytes}"
            return TextProblem("size", self._feature, detail, chunk)
        if not read or (not ok.any() and unfinished):
            return None
        try:
            data = read_object(self._folder / name)
        except OSError as error:
            if is_limit(error):
                raise
            self._report.unread.append((self._feature, f"{error.strerror}: {name}"))
            return None
        try:
            values = self._decoder.decode(data or b"")
        except DamagedObject as error:
            detail = f"{of}: does not decode: {error}"
            return TextProblem("crc", self._feature, detail, chunk) if ok.any() else None
        return self._wrong_values(values[: len(ok)], ok, chunk, of, unfinished)

    def _wrong_values(
        self,
        values: NDArray[Any],
        ok: NDArray[np.bool_],
        chunk: int,
        of: str,
        unfinished: bool,
    ) -> TextProblem | None:
        whole = np.isfinite(values.reshape(len(values), -1)).all(axis=1)
        if (ok & ~whole).any():
            detail = f"{of}: NaN or infinity in a text"
            return TextProblem("not_finite", self._feature, detail, chunk)
        # Values are written before statuses, so that a run that was killed leaves such.
        unsaid = int((whole & ~ok).sum())
        if unsaid and not unfinished:
            name = schema.status_name(self._feature)
            detail = f"chunk={chunk}: {unsaid} texts have values and are not ok"
            return TextProblem("status", name, detail)
        return None


def _strangers(
    folder: StorePath, feature: str, num_texts: int, objects: dict[str, int], held: bool
) -> Iterator[TextProblem]:
    num_chunks = -(-num_texts // CHUNK_TEXTS)
    for name in sorted(objects):
        parts = name.split(".")
        if name.endswith(".partial"):
            if not held:
                detail = f"{name}: left by a killed writer"
                yield TextProblem("partial", feature, detail, path=folder / name)
        elif parts[0] != "c" or not all(p.isdecimal() for p in parts[1:]) or len(parts) < 3:
            yield TextProblem("foreign", feature, f"{name}: not written by avqa")
        elif int(parts[1]) >= num_chunks:
            detail = f"{name}: beyond the last text"
            yield TextProblem("orphan", feature, detail, path=folder / name)


def repair_texts(
    path: StorePath,
    lock: Lock,
    problems: list[TextProblem],
    removed: Removed,
    end_of_text: EndOfText | None = None,
) -> bool:
    """Rebuild what follows from the rest, make bad texts pending; texts without content go.

    Returns:
        Whether texts have to be encoded again.
    """
    remedies = {problem.remedy for problem in problems}
    for problem in problems:
        if problem.path is not None:
            removed.move(problem.path)
    columns = {p.array for p in problems if p.remedy == "texts" and p.kind == "index"}
    if columns and not mend_columns(path, columns, removed, key_of, end_of_text):
        drop(path, lock, removed)
        return True
    if not remedies & {"pending", "texts"}:
        return False
    keep_statuses(path, removed)
    texts = Texts(path, lock, heal=True)
    wrong = {p.array.removeprefix("status/") for p in problems if p.kind == "status"}
    for feature in sorted(wrong | set(texts.damaged)):
        texts.set_by_values(feature)
    for problem in problems:
        if problem.remedy == "pending":
            texts.set_pending(problem.array, problem.chunk)
    return "pending" in remedies or bool(texts.num_pending())
