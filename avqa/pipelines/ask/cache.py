"""Features of asked videos and texts, kept between questions: one small file each.

    <cache>/asked/<key>.npz

The key names everything the numbers follow from, so that no file is ever out of date; a file
that is damaged or cut off is made again. The folder may be removed at any time.
"""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from avqa.caches import cache_dir
from avqa.errors import StorageFailure
from avqa.store.places.files import storage_errors, write_atomic

FOLDER = "asked"
_DAMAGED = (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile, zlib.error)


class AskCache:
    """Arrays by what they were made from."""

    def __init__(self, say: Callable[[str], None]) -> None:
        """Use the cache folder of the environment; ``say`` is told when it cannot be written."""
        self._folder = cache_dir() / FOLDER
        self._say = say
        self._complained = False

    def path(self, *facts: object) -> Path:
        """The file of what follows from ``facts``, plain data."""
        text = json.dumps(facts, sort_keys=True)
        return self._folder / f"{hashlib.sha256(text.encode()).hexdigest()[:40]}.npz"

    def read(self, path: Path) -> NDArray[Any] | None:
        """What was kept there; None if nothing, or nothing whole."""
        try:
            # zip members have a checksum
            with path.open("rb") as opened, np.load(opened, allow_pickle=False) as file:
                values: NDArray[Any] = file["values"]
                return values
        except _DAMAGED:
            return None

    def write(self, path: Path, values: NDArray[Any]) -> None:
        """Keep an array; where that cannot be, the question is answered all the same."""
        buffer = io.BytesIO()
        np.savez(buffer, values=values)
        try:
            with storage_errors(str(path)):
                path.parent.mkdir(parents=True, exist_ok=True)
                write_atomic(path, buffer.getvalue(), durable=False)
        except (StorageFailure, OSError) as error:
            if not self._complained:
                self._say(
                    f"warning: features are not kept for the next question: {error};"
                    " set AVQA_CACHE to a folder that can be written"
                )
            self._complained = True
