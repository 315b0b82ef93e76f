"""Small invented HDF5 files as the data set AVQA publishes them, and an import that dies."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import h5py
import numpy as np
from helpers.store.crashing import dies_before, guard

from avqa.pipelines.npy.hdf5 import import_hdf5

SHAPES = {
    "resnet_features": (8, 16, 2048),
    "resnext_features": (8, 2048),
    "vlaudio_features": (2048,),
}
FEATURES = {
    "resnet_features": "resnet101/pool",
    "resnext_features": "resnext101/pool",
    "vlaudio_features": "panns_cnn14/clip",
}


def rows_of(name: str, count: int, seed: int = 0, dtype: str = "float32") -> np.ndarray:
    """What a dataset of this name holds: numbers that differ from row to row."""
    rng = np.random.default_rng((seed, len(name)))
    return rng.random((count, *SHAPES[name]), np.float32).astype(dtype)


def write(
    path: Path,
    name: str,
    ids: Sequence[object],
    values: np.ndarray | None = None,
    **storage: object,
) -> np.ndarray:
    """A file with one dataset and its ids; gives the values."""
    path.parent.mkdir(parents=True, exist_ok=True)
    values = rows_of(name, len(ids)) if values is None else values
    with h5py.File(path, "w") as file:
        file.create_dataset(name, data=values, **storage)
        file["ids"] = ids
    return values


def import_and_die(source: Path, store: Path, change: int) -> None:
    """Kill this process before its change of the disk number ``change``, counted from 0."""
    guard(dies_before(change))
    list(import_hdf5(source, store))
