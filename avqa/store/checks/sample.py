"""Are a store's values those that its videos give? The part of `avqa verify --level sample`."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from avqa.errors import MediaError
from avqa.store.checks.report import Problem
from avqa.store.commit import Store
from avqa.store.format.records import Status
from avqa.store.reader import FeatureStore
from avqa.telling import Say, counting, silent

Extract = Callable[[str, str, tuple[str, ...]], Mapping[str, NDArray[Any]]]
"""(video id, relpath, features) → feature → ``[T, *shape]``, extracted again."""
LEAST_COSINE = 0.999


def check_sample(
    store: Store, extract: Extract, num_sample: int, say: Say = silent
) -> list[Problem]:
    """Extract some videos again and compare row by row; those whose file is known."""
    reader = FeatureStore(store.path)
    paths = {r.video_id: r.relpath for s in store.ledger.segments() for r in s.records()}
    ok = {
        name: tuple(f for f in reader.features if reader.status(name, f) == Status.OK)
        for name in reader.video_ids
    }
    candidates = sorted(name for name, features in ok.items() if features and paths.get(name))
    chosen = random.Random(0).sample(candidates, min(num_sample, len(candidates)))
    problems = []
    with counting(say, "extracting again", len(chosen), "videos") as count:
        for name in chosen:
            problems += _compared(store, reader, extract, name, paths[name], ok[name])
            count.step()
    return problems


def _compared(
    store: Store,
    reader: FeatureStore,
    extract: Extract,
    name: str,
    relpath: str,
    features: tuple[str, ...],
) -> list[Problem]:
    row = store.rows()[name]
    try:
        again = extract(name, relpath, features)
    except MediaError as error:
        return [Problem("unreadable", "all features", name, row, str(error), remedy="none")]
    problems = []
    for feature in features:
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
