"""What the driver knows of workers: bundles out, results back; and those in its own process.

An executor puts every finished bundle on its ``results`` queue; the driver alone reads it.
"""

from __future__ import annotations

import queue
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Protocol

from avqa.pipelines.cluster.worker import Extractor, WorkerConfig
from avqa.pipelines.engine.ahead import Ahead
from avqa.pipelines.engine.job import THREADS_PER_WORKER, VideoJob
from avqa.store.format.records import VideoRecord

WAIT_WORKERS = 60.0
"""Seconds in which a Dask scheduler at an address, and a worker of it, have to be there."""


class WorkerLost(Exception):
    """The worker process that ran a bundle died."""


@dataclass(frozen=True)
class Bundle:
    """Videos that travel as one task."""

    jobs: tuple[VideoJob, ...]
    attempt: int = 1
    alone: bool = False
    """Nothing else runs beside it."""


@dataclass(frozen=True)
class Result:
    """A bundle with the records of its finished videos, and what went wrong, if anything."""

    bundle: Bundle
    records: list[VideoRecord]
    error: BaseException | None = None


class Executor(Protocol):
    """Runs bundles; ``results`` gets one `Result` for each one submitted."""

    results: queue.SimpleQueue[Result]

    def window(self) -> int:
        """Bundles to keep in flight."""

    def submit(self, bundle: Bundle) -> None:
        """Start a bundle."""

    def check(self, left: int) -> None:
        """Called at least once a second: keep workers coming while videos are ``left``.

        Raises:
            EnvironmentFailure: no worker comes, so that no result would ever come.
        """

    def under_way(self) -> tuple[int, float]:
        """Videos finished in bundles that did not come back yet, and seconds of video in them.

        As far as it is known; cheap, and callable from any thread.
        """

    def drain(self) -> None:
        """Let workers begin no further video; results of the rest still come."""

    def close(self, *, abort: bool = False) -> None:
        """End what this executor started; ``abort`` does not wait for running bundles."""


class InProcess:
    """``--scheduler sync``: everything in the driver's process, one bundle at a time."""

    def __init__(self, config: WorkerConfig, ahead: Ahead | None = None) -> None:
        """Keep the extractor; it starts at the first bundle, with what was begun ``ahead``."""
        self.results: queue.SimpleQueue[Result] = queue.SimpleQueue()
        self._extractor = Extractor(config, ahead=ahead)

    def window(self) -> int:
        """One: `submit` returns when the bundle is done."""
        return 1

    def submit(self, bundle: Bundle) -> None:
        """Run the bundle now."""
        self._run(bundle)

    def _run(self, bundle: Bundle) -> None:
        try:
            self.results.put(Result(bundle, *self._extractor.extract(bundle.jobs, bundle.attempt)))
        except Exception as error:
            self.results.put(Result(bundle, [], error))

    def check(self, left: int) -> None:
        """There is nothing that could go missing."""

    def under_way(self) -> tuple[int, float]:
        """See `Executor`."""
        return self._extractor.under_way()

    def drain(self) -> None:
        """Begin no further video."""
        self._extractor.drain()

    def close(self, *, abort: bool = False) -> None:
        """End children and threads."""
        self._extractor.close()


class OneWorker(InProcess):
    """``--scheduler local`` where one worker is all there is: threads of the driver's process.

    What a worker process would do for a run, without the seconds that Dask takes to start one.
    Videos are decoded in processes all the same.
    """

    def __init__(self, config: WorkerConfig, ahead: Ahead | None = None) -> None:
        """Keep the extractor; it starts at the first bundle, with what was begun ``ahead``."""
        super().__init__(config, ahead)
        self._threads = ThreadPoolExecutor(THREADS_PER_WORKER, thread_name_prefix="avqa-bundle")

    def window(self) -> int:
        """Twice the threads, and two."""
        return 2 * THREADS_PER_WORKER + 2

    def submit(self, bundle: Bundle) -> None:
        """Run the bundle as soon as a thread is free."""
        self._threads.submit(self._run, bundle)

    def close(self, *, abort: bool = False) -> None:
        """End children and threads."""
        super().close(abort=abort)
        self._threads.shutdown(cancel_futures=True)
