"""Narrow twins of the large encoders, made of the same code, as another package brings them.

What holds for a twin holds for the encoder, but for its numbers: one row of a large one takes
seconds.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from avqa import plugins
from avqa.extract import encoders

FOLDER = Path(__file__).parent / "small_encoders"
TESTS = Path(__file__).resolve().parents[2]


def environment() -> dict[str, str]:
    """Of commands that find them."""
    path = [str(FOLDER), str(TESTS), str(TESTS.parent)]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(path), "PYTHONWARNINGS": "ignore"}


@contextmanager
def installed() -> Iterator[None]:
    """Find them in this process."""
    sys.path.append(str(FOLDER))
    _forget()
    try:
        yield
    finally:
        sys.path.remove(str(FOLDER))
        _forget()


def _forget() -> None:
    plugins._entry_points.cache_clear()
    plugins._load.cache_clear()


def is_large(name: str) -> bool:
    """Whether a row fills a core for seconds: such an encoder takes one at a time."""
    return encoders.load(name).BATCH["cpu"] == 1
