"""What a worker process does for a run: one engine, bundles in, small records out."""

from __future__ import annotations

import os
import pickle
import socket
import threading
import traceback
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from typing import Any, Protocol

from avqa import surroundings
from avqa.errors import AvqaError, EnvironmentFailure, StoreError
from avqa.pipelines.cluster.environment import Environment, check_videos, check_worker
from avqa.pipelines.engine.ahead import Ahead
from avqa.pipelines.engine.engine import Engine, EngineConfig
from avqa.pipelines.engine.files import fingerprint
from avqa.pipelines.engine.job import VideoJob
from avqa.pipelines.engine.ticket import Ticket
from avqa.store.format.records import Fingerprint, RowFlag, VideoRecord
from avqa.store.format.schema import FeatureSpec
from avqa.store.lock import read_holder
from avqa.store.places.files import StorePath
from avqa.store.writer import ChunkWriter


@dataclass(frozen=True)
class WorkerConfig:
    """Everything a worker needs for one run."""

    run_id: str
    store: StorePath
    specs: tuple[FeatureSpec, ...]
    engine: EngineConfig
    expected: Environment | None = None
    """The driver's; None where workers share it because they are of the same machine."""

    def shared_by(self, workers: int) -> WorkerConfig:
        """The same where so many workers share a machine's cores."""
        return replace(self, engine=replace(self.engine, workers_per_machine=workers))


class Extractor:
    """One run in one process: its engine and the store's writer, from the first bundle on.

    A Dask worker puts it among its own plugins, so that Dask ends it with the worker. Registered
    with the scheduler it would hang workers that cannot load it (distributed#6906) and outlive a
    driver that was killed.
    """

    def __init__(self, config: WorkerConfig, where: str = "", ahead: Ahead | None = None) -> None:
        """Cheap: no model, child or file is touched.

        ``where`` names a remote worker in errors; ``ahead`` is what was begun of the engine.
        """
        self.config = config
        self._ahead = ahead
        self._where = where if config.expected else ""
        self._engine: Engine | None = None
        self._draining = threading.Event()
        self._lock = threading.Lock()

    def extract(
        self, jobs: Sequence[VideoJob], attempt: int
    ) -> tuple[list[VideoRecord], BaseException | None]:
        """Extract a bundle: one record per finished video, and what ended the run, if anything."""
        try:
            records, error = self._extract(jobs, attempt)
        except AvqaError as refusal:
            records, error = [], refusal
        if self._where and isinstance(error, (EnvironmentFailure, StoreError)):
            error = type(error)(f"{self._where}: {error}")
        return records, error

    def _extract(
        self, jobs: Sequence[VideoJob], attempt: int
    ) -> tuple[list[VideoRecord], BaseException | None]:
        before = {job.row: fingerprint(job.path) for job in jobs}
        with self._lock:
            if self._draining.is_set():
                return [], None
            if self._engine is None:
                self._engine = self._start(jobs)
        tickets, error = self._engine.run(jobs)
        records = [self._record(ticket, before[ticket.job.row], attempt) for ticket in tickets]
        return records, error

    def _start(self, jobs: Sequence[VideoJob]) -> Engine:
        config = self.config
        if config.expected is not None:
            surroundings.leave_out()  # no command began this process
            engine = config.engine
            check_worker(
                config.expected, engine.settings, engine.weights, config.store, config.run_id
            )
            check_videos(jobs)
        writer = ChunkWriter(config.store, config.specs, config.engine.settings.chunk_seconds)
        return Engine(config.engine, writer, self._draining, self._ahead)

    def under_way(self) -> tuple[int, float]:
        """Videos finished in bundles in progress, and seconds of video done in them."""
        engine = self._engine
        return engine.under_way() if engine is not None else (0, 0.0)

    def drain(self) -> None:
        """Begin no further video, also if nothing was begun yet; does not wait for a start."""
        self._draining.set()

    def close(self) -> None:
        """End children and threads, also those of an engine that is just starting."""
        self.drain()
        with self._lock:
            if self._engine is not None:
                self._engine.close()

    def teardown(self, worker: DaskWorker) -> None:
        """Called by Dask when the worker ends."""
        self.close()

    def is_abandoned(self) -> bool:
        """Whether the run's store is free or held by another run."""
        holder = read_holder(self.config.store)
        return holder is None or holder.run_id != self.config.run_id

    def _record(self, ticket: Ticket, read: Fingerprint | None, attempt: int) -> VideoRecord:
        header, footer = ticket.header, ticket.footer
        if header is None or ticket.failure is not None:
            # What a failed video showed of itself is not kept: its rows are not there either.
            header = footer = None
        flags = RowFlag(0)
        if header is not None and header.has_audio:
            flags |= RowFlag.HAS_AUDIO
        if footer is not None and footer.report.partial:
            flags |= RowFlag.PARTIAL
        return VideoRecord(
            video_id=ticket.job.video_id,
            row=ticket.job.row,
            relpath=ticket.job.relpath,
            fingerprint=read or Fingerprint(0, 0, ""),
            duration=header.duration if header else float("nan"),
            pts=tuple(header.pts.tolist()) if header else (),
            audio_start=footer.audio_start if footer else None,
            audio_end=footer.audio_end if footer else None,
            row_flags=int(flags),
            features=ticket.feature_records(),
            report=asdict(footer.report) if footer else {},
            timings={stage: round(value, 4) for stage, value in ticket.seconds.items()},
            attempt=attempt,
            host=socket.gethostname(),
            worker=f"pid-{os.getpid()}",
            finished_at=datetime.now(UTC).isoformat(timespec="seconds"),
            run_id=self.config.run_id,
        )


class DaskWorker(Protocol):
    """What is used of `distributed.Worker`."""

    plugins: dict[str, Any]
    metrics: dict[str, Any]


def run_bundle(
    worker: DaskWorker, run: str, config: bytes, work: bytes, where: str
) -> tuple[list[VideoRecord], BaseException | None]:
    """One bundle through this worker's `Extractor` of a run; called by the Dask task.

    Errors are returned and are plain: a traceback that cannot be pickled would make the driver
    wait for ever.
    """
    try:
        if run not in worker.plugins:
            _end_abandoned(worker)
        jobs, attempt = pickle.loads(work)
        records, error = _extractor(worker, run, config, where).extract(jobs, attempt)
    except Exception as defect:
        records, error = [], defect
    if error is not None and not isinstance(error, AvqaError):
        plain = RuntimeError(f"{where}: {type(error).__name__}: {error}"[:1000])
        plain.add_note("".join(traceback.format_exception(error)))
        error = plain
    return records, error


def _end_abandoned(worker: DaskWorker) -> None:
    """End runs of drivers that were killed, so that they do not keep a GPU's memory."""
    for name, other in list(worker.plugins.items()):
        if isinstance(other, Extractor) and other.is_abandoned():
            worker.plugins.pop(name, None)
            worker.metrics.pop(name, None)
            other.close()


def drain_worker(run: str, config: bytes, dask_worker: DaskWorker) -> None:
    """Tell this worker to begin no further video; run by ``client.run``."""
    _extractor(dask_worker, run, config).drain()


def end_run(run: str, dask_worker: DaskWorker) -> None:
    """End the run's children and threads on this worker; run by ``client.run``."""
    if run in dask_worker.plugins:
        dask_worker.metrics.pop(run, None)
        dask_worker.plugins[run].close()
        del dask_worker.plugins[run]


def _extractor(worker: DaskWorker, run: str, config: bytes, where: str = "") -> Extractor:
    """This worker's extractor of a run, made of the pickled `WorkerConfig` at the first call."""
    if run not in worker.plugins:
        extractor = worker.plugins.setdefault(run, Extractor(pickle.loads(config), where))
        # Goes to the scheduler with the worker's signs of life.
        worker.metrics[run] = lambda _: list(extractor.under_way())
    found: Extractor = worker.plugins[run]
    return found
