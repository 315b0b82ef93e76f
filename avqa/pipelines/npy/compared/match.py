"""Arithmetic of `avqa compare`: which row meets which, how alike they are, what a side looks like.

Row k of ours meets row k + shift of theirs. Rows are compared as one flat vector each.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

SHIFTS = (0, -1, 1, -2, 2, -3, 3)
"""Nearest first: among equally good shifts the smallest is taken."""
_TIE = 1e-6
_UNIT = 1e-3
"""Norms this near to 1 count as normalised; float16 rounds to 5e-4."""

Cosines = Mapping[int, NDArray[np.float64]]


def overlap(ours: int, theirs: int, shift: int) -> tuple[slice, slice]:
    """Rows of two videos of these lengths that meet at ``shift``: as many on either side."""
    first = max(0, -shift)
    count = max(0, min(ours - first, theirs - first - shift))
    return slice(first, first + count), slice(first + shift, first + shift + count)


def norms(rows: NDArray[Any]) -> NDArray[np.float64]:
    """Length of every row: ``[T]``."""
    flat = rows.reshape(len(rows), -1)
    squares: NDArray[np.float64] = np.einsum("ij,ij->i", flat, flat, dtype=np.float64)
    return np.sqrt(squares)


def cosines(ours: NDArray[Any], theirs: NDArray[Any]) -> dict[int, NDArray[np.float64]]:
    """Shift → cosine of every pair of rows that meet.

    Two zero rows are alike (1); a zero row and another, or one that is not finite, are not (0).
    Shifts at which less than half of the shorter video meets are left out.
    """
    left, right = (rows.reshape(len(rows), -1) for rows in (ours, theirs))
    with np.errstate(invalid="ignore", over="ignore"):
        sizes = norms(ours), norms(theirs)
        found = {}
        for shift in SHIFTS:
            mine, yours = overlap(len(ours), len(theirs), shift)
            count = mine.stop - mine.start
            if count == 0 or 2 * count < min(len(ours), len(theirs)):
                continue
            dots = np.einsum("ij,ij->i", left[mine], right[yours], dtype=np.float64)
            product = sizes[0][mine] * sizes[1][yours]
            values = dots / np.where(product == 0, 1.0, product)
            both_zero = (sizes[0][mine] == 0) & (sizes[1][yours] == 0)
            values = np.where(both_zero, 1.0, values)
            found[shift] = np.where(np.isfinite(values), values, 0.0)
    return found


def best_shift(of_videos: Sequence[Cosines]) -> int:
    """The shift with the largest mean cosine over the rows of all videos.

    Raises:
        ValueError: no rows meet.
    """
    means = {}
    for shift in SHIFTS:
        values = [found[shift] for found in of_videos if shift in found]
        if values:
            means[shift] = float(np.concatenate(values).mean())
    if not means:
        raise ValueError("no rows meet")
    top = max(means.values())
    return next(shift for shift, mean in means.items() if mean >= top - _TIE)


@dataclass
class Traits:
    """What can be seen of one side alone, gathered video by video."""

    rows: Counter[int] = field(default_factory=Counter)
    dtypes: Counter[str] = field(default_factory=Counter)
    values: int = 0
    negatives: int = 0
    zero_rows: int = 0
    bad_rows: int = 0
    """With NaN or infinity."""
    unit_rows: int = 0
    integral: bool = True
    """Only whole numbers from 0 to 255."""
    half: bool = True
    """Only numbers that half precision has."""
    largest: float = 0.0
    constant: int = 0
    """Videos of more than one row whose rows are all the same."""
    repeated: int = 0
    """Rows of several positions that are all the same."""

    def add(self, rows: NDArray[Any]) -> None:
        """Look at one video ``[T, *row]``."""
        flat = rows.reshape(len(rows), -1)
        finite = np.isfinite(flat).all(axis=1)
        self.rows[len(rows)] += 1
        self.dtypes[str(rows.dtype)] += 1
        self.values += flat.size
        self.negatives += int((flat < 0).sum())
        self.bad_rows += int((~finite).sum())
        good = flat[finite]
        sizes = norms(good)
        self.zero_rows += int((sizes == 0).sum())
        self.unit_rows += int((np.abs(sizes - 1) < _UNIT).sum())
        if good.size:
            self.largest = max(self.largest, float(np.abs(good).max()))
            low, high = good.min() >= 0, good.max() <= 255
            self.integral &= bool(low and high and (good == np.round(good)).all())
        self.half = self.half and _is_half(good)
        self.constant += len(rows) > 1 and bool((flat == flat[:1]).all())
        # Zero rows have equal positions for another reason.
        if rows.ndim == 3:
            same = (rows == rows[:, :1]).all(axis=(1, 2))
            self.repeated += int((same & (flat != 0).any(axis=1)).sum())

    @property
    def total(self) -> int:
        """Rows of all videos."""
        return sum(count * rows for rows, count in self.rows.items())

    @property
    def usual(self) -> int:
        """The most frequent number of rows of a video."""
        return self.rows.most_common(1)[0][0]

    @property
    def is_bytes(self) -> bool:
        """Whole numbers from 0 to 255, and not only 0 and 1."""
        return self.integral and self.largest > 1

    @property
    def is_half(self) -> bool:
        """Made in half precision and stored in a wider type."""
        return self.half and not self.integral and "float16" not in self.dtypes

    @property
    def is_normalised(self) -> bool:
        """Every row that is not zero has length 1."""
        judged = self.total - self.bad_rows - self.zero_rows
        return judged > 0 and self.unit_rows == judged

    @property
    def is_repeated(self) -> bool:
        """All positions of most rows are the same."""
        return 2 * self.repeated > self.total

    def notes(self) -> list[str]:
        """Findings, for people."""
        found = []
        if self.bad_rows:
            found.append(f"{self.bad_rows} rows hold NaN or infinity")
        if self.zero_rows:
            found.append(f"{self.zero_rows} rows are all zeros")
        if self.constant:
            found.append(f"{self.constant} videos repeat one row throughout")
        if self.is_repeated:
            found.append("all positions of a row are the same vector: the class token repeated")
        if self.is_bytes:
            found.append("whole numbers from 0 to 255: rounded to 8 bits")
        if self.is_half:
            found.append("values of half precision in a wider type")
        if self.is_normalised:
            found.append("rows are L2-normalised")
        found.append(
            f"{100 * self.negatives / self.values:.0f} % of the values are negative"
            if self.negatives
            else "no negative values: after a ReLU or rounding"
        )
        return found

    def rows_text(self) -> str:
        """``60 rows``, or the range with the usual number."""
        low, high = min(self.rows), max(self.rows)
        return f"{low} rows" if low == high else f"{low} to {high} rows, mostly {self.usual}"


def _is_half(rows: NDArray[Any]) -> bool:
    """Whether float16 holds these numbers as they are."""
    with np.errstate(over="ignore"):
        return bool((rows == rows.astype(np.float16)).all())


class AcrossNorm:
    """Whether one side's rows are the other's behind a layer norm whose weights nobody knows.

    Every channel behind it is a straight line of the standardised row before it; gathered video by
    video, both ways.
    """

    _LEAST_ROWS = 20
    """Fewer rows lie on a line by chance."""
    _LEAST_PART = 0.9
    """Of the variance that lines explain: rows that are means of tokens leave a rest."""

    def __init__(self) -> None:
        """Begin without rows."""
        self._rows = 0
        self._sums: dict[str, NDArray[np.float64]] = {}

    def add(self, ours: NDArray[Any], theirs: NDArray[Any]) -> None:
        """Take in the rows of a video that have numbers on both sides: ``[T, *row]`` each."""
        count = min(len(ours), len(theirs))
        left, right = (
            rows[:count].reshape(-1, rows.shape[-1]).astype(np.float64) for rows in (ours, theirs)
        )
        good = np.isfinite(left).all(1) & np.isfinite(right).all(1)
        left, right = left[good], right[good]
        self._rows += len(left)
        for whose, before, behind in (("theirs", left, right), ("ours", right, left)):
            spread = before.std(1, keepdims=True)
            x = (before - before.mean(1, keepdims=True)) / np.where(spread == 0, 1, spread)
            sums = np.stack([(v).sum(0) for v in (x, behind, x * x, behind * behind, x * behind)])
            self._sums[whose] = self._sums.get(whose, 0) + sums

    def whose(self) -> str:
        """``theirs`` or ``ours``: which side is behind the norm; empty if neither seems to be."""
        if self._rows < self._LEAST_ROWS:
            return ""
        parts = {whose: self._part(sums) for whose, sums in self._sums.items()}
        best = max(parts, key=lambda whose: parts[whose])
        return best if parts[best] > self._LEAST_PART else ""

    def _part(self, sums: NDArray[np.float64]) -> float:
        """Of the variance of all channels, what a line per channel explains."""
        x, y, xx, yy, xy = sums / self._rows
        var_x, var_y, both = xx - x * x, yy - y * y, xy - x * y
        explained = np.where(var_x > 0, both**2 / np.where(var_x > 0, var_x, 1), 0).sum()
        return float(explained / var_y.sum()) if var_y.sum() > 0 else 0.0
