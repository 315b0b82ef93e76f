"""What runs inside a Dask worker: one engine per process, bundles in, small records out."""

from __future__ import annotations

import os
import signal
import socket
import threading
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from distributed import Worker, WorkerPlugin, get_worker

from avqa.extract.media import Limits
from avqa.extract.settings import Settings
from avqa.pipelines.engine import Engine, EngineConfig, engine_config
from avqa.pipelines.sources import fingerprint
from avqa.pipelines.ticket import Ticket, VideoJob
from avqa.store.files import StorePath
from avqa.store.records import Fingerprint, RowFlag, VideoRecord
from avqa.store.schema import FeatureSpec
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
    ignore_signals: bool
    """Workers of a local cluster share the terminal's signals; the driver drains them."""


class Extractor:
    """The engine and the store's writer of one process; starts at the first bundle."""

    def __init__(self, config: WorkerConfig) -> None:
        """Cheap: no model, child or file is touched."""
        self.config = config
        self._engine: Engine | None = None
        self._draining = False
        self._lock = threading.Lock()

    def extract(
        self, jobs: Sequence[VideoJob], attempt: int
    ) -> tuple[list[VideoRecord], BaseException | None]:
        """Extract a bundle: one record per finished video, and what ended the run, if anything."""
        before = {job.row: fingerprint(job.path) for job in jobs}
        with self._lock:
            if self._draining:
                return [], None
            if self._engine is None:
                config = self.config
                writer = ChunkWriter(config.store, config.specs, config.settings.chunk_seconds)
                self._engine = Engine(_engine_config(config), writer)
        tickets, error = self._engine.run(jobs)
        records = [self._record(ticket, before[ticket.job.row], attempt) for ticket in tickets]
        return records, error

    def drain(self) -> None:
        """Begin no further video, also if nothing was begun yet."""
        with self._lock:
            self._draining = True
            if self._engine is not None:
                self._engine.drain()

    def close(self) -> None:
        """End children and threads."""
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


class ExtractorPlugin(WorkerPlugin):
    """Registers an `Extractor` on every worker; building it is cheap and cannot hang."""

    def __init__(self, name: str, config: WorkerConfig) -> None:
        """``name`` is how `extract_bundle` finds the extractor of its run."""
        self.name = name
        self.config = config

    def setup(self, worker: Worker) -> None:
        """Called by Dask on each worker, in its main thread."""
        self.extractor = Extractor(self.config)
        if self.config.ignore_signals and threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            signal.signal(signal.SIGTERM, signal.SIG_IGN)

    def teardown(self, worker: Worker) -> None:
        """Called by Dask when the run or the worker ends."""
        self.extractor.close()


def extract_bundle(
    plugin: str, jobs: Sequence[VideoJob], attempt: int
) -> tuple[list[VideoRecord], BaseException | None]:
    """The Dask task: one bundle of videos through this worker's extractor."""
    return _extractor(get_worker(), plugin).extract(jobs, attempt)


def drain_worker(plugin: str, dask_worker: Worker) -> None:
    """Tell this worker to begin no further video; run by ``client.run``."""
    _extractor(dask_worker, plugin).drain()


def _extractor(worker: Worker, plugin: str) -> Extractor:
    found = worker.plugins[plugin]
    assert isinstance(found, ExtractorPlugin)
    return found.extractor
