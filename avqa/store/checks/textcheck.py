"""Are the texts of a store what their columns say? The texts' part of `avqa verify`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from avqa.errors import StoreError
from avqa.store.format import layout, schema
from avqa.store.format.chunks import object_sizes
from avqa.store.format.records import Status
from avqa.store.format.texts import CHUNK_TEXTS, TextIndex, object_name, text_recipes
from avqa.store.lock import Lock, read_holder
from avqa.store.places.files import StorePath
from avqa.store.text_writer import Texts, drop_texts


@dataclass(frozen=True)
class TextProblem:
    """One thing that is not as it should be."""

    kind: str
    """As of `verify.Problem`."""
    array: str
    detail: str
    chunk: int = -1
    """Chunk whose texts have to be encoded again."""
    path: StorePath | None = None
    """File that does not belong."""


@dataclass
class TextReport:
    """What was checked of the texts and what was found."""

    texts: int = 0
    objects: int = 0
    n_bytes: int = 0
    problems: list[TextProblem] = field(default_factory=list)


def check_texts(path: StorePath, *, read: bool) -> TextReport:
    """Compare the texts' chunk objects with their statuses.

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
    try:
        index = TextIndex(root, recipes)
    except StoreError as error:
        report.problems.append(TextProblem("index", "text", str(error)))
        return report
    report.texts = len(index.keys)
    if len(set(index.keys)) < len(index.keys):
        report.problems.append(TextProblem("index", "text/key", "a key occurs twice"))
    held = read_holder(path) is not None
    for feature, objects in sizes.items():
        status = index.status[feature]
        report.problems += _wrong_objects(root, feature, status, objects, read)
        report.problems += _strangers(root / feature, feature, len(status), objects, held)
    return report


def _wrong_objects(
    root: StorePath, feature: str, status: Any, objects: dict[str, int], read: bool
) -> Iterator[TextProblem]:
    array = schema.open_array(root, feature, "r")
    expected = int(np.prod(array.chunks)) * array.dtype.itemsize + 4  # its checksum
    for start in range(0, len(status), CHUNK_TEXTS):
        ok = np.flatnonzero(status[start : start + CHUNK_TEXTS] == Status.OK)
        chunk = start // CHUNK_TEXTS
        size = objects.get(object_name(chunk, array.ndim - 1))
        wrong = None
        if len(ok) and size is None:
            wrong = "missing", "no object"
        elif len(ok) and size != expected:
            wrong = "size", f"{size} bytes, expected {expected}"
        elif len(ok) and read:
            wrong = _undecodable(array, start, ok)
        if wrong is not None:
            detail = f"chunk={chunk} of {len(ok)} texts: {wrong[1]}"
            yield TextProblem(wrong[0], feature, detail, chunk)


def _undecodable(array: Any, start: int, ok: Any) -> tuple[str, str] | None:
    try:
        values = np.asarray(array[start : start + CHUNK_TEXTS])[ok]
    except (ValueError, RuntimeError) as error:
        return "crc", f"does not decode: {error}"
    return None if np.isfinite(values).all() else ("not_finite", "NaN or infinity in a text")


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
        elif parts[0] != "c" or not all(p.isdigit() for p in parts[1:]) or len(parts) < 3:
            yield TextProblem("foreign", feature, f"{name}: not written by avqa")
        elif int(parts[1]) >= num_chunks:
            detail = f"{name}: beyond the last text"
            yield TextProblem("orphan", feature, detail, path=folder / name)


def repair_texts(path: StorePath, lock: Lock, problems: list[TextProblem]) -> None:
    """Make bad texts pending; texts whose columns are damaged go altogether."""
    if not problems:
        return
    if any(problem.kind == "index" for problem in problems):
        drop_texts(path, lock)
        return
    texts = Texts(path, lock)
    for problem in problems:
        if problem.chunk >= 0:
            texts.set_pending(problem.array, problem.chunk)
        if problem.path is not None:
            problem.path.unlink(missing_ok=True)
