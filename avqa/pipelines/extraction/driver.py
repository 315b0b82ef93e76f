"""The driver's loop: bundles out, records in, checkpoints, failures, signals.

The driver is the only writer of the store's index, status, lengths and ledger.
"""

from __future__ import annotations

import queue
import signal
import time
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime

from avqa.errors import AvqaError, EnvironmentFailure, Stopped, StorageFailure, VideoLeft
from avqa.extract.settings import Settings
from avqa.pipelines.cluster.executor import Bundle, Executor, WorkerLost
from avqa.pipelines.engine.files import fingerprint
from avqa.pipelines.engine.job import VideoJob
from avqa.pipelines.extraction.progress import Progress
from avqa.signals import Signals
from avqa.store.commit import Store
from avqa.store.format.records import FeatureRecord, Fingerprint, Status, VideoRecord
from avqa.store.places.files import StorePath

CHECKPOINT_SECONDS = 30.0
CHECKPOINT_RECORDS = 500
MAX_WORKERS_LOST = 3
"""Worker deaths after which a video that was alone on each is recorded as their cause."""
MAX_DEADLY = 3
"""Videos that each kill a worker alone, before any is finished, that tell a bad machine."""
SUSPECT_DEATHS = 2
"""Worker deaths after which a video runs alone; jobs that are preempted cause many first ones."""
MAX_LEFT = 3
"""Videos that the machine keeps us from, before any is finished, that tell that it always will."""
MAX_BUNDLE = 48
_BUNDLE_SECONDS = {"cpu": 120.0, "cuda": 480.0}
"""Seconds of video per bundle: 10 to 30 seconds of work."""


class Driver:
    """Runs the jobs of one run to their end."""

    def __init__(
        self,
        store: Store,
        executor: Executor,
        jobs: Sequence[VideoJob],
        progress: Progress,
        settings: Settings,
        run_id: str,
    ) -> None:
        """Nothing starts before `run`."""
        self._store = store
        self._executor = executor
        self._jobs = jobs
        self._sent = 0
        """How many of them went out; a job is made when it does."""
        self._again: deque[VideoJob] = deque()
        """Videos that were on a worker that died once; they go out one by one beside others."""
        self._suspects: deque[VideoJob] = deque()
        """Those that were on another one; each goes out again with nothing beside it."""
        self._running = 0
        self._progress = progress
        self._settings = settings
        self._run_id = run_id
        self._buffer: list[VideoRecord] = []
        self._checkpoint = time.monotonic()
        self._deaths: Counter[int] = Counter()
        """Workers that died with a video on them, by its row."""
        self._deaths_alone: Counter[int] = Counter()
        self._fatal: BaseException | None = None
        self._left: list[VideoLeft] = []
        self.failures: list[VideoRecord] = []
        self.report_path: StorePath | None = None
        self.warned: list[VideoRecord] = []
        self.warnings_path: StorePath | None = None

    def run(self) -> None:
        """Extract everything.

        Raises:
            Stopped: after draining, when a signal came.
            StorageFailure, EnvironmentFailure, …: what ended the run; finished videos are kept.
            VideoLeft: at the end, for videos that the machine kept us from.
        """
        with Signals(self._drain) as signals:
            try:
                self._loop(signals)
            finally:  # also after a defect: what is finished is kept
                self._commit()
            if self._fatal is not None:
                raise self._fatal
            if signals.received is not None:
                left = self._progress.total - self._progress.done
                raise Stopped(
                    signals.received,
                    f"stopped by {signal.Signals(signals.received).name} after draining:"
                    f" {self._progress.done} videos finished, {left} left;"
                    " resume with the same command",
                )
            if self._left:
                left = self._progress.total - self._progress.done
                raise VideoLeft(
                    f"{left} of {self._progress.total} videos are left as they were, for the"
                    f" machine: {self._left[0]}; then run the same command again, which takes them"
                )

    def _loop(self, signals: Signals) -> None:
        while True:
            stopping = signals.check() or self._fatal is not None
            self._executor.check(self._progress.total - self._progress.done)
            self._submit(stopping=stopping)
            if not self._running:
                return
            self._collect()
            self._progress.tick()
            if self._checkpoint_due():
                self._commit()

    def _drain(self) -> None:
        self._progress.event("draining", running=self._running, hint="once more to abort")
        self._executor.drain()

    def _submit(self, *, stopping: bool) -> None:
        while not stopping and self._running < self._executor.window():
            bundle = self._next_bundle()
            if bundle is None:
                break
            self._running += 1
            self._executor.submit(bundle)

    def _next_bundle(self) -> Bundle | None:
        if self._again:
            return self._single(self._again.popleft())
        waiting = len(self._jobs) - self._sent
        if not waiting:
            # A suspect is alone on the cluster: who dies with it would not be innocent.
            if self._suspects and not self._running:
                return self._single(self._suspects.popleft(), alone=True)
            return None
        seconds = _BUNDLE_SECONDS[self._settings.device]
        count = int(seconds / max(self._progress.durations.mean(), 1.0))
        # Small bundles at the end, so that no worker is left with a long one alone.
        tail = waiting // (2 * self._executor.window())
        count = min(max(1, min(count, tail, MAX_BUNDLE)), waiting)
        jobs = self._jobs[self._sent : self._sent + count]
        self._sent += count
        return Bundle(tuple(jobs))

    def _single(self, job: VideoJob, *, alone: bool = False) -> Bundle:
        return Bundle((job,), self._deaths[job.row] + 1, alone)

    def _collect(self) -> None:
        try:
            result = self._executor.results.get(timeout=1.0)
        except queue.Empty:
            return
        self._running -= 1
        for record in result.records:
            self._keep(record)
        if isinstance(result.error, WorkerLost):
            self._suspect(result.bundle)
        elif isinstance(result.error, VideoLeft):
            self._leave(result.error)
        elif result.error is not None:
            self._stop(result.error)

    def _leave(self, error: VideoLeft) -> None:
        """A video, or some of a bundle, cannot be read here and now; the others go on."""
        self._left.append(error)
        self._progress.event("left", reason=str(error))
        if not self._progress.ok and len(self._left) >= MAX_LEFT:
            self._stop(error)

    def _stop(self, error: BaseException) -> None:
        if self._fatal is None:
            self._fatal = error
            if isinstance(error, AvqaError):
                self._progress.event("stopping", reason=str(error))
            self._executor.drain()

    def _suspect(self, bundle: Bundle) -> None:
        """A worker died: its videos go out one by one, to find which of them kills."""
        names = ",".join(job.video_id for job in bundle.jobs[:3])
        self._progress.event("worker died", videos=len(bundle.jobs), first=names)
        for job in bundle.jobs:
            self._deaths[job.row] += 1
            self._deaths_alone[job.row] += bundle.alone
            if self._deaths_alone[job.row] >= MAX_WORKERS_LOST:
                self._keep(self._death_record(job, bundle.attempt))
            elif self._deaths[job.row] >= SUSPECT_DEATHS:
                self._suspects.append(job)
            else:
                self._again.append(job)
        if not self._progress.ok and len(+self._deaths_alone) >= MAX_DEADLY:
            self._stop(
                EnvironmentFailure(
                    f"workers died with each of {MAX_DEADLY} videos alone on them, and no video was"
                    " finished; expected most to survive; check the workers' memory and logs"
                )
            )

    def _death_record(self, job: VideoJob, attempt: int) -> VideoRecord:
        message = (
            f"the worker process died {MAX_WORKERS_LOST} times while this video was alone on it;"
            " expected it to survive; check the machine's memory, then use --retry-failed"
        )
        failed = tuple(
            FeatureRecord(feature, Status.FAILED, 0, (), "worker_died", message, "worker")
            for feature in job.features
        )
        return VideoRecord(
            video_id=job.video_id,
            row=job.row,
            relpath=job.relpath,
            fingerprint=fingerprint(job.path) or Fingerprint(0, 0, ""),
            duration=float("nan"),
            pts=(),
            audio_start=None,
            audio_end=None,
            row_flags=0,
            features=failed,
            report={},
            timings={},
            attempt=attempt,
            host="",
            worker="",
            finished_at=datetime.now(UTC).isoformat(timespec="seconds"),
            run_id=self._run_id,
        )

    def _keep(self, record: VideoRecord) -> None:
        self._buffer.append(record)
        self._progress.take(record)
        bad = [feature for feature in record.features if feature.status == Status.FAILED]
        if bad:
            self.failures.append(replace(record, pts=()))
            features = "all features" if len(bad) == len(record.features) else bad[0].feature
            self._progress.event(
                "failed", video=record.video_id, features=features, reason=bad[0].message
            )
        if record.warnings:
            self.warned.append(replace(record, pts=()))
            if self._progress.as_json:  # for people the last line counts them: they may be many
                self._progress.event(
                    "warning", video=record.video_id, warnings=list(record.warnings)
                )

    def _checkpoint_due(self) -> bool:
        waited = time.monotonic() - self._checkpoint
        return len(self._buffer) >= CHECKPOINT_RECORDS or waited >= CHECKPOINT_SECONDS

    def _commit(self) -> None:
        self._checkpoint = time.monotonic()
        records, self._buffer = self._buffer, []
        try:
            self._store.commit(records)
            if self.failures and records:
                self.report_path = self._store.write_report(self.failures)
            if self.warned and records:
                self.warnings_path = self._store.write_warnings(self.warned)
        except StorageFailure as error:
            self._buffer = records + self._buffer
            if self._fatal is not None:
                raise self._fatal from error
            self._stop(error)
