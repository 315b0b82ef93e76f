"""A small store for tests: features, recipes, values that follow from (feature, row, second)."""

from __future__ import annotations

import atexit
import functools
import hashlib
import shutil
import tempfile
from pathlib import Path

import numpy as np

from avqa.store.commit import Store
from avqa.store.format import layout
from avqa.store.format.records import FeatureRecord, Fingerprint, Status, VideoRecord
from avqa.store.format.schema import FeatureSpec
from avqa.store.lock import Lock
from avqa.store.places.files import store_path
from avqa.store.writer import ChunkWriter

CHUNK_SECONDS = 5
SPECS = (
    FeatureSpec("clip/frame", (8,), ("channel",), False),
    FeatureSpec("clip/patch", (3, 8), ("position", "channel"), False),
    FeatureSpec("vggish/audio", (6,), ("channel",), True),
)
EXTRA = FeatureSpec("resnet18/map", (2, 2, 4), ("y", "x", "channel"), True)
FEATURES = tuple(spec.name for spec in SPECS)
RECIPES = {
    spec.name: {
        "grid": {"frame_at": "mid", "chunk_seconds": CHUNK_SECONDS},
        "encoder": {"name": spec.name},
        "weights": {"w": {"source": "pretrained", "sha256": "0" * 64}},
    }
    for spec in (*SPECS, EXTRA)
}


def values_of(spec: FeatureSpec, video_id: str, seconds: int, version: int = 0) -> np.ndarray:
    """What a network would give: ``[seconds, *shape]`` float32, nothing zero."""
    seed = hashlib.sha256(f"{spec.name}:{video_id}:{version}".encode()).digest()[:8]
    rng = np.random.default_rng(int.from_bytes(seed, "little"))
    return rng.uniform(0.5, 2.0, (seconds, *spec.shape)).astype(np.float32)


def extract(
    writer: ChunkWriter,
    video_id: str,
    row: int,
    seconds: int,
    specs: tuple[FeatureSpec, ...] = SPECS,
    version: int = 0,
) -> VideoRecord:
    """Write a video's chunks, as a worker does, and report them."""
    features = []
    for spec in specs:
        values = values_of(spec, video_id, seconds, version)
        chunks = tuple(
            writer.write(spec.name, row, number, values[start : start + CHUNK_SECONDS])
            for number, start in enumerate(range(0, seconds, CHUNK_SECONDS))
        )
        writer.trim(spec.name, row, len(chunks))
        features.append(FeatureRecord(spec.name, Status.OK, seconds, chunks))
    return record(video_id, row, tuple(features), seconds, version)


def failure(video_id: str, row: int, specs: tuple[FeatureSpec, ...] = SPECS) -> VideoRecord:
    """A record of a video that could not be read."""
    features = tuple(
        FeatureRecord(s.name, Status.FAILED, 0, (), "corrupt", "no frame", "decode") for s in specs
    )
    return record(video_id, row, features, 0, 0)


def record(
    video_id: str,
    row: int,
    features: tuple[FeatureRecord, ...],
    seconds: int,
    version: int,
    row_flags: int = 1,
) -> VideoRecord:
    return VideoRecord(
        video_id=video_id,
        row=row,
        relpath=f"{video_id}.mp4",
        fingerprint=Fingerprint(1000 + version, version, "ab12"),
        duration=float(seconds) if seconds else float("nan"),
        pts=tuple(k + 0.5 for k in range(seconds)),
        audio_start=0.25 if seconds else None,
        audio_end=seconds - 0.25 if seconds else None,
        row_flags=row_flags if seconds else 0,
        features=features,
    )


def make_store(path: Path, lengths: dict[str, int], run_id: str = "first") -> Store:
    """A store with these videos, committed; the lock is given back.

    Made once per test process, and copied: a store is a folder that knows no place of its own.
    """
    folder = store_path(path).local
    if folder is None:
        _make(path, lengths, run_id)
    else:
        template = _template(tuple(lengths.items()), run_id)
        reserve = shutil.ignore_patterns(".reserve")
        shutil.copytree(template, folder, ignore=reserve, dirs_exist_ok=True)
        layout.allocate_reserve(store_path(path))
    return Store.open(path)


@functools.cache
def _template(lengths: tuple[tuple[str, int], ...], run_id: str) -> Path:
    folder = Path(tempfile.mkdtemp(prefix="avqa-store-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    _make(folder / "S", dict(lengths), run_id)
    return folder / "S"


def _make(path: Path, lengths: dict[str, int], run_id: str) -> None:
    with Lock.acquire(path, run_id) as lock:
        store = new_store(path, lock)
        add_videos(store, lengths)
        store.finish_run({"reason": "done"})


def new_store(path: Path, lock: Lock) -> Store:
    recipes = {spec.name: RECIPES[spec.name] for spec in SPECS}
    store = Store.create(path, recipes, SPECS, CHUNK_SECONDS, lock=lock)
    store.start_run({"argv": ["test"]})
    return store


def add_videos(store: Store, lengths: dict[str, int], version: int = 0) -> None:
    """Add and extract videos, one commit each."""
    rows = store.add_rows(list(lengths))
    store.set_pending((row, spec.name) for row in rows.values() for spec in SPECS)
    writer = ChunkWriter(store.path, SPECS, CHUNK_SECONDS)
    for video_id, seconds in lengths.items():
        store.commit([extract(writer, video_id, rows[video_id], seconds, version=version)])
