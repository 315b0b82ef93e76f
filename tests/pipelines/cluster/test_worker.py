"""What a run leaves on a worker, and how it ends there."""

import pickle
import threading
from types import SimpleNamespace

from helpers.extraction.worker_configs import POOL, config_of
from helpers.media import fake_reader

from avqa.pipelines.cluster.worker import drain_worker, end_run, run_bundle
from avqa.pipelines.engine.job import VideoJob
from avqa.store.lock import Lock


def test_what_a_killed_driver_left_ends_with_the_next_run(tmp_path, extract):
    fake_reader.write_video(tmp_path / "videos" / "v.mp4", seconds=1)
    extract()
    store, bundle = tmp_path / "store", pickle.dumps(([], 1))
    worker = SimpleNamespace(plugins={}, metrics={})

    def begin(run):
        assert run_bundle(worker, run, pickle.dumps(config_of(store, run)), bundle, "") == (
            [],
            None,
        )
        return [
            thread for thread in threading.enumerate() if thread.name[5:11] in ("decode", "encode")
        ]

    with Lock.acquire(store, "first"):
        first = begin("first")
        assert first
        begin("first")
        assert list(worker.plugins) == ["first"]
    with Lock.acquire(store, "second"):
        second = begin("second")
        assert list(worker.plugins) == list(worker.metrics) == ["second"]
        assert len(second) == len(first)
        assert not set(first) & set(second)
        end_run("second", worker)
    assert not worker.plugins
    assert not worker.metrics


def test_a_worker_that_was_drained_before_its_first_bundle_begins_nothing(tmp_path):
    worker = SimpleNamespace(plugins={}, metrics={})
    config = pickle.dumps(config_of(tmp_path / "store"))
    before = threading.active_count()
    drain_worker("run", config, worker)
    job = VideoJob(0, "v", "v.mp4", str(tmp_path / "v.mp4"), (POOL,))
    assert run_bundle(worker, "run", config, pickle.dumps(([job], 1)), "") == ([], None)
    assert threading.active_count() == before
    end_run("run", worker)
    end_run("run", worker)  # where nothing is left
    assert not worker.plugins
    assert not worker.metrics
