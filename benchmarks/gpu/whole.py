"""From file to store: seconds of video per second by decoder processes, and what limits them."""

from __future__ import annotations

import contextlib
import math
import shutil
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import psutil

from avqa.extract import encoders, weights
from avqa.extract.profiles import profile
from avqa.extract.settings import Settings
from avqa.pipelines.cluster.environment import build_recipes
from avqa.pipelines.cluster.worker import Extractor, WorkerConfig
from avqa.pipelines.engine.engine import EngineConfig
from avqa.pipelines.engine.job import VideoJob
from avqa.pipelines.engine.networks import Networks
from avqa.pipelines.extraction.run import feature_specs
from avqa.store.commit import Store
from avqa.store.lock import Lock
from avqa.store.places.files import store_path
from benchmarks.gpu import material
from benchmarks.gpu.device import CUDA, used
from benchmarks.gpu.part import Run

T = TypeVar("T")
TABLE = "Seconds of video per second"
COSTS = {360: 0.015, 720: 0.05}
"""Height → core seconds that a second of video is taken to cost, until one was measured."""
START = 4.0
"""Seconds that an engine takes to start."""
NETWORKS = {False: 1000.0, True: 3.0}
"""Stand-in or not → seconds of video per second that networks are taken to do, at first."""
WRITERS = 2
LEAST = 1.0
"""Seconds: a measurement that has less is not begun."""
LIMITS = 0.7
"""Share of its time from which on something limits."""


@dataclass(frozen=True)
class Case:
    """One measurement."""

    height: int
    decoders: int
    precision: str

    def __str__(self) -> str:
        return f"{self.height}p in {self.precision}, {self.decoders} decoders"


def cases(run: Run, heights: Sequence[int]) -> list[Case]:
    """All measurements, those that the anchors are beside first."""
    first, *others = sorted(run.setup.precisions, key=lambda name: name != "bf16")
    most = max(run.setup.decoders)
    fewer = sorted((d for d in run.setup.decoders if d != most), reverse=True)
    return [
        *(Case(height, most, first) for height in heights),
        *(Case(height, decoders, first) for decoders in fewer for height in heights),
        *(Case(height, most, "fp32") for height in heights if "fp32" in others),
    ]


def measure(run: Run) -> None:
    left = cases(run, material.heights(Path(run.setup.material)))
    costs, networks = dict(COSTS), NETWORKS[run.setup.stand_in]
    with kept_networks():
        while left:
            case = left.pop(0)
            slot = min(run.setup.slot, run.left() / (len(left) + 1) - START)
            if slot < LEAST:
                run.note(f"{case}: not measured, the time was up")
                continue
            rate = min(case.decoders / costs.get(case.height, max(costs.values())), networks)
            clip = Path(run.setup.material) / material.CLIPS / f"{case.height}.mp4"
            seconds = run.setup.loops * material.seconds_of(clip)
            count = max(1, math.ceil(slot * rate / seconds))
            if count > case.decoders:  # no decoder is left over at the end
                count -= count % case.decoders
            found = extracted(run, case, count)
            costs[case.height] = found["cost"]
            if found["row"]["limit"] == "networks":
                networks = found["rate"]


@contextlib.contextmanager
def kept_networks() -> Iterator[None]:
    """While entered, every network is built once, whatever engine asks for it."""
    built: dict[tuple[str, str], encoders.Network] = {}
    real = Networks.get

    def kept(self: Networks, encoder: str) -> encoders.Network:
        key = (encoder, self._settings.precision)
        if key not in built:
            built[key] = real(self, encoder)
        return built[key]

    Networks.get = kept  # type: ignore[method-assign]
    try:
        yield
    finally:
        Networks.get = real  # type: ignore[method-assign]


def settings_of(run: Run, precision: str) -> Settings:
    """The default profile with a run's features and weights."""
    setup = run.setup
    return profile(
        "default",
        features=setup.features,
        weights=run.weights(),
        precision=precision,
        device=CUDA,
    )


@contextlib.contextmanager
def extractor(
    run: Run, videos: Sequence[Path], precision: str, decoders: int
) -> Iterator[tuple[Extractor, Store, list[VideoJob]]]:
    """One that writes into a store of its own, and a job for every video."""
    settings, store = settings_of(run, precision), store_path(run.work / "whole")
    source = weights.resolve(settings.weights, encoders.weights_of(settings.features))
    specs = feature_specs(settings)
    shutil.rmtree(run.work / "whole", ignore_errors=True)
    with Lock.acquire(store, "benchmark") as lock:
        recipes = build_recipes(settings, source)
        made = Store.create(store, recipes, specs, settings.chunk_seconds, lock=lock)
        rows = made.add_rows([video.name for video in videos])
        jobs = [VideoJob(rows[v.name], v.name, v.name, str(v), settings.features) for v in videos]
        config = EngineConfig(settings, source, decoders=decoders)
        works = Extractor(WorkerConfig("benchmark", store, specs, config))
        try:
            yield works, made, jobs
        finally:
            works.close()
    shutil.rmtree(run.work / "whole")


def extracted(run: Run, case: Case, count: int) -> dict[str, Any]:
    """Extract so many videos in one engine that is warm; adds a row to the table."""
    setup, folder = run.setup, run.work / f"videos-{case.height}"
    clips = Path(setup.material)
    warm = material.videos(clips, run.work / "warm", case.height, 1, case.decoders)
    videos = material.videos(clips, folder, case.height, setup.loops, count)
    with extractor(run, [*warm, *videos], case.precision, case.decoders) as (works, store, jobs):
        _, error = works.extract(jobs[: len(warm)], 1)
        if error is not None:
            raise error
        with Watched() as watched:
            records, error = works.extract(jobs[len(warm) :], 1)
            if error is not None:
                raise error
            store.commit(records)
        bad = [f for record in records for f in record.features if f.status != 1]
        threads = works.config.engine.size().encoder_threads
    run.check(f"{case}: all features of {count} videos", f"{len(bad)} bad", "0 bad", not bad)
    stages: dict[str, float] = {}
    for record in records:
        for stage, spent in record.timings.items():
            stages[stage] = stages.get(stage, 0.0) + spent
    video_seconds = sum(record.duration for record in records)
    rate = video_seconds / watched.wall
    shares = shares_of(stages, watched.wall, case.decoders, threads)
    shares["cores"] = watched.processor / (setup.cores * watched.wall)
    row = run.row(
        TABLE,
        height=f"{case.height}p",
        precision=case.precision,
        decoders=case.decoders,
        videos=count,
        seconds=f"{watched.wall:.1f}",
        rate=round(rate, 2),
        limit=limit(shares),
        **{name: f"{share:.0%}" for name, share in shares.items()},
        **{"GB of RAM": f"{watched.memory / 1e9:.1f}", "GB of GPU": f"{watched.gpu / 1e9:.1f}"},
    )
    own = sum(spent for stage, spent in stages.items() if stage not in ("encode", "write"))
    return {"row": row, "rate": rate, "cost": max(own, 1e-3) / video_seconds}


def shares_of(
    stages: Mapping[str, float], wall: float, decoders: int, encoder_threads: int
) -> dict[str, float]:
    """How much of their time decoders, networks and writers were busy."""
    own = sum(spent for stage, spent in stages.items() if stage not in ("encode", "write"))
    return {
        "decoding": own / (decoders * wall),
        "networks": stages.get("encode", 0.0) / (encoder_threads * wall),
        "writing": stages.get("write", 0.0) / (WRITERS * wall),
    }


def limit(shares: Mapping[str, float]) -> str:
    """What was busy most; nothing limits that is idle for long."""
    name = max(shares, key=lambda key: shares[key])
    return name if shares[name] >= LIMITS else "none"


class Watched:
    """While entered: wall and processor time, and the most memory, of this process and its own."""

    def __init__(self) -> None:
        """Begins when it is entered."""
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self.memory = self.gpu = 0
        self.wall = self.processor = 0.0

    def __enter__(self) -> Watched:
        self._before, self._start = self._processor(), time.perf_counter()
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.wall = time.perf_counter() - self._start
        self.processor = self._processor() - self._before
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        while True:
            self.memory = max(self.memory, sum(self._all(lambda p: int(p.memory_info().rss))))
            self.gpu = max(self.gpu, used())
            if self._over.wait(0.25):
                return

    def _processor(self) -> float:
        return sum(self._all(lambda p: float(sum(p.cpu_times()[:2]))))

    @staticmethod
    def _all(ask: Callable[[psutil.Process], T]) -> list[T]:
        found = []
        own = psutil.Process()
        for process in [own, *own.children(recursive=True)]:
            with contextlib.suppress(psutil.Error):  # it just ended
                found.append(ask(process))
        return found
