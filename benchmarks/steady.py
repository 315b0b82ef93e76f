"""avqa in one process: steady state (first frame decoded to last byte written), evenness."""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

from avqa.extract import encoders, weights
from avqa.extract.profiles import profile
from avqa.pipelines.cluster.environment import build_recipes
from avqa.pipelines.cluster.worker import Extractor, WorkerConfig
from avqa.pipelines.engine.engine import EngineConfig
from avqa.pipelines.engine.job import VideoJob
from avqa.pipelines.extraction.collection.sources import discover
from avqa.pipelines.extraction.run import feature_specs
from avqa.store.commit import Store
from avqa.store.lock import Lock


@dataclass(frozen=True)
class Steady:
    """One steady-state measurement."""

    wall_seconds: float
    stages: dict[str, float]
    """Processor seconds per stage, all videos together."""


@contextmanager
def warm_extractor(
    folder: Path, store: Path, precision: str, device: str = "cpu"
) -> Iterator[Warm]:
    """An extractor whose models are loaded and whose decoder child is running."""
    settings = profile("default", weights="random:0", precision=precision, device=device)
    source = weights.resolve(settings.weights, encoders.weights_of(settings.features))
    specs = feature_specs(settings)
    shutil.rmtree(store, ignore_errors=True)
    with Lock.acquire(store, "benchmark") as lock:
        recipes = build_recipes(settings, source)
        made = Store.create(store, recipes, specs, settings.chunk_seconds, lock=lock)
        videos = discover(folder).sources
        rows = made.add_rows([video.video_id for video in videos])
        jobs = [
            VideoJob(rows[v.video_id], v.video_id, v.relpath, v.path, settings.features)
            for v in videos
        ]
        config = WorkerConfig(
            run_id="benchmark",
            store=store,
            specs=specs,
            engine=EngineConfig(settings, source),
        )
        extractor = Extractor(config)
        try:
            extractor.extract(jobs[:1], 1)
            yield Warm(extractor, made, jobs)
        finally:
            extractor.close()


@dataclass
class Warm:
    """Everything that a steady-state run needs, started."""

    extractor: Extractor
    store: Store
    jobs: list[VideoJob]

    def run(self) -> Steady:
        """Extract all videos and commit them, from the first frame to the last byte."""
        start = time.perf_counter()
        records, error = self.extractor.extract(self.jobs, 1)
        assert error is None
        self.store.commit(records)
        wall = time.perf_counter() - start
        stages: dict[str, float] = {}
        for record in records:
            assert all(feature.status == 1 for feature in record.features)
            for stage, seconds in record.timings.items():
                stages[stage] = stages.get(stage, 0.0) + seconds
        return Steady(wall, stages)


def startup() -> float:
    """Wall seconds of ``avqa --help``."""
    start = time.perf_counter()
    subprocess.run([sys.executable, "-m", "avqa.cli", "--help"], check=True, capture_output=True)
    return time.perf_counter() - start


def evenness(folder: Path, store: Path, num_videos: int = 200) -> tuple[float, float, float]:
    """Seconds per video of the first and the last hundred with stubbed networks, and growth.

    Real decoding of short clips, real writing; growth is the process's gain in resident bytes
    over the last hundred.
    """
    from avqa.pipelines.engine.networks import Networks

    class Stub:
        def forward(self, name, batch, taps):  # type: ignore[no-untyped-def]
            import torch

            from avqa.extract import encoders

            module = next(encoders.load(e) for e in encoders.names() if taps_of(e, taps))
            return {tap: torch.ones(len(batch), *module.TAPS[tap].shape) for tap in taps}

    def taps_of(encoder: str, taps: tuple[str, ...]) -> bool:
        from avqa.extract import encoders

        return set(taps) <= set(encoders.load(encoder).TAPS)

    real = Networks.get
    Networks.get = lambda self, encoder: Stub()  # type: ignore[assignment,method-assign]
    try:
        with warm_extractor(folder, store, "fp32") as warm:
            marks, sizes = [time.perf_counter()], [psutil.Process().memory_info().rss]
            jobs = [warm.jobs[k % len(warm.jobs)] for k in range(num_videos)]
            for half in (jobs[: num_videos // 2], jobs[num_videos // 2 :]):
                for k in range(0, len(half), 10):
                    records, error = warm.extractor.extract(half[k : k + 10], 1)
                    assert error is None
                    warm.store.commit(records)
                marks.append(time.perf_counter())
                sizes.append(psutil.Process().memory_info().rss)
    finally:
        Networks.get = real  # type: ignore[method-assign]
    count = num_videos // 2
    return (marks[1] - marks[0]) / count, (marks[2] - marks[1]) / count, sizes[2] - sizes[1]
