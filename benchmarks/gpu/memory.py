"""A GPU without memory left: a line that says so, nothing lost, and the next try succeeds."""

from __future__ import annotations

from pathlib import Path

from avqa.errors import EnvironmentFailure
from benchmarks.gpu import material
from benchmarks.gpu.device import full, peak
from benchmarks.gpu.part import Run
from benchmarks.gpu.whole import extractor

EXPECTED = "GPU out of memory "


def measure(run: Run) -> None:
    clips = Path(run.setup.material)
    [height, *_] = material.heights(clips)
    videos = material.videos(clips, run.work / "short", height, 1, 2)
    with extractor(run, videos, "fp32", 2) as (works, _, jobs):
        with full():
            records, error = works.extract(jobs, 1)
    run.check(
        "extraction on a full GPU",
        f"{type(error).__name__}: {error}",
        f"EnvironmentFailure: {EXPECTED}…",
        isinstance(error, EnvironmentFailure) and str(error).startswith(EXPECTED),
    )
    run.check("videos that it took for done", len(records), "0", not records)
    with extractor(run, videos, "fp32", 2) as (works, _, jobs):
        records, error = works.extract(jobs, 1)
    good = sum(all(f.status == 1 for f in record.features) for record in records)
    run.check("the same once there is room", f"{good} of 2, {error}", "2 of 2, None", good == 2)
    run.note(f"Most that tensors took: {peak() / 1e9:.2f} GB of GPU memory.")
    run.note(
        "No batch is halved: its size is part of a feature's recipe. Extraction ends with the line"
        " above and exit code 5, and goes on where it was with the same command."
    )
