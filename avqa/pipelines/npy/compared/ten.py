"""TSPM's files of ten rows: which seconds of a video they are, in whatever order they stand.

Its script takes ten frames by number out of a folder listing that nobody sorted, so published
rows may stand in another order, or be of other frames than the same numbers of a sorted listing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from avqa.pipelines.npy.layouts import ten_of

Ten = Literal["", "sorted", "permuted", "others"]
"""Theirs are no ten of our rows; those of the sorted frames; these in another order; others."""
MOVED: tuple[Ten, ...] = ("permuted", "others")
ROWS = 10


def rows_of_ten(
    ours: NDArray[Any], theirs: NDArray[Any], tolerance: float
) -> tuple[NDArray[Any], Ten]:
    """Our rows that theirs are to be compared with, row by row, and what this says of theirs.

    Args:
        ours: ``[T, *row]``.
        theirs: ``[n, *row]``.
        tolerance: smallest cosine of rows that are alike.
    """
    if len(theirs) != ROWS or len(ours) < ROWS:
        return ours, ""
    whole = len(ours) == ROWS
    chosen = list(range(ROWS)) if whole else ten_of(len(ours))
    table = _cosines(ours, theirs)  # [T, 10]
    if (table[chosen, range(ROWS)] >= tolerance).all():
        return ours[chosen], "" if whole else "sorted"
    found = np.array(chosen)[table[chosen].argmax(0)]
    if _alike(table, found, tolerance) and set(found) == set(chosen):
        return ours[found], "permuted"
    found = table.argmax(0)
    if _alike(table, found, tolerance):
        return ours[found], "others"
    return ours[chosen], "" if whole else "sorted"


def _alike(table: NDArray[np.float64], found: Sequence[int] | NDArray[Any], least: float) -> bool:
    return bool((table[found, range(ROWS)] >= least).all())


def _cosines(ours: NDArray[Any], theirs: NDArray[Any]) -> NDArray[np.float64]:
    """Of every row of ours with every one of theirs; 0 where a row is zero or not finite."""
    left, right = (rows.reshape(len(rows), -1).astype(np.float64) for rows in (ours, theirs))
    with np.errstate(invalid="ignore", over="ignore", divide="ignore"):
        left /= np.linalg.norm(left, axis=1, keepdims=True)
        right /= np.linalg.norm(right, axis=1, keepdims=True)
        return np.nan_to_num(left @ right.T, nan=0.0, posinf=0.0, neginf=0.0)
