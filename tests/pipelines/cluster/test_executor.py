"""The executors of the driver's own process, on an extractor that is told when to go on."""

import queue
import threading

import pytest

from avqa.pipelines.cluster import executor
from avqa.pipelines.cluster.executor import Bundle, OneWorker


class Held:
    """An extractor whose bundles wait to be let go, as many at a time as come."""

    def __init__(self, config, ahead):
        self.began = queue.SimpleQueue()
        self.go = threading.Event()

    def extract(self, jobs, attempt):
        self.began.put(attempt)
        self.go.wait(10)
        if attempt == 3:
            raise ValueError("a defect")
        return [f"record {attempt}"], None

    def close(self):
        self.go.set()


@pytest.fixture
def one(monkeypatch):
    monkeypatch.setattr(executor, "Extractor", Held)
    made = OneWorker(None)
    yield made
    made.close()


def test_two_bundles_run_at_a_time_and_submitting_waits_for_none(one):
    for attempt in (1, 2, 3):
        one.submit(Bundle((), attempt))
    extractor = one._extractor
    assert {extractor.began.get(timeout=60) for _ in range(2)} == {1, 2}
    with pytest.raises(queue.Empty):
        extractor.began.get(timeout=0.1)
    assert one.results.empty()
    extractor.go.set()
    results = {(found := one.results.get(timeout=60)).bundle.attempt: found for _ in range(3)}
    assert [results[attempt].records for attempt in (1, 2, 3)] == [["record 1"], ["record 2"], []]
    assert str(results[3].error) == "a defect"


def test_closing_ends_what_waits(one):
    for attempt in range(6):
        one.submit(Bundle((), attempt))
    one.close(abort=True)
    assert one._extractor.began.qsize() <= 4  # two that ran, and what they took up at the end
