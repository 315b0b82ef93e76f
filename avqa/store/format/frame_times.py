"""``/index/pts``: the time stamp of every row's frame, in chunks of 256 videos."""

from __future__ import annotations

import re
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from avqa.errors import StoreError
from avqa.faults import reading
from avqa.store.format import schema
from avqa.store.format.chunks import RowPart, row_of
from avqa.store.format.decoding import ChunkDecoder, DamagedObject, read_object
from avqa.store.places.files import StorePath, store_path

_OBJECT = re.compile(r"c\.\d+\.\d+")


class FrameTimes:
    """The array ``(video, second)`` of seconds, NaN past a video's end."""

    def __init__(self, root: StorePath) -> None:
        """Open it in the group ``root``."""
        self._root = store_path(root)
        self._array = schema.describe(root, schema.PTS)

    @property
    def shape(self) -> tuple[int, ...]:
        """Rows and seconds."""
        shape: tuple[int, ...] = self._array.shape
        return shape

    def resize(self, rows: int, seconds: int) -> None:
        """Set the shape."""
        schema.set_shape(self._root, schema.PTS, (rows, seconds))
        self._array = schema.open_array(self._root, schema.PTS)

    def write(self, times: Mapping[int, tuple[float, ...]]) -> None:
        """Replace whole rows: row → seconds of its frames.

        Blocks of rows are read, changed and written if they changed. A block without any
        time stamp has no object.

        Raises:
            StoreError: a block is damaged.
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
        self._array = schema.opened(self._array)
        whole = schema.beyond_shape(self._array, ((block + 1) * height, self._array.shape[1]))
        where = (slice(block * height, (block + 1) * height), slice(start, start + width))
        values = np.full((height, width), np.nan)
        try:
            stored = self._decoded(path)
        except DamagedObject as error:
            raise StoreError(
                f"array {schema.PTS}: {path.name} is damaged ({error}); expected its checksum to"
                " fit; rebuild it from the ledger with: avqa verify --repair"
            ) from error
        if stored is not None:
            values[:] = stored
        for row, pts in rows.items():
            values[row] = np.nan
            part = pts[start : start + width]
            values[row, : len(part)] = part
        if np.isnan(values).all():
            path.unlink(missing_ok=True)
        else:
            whole[where] = values

    def read(self, rows: slice) -> NDArray[np.float64]:
        """Seconds of the frames of some rows: ``[rows, second]``; NaN where there is no object.

        Raises:
            DamagedObject: one of their objects cannot be read.
            StorageFailure, EnvironmentFailure: the machine is at fault.
        """
        height, width = self._array.chunks
        start, stop, _ = rows.indices(self._array.shape[0])
        values = np.full((max(0, stop - start), self._array.shape[1]), np.nan)
        for block in range(start // height, -(-stop // height)):
            first, last = max(start, block * height), min(stop, (block + 1) * height)
            for chunk in range(self._array.shape[1] // width):
                found = self._decoded(self._root / schema.PTS / f"c.{block}.{chunk}")
                if found is not None:
                    part = found[first - block * height : last - block * height]
                    values[first - start : last - start, chunk * width : (chunk + 1) * width] = part
        return values

    def _decoded(self, path: StorePath) -> NDArray[np.float64] | None:
        with reading(f"array {schema.PTS}"):
            data = read_object(path)
        return None if data is None else ChunkDecoder(self._array).decode(data)

    def damaged_objects(self, part: RowPart | None = None) -> list[StorePath]:
        """Chunk objects, of all or of a part, that are damaged, or none of this array's.

        Raises:
            StorageFailure, EnvironmentFailure: the machine is at fault.
        """
        found: list[StorePath] = []
        objects: list[StorePath] = [*(self._root / schema.PTS).glob("c.*")]
        for path in sorted(objects, key=str):
            if path.name.endswith(".partial"):
                continue  # a write in progress
            if part is not None and not part.has(row_of(path.name, schema.PTS_ROWS)):
                continue
            try:
                if not _OBJECT.fullmatch(path.name):
                    raise DamagedObject(f"{path.name} is no name of a chunk")
                self._decoded(path)
            except DamagedObject:
                found.append(path)
        return found
