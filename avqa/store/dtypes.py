"""What a feature's type says of values: of floating point numbers, and of whole ones."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

NO_NUMBER = 255
"""In a feature of whole numbers, what NaN is in others: no value was written."""


def fill_value(dtype: Any) -> float | int:
    """What a feature of this type has where nothing was written."""
    return np.nan if np.dtype(dtype).kind == "f" else NO_NUMBER


def missing(shape: tuple[int, ...], dtype: Any) -> NDArray[Any]:
    """An array of which nothing was written."""
    return np.full(shape, fill_value(dtype), dtype)


def largest(dtype: Any) -> float:
    """The largest value that a feature of this type can hold."""
    of = np.dtype(dtype)
    return float(np.finfo(of).max) if of.kind == "f" else NO_NUMBER - 1


def is_fill(values: NDArray[Any]) -> NDArray[np.bool_]:
    """Where a feature's values are `fill_value`."""
    found: NDArray[np.bool_] = np.isnan(values) if values.dtype.kind == "f" else values == NO_NUMBER
    return found
