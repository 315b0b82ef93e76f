"""Two extractions on one GPU at once, as typed: the same rows, and what each loses."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from avqa.store.places.files import store_path
from avqa.store.reader import FeatureStore
from benchmarks.gpu import material, typed
from benchmarks.gpu.device import CUDA
from benchmarks.gpu.part import Run

VIDEOS = 8
"""Each of them takes as many."""


def measure(run: Run) -> None:
    clips, folder = Path(run.setup.material), run.work / "videos-together"
    [height, *_] = material.heights(clips)
    material.videos(clips, folder, height, run.setup.loops, VIDEOS)
    stores = [run.work / name for name in ("alone", "first", "second")]
    alone = typed.avqa(*words(run, folder, stores[0]))
    begun = [typed.begin(*words(run, folder, store)) for store in stores[1:]]
    pair = [each.end() for each in begun]
    codes = [done.code for done in (alone, *pair)]
    run.check("exit codes, alone and both at once", codes, "[0, 0, 0]", not any(codes))
    for name, done in (("alone", alone), ("first of two", pair[0]), ("second of two", pair[1])):
        run.row(
            "As typed, start and end included",
            extraction=name,
            videos=VIDEOS,
            seconds=f"{done.seconds:.1f}",
        )
    for store in stores[1:]:
        most = apart(stores[0], store)
        run.check(
            f"rows of the {store.name} of two", f"{most:.1e} apart", "those of alone", most == 0
        )


def words(run: Run, videos: Path, store: Path) -> list[object]:
    """Of the command: half of the decoders."""
    return [
        *("extract", "--videos", videos, "--out", store, "--weights", run.weights()),
        *("--device", CUDA, "--decoders", max(1, max(run.setup.decoders) // 2)),
        *("--features", ",".join(run.setup.features)),
    ]


def apart(one: Path, other: Path) -> float:
    """Largest difference between the rows of two stores of the same videos."""
    a, b = FeatureStore(store_path(one)), FeatureStore(store_path(other))
    most = 0.0
    for video in a.video_ids:
        for feature in a.features:
            x, y = (np.asarray(s.read(video, feature), np.float32) for s in (a, b))
            most = max(most, float(np.abs(x - y).max()))
    return most
