"""Rows of many videos, gathered into forwards of one fixed batch shape.

Decoder threads `put` prepared rows; encoder threads `take` batches. A batch is always full,
except when no video is being decoded any more: then the rest goes out, to be padded by the
taker. Nothing here knows networks or stores.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass
class Segment:
    """Consecutive rows of one video within a batch; ``owner`` gets the results."""

    owner: Any
    first_row: int
    rows: NDArray[Any]

    def split(self, count: int) -> tuple[Segment, Segment]:
        """The first ``count`` rows and the rest."""
        head = Segment(self.owner, self.first_row, self.rows[:count])
        return head, Segment(self.owner, self.first_row + count, self.rows[count:])


@dataclass
class Batch:
    """What one forward is made of: an input's name and at most ``size`` rows."""

    input: str
    size: int
    segments: list[Segment]

    @property
    def num_rows(self) -> int:
        """Rows that it holds."""
        return sum(len(segment.rows) for segment in self.segments)

    def array(self, size: int | None = None) -> NDArray[Any]:
        """The rows as one array [size, *shape]; places that no row takes are zero.

        ``size``: another one than the batch's own; at least `num_rows`.
        """
        first = self.segments[0].rows
        array = np.zeros((size or self.size, *first.shape[1:]), first.dtype)
        place = 0
        for segment in self.segments:
            array[place : place + len(segment.rows)] = segment.rows
            place += len(segment.rows)
        return array


class Batcher:
    """Bounded queues of rows, one per input, shared by decoder and encoder threads."""

    def __init__(self, sizes: Mapping[str, int], *, batches_ahead: int = 3) -> None:
        """``sizes``: rows per forward of each input; at most ``batches_ahead`` of them wait."""
        self._sizes = dict(sizes)
        self._ahead = batches_ahead
        self._queues: dict[str, deque[tuple[int, Segment]]] = {name: deque() for name in sizes}
        self._waiting = dict.fromkeys(sizes, 0)
        self._order = 0
        self._producers = 0
        self._error: BaseException | None = None
        self._changed = threading.Condition()

    def add_producers(self, count: int) -> None:
        """Announce ``count`` videos that will put rows: partial batches wait for them."""
        with self._changed:
            self._producers += count
            self._changed.notify_all()

    def remove_producer(self) -> None:
        """One announced video puts no more rows."""
        self.add_producers(-1)

    def put(self, name: str, owner: object, first_row: int, rows: NDArray[Any]) -> None:
        """Queue rows; waits while ``batches_ahead`` full batches of this input are waiting.

        Raises:
            BaseException: whatever `fail` was given.
        """
        with self._changed:
            limit = self._sizes[name] * self._ahead
            self._changed.wait_for(lambda: self._error or self._waiting[name] < limit)
            if self._error:
                raise self._error
            self._queues[name].append((self._order, Segment(owner, first_row, rows)))
            self._order += 1
            self._waiting[name] += len(rows)
            self._changed.notify_all()

    def take(self) -> Batch | None:
        """The next batch, oldest rows first; waits for one; None once failed."""
        with self._changed:
            self._changed.wait_for(lambda: self._error or self._ready())
            if self._error:
                return None
            name = min(self._ready(), key=lambda ready: self._queues[ready][0][0])
            segments: list[Segment] = []
            room = self._sizes[name]
            queue = self._queues[name]
            while room and queue:
                order, segment = queue.popleft()
                if len(segment.rows) > room:
                    segment, rest = segment.split(room)
                    queue.appendleft((order, rest))
                segments.append(segment)
                room -= len(segment.rows)
            self._waiting[name] -= self._sizes[name] - room
            self._changed.notify_all()
            return Batch(name, self._sizes[name], segments)

    def _ready(self) -> list[str]:
        need = 1 if self._producers == 0 else None
        return [
            name
            for name, waiting in self._waiting.items()
            if waiting >= (need or self._sizes[name])
        ]

    def drop(self, owner: object) -> int:
        """Forget all waiting rows of ``owner``; the number of rows dropped."""
        dropped = 0
        with self._changed:
            for name, queue in self._queues.items():
                kept = deque(item for item in queue if item[1].owner is not owner)
                gone = sum(len(item[1].rows) for item in queue if item[1].owner is owner)
                self._queues[name] = kept
                self._waiting[name] -= gone
                dropped += gone
            self._changed.notify_all()
        return dropped

    def fail(self, error: BaseException) -> None:
        """Stop everything: every waiting and later `put` raises ``error``."""
        with self._changed:
            self._error = self._error or error
            self._changed.notify_all()
