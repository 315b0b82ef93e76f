"""Narrow twins of the large encoders, made of the same code, as another package brings them.

What holds for a twin holds for the encoder, but for its numbers: one row of a large one takes
seconds.
"""

from __future__ import annotations

import os
from contextlib import AbstractContextManager
from pathlib import Path

from helpers.extraction import light

from avqa.extract import encoders

FOLDER = Path(__file__).parent / "small_encoders"
TESTS = Path(__file__).resolve().parents[2]


def environment() -> dict[str, str]:
    """Of commands that find them."""
    path = [str(FOLDER), str(TESTS), str(TESTS.parent)]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(path), "PYTHONWARNINGS": "ignore"}


def installed() -> AbstractContextManager[None]:
    """Find them in this process."""
    return light.installed(FOLDER)


def is_large(name: str) -> bool:
    """Whether a row fills a core for seconds: such an encoder takes one at a time."""
    return encoders.load(name).BATCH["cpu"] == 1
