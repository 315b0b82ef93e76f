"""One video on its way through the engine: results arrive by rows, leave by chunks."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from avqa.errors import MediaError
from avqa.extract import encoders
from avqa.extract.decoder.process import Footer, Header
from avqa.pipelines.engine.job import VideoJob
from avqa.store.format.records import ChunkRecord, FeatureRecord, Status


class Sink(Protocol):
    """Where finished chunks go: the store's `ChunkWriter`, or memory."""

    def write(self, feature: str, row: int, chunk: int, values: NDArray[Any]) -> ChunkRecord:
        """Keep one chunk of one feature of one row: ``values`` [n, *shape] float32."""

    def trim(self, feature: str, row: int, num_chunks: int) -> None:
        """Remove the row's chunks from ``num_chunks`` on."""


@dataclass(frozen=True)
class FullChunk:
    """All rows of one chunk of one feature, ready to be written."""

    feature: str
    index: int
    values: NDArray[np.float32]


@dataclass
class _Filling:
    values: NDArray[np.float32]
    missing: int


@dataclass
class Ticket:
    """Collects one video's rows into chunks and knows when the video is finished.

    ``outstanding`` counts rows that the batcher or an encoder holds and chunks being written;
    the ticket is finished once decoding has ended and nothing is outstanding.
    """

    job: VideoJob
    chunk_seconds: int
    on_finished: Callable[[Ticket], None]
    attempt: int = 1
    header: Header | None = None
    footer: Footer | None = None
    failure: MediaError | None = None
    seconds: dict[str, float] = field(default_factory=dict)
    """Processor seconds per stage."""

    def __post_init__(self) -> None:
        """Set up the counters; one lock, since encoder and writer threads deliver at once."""
        self._lock = threading.Lock()
        self._idle = threading.Condition(self._lock)
        self._outstanding = 0
        self._decoding = True
        self._filling: dict[tuple[str, int], _Filling] = {}
        self._written: dict[str, dict[int, ChunkRecord]] = {}
        self._errors: dict[str, MediaError] = {}
        self._delivered = 0

    @property
    def seconds_done(self) -> float:
        """Rows that there are, in the mean over the features."""
        return self._delivered / len(self.job.features)

    @property
    def is_finished(self) -> bool:
        """Whether nothing more will come."""
        return not self._decoding and not self._outstanding

    def hold(self, count: int) -> None:
        """Count ``count`` more outstanding items."""
        with self._lock:
            self._outstanding += count

    def release(self, count: int) -> None:
        """Count ``count`` items as done; finishes the ticket with the last one."""
        with self._lock:
            self._outstanding -= count
            self._idle.notify_all()
            finished = self._outstanding == 0 and not self._decoding
        if finished:
            self.on_finished(self)

    def end_decoding(self) -> None:
        """No more rows will be put."""
        with self._lock:
            self._decoding = False
            finished = self._outstanding == 0
        if finished:
            self.on_finished(self)

    def wait_idle(self) -> None:
        """Wait until nothing is outstanding."""
        with self._lock:
            self._idle.wait_for(lambda: self._outstanding == 0)

    def spend(self, stage: str, seconds: float) -> None:
        """Add processor seconds to a stage's sum."""
        with self._lock:
            self.seconds[stage] = self.seconds.get(stage, 0.0) + seconds

    def deliver(self, feature: str, first_row: int, values: NDArray[np.float32]) -> list[FullChunk]:
        """Take rows [n, *shape] of a feature from ``first_row`` on; chunks now complete."""
        assert self.header is not None  # rows exist only after the header
        full = []
        with self._lock:
            self._delivered += len(values)
            done = 0
            while done < len(values):
                row = first_row + done
                index, place = divmod(row, self.chunk_seconds)
                filling = self._filling.get((feature, index))
                if filling is None:
                    length = min(
                        self.chunk_seconds, self.header.num_rows - index * self.chunk_seconds
                    )
                    buffer = np.empty((length, *values.shape[1:]), np.float32)
                    filling = self._filling[feature, index] = _Filling(buffer, length)
                count = min(len(values) - done, len(filling.values) - place)
                filling.values[place : place + count] = values[done : done + count]
                filling.missing -= count
                if filling.missing == 0:
                    full.append(FullChunk(feature, index, filling.values))
                    del self._filling[feature, index]
                done += count
        return full

    def fill_lost(self, rows: Sequence[int]) -> list[FullChunk]:
        """Zeros for rows whose frame is lost, in all features of frames; chunks now complete."""
        full = []
        for feature in self.job.features:
            if _kind(feature) == "frame":
                zeros = np.zeros((1, *encoders.tap_of(feature).shape), np.float32)
                for row in rows:
                    full += self.deliver(feature, row, zeros)
        return full

    def written(self, feature: str, index: int, record: ChunkRecord) -> None:
        """Note that a chunk is on disk."""
        with self._lock:
            self._written.setdefault(feature, {})[index] = record

    def fail_feature(self, feature: str, error: MediaError) -> None:
        """One feature of the video cannot be stored; the others go on."""
        with self._lock:
            self._errors.setdefault(feature, error)

    def feature_records(self) -> tuple[FeatureRecord, ...]:
        """The outcome of every feature asked for."""
        return tuple(self._feature_record(feature) for feature in self.job.features)

    def _feature_record(self, feature: str) -> FeatureRecord:
        error = self.failure or self._errors.get(feature)
        if error is None and _kind(feature) == "audio":
            if self.header is not None and not self.header.has_audio:
                return FeatureRecord(feature, Status.ABSENT, 0, ())
            error = self.footer.audio_error if self.footer else None
        if error is not None:
            return FeatureRecord(
                feature, Status.FAILED, 0, (), error.reason, str(error)[:500], error.stage
            )
        assert self.header is not None
        chunks = self._written.get(feature, {})
        return FeatureRecord(
            feature,
            Status.OK,
            self.header.num_rows,
            tuple(chunks[index] for index in sorted(chunks)),
        )


def input_kind(encoder: str, name: str) -> str:
    """``frame`` or ``audio``: what an encoder's input is made from."""
    kind: str = encoders.load(encoder).INPUTS[name].kind
    return kind


def _kind(feature: str) -> str:
    encoder, tap = encoders.split_feature(feature)
    return input_kind(encoder, encoders.load(encoder).TAPS[tap].input)


def inputs_of(features: tuple[str, ...]) -> Mapping[str, tuple[str, ...]]:
    """``<encoder>/<input>`` → the taps of it that ``features`` ask for, in a fixed order."""
    needed: dict[str, list[str]] = {}
    for feature in features:
        encoder, tap = encoders.split_feature(feature)
        needed.setdefault(f"{encoder}/{encoders.load(encoder).TAPS[tap].input}", []).append(tap)
    return {name: tuple(taps) for name, taps in needed.items()}
