"""Training reads a packed copy as it reads the working store."""

import pickle

import numpy as np
import pytest
from helpers.store.reading import EVERYTHING, NAMES, store_of

from avqa.errors import FeatureMissing
from avqa.store.packing.pack import pack
from avqa.store.reader import open_store
from avqa.training.data.features import VideoFeatures

LENGTHS = {"a": 7, "b": 12, "c": 1}


@pytest.fixture(scope="module")
def stores(tmp_path_factory):
    folder = tmp_path_factory.mktemp("packed")
    working = store_of(folder / "S", LENGTHS)
    pack(folder / "S", folder / "P")
    return working, open_store(folder / "P")


@pytest.mark.parametrize("budget", [0, EVERYTHING])
def test_rows_are_the_same(stores, budget):
    readers = []
    for store in stores:
        reader = VideoFeatures(store, NAMES, budget_bytes=budget)
        assert reader.require(LENGTHS, "error") == set(LENGTHS)
        reader.preload(LENGTHS)
        readers.append(pickle.loads(pickle.dumps(reader)))  # as a spawned worker gets it
    for video, seconds in LENGTHS.items():
        mine, yours = (reader.read(video) for reader in readers)
        assert set(mine) == set(yours) == set(NAMES)
        for field, rows in mine.items():
            assert len(rows) == seconds
            np.testing.assert_array_equal(rows.numpy(), yours[field].numpy())


def test_a_feature_that_is_missing_is_refused(stores):
    reader = VideoFeatures(stores[1], {"patch": "resnet18/map"})
    with pytest.raises(FeatureMissing, match="has no resnet18/map; expected"):
        reader.require(LENGTHS, "error")
