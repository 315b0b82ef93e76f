"""All arrays of a store but the features' values, as the driver holds and writes them.

What a record says of a video is applied here, at its commit or when the ledger is replayed.
Every step may be repeated; the lock, the ledger and full disks are the concern of `commit`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Protocol

from numpy.typing import NDArray

from avqa.store.format import schema
from avqa.store.format.chunks import FeatureObjects, RowPart, delete, remove_chunks
from avqa.store.format.columns import Column, column_chunks
from avqa.store.format.frame_times import FrameTimes
from avqa.store.format.records import RowFlag, Status, VideoRecord
from avqa.store.places.files import StorePath, store_path

EDGES = ("start", "end")
INDEX = ("index/duration", "index/audio_start", "index/audio_end", "index/row_flags")


def index_values(record: VideoRecord) -> dict[str, float]:
    """What a record says of its video: column of `INDEX` → value."""
    start, end = record.audio_start, record.audio_end
    return {
        "index/duration": record.duration,
        "index/audio_start": math.nan if start is None else start,
        "index/audio_end": math.nan if end is None else end,
        "index/row_flags": record.row_flags,
    }


class Read(Protocol):
    """A column as it was read."""

    @property
    def values(self) -> NDArray[Any]:
        """All values."""

    @property
    def lost(self) -> tuple[str, ...]:
        """Objects that are not there."""


def impossible(columns: Mapping[str, Read], height: int) -> Iterator[tuple[str, str]]:
    """(array, why) of the columns that cannot be as they are, of a store or of some features.

    Every row has an id, and whatever is ok has a length; a column has a value for every id. An
    object of a column has ``height`` rows.
    """
    ids = columns[schema.VIDEO_ID]
    if ids.lost:
        yield schema.VIDEO_ID, f"{ids.lost[0]} is gone; expected an id of every video"
    for name, column in columns.items():
        if len(column.values) < len(ids.values):
            yield name, f"{len(column.values)} rows; expected {len(ids.values)}"
        elif name.startswith("status/"):
            of_length = schema.length_name(name.removeprefix("status/"))
            length = columns[of_length]
            if (column.values > max(Status)).any():
                yield name, f"{column.values.max()} is no status; expected 0 to {max(Status)}"
                continue
            for file in length.lost:
                first = int(file.split(".")[1]) * height
                if (column.values[first : first + height] == Status.OK).any():
                    yield of_length, f"{file} is gone; expected a length of what is ok"
                    break


class Arrays:
    """Index, statuses and lengths in memory, and the size of the features' arrays."""

    def __init__(
        self,
        root: StorePath,
        features: Iterable[str],
        chunk_seconds: int,
        *,
        heal: bool,
        part: RowPart | None = None,
    ) -> None:
        """Read them from the group ``root``; with ``heal``, damaged columns start empty.

        With a ``part`` they are for reading, and hold its rows alone; statuses hold all.
        """
        self._root = store_path(root)
        self._heal = heal
        self._part = part
        self._chunk_seconds = chunk_seconds
        self.discard: Callable[[StorePath], None] = delete
        self._gone: list[tuple[int, str, int]] = []
        """Row, feature, first chunk of objects that rows have no more and that are still there."""
        """What becomes of chunk objects that no longer count."""
        self._features: list[str] = []
        self.columns = {name: self._column(name) for name in (schema.VIDEO_ID, *INDEX)}
        for feature in features:
            self.add_feature(feature)
        self._images = FrameTimes(root)
        self.seconds = self._images.shape[1]
        """Size of the second axis of all features."""
        self._condemn()
        self.rows = self._rows()
        """Video id → row."""

    def _rows(self) -> dict[str, int]:
        ids = self.columns[schema.VIDEO_ID]
        if self._part is None:
            return {str(name): row for row, name in enumerate(ids.values) if name}
        part = self._part.rows
        rows = {str(ids[row]): row for row in part if ids[row]}
        if ids.damaged:
            return rows
        # Of rows with one id the last one counts, wherever it is.
        array = schema.open_array(self._root, schema.VIDEO_ID, "r")
        for start, _, values in column_chunks(self._root, schema.VIDEO_ID, array, part.stop):
            for row, name in enumerate(() if values is None else values, start):
                if row >= part.stop and str(name) in rows:
                    rows[str(name)] = row
        return rows

    def _condemn(self) -> None:
        """Look for columns that cannot be as they are."""
        height = self.columns[schema.VIDEO_ID].height
        for name, why in list(impossible(self.columns, height)):
            self.columns[name].condemn(why)

    def _column(self, name: str) -> Column:
        # Statuses are a byte each, and whether they can be is a question to all of them.
        some = self._part is not None and not name.startswith("status/")
        kept = self._part.rows if self._part is not None and some else None
        return Column(self._root, name, heal=self._heal, kept=kept)

    def add_feature(self, feature: str) -> None:
        """Read the columns of a feature that is in the group."""
        self._features = sorted({*self._features, feature})
        for name in (schema.length_name(feature), schema.status_name(feature)):
            self.columns[name] = self._column(name)

    @property
    def num_rows(self) -> int:
        """Rows in use, deleted ones included."""
        return self.columns[schema.VIDEO_ID].rows

    def add_rows(self, new: Sequence[str]) -> None:
        """Append videos that are not there yet, in memory."""
        first = self.num_rows
        for column in self.columns.values():
            column.extend(first + len(new))
        for row, name in enumerate(new, start=first):
            self.columns[schema.VIDEO_ID][row] = name
            self.rows[name] = row

    def show_rows(self) -> None:
        """Make the ids durable and give every array the store's rows and seconds."""
        # video_id comes last: its shape is what makes the rows exist.
        self._set_shapes()
        column = self.columns[schema.VIDEO_ID]
        column.flush(durable=True)
        column.commit_shape()

    def _set_shapes(self) -> None:
        rows = self.num_rows
        for feature in self._features:
            shape = schema.open_array(self._root, feature).shape
            schema.set_shape(self._root, feature, (rows, self.seconds, *shape[2:]))
        self._images.resize(rows, self.seconds)
        for name, column in self.columns.items():
            if name != schema.VIDEO_ID:
                column.commit_shape()

    def apply(self, records: Sequence[VideoRecord]) -> None:
        """Bring the arrays to what the records say; may be repeated, also if a write failed.

        A status is not even set in memory before times and lengths are on the disk: what is ok
        must have them, whichever write is the last.
        """
        self._hide_removed(records)
        self._grow(max((f.length for r in records for f in r.features), default=0))
        pts: dict[int, tuple[float, ...]] = {}
        statuses: dict[tuple[str, int], Status] = {}
        for record in records:
            if self._describes(record, statuses):
                self._set_index(record)
                pts[record.row] = record.pts
            for feature in record.features:
                lengths = self.columns[schema.length_name(feature.feature)]
                old, new = (
                    schema.num_chunks(int(n), self._chunk_seconds)
                    for n in (lengths[record.row], feature.length)
                )
                if feature.status != Status.OK or old > new:
                    self._gone.append((record.row, feature.feature, new))
                lengths[record.row] = feature.length
                statuses[feature.feature, record.row] = feature.status
        self.flush("index/")
        self._images.write(pts)
        self.flush("length/")
        for (name, row), status in statuses.items():
            self.columns[schema.status_name(name)][row] = status
        self.flush("status/")
        self._remove_gone()

    def _remove_gone(self) -> None:
        """Remove the objects that rows have no more."""
        known = self.seconds // self._chunk_seconds
        for name in sorted({name for _, name, _ in self._gone}):
            objects = FeatureObjects(self._root, name)
            gone = {row: first for row, of, first in self._gone if of == name}
            for row, first in gone.items():
                remove_chunks(objects.root, name, row, first, known, objects.num_axes, self.discard)
            # A repair takes nothing away that it does not keep: a chunk in a shard stays in it.
            if objects.videos and self.discard is delete:
                objects.forget(gone, known)
        self._gone = []

    def _hide_removed(self, records: Sequence[VideoRecord]) -> None:
        """Set these statuses first: what is ok must have its times and its length.

        Other rows are pending when their records come.
        """
        for record in records:
            for feature in record.features:
                if feature.status == Status.DELETED:
                    self.columns[schema.status_name(feature.feature)][record.row] = Status.DELETED
        self.flush("status/")

    def with_kept_extent(self, record: VideoRecord) -> VideoRecord:
        """A record with the row's audio extent, where only features of frames were made again.

        Who reads no audio does not know where it lies; the audio's own rows are still there.
        """
        made = {feature.feature: feature.status for feature in record.features}
        has_audio = bool(record.row_flags & RowFlag.HAS_AUDIO)
        if record.audio_start is not None or not has_audio or {*made.values()} != {Status.OK}:
            return record
        others = (self.columns[schema.status_name(f)] for f in self._features if f not in made)
        if not any(column[record.row] == Status.OK for column in others):
            return record
        start, end = (float(self.columns[f"index/audio_{edge}"][record.row]) for edge in EDGES)
        return record if math.isnan(start) else replace(record, audio_start=start, audio_end=end)

    def _describes(self, record: VideoRecord, statuses: Mapping[tuple[str, int], Status]) -> bool:
        """Whether the record may set the video's own values.

        A record without any ok feature must not wipe those of features that are, by ``statuses``
        (feature, row) of the records before it or by the columns.
        """
        if any(feature.status == Status.OK for feature in record.features):
            return True
        touched = {feature.feature for feature in record.features}
        row = record.row
        return not any(
            statuses.get((f, row), self.columns[schema.status_name(f)][row]) == Status.OK
            for f in self._features
            if f not in touched
        )

    def _set_index(self, record: VideoRecord) -> None:
        for name, value in index_values(record).items():
            self.columns[name][record.row] = value

    def flush(self, prefix: str) -> None:
        """Write the changes of all columns whose name starts with ``prefix``."""
        for name, column in self.columns.items():
            if name.startswith(prefix):
                column.flush()

    def _grow(self, seconds: int) -> None:
        """Make the second axis of all features long enough, in whole chunks."""
        needed = schema.num_chunks(seconds, self._chunk_seconds) * self._chunk_seconds
        if needed > self.seconds:
            self.seconds = needed
            self._set_shapes()

    def replay(self, records: Sequence[VideoRecord]) -> None:
        """Apply records of the ledger again, each feature of a row once.

        Ids that a damaged index lost come back; a row that meanwhile got another id keeps it.
        """
        ids = self.columns[schema.VIDEO_ID]
        rows = max((record.row + 1 for record in records), default=0)
        for column in self.columns.values():
            column.extend(max(rows, ids.rows))
        for record in records:
            if not ids[record.row]:
                ids[record.row] = record.video_id
                self.rows[record.video_id] = record.row
        stored = set(self._features)
        fitting = [
            replace(record, features=tuple(f for f in record.features if f.feature in stored))
            for record in records
            if self.rows.get(record.video_id) == record.row
        ]
        self.apply(fitting)
