"""Workers in processes of their own: several GPUs of a machine, a cluster that is there."""

import contextlib
import itertools
import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import distributed
import psutil
import pytest
from helpers.extraction.light import POOL, environment
from helpers.extraction.worker_configs import config_of
from helpers.media import fake_reader
from helpers.store.stores import store_bytes

import avqa
from avqa import machine
from avqa.errors import ConfigError, EnvironmentFailure
from avqa.pipelines.cluster import connect as connecting
from avqa.pipelines.cluster import on_dask
from avqa.pipelines.cluster.connect import connect

pytestmark = pytest.mark.filterwarnings("ignore::avqa.store.reader.RandomWeightsWarning")


def slow(folder, count, act="slow"):
    for seed in range(count):
        fake_reader.write_video(folder / f"v{seed}.mp4", seconds=4, seed=seed, act=act)
    return folder


def until(true, what, seconds=60.0):
    deadline = time.monotonic() + seconds
    while not (found := true()):
        assert time.monotonic() < deadline, what
        time.sleep(0.05)
    return found


# Several GPUs on one machine


def look(dask_worker):
    """What a worker's process is; run there."""
    return {
        "pid": os.getpid(),
        "device": os.environ.get("CUDA_VISIBLE_DEVICES"),
        "torch": "torch" in sys.modules,
        "decoders": [
            c.pid for c in psutil.Process().children() if "decoder.child" in str(c.cmdline())
        ],
        "plugins": [name for name in dask_worker.plugins if name.startswith("avqa-")],
    }


def test_every_gpu_has_one_worker_that_sees_no_other(tmp_path, extract, gpus, monkeypatch):
    slow(tmp_path / "videos", 6)
    extract("one")
    fresh, busy = [], []

    def three(scheduler, config, _, **others):
        """Connect as for three GPUs, though the networks run on CPU; kill a worker and look on."""
        executor = connect(scheduler, config, gpus(8, "4,GPU-abc,7"), **others)
        fresh.append(workers_of(executor))
        os.kill(fresh[0]["GPU-abc"]["pid"], 9)
        until(lambda: "GPU-abc" not in workers_of(executor), "the worker lives on")
        until(lambda: "GPU-abc" in workers_of(executor), "no worker took its place")
        fresh.append(workers_of(executor))
        check = executor.check

        def watch(left):
            workers = workers_of(executor)
            if all(worker["decoders"] for worker in workers.values()):
                busy.append(workers)
            check(left)

        executor.check = watch
        return executor

    monkeypatch.setattr("avqa.pipelines.extraction.run.connect", three)
    report = extract("two", scheduler="local")
    assert (report.extracted, report.failed) == (6, 0)
    assert store_bytes(tmp_path / "one") == store_bytes(tmp_path / "two")
    before, after, during = *fresh, busy[-1]
    assert before.keys() == after.keys() == during.keys() == {"4", "GPU-abc", "7"}
    assert not any(worker["torch"] for worker in [*before.values(), *after.values()])
    assert len({worker["pid"] for worker in during.values()}) == 3
    assert {name: w["pid"] for name, w in during.items()} == {
        name: w["pid"] for name, w in after.items()
    }
    # Two cores for three workers: one decoder each, as `EngineConfig.size` says.
    cores = machine.num_cores()
    assert [len(w["decoders"]) for w in during.values()] == [max(1, cores // 3 // 3)] * 3


def test_a_killed_worker_costs_no_video(tmp_path, extract, gpus, monkeypatch):
    slow(tmp_path / "videos", 6)
    extract("one")
    killed = []

    def two(scheduler, config, _, **others):
        """Connect as for two GPUs; kill the first worker that decodes."""
        executor = connect(scheduler, config, gpus(2), **others)
        check = executor.check

        def watch(left):
            busy = [w["pid"] for w in workers_of(executor).values() if w["decoders"]]
            if busy and not killed:
                os.kill(busy[0], 9)
                killed.append(busy[0])
            check(left)

        executor.check = watch
        return executor

    monkeypatch.setattr("avqa.pipelines.extraction.run.connect", two)
    report = extract("two", scheduler="local")
    assert (report.extracted, report.failed, len(killed)) == (6, 0, 1)
    assert store_bytes(tmp_path / "one") == store_bytes(tmp_path / "two")


def workers_of(executor):
    """What its workers' processes are, by the device each was given."""
    found = executor._client.run(look, on_error="ignore").values()
    return {worker["device"]: worker for worker in found}


# A cluster that is there already


class Nodes:
    """A scheduler and workers as processes of their own."""

    def __init__(self, folder):
        self.folder = folder
        self.address = ""
        self.processes = []

    def start(self, command, *arguments, preload=""):
        options = ["--host", "127.0.0.1", "--no-dashboard"]
        if preload:
            path = self.folder / f"preload{len(self.processes)}.py"
            path.write_text(preload, encoding="utf-8")
            options += ["--preload", str(path)]
        with (self.folder / f"{len(self.processes)}.log").open("w", encoding="utf-8") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", f"distributed.cli.dask_{command}", *arguments, *options],
                env=environment(),
                cwd=self.folder,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        self.processes.append(process)
        return process

    def start_scheduler(self):
        file = self.folder / "scheduler.json"
        self.start("scheduler", "--port", "0", "--scheduler-file", str(file))
        until(file.exists, "no scheduler came up")
        self.address = until(
            lambda: json.loads(file.read_text(encoding="utf-8") or "{}"), "no address"
        )["address"]
        return self

    def start_worker(self, preload="", threads=1):
        return self.start(
            "worker", self.address, "--nthreads", str(threads), "--no-nanny", preload=preload
        )

    @property
    def workers(self):
        return [process for process in self.processes[1:] if process.poll() is None]

    def close(self):
        self.end(*self.workers)  # before the scheduler: Dask's ends hang when they cross
        self.end(*self.processes)

    def end(self, *processes):
        for process in processes:
            process.terminate()
        for process in processes:
            try:
                process.wait(timeout=120)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


@pytest.fixture(scope="module")
def nodes(tmp_path_factory):
    found = Nodes(tmp_path_factory.mktemp("nodes"))
    try:
        yield found.start_scheduler()
    finally:
        found.close()


@pytest.fixture
def client(nodes):
    joined = on_dask.join(nodes.address, 60)
    yield joined
    with contextlib.suppress(AssertionError):  # Dask's own; how an onlooker ends tells nothing
        joined.close()


def need(nodes, client, count):
    """Let the cluster have so many good workers."""
    while len(nodes.workers) < count:
        nodes.start_worker()
    nodes.end(*nodes.workers[count:])
    until(lambda: len(client.nthreads()) == count, "workers did not come, or go")
    return nodes.workers


def command(folder, store, address):
    return [
        *(sys.executable, "-m", "avqa.cli", "extract", "--videos", str(folder)),
        *("--out", str(store), "--features", POOL, "--decoder", fake_reader.DECODER),
        *("--weights", "random:0", "--scheduler", address),
    ]


@contextlib.contextmanager
def running(arguments):
    run = subprocess.Popen(
        arguments,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        encoding="utf-8",
    )
    try:
        yield run
    finally:
        run.kill()
        run.wait()
        run.stdout.close()


def ended(run):
    """Exit code and everything it said."""
    text, _ = run.communicate(timeout=120)
    return run.returncode, text


def num_chunks(store):
    return len(list((store / "features.zarr").glob(f"{POOL}/c.*")))


def leftovers(client):
    """What a run may leave on a foreign cluster: nothing."""

    def on_scheduler(dask_scheduler):
        tasks = [key for key in dask_scheduler.tasks if "avqa" in str(key)]
        return tasks + [name for name in dask_scheduler.worker_plugins if "avqa" in name]

    until(lambda: not client.run_on_scheduler(on_scheduler), "tasks were left")
    return [w["plugins"] + w["decoders"] for w in client.run(look).values()]


VERSION = """
import avqa
avqa.__version__ = "0.0.7"
"""
LIBRARY = """
from importlib import metadata

if metadata.version.__name__ != "lying":  # it is run more than once
    def lying(name, version=metadata.version):
        return "1.0.2" if name == "torch" else version(name)

    metadata.version = lying
"""
ABSENT = """
import sys

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "avqa":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Absent())
"""


@pytest.mark.parametrize(
    ("preload", "expected"),
    [
        (VERSION, r"avqa=0.0.7; expected the driver's avqa=0.1.0; install it in the workers"),
        (LIBRARY, r"other versions: torch=1.0.2 (driver "),
    ],
    ids=["avqa", "library"],
)
def test_a_worker_of_another_version_is_refused(tmp_path, nodes, client, preload, expected):
    need(nodes, client, 0)
    worker = nodes.start_worker(preload)
    client.wait_for_workers(1, timeout=60)
    videos = slow(tmp_path / "videos", 1)
    with running(command(videos, tmp_path / "store", nodes.address)) as run:
        code, text = ended(run)
    nodes.end(worker)
    assert code == 5
    assert expected in refused(text)


def refused(text):
    """The one line that says why, which names the worker."""
    (line,) = (line for line in text.splitlines() if line.startswith("avqa: "))
    assert line.startswith("avqa: worker tcp://127.0.0.1:")
    assert f" (host={os.uname().nodename}): " in line
    return line


def test_no_scheduler_no_workers_no_address(monkeypatch, nodes, client, light):
    need(nodes, client, 0)
    monkeypatch.setattr(on_dask, "CONNECT_SECONDS", 1)
    monkeypatch.setattr(connecting, "environment", lambda settings, source: None)
    config = config_of(Path("store"))
    missing = r"scheduler tcp://127.0.0.1:1: no answer in 1 s; expected a running Dask scheduler"
    with pytest.raises(EnvironmentFailure, match=missing):
        connect("tcp://127.0.0.1:1", config, ())
    missing = rf"scheduler {nodes.address}: no worker in 1 s; .* start some with: dask worker tcp"
    with pytest.raises(EnvironmentFailure, match=missing):
        connect(nodes.address, config, (), wait_workers=1)
    with pytest.raises(
        ConfigError, match=r"scheduler='tcp://host'; expected local, sync, slurm or an"
    ):
        connect("tcp://host", config, ())
    with pytest.raises(ConfigError, match=r"'tls://host:1': no certificates to connect with"):
        connect("tls://host:1", config, ())


def test_a_client_joins_while_others_cancel(nodes, client, monkeypatch):
    broken, over = [], threading.Event()
    start = distributed.Client.start

    def watched(self, **options):
        try:
            start(self, **options)
        except AssertionError:
            broken.append(self)
            raise

    def cancel():
        for number in itertools.count():
            if over.is_set():
                break
            client.cancel([client.submit(abs, number, pure=False)], force=True)

    monkeypatch.setattr(distributed.Client, "start", watched)
    others = threading.Thread(target=cancel)
    others.start()
    try:
        for _ in range(100):
            with on_dask.join(nodes.address, 20) as joined:
                assert joined.scheduler_info()["address"] == nodes.address
            if broken:  # once is enough to see that it tried again
                break
    finally:
        over.set()
        others.join()
    # Else each would hold the process for 40 s as it ends.
    assert all(one.status == "closed" for one in broken)


def test_a_greeting_that_is_never_alone_ends_as_no_answer(monkeypatch, light):
    tried = []

    def crowded(address, **options):
        tried.append(address)
        raise AssertionError

    monkeypatch.setattr(on_dask, "_Joining", crowded)
    monkeypatch.setattr(on_dask, "CONNECT_SECONDS", 0.2)
    with pytest.raises(TimeoutError, match="never greeted this client alone"):
        on_dask.join("tcp://127.0.0.1:1", 0.2)
    assert len(tried) > 1
    tried.clear()
    monkeypatch.setattr(connecting, "environment", lambda settings, source: None)
    with pytest.raises(EnvironmentFailure, match=r"tcp://127.0.0.1:1: no answer in 0.2 s"):
        connecting.connect("tcp://127.0.0.1:1", config_of(Path("store")), ())
    assert tried


def test_a_foreign_cluster_loses_a_worker_gets_one_and_is_left_clean(
    tmp_path, extract, nodes, client
):
    videos = slow(tmp_path / "videos", 6)
    extract("one")
    workers = need(nodes, client, 2)
    with running(command(videos, tmp_path / "two", nodes.address)) as run:
        until(lambda: num_chunks(tmp_path / "two") >= 1, "no chunk came")
        workers[0].kill()
        nodes.start_worker()
        code, text = ended(run)
    assert code == 0, text
    assert "6 videos: 6 extracted, 0 already there" in text
    assert store_bytes(tmp_path / "two") == store_bytes(tmp_path / "one")
    need(nodes, client, 2)
    assert leftovers(client) == [[], []]


def test_a_run_that_is_aborted_leaves_a_foreign_cluster_clean(tmp_path, nodes, client):
    videos = slow(tmp_path / "videos", 2, act="hang")
    need(nodes, client, 2)
    with running(command(videos, tmp_path / "store", nodes.address)) as run:
        until(lambda: all(w["decoders"] for w in client.run(look).values()), "no video began")
        for _ in range(2):
            run.terminate()
            time.sleep(0.3)
        code, text = ended(run)
    assert code == 143, text
    assert "aborted by a second signal" in text
    assert leftovers(client) == [[], []]


def test_a_worker_without_avqa_that_comes_late_ends_the_run_and_loses_nothing(
    tmp_path, nodes, client
):
    videos, store = slow(tmp_path / "videos", 60), tmp_path / "store"
    need(nodes, client, 1)
    with running(command(videos, store, nodes.address)) as run:
        until(lambda: num_chunks(store) >= 1, "no chunk came")
        worker = nodes.start_worker(ABSENT)
        code, text = ended(run)
    nodes.end(worker)
    assert code == 5
    what = "avqa cannot be imported (No module named 'avqa'); expected the driver's avqa="
    assert what in refused(text)
    read = avqa.open_store(store)
    finished = [name for name in read.video_ids if read.status(name, POOL) == 1]
    assert 1 <= len(finished) < 60
    assert f"60 videos: {len(finished)} extracted, " in text
    assert leftovers(client) == [[]]
