"""Bundles on Dask, without any extraction: what becomes of those that no worker runs."""

import asyncio
import queue
import time
from types import SimpleNamespace

import pytest
from distributed import Client, LocalCluster

from avqa.errors import EnvironmentFailure
from avqa.pipelines.cluster import on_dask
from avqa.pipelines.cluster.executor import Bundle
from avqa.pipelines.cluster.on_dask import OnDask


class Jobs:
    """Batch jobs that never start."""

    def __init__(self):
        self.asked = []

    def keep(self, left):
        self.asked.append(left)
        if left == 0:
            raise EnvironmentFailure("no worker, says the test")

    def drain(self):
        self.asked.append("drain")

    def cancel(self):
        self.asked.append("cancel")


@pytest.fixture
def lonely():
    """An executor without workers, and its jobs."""
    jobs = Jobs()
    cluster = LocalCluster(
        n_workers=0, host="127.0.0.1", dashboard_address="127.0.0.1:0", silence_logs="critical"
    )
    client = Client(cluster, set_as_default=False)
    executor = OnDask(client, cluster, SimpleNamespace(run_id="r"), jobs)
    yield executor, jobs
    executor.close()


def test_draining_gives_back_the_bundles_that_wait_for_a_worker(lonely):
    executor, jobs = lonely
    bundles = [Bundle(jobs=(), attempt=attempt) for attempt in (1, 2)]
    assert executor.window() == 2
    for bundle in bundles:
        executor.submit(bundle)
    executor.check(5)
    with pytest.raises(queue.Empty):
        executor.results.get(timeout=0.2)
    executor.drain()
    results = [executor.results.get(timeout=60) for _ in bundles]
    assert sorted((r.bundle.attempt, r.records, r.error) for r in results) == [
        (1, [], None), (2, [], None),
    ]  # fmt: skip
    executor.check(5)
    assert jobs.asked == [5, "drain"]  # no more jobs once it drains
    executor.close()
    assert jobs.asked[-1] == "cancel"


def test_what_the_jobs_refuse_reaches_the_driver(lonely):
    executor, _ = lonely
    with pytest.raises(EnvironmentFailure, match="says the test"):
        executor.check(0)


def test_workers_are_counted_again_after_a_second_and_not_before(lonely, monkeypatch):
    executor, _ = lonely
    now, asked = [0.0], []
    clock = SimpleNamespace(monotonic=lambda: now[0])
    monkeypatch.setattr("avqa.pipelines.cluster.on_dask.time", clock)
    answers = iter([{}, {"a": 2, "b": 2}])
    monkeypatch.setattr(executor._client, "nthreads", lambda: asked.append(1) or next(answers))
    assert [executor.window() for _ in range(5)] == [2] * 5
    now[0] = 0.9
    assert executor.window() == 2
    now[0] = 1.0
    assert executor.window() == 10
    assert len(asked) == 2


@pytest.fixture
def impatient(monkeypatch):
    """A client of a cluster with one worker; answers are waited for a fifth of a second."""
    monkeypatch.setattr(on_dask, "ANSWER_SECONDS", 0.2)
    with (
        LocalCluster(
            n_workers=1,
            threads_per_worker=1,
            processes=False,
            dashboard_address="127.0.0.1:0",
            silence_logs="critical",
        ) as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        yield client


def test_an_answer_that_does_not_come_is_asked_for_again(impatient, monkeypatch):
    asked, ask = [], impatient._gather_remote

    async def deaf_at_first(direct, local_worker):
        asked.append(list(impatient._gather_keys))
        if len(asked) == 1:
            async with impatient._gather_semaphore:
                impatient._gather_keys = impatient._gather_future = None
                await asyncio.Event().wait()
        return await ask(direct, local_worker)

    monkeypatch.setattr(impatient, "_gather_remote", deaf_at_first)
    future = impatient.submit(abs, -3)
    while not future.done():
        time.sleep(0.01)
    assert on_dask._answer(future) == 3
    assert asked == [[future.key]] * 2


def fail():
    raise TimeoutError("of the task")


def test_a_long_task_is_waited_for_and_its_own_error_is_raised(impatient):
    assert on_dask._answer(impatient.submit(time.sleep, 0.7)) is None
    with pytest.raises(TimeoutError, match="of the task"):
        on_dask._answer(impatient.submit(fail))
