"""The driver's loop against scripted executors: suspects, draining, checkpoints, signals."""

import os
import queue
import signal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from avqa.errors import EnvironmentFailure, Stopped, StorageFailure
from avqa.extract.settings import Settings
from avqa.pipelines.cluster.executor import Result, WorkerLost
from avqa.pipelines.engine.job import VideoJob
from avqa.pipelines.extraction.driver import Driver
from avqa.pipelines.extraction.progress import Durations, Progress, shares
from avqa.store.format.records import FeatureRecord, Fingerprint, Status, VideoRecord

FEATURE = "resnet18/pool"


def record(job, status=Status.OK):
    done = FeatureRecord(FEATURE, status, 3 if status == Status.OK else 0)
    return VideoRecord(
        video_id=job.video_id, row=job.row, relpath="", fingerprint=Fingerprint(0, 0, ""),
        duration=3.0, pts=(0.5, 1.5, 2.5), audio_start=None, audio_end=None, row_flags=0,
        features=(done,), timings={"encode": 2.0, "decode": 1.0},
    )  # fmt: skip


class FakeStore:
    def __init__(self):
        self.committed = []

    def commit(self, records):
        self.committed += [(r.video_id, r.features[0].status) for r in records]

    def write_report(self, failures):
        self.report = [failure.video_id for failure in failures]
        return "report.csv"


class Cluster:
    """Runs bundles when asked for results; a bundle with the killer takes all others with it."""

    def __init__(self, killer=None, window=4):
        self.results = self
        self._window = window
        self._killer = killer
        self.running = []
        self.together = []
        self.drained = False
        self.left = []

    def window(self):
        return self._window

    def submit(self, bundle):
        self.running.append(bundle)
        self.together.append([job.video_id for b in self.running for job in b.jobs])

    def get(self, timeout):
        if not self.running:
            raise queue.Empty
        if any(job.video_id == self._killer for b in self.running for job in b.jobs):
            return Result(self.running.pop(0), [], WorkerLost("SIGSEGV"))
        bundle = self.running.pop(0)
        return Result(bundle, [record(job) for job in bundle.jobs])

    def drain(self):
        self.drained = True

    def check(self, left):
        self.left.append(left)


def driver(cluster, store, count=6):
    jobs = [VideoJob(k, f"v{k}", f"v{k}.mp4", f"/none/v{k}.mp4", (FEATURE,)) for k in range(count)]
    progress = Progress(count, Durations([job.row for job in jobs]), lambda line: None)
    return Driver(store, cluster, jobs, progress, Settings(features=(FEATURE,)), "run"), progress


def test_everything_is_committed_once():
    store, cluster = FakeStore(), Cluster()
    run, progress = driver(cluster, store)
    run.run()
    assert sorted(store.committed) == [(f"v{k}", Status.OK) for k in range(6)]
    assert (progress.ok, progress.failed, progress.rows) == (6, 0, 18)


def test_only_the_video_that_kills_workers_is_blamed():
    store, cluster = FakeStore(), Cluster(killer="v3")
    run, _ = driver(cluster, store)
    run.run()
    outcome = dict(store.committed)
    assert outcome.pop("v3") == Status.FAILED
    assert outcome == {f"v{k}": Status.OK for k in (0, 1, 2, 4, 5)}
    # After its second death, nothing ran beside the killer.
    assert [names for names in cluster.together if "v3" in names][-3:] == [["v3"]] * 3
    assert cluster.together.count(["v3"]) == 3
    assert [f.features[0].reason for f in run.failures] == ["worker_died"]
    assert "died 3 times while this video was alone" in run.failures[0].features[0].message
    assert store.report == ["v3"]


class Preempting(Cluster):
    """Loses the bundle at the head of the queue as often as ``deaths`` says of its first video."""

    def __init__(self, deaths, window=4):
        super().__init__(window=window)
        self._deaths = dict(deaths)
        self.sent = []

    def submit(self, bundle):
        super().submit(bundle)
        beside = len(self.running) - 1
        self.sent.append(([job.video_id for job in bundle.jobs], bundle.attempt, beside))

    def get(self, timeout):
        first = self.running[0].jobs[0].video_id
        if not self._deaths.get(first):
            return super().get(timeout)
        self._deaths[first] -= 1
        return Result(self.running.pop(0), [], WorkerLost("preempted"))


def test_videos_of_a_dead_worker_go_out_one_by_one_beside_others():
    store, cluster = FakeStore(), Preempting({"v0": 1})
    run, _ = driver(cluster, store, count=40)
    run.run()
    assert sorted(store.committed) == sorted((f"v{k}", Status.OK) for k in range(40))
    first = cluster.sent[0][0]
    assert first == ["v0", "v1"]
    again = [(names, beside) for names, attempt, beside in cluster.sent if attempt == 2]
    assert [names for names, _ in again] == [[name] for name in first]
    assert all(beside == 3 for _, beside in again)  # the window stays full
    assert len(cluster.sent) < 40  # the others go on in bundles


def test_only_a_second_death_makes_a_video_run_alone():
    store, cluster = FakeStore(), Preempting({"v0": 2, "v1": 1, "v2": 4})
    run, _ = driver(cluster, store)
    run.run()
    assert sorted(store.committed) == [(f"v{k}", Status.OK) for k in range(6)]
    sent = [(name, attempt, beside > 0) for (name,), attempt, beside in cluster.sent]
    assert [each[1:] for each in sent if each[0] == "v0"] == [(1, False), (2, True), (3, False)]
    assert [each[1:] for each in sent if each[0] == "v1"] == [(1, True), (2, True)]
    assert [each[2] for each in sent if each[0] == "v2"] == [True, True, False, False, False]
    assert not run.failures  # two deaths alone are forgiven


def test_workers_that_all_die_are_not_blamed_on_the_videos():
    store, cluster = FakeStore(), Preempting({f"v{k}": 99 for k in range(6)})
    run, _ = driver(cluster, store)
    with pytest.raises(EnvironmentFailure, match="died with each of 3 videos alone on them, and"):
        run.run()
    assert store.committed == []
    assert cluster.drained


def test_several_killers_among_good_videos_are_recorded():
    store, cluster = FakeStore(), Preempting({f"v{k}": 99 for k in range(3)})
    run, _ = driver(cluster, store)
    run.run()
    assert sorted(store.committed) == [
        *((f"v{k}", Status.FAILED) for k in range(3)), *((f"v{k}", Status.OK) for k in range(3, 6)),
    ]  # fmt: skip


def test_the_executor_hears_how_many_videos_are_left():
    store, cluster = FakeStore(), Cluster()
    run, _ = driver(cluster, store)
    run.run()
    assert cluster.left == [6, 5, 4, 3, 2, 1, 0]


def test_what_the_executor_refuses_ends_the_run_at_once():
    class Deserted(Cluster):
        def check(self, left):
            if left == 4:
                raise EnvironmentFailure("no worker, says the test")

    store, cluster = FakeStore(), Deserted()
    run, _ = driver(cluster, store)
    with pytest.raises(EnvironmentFailure, match="says the test"):
        run.run()
    assert store.committed == [("v0", Status.OK), ("v1", Status.OK)]
    assert cluster.running  # it did not wait for results that never come


def test_an_error_of_the_run_drains_commits_and_is_raised():
    class Broken(Cluster):
        def get(self, timeout):
            result = super().get(timeout)
            return Result(result.bundle, result.records, StorageFailure("full"))

    store, cluster = FakeStore(), Broken(window=1)
    run, _ = driver(cluster, store)
    with pytest.raises(StorageFailure, match="full"):
        run.run()
    assert cluster.drained
    assert store.committed == [("v0", Status.OK), ("v1", Status.OK)]


def test_a_drained_run_says_what_is_left():
    class Interrupted(Cluster):
        def get(self, timeout):
            os.kill(os.getpid(), signal.SIGTERM)
            self.get = super().get
            return self.get(timeout)

    store, cluster = FakeStore(), Interrupted(window=1)
    run, _ = driver(cluster, store)
    with pytest.raises(
        Stopped, match="SIGTERM after draining: 2 videos finished, 4 left"
    ) as caught:
        run.run()
    assert caught.value.exit_code == 143
    assert store.committed == [("v0", Status.OK), ("v1", Status.OK)]


def test_progress_counts_rates_and_time_left(monkeypatch):
    now = [100.0]
    monkeypatch.setattr("avqa.telling.time.monotonic", lambda: now[0])
    durations = Durations([0, 1, 2])
    said = []
    under_way = [(0, 0.0)]
    progress = Progress(3, durations, said.append, under_way=lambda: under_way[0])
    durations.learn(0, 4.0)
    durations.learn(0, 3.0)  # what was declared gives way to what it is
    durations.learn(2, 9.0)
    assert durations.left() == 3 + 6 + 9  # the mean stands in for v1
    now[0] += 2.0
    progress.take(record(VideoJob(0, "v0", "", "", (FEATURE,))))
    assert progress.shown().line() == (
        "1/3 videos | 0:10 left | 1.5 h of video per hour | 0.0 GB | encode 67 % decode 33 %"
    )
    assert progress.shown().share == 3 / 18
    under_way[0] = (1, 6.0)  # finished, and its bundle is not back
    assert progress.shown().share == 9 / 18
    assert progress.shown().pieces[0] == "2/3 videos"
    under_way[0] = (0, 0.0)
    progress.take(record(VideoJob(1, "v1", "", "", (FEATURE,)), Status.FAILED))
    assert progress.shown().share == 6 / 15  # with or without rows it is done
    assert "2/3 videos | " in progress.shown().line()
    assert " left | 1 failed | " in progress.shown().line()
    progress.tick()
    assert not said
    now[0] += 4.0
    progress.tick()
    progress.tick()
    assert len(said) == 1


@given(st.lists(st.tuples(st.sampled_from([0, 1, 2, 4]), st.integers(0, 99) | st.none())))
def test_time_left_is_that_of_a_sum_over_all(events):
    durations, known, left = Durations([1, 2, 4]), {}, {1, 2, 4}
    for row, seconds in events:
        if seconds is None:
            durations.done(row)
            left.discard(row)
        else:
            durations.learn(row, float(seconds))
            known[row] = seconds
        mean = sum(known.values()) / len(known) if known else 60.0
        assert durations.mean() == pytest.approx(mean)
        assert durations.left() == pytest.approx(sum(known.get(row, mean) for row in left))


def test_shares_are_percents_the_largest_first():
    assert list(shares({"a": 1.0, "b": 3.0}).items()) == [("b", 75), ("a", 25)]
    assert shares({}) == {}
