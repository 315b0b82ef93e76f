"""Small invented .npy dumps for tests, and one extracted store without a network."""

from pathlib import Path

import numpy as np

from avqa.pipelines.npy.kinds import KINDS
from avqa.store.commit import Store
from avqa.store.format.records import FeatureRecord, Fingerprint, RowFlag, Status, VideoRecord
from avqa.store.format.schema import FeatureSpec
from avqa.store.lock import Lock
from avqa.store.writer import ChunkWriter

CHUNK = 8
SPECS = {
    part.feature: part.spec("float16")
    for name in ("vggish", "res18", "clip_vit_b32", "clip_patch")
    for part in KINDS[name].parts
    if part.feature != "clip_vit_b32/class"
}


def rows_of(kind: str, rows: int, seed: int = 0, dtype: str = "float32") -> np.ndarray:
    """Numbers that differ from row to row: ``[rows, *row]``."""
    rng = np.random.default_rng((seed, len(kind)))
    return rng.standard_normal((rows, *KINDS[kind].row)).astype(dtype)


def write_dump(folder: Path, kind: str, lengths: dict[str, int], dtype: str = "float32") -> Path:
    """``<video>.npy`` of these lengths."""
    folder.mkdir(parents=True, exist_ok=True)
    for seed, (name, rows) in enumerate(lengths.items()):
        np.save(folder / f"{name}.npy", rows_of(kind, rows, seed, dtype))
    return folder


def file_bytes(folder: Path) -> dict[str, bytes]:
    """Every file below a folder."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def extracted_store(
    path: Path,
    lengths: dict[str, int],
    *,
    specs: tuple[FeatureSpec, ...] = tuple(SPECS.values()),
    absent: tuple[tuple[str, str], ...] = (),
    failed: tuple[tuple[str, str], ...] = (),
    weights: str = "pretrained",
) -> Path:
    """A store as extraction leaves it; values follow from (feature, video)."""
    recipes = {
        spec.name: {
            "grid": {"frame_at": "mid", "chunk_seconds": CHUNK},
            "weights": {"w": {"source": weights}},
        }
        for spec in specs
    }
    with Lock.acquire(path, "made") as lock:
        store = Store.create(path, recipes, specs, CHUNK, lock=lock)
        store.start_run({})
        rows = store.add_rows(list(lengths))
        writer = ChunkWriter(path, specs, CHUNK)
        for seed, (name, seconds) in enumerate(lengths.items()):
            features = []
            for spec in specs:
                status = Status.ABSENT if (name, spec.name) in absent else Status.OK
                status = Status.FAILED if (name, spec.name) in failed else status
                if status == Status.OK:
                    values = feature_rows(spec, seconds, seed)
                    chunks = tuple(
                        writer.write(spec.name, rows[name], number, values[start : start + CHUNK])
                        for number, start in enumerate(range(0, seconds, CHUNK))
                    )
                    features.append(FeatureRecord(spec.name, status, seconds, chunks))
                else:
                    features.append(FeatureRecord(spec.name, status, 0))
            store.commit([_record(name, rows[name], seconds, tuple(features))])
        store.finish_run({})
    return path


def feature_rows(spec: FeatureSpec, seconds: int, seed: int) -> np.ndarray:
    """What `extracted_store` holds, before it is stored: float32."""
    rng = np.random.default_rng((seed, sum(spec.name.encode())))
    return rng.standard_normal((seconds, *spec.shape)).astype(np.float32)


def _record(name: str, row: int, seconds: int, features: tuple[FeatureRecord, ...]) -> VideoRecord:
    return VideoRecord(
        video_id=name,
        row=row,
        relpath=f"{name}.mp4",
        fingerprint=Fingerprint(1, 2, "ab"),
        duration=float(seconds),
        pts=tuple(k + 0.5 for k in range(seconds)),
        audio_start=0.0,
        audio_end=float(seconds),
        row_flags=RowFlag.HAS_AUDIO,
        features=features,
    )
