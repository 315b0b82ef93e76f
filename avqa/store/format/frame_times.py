"""``/index/pts``: the time stamp of every row's frame, in chunks of 256 videos."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from avqa.store.format import schema
from avqa.store.places.files import StorePath, store_path


class FrameTimes:
    """The array ``(video, second)`` of seconds, NaN past a video's end."""

    def __init__(self, root: StorePath) -> None:
        """Open it in the group ``root``."""
        self._root = store_path(root)
        self._array = schema.open_array(root, schema.PTS)

    @property
    def shape(self) -> tuple[int, ...]:
        """Rows and seconds."""
        return self._array.shape

    def resize(self, rows: int, seconds: int) -> None:
        """Set the shape."""
        schema.set_shape(self._root, schema.PTS, (rows, seconds))
        self._array = schema.open_array(self._root, schema.PTS)

    def write(self, times: Mapping[int, tuple[float, ...]]) -> None:
        """Replace whole rows: row → seconds of its frames.

        Blocks of rows are read, changed and written if they changed. A block without any
        time stamp has no object.
        """
        blocks: dict[int, dict[int, tuple[float, ...]]] = {}
        for row, pts in times.items():
            blocks.setdefault(row // schema.PTS_ROWS, {})[row % schema.PTS_ROWS] = pts
        width = self._array.chunks[1]
        for block, rows in blocks.items():
            for chunk in range(self._array.shape[1] // width):
                self._write_block(block, chunk, rows)

    def _write_block(self, block: int, chunk: int, rows: dict[int, tuple[float, ...]]) -> None:
        height, width = self._array.chunks
        path = self._root / schema.PTS / f"c.{block}.{chunk}"
        start = chunk * width
        if not path.exists() and not any(len(pts) > start for pts in rows.values()):
            return
        whole = schema.beyond_shape(self._array, ((block + 1) * height, self._array.shape[1]))
        where = (slice(block * height, (block + 1) * height), slice(start, start + width))
        values = np.full((height, width), np.nan)
        if path.exists():
            values[:] = whole[where]
        for row, pts in rows.items():
            values[row] = np.nan
            part = pts[start : start + width]
            values[row, : len(part)] = part
        if np.isnan(values).all():
            path.unlink(missing_ok=True)
        else:
            whole[where] = values

    def read(self, rows: slice) -> NDArray[np.float64]:
        """Seconds of the frames of some rows: ``[rows, second]``."""
        values: NDArray[np.float64] = np.asarray(self._array[rows])
        return values

    def damaged_objects(self) -> list[StorePath]:
        """Chunk objects that cannot be read."""
        height, width = self._array.chunks
        found: list[StorePath] = []
        objects: list[StorePath] = [*(self._root / schema.PTS).glob("c.*")]
        for path in sorted(objects, key=str):
            if path.name.endswith(".partial"):
                continue  # a write in progress
            try:
                _, block, chunk = path.name.split(".")
                row, second = int(block) * height, int(chunk) * width
                whole = schema.beyond_shape(self._array, (row + height, second + width))
                whole[row : row + height, second : second + width]
            except (ValueError, RuntimeError):
                found.append(path)
        return found
