"""Bundles as tasks of a Dask cluster: one of this machine, or one that is there already."""

from __future__ import annotations

import contextlib
import itertools
import logging
import math
import os
import pickle
import queue
import signal
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import avqa
from avqa.errors import ConfigError, EnvironmentFailure
from avqa.pipelines.cluster.dask_library import configure, distributed
from avqa.pipelines.cluster.executor import WAIT_WORKERS, Bundle, Result, WorkerLost
from avqa.pipelines.cluster.worker import WorkerConfig, drain_worker, end_run
from avqa.pipelines.engine.job import THREADS_PER_WORKER

CONNECT_SECONDS = 20
METRICS_SECONDS = 2.0
ANSWER_SECONDS = 60.0
"""Until the answer of a task that has ended is asked for again: then twice as long."""
WINDOW_SECONDS = 1.0
"""Until workers are counted again: each time is a question to the scheduler, and an answer."""
DASK_CONFIG = {
    # A dead worker must be seen at once: the driver itself resubmits its videos one by one.
    "distributed.scheduler.allowed-failures": 0,
    # Bundles last seconds and the window is small: there is nothing worth moving.
    "distributed.scheduler.work-stealing": False,
    "distributed.scheduler.worker-ttl": "15 minutes",
    "distributed.scheduler.worker-saturation": 1.0,
    "distributed.worker.memory.target": False,
    "distributed.worker.memory.spill": False,
    "distributed.worker.memory.pause": 0.85,
    "distributed.worker.memory.terminate": 0.95,
    "distributed.worker.profile.enabled": False,
    "distributed.scheduler.no-workers-timeout": "30 minutes",
}


LOCAL_CONFIG = {"distributed.comm.timeouts.connect": "12s"}
"""Nothing is far away; without a loopback device every second is waited for in vain."""
_DESCRIPTORS = 48
_THREADS = 12
"""Of both a local cluster takes a few less in this process, and in its workers' as well."""


class IgnoreSignals(distributed.WorkerPlugin):
    """Workers of a local cluster share the terminal's signals; the driver drains them."""

    def setup(self, worker: distributed.Worker) -> None:
        """Called by Dask on each worker, in its main thread."""
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)


class Jobs(Protocol):
    """Batch jobs that are workers of a Dask cluster."""

    def keep(self, left: int) -> None:
        """See `Executor.check`."""

    def drain(self) -> None:
        """Start no further job; those that run go on."""

    def cancel(self) -> None:
        """End all."""


class OnDask:
    """Bundles as tasks of a Dask cluster; the cluster is ours when ``cluster`` is given."""

    def __init__(
        self,
        client: distributed.Client,
        cluster: Any,
        config: WorkerConfig,
        jobs: Jobs | None = None,
        put_back: Callable[[], None] = lambda: None,
    ) -> None:
        """Nothing goes to the workers before the first bundle; see `_bundle_task`.

        ``put_back`` gives Dask the configuration that it had before; called at the end.
        """
        self.results: queue.SimpleQueue[Result] = queue.SimpleQueue()
        self._client = client
        self._cluster = cluster
        self._jobs = jobs
        self._put_back = put_back
        self._drained: set[str] | None = None
        """Workers that were told to drain, by address; None before."""
        self._name = f"avqa-{config.run_id}"
        self._config = pickle.dumps(config)
        self._task = _bundle_task()
        self._serial = itertools.count()
        self._window = 0
        self._counted = -math.inf
        self._under_way = (0, 0.0)
        self._asked = time.monotonic()
        self._futures: dict[Any, distributed.Future[Any]] = {}

    def window(self) -> int:
        """Twice the worker threads there are, or were a moment ago, and two."""
        if time.monotonic() - self._counted >= WINDOW_SECONDS:
            threads: dict[str, int] = self._client.nthreads()
            self._window = 2 * sum(threads.values()) + 2
            self._counted = time.monotonic()
        return self._window

    def submit(self, bundle: Bundle) -> None:
        """Submit the bundle under a key that no other run shares."""
        future = self._client.submit(
            self._task,
            self._name,
            avqa.__version__,
            self._config,
            pickle.dumps((bundle.jobs, bundle.attempt)),
            key=f"{self._name}-bundle-{next(self._serial)}-{bundle.attempt}",
            pure=False,
        )
        self._futures[future.key] = future
        future.add_done_callback(lambda done: self._collect(bundle, done))

    def _collect(self, bundle: Bundle, future: distributed.Future[Any]) -> None:
        try:
            records, error = _answer(future)
            result = Result(bundle, records, error)
            if isinstance(error, str):
                result = Result(bundle, [], EnvironmentFailure(error))
        except distributed.KilledWorker as error:
            result = Result(bundle, [], WorkerLost(str(error)))
        except distributed.CancelledError:  # by `_drain_workers` or `close`: nothing was done
            result = Result(bundle, [])
        except BaseException as error:
            result = Result(bundle, [], error)
        self._futures.pop(future.key, None)
        self.results.put(result)

    def check(self, left: int) -> None:
        """Replace batch jobs that ended; while draining, find the bundles that nobody will run."""
        if self._drained is not None:
            self._drain_workers(self._drained)
        elif self._jobs is not None:
            self._jobs.keep(left)
        if time.monotonic() - self._asked >= METRICS_SECONDS:
            self._asked = time.monotonic()
            self._under_way = _told_by(self._client.scheduler_info(-1)["workers"], self._name)

    def under_way(self) -> tuple[int, float]:
        """See `Executor`; what the workers told last."""
        return self._under_way

    def drain(self) -> None:
        """Tell every worker, also those that come later, since bundles may wait for them."""
        if self._drained is None:
            self._drained = set()
            if self._jobs is not None:
                self._jobs.drain()
            self._drain_workers(self._drained)

    def _drain_workers(self, told: set[str]) -> None:
        workers = set(self._client.nthreads())
        if not workers:
            self._client.cancel(list(self._futures.values()), force=True)
        elif workers - told:
            answers = self._client.run(
                drain_worker,
                self._name,
                self._config,
                workers=list(workers - told),
                on_error="return",
            )
            told |= {worker for worker, answer in answers.items() if answer is None}

    def close(self, *, abort: bool = False) -> None:
        """Leave a foreign cluster as it was; shut down our own."""
        if abort:
            self._client.cancel(list(self._futures.values()), force=True)
        if self._jobs is not None:
            self._jobs.cancel()
        if self._cluster is None:
            self._client.run(end_run, self._name, on_error="ignore")
        self._client.close(timeout=5)
        if self._cluster is not None:
            self._cluster.close(timeout=10)
        self._put_back()


def _answer(future: distributed.Future[Any]) -> Any:
    """What a task that has ended returned; asked for again where nothing comes.

    Dask asks the scheduler once and waits for ever, and has been seen to.
    """
    patience = ANSWER_SECONDS
    while True:
        try:
            return future.result(timeout=patience)
        except TimeoutError:
            if future.status == "error":  # the task's own
                raise
            patience *= 2


def _told_by(workers: Mapping[str, Mapping[str, Any]], run: str) -> tuple[int, float]:
    """The sum of what workers tell of a run, see `avqa.pipelines.cluster.worker`."""
    told = [worker.get("metrics", {}).get(run, (0, 0.0)) for worker in workers.values()]
    return sum(int(videos) for videos, _ in told), sum(float(seconds) for _, seconds in told)


def connect_local(config: WorkerConfig, gpus: Sequence[str]) -> OnDask:
    """Worker processes of this machine: one for each of its ``gpus``, or a single one.

    Raises:
        EnvironmentFailure: the machine lacks what they talk through, or limits are too low.
    """
    put_back = configure({**DASK_CONFIG, **LOCAL_CONFIG})
    try:
        check_local()
        cluster = _local_cluster(gpus)
        client = distributed.Client(cluster, set_as_default=False)
    except (OSError, RuntimeError, TimeoutError) as error:
        put_back()
        raise EnvironmentFailure(
            f"worker processes cannot start on this machine: {' '.join(str(error).split())};"
            " expected the loopback device (127.0.0.1), and files, processes and threads to spare;"
            " use --scheduler sync, which does without, or raise the limits (ulimit -n, ulimit -u)"
        ) from error
    return OnDask(client, cluster, config.shared_by(max(1, len(gpus))), put_back=put_back)


def check_local() -> None:
    """Ask the machine for what a local cluster needs, since Dask fails late and in many lines.

    Raises:
        OSError: no loopback device, or no descriptor left.
        RuntimeError: no thread can be started.
    """
    with socket.create_server(("127.0.0.1", 0)) as server:
        socket.create_connection(server.getsockname(), timeout=5).close()
    with contextlib.ExitStack() as opened:
        for _ in range(_DESCRIPTORS):
            opened.enter_context(open(os.devnull, "rb"))
    go = threading.Event()
    try:
        for _ in range(_THREADS):
            threading.Thread(target=go.wait, daemon=True).start()
    finally:
        go.set()


def connect_address(address: str, config: WorkerConfig, wait: float) -> OnDask:
    """The workers of a Dask scheduler that is there already.

    Raises:
        ConfigError: this is no address.
        EnvironmentFailure: no scheduler answers there, or it has no worker.
    """
    put_back = configure(DASK_CONFIG, credentials=True)
    client = _client(address, wait)
    hosts = Counter(info["host"] for info in client.scheduler_info(-1)["workers"].values())
    return OnDask(client, None, config.shared_by(max(hosts.values())), put_back=put_back)


def _client(address: str, wait: float) -> distributed.Client:
    """A client of the scheduler at ``address``, with workers within ``wait`` seconds."""
    began = time.monotonic()
    patience = wait if wait > WAIT_WORKERS else CONNECT_SECONDS
    try:
        client = join(address, patience)
    except ValueError as error:
        raise ConfigError(
            f"scheduler={address!r}: {error}; expected an address like tcp://host:8786;"
            " check --scheduler"
        ) from error
    except TypeError as error:  # a tls:// address
        raise ConfigError(
            f"scheduler={address!r}: no certificates to connect with; expected those of"
            " distributed.comm.tls in Dask's configuration; set them, or use a tcp:// address"
        ) from error
    except (OSError, TimeoutError) as error:
        raise EnvironmentFailure(
            f"scheduler {address}: no answer in {patience:g} s; expected a running Dask"
            " scheduler that this machine can reach; start it, wait longer with --wait-workers, or"
            " use --scheduler local"
        ) from error
    try:
        client.wait_for_workers(1, timeout=max(1.0, began + wait - time.monotonic()))
    except TimeoutError as error:
        client.close()
        raise EnvironmentFailure(
            f"scheduler {address}: no worker in {wait:g} s; expected at least one; start some with:"
            f" dask worker {address}, or wait longer with --wait-workers"
        ) from error
    return client


class _Joining(distributed.Client):
    """A client that leaves nothing behind when it breaks as it joins.

    Dask's own would wait for itself for 40 s as the process ends.
    """

    def start(self, **options: Any) -> None:
        """Called by Dask where the client is made."""
        try:
            super().start(**options)
        except AssertionError:
            self.close(timeout=5)
            raise


def join(address: str, seconds: float) -> distributed.Client:
    """A client of the scheduler at ``address``, which others may use meanwhile.

    What the scheduler tells all its clients, for instance that another one cancelled a task, may
    reach a new one together with its greeting; Dask's client asserts that nothing does, and breaks.

    Raises:
        OSError, TimeoutError: no scheduler answered in so many seconds.
    """
    deadline = time.monotonic() + seconds
    while True:
        try:
            return _Joining(address, set_as_default=False, timeout=seconds)
        except AssertionError as error:
            if time.monotonic() > deadline:
                raise TimeoutError("the scheduler never greeted this client alone") from error


def _bundle_task() -> Callable[..., Any]:
    """The Dask task: one bundle through the worker's extractor of this run.

    A local function travels as code, its arguments as bytes: a worker, or scheduler, without avqa
    or with another version can load it and tell. What they cannot load makes Dask wait for ever.
    """

    def extract_bundle(name: str, version: str, config: bytes, work: bytes) -> Any:
        import socket

        from distributed import get_worker

        worker = get_worker()
        where = f"worker {worker.address} (host={socket.gethostname()})"
        expected = f"expected the driver's avqa={version}; install it in the workers' environment"
        try:
            import avqa
            from avqa.pipelines.cluster.worker import run_bundle
        except ImportError as error:
            return [], f"{where}: avqa cannot be imported ({error}); {expected}"
        if avqa.__version__ != version:
            return [], f"{where}: avqa={avqa.__version__}; {expected}"
        return run_bundle(worker, name, config, work, where)

    return extract_bundle


def _local_cluster(gpus: Sequence[str]) -> Any:
    """One worker process per GPU, which it alone sees; a single one without GPUs.

    The variable is set as soon as the process starts, before anything of it imports torch, and
    again where Dask replaces a process that died.
    """
    num_workers = max(1, len(gpus))
    workers = {
        index: {
            "cls": distributed.Nanny,
            "options": {
                "nthreads": THREADS_PER_WORKER,
                "host": "127.0.0.1",
                # Dask's own default shares memory out by threads, of which we declare two.
                "memory_limit": distributed.system.MEMORY_LIMIT // num_workers,
                "silence_logs": logging.ERROR,
                "plugins": (IgnoreSignals(),),
                "env": {"CUDA_VISIBLE_DEVICES": gpus[index]} if gpus else {},
            },
        }
        for index in range(num_workers)
    }
    scheduler = {
        "cls": distributed.Scheduler,
        "options": {"host": "127.0.0.1", "port": 0, "dashboard_address": "127.0.0.1:0"},
    }
    return distributed.SpecCluster(workers=workers, scheduler=scheduler, silence_logs=logging.ERROR)
