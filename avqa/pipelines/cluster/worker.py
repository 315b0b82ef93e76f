"""What runs inside a Dask worker: one engine per process, bundles in, small records out."""

from __future__ import annotations

import os
import pickle
import signal
import socket
import threading
import traceback
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from distributed import Worker, WorkerPlugin

from avqa.errors import AvqaError, EnvironmentFailure, StoreError
from avqa.extract.media.types import Limits
from avqa.extract.settings import Settings
from avqa.pipelines.cluster.environment import Environment, check_videos, check_worker
from avqa.pipelines.engine.engine import Engine, EngineConfig, engine_config
from avqa.pipelines.engine.job import VideoJob, fingerprint
from avqa.pipelines.engine.ticket import Ticket
from avqa.store.format.records import Fingerprint, RowFlag, VideoRecord
from avqa.store.format.schema import FeatureSpec
from avqa.store.lock import read_holder
from avqa.store.places.files import StorePath
from avqa.store.writer import ChunkWriter

if TYPE_CHECKING:
    from avqa.extract.weights import WeightsSource


@dataclass(frozen=True)
class WorkerConfig:
    """Everything a worker needs for one run."""

    run_id: str
    store: StorePath
    specs: tuple[FeatureSpec, ...]
    settings: Settings
    weights: WeightsSource
    limits: Limits
    accept_partial: bool
    decoders: int | None
    """Decoder processes per worker; None: as many as fit the machine."""
    workers_per_machine: int
    """Worker processes that share a machine's cores."""
    expected: Environment | None = None
    """The driver's; None where workers share it because they are of the same machine."""


class Extractor:
    """The engine and the store's writer of one process; starts at the first bundle."""

    def __init__(self, config: WorkerConfig, where: str = "") -> None:
        """Cheap: no model, child or file is touched. ``where`` names a remote worker in errors."""
        self.config = config
        self._where = where
        self._engine: Engine | None = None
        self._draining = False
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
            if self._draining:
                return [], None
            if self._engine is None:
                self._engine = self._start(jobs)
                if self._draining:  # since
                    self._engine.drain()
        tickets, error = self._engine.run(jobs)
        records = [self._record(ticket, before[ticket.job.row], attempt) for ticket in tickets]
        return records, error

    def _start(self, jobs: Sequence[VideoJob]) -> Engine:
        config = self.config
        if config.expected is not None:
            check_worker(
                config.expected, config.settings, config.weights, config.store, config.run_id
            )
            check_videos(jobs)
        writer = ChunkWriter(config.store, config.specs, config.settings.chunk_seconds)
        return Engine(_engine_config(config), writer)

    def drain(self) -> None:
        """Begin no further video, also if nothing was begun yet; does not wait for a start."""
        self._draining = True
        if self._engine is not None:
            self._engine.drain()

    def close(self) -> None:
        """End children and threads, also those of an engine that is just starting."""
        self._draining = True
        with self._lock:
            if self._engine is not None:
                self._engine.close()

    def _record(self, ticket: Ticket, read: Fingerprint | None, attempt: int) -> VideoRecord:
        header, footer = ticket.header, ticket.footer
        if header is None or ticket.failure is not None:
            # What a failed video showed of itself is not kept: its rows are not there either.
            header = footer = None
        flags = RowFlag(0)
        if header is not None and header.has_sound:
            flags |= RowFlag.HAS_SOUND
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


def _engine_config(config: WorkerConfig) -> EngineConfig:
    """Sized by the machine of the worker, which need not be the driver's."""
    return engine_config(
        config.settings,
        config.weights,
        limits=config.limits,
        decoders=config.decoders,
        accept_partial=config.accept_partial,
        workers_per_machine=config.workers_per_machine,
    )


class IgnoreSignals(WorkerPlugin):
    """Workers of a local cluster share the terminal's signals; the driver drains them."""

    def setup(self, worker: Worker) -> None:
        """Called by Dask on each worker, in its main thread."""
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)


class RunOnWorker(WorkerPlugin):
    """What a Dask worker keeps of a run: its `Extractor`, from the first bundle on.

    It is put among the worker's plugins by the worker itself, so that Dask ends it with the
    worker. Registered with the scheduler it would hang workers that cannot load it
    (distributed#6906) and outlive a driver that was killed.
    """

    def __init__(self) -> None:
        """Nothing yet."""
        self._lock = threading.Lock()
        self._draining = False
        self._extractor: Extractor | None = None

    def extractor(self, config: bytes, where: str) -> Extractor:
        """The extractor of the pickled ``config``, made at the first call."""
        with self._lock:
            if self._extractor is None:
                loaded: WorkerConfig = pickle.loads(config)
                self._extractor = Extractor(loaded, where if loaded.expected else "")
                if self._draining:
                    self._extractor.drain()
            return self._extractor

    def drain(self) -> None:
        """Begin no further video, also if nothing was begun yet."""
        with self._lock:
            self._draining = True
            if self._extractor is not None:
                self._extractor.drain()

    def is_abandoned(self) -> bool:
        """Whether the run's store is free or held by another run."""
        if self._extractor is None:
            return False
        holder = read_holder(self._extractor.config.store)
        return holder is None or holder.run_id != self._extractor.config.run_id

    def teardown(self, worker: Worker) -> None:
        """Called by `end_run`, or by Dask when the worker ends."""
        self.drain()
        if self._extractor is not None:
            self._extractor.close()


def run_bundle(
    worker: Worker, run: str, config: bytes, work: bytes, where: str
) -> tuple[list[VideoRecord], BaseException | None]:
    """One bundle through this worker's extractor of a run; called by the Dask task.

    Errors are returned and are plain: a traceback that cannot be pickled would make the driver
    wait for ever.
    """
    try:
        if run not in worker.plugins:
            _end_abandoned(worker)
        jobs, attempt = pickle.loads(work)
        records, error = _run_on(worker, run).extractor(config, where).extract(jobs, attempt)
    except Exception as defect:
        records, error = [], defect
    if error is not None and not isinstance(error, AvqaError):
        plain = RuntimeError(f"{where}: {type(error).__name__}: {error}"[:1000])
        plain.add_note("".join(traceback.format_exception(error)))
        error = plain
    return records, error


def _end_abandoned(worker: Worker) -> None:
    """End runs of drivers that were killed, so that they do not keep a GPU's memory."""
    for name, other in list(worker.plugins.items()):
        if isinstance(other, RunOnWorker) and other.is_abandoned():
            worker.plugins.pop(name, None)
            other.teardown(worker)


def drain_worker(run: str, dask_worker: Worker) -> None:
    """Tell this worker to begin no further video; run by ``client.run``."""
    _run_on(dask_worker, run).drain()


def end_run(run: str, dask_worker: Worker) -> None:
    """End the run's children and threads on this worker; run by ``client.run``."""
    _run_on(dask_worker, run).teardown(dask_worker)
    del dask_worker.plugins[run]


def _run_on(worker: Worker, run: str) -> RunOnWorker:
    found = worker.plugins.setdefault(run, RunOnWorker())
    assert isinstance(found, RunOnWorker)
    return found
