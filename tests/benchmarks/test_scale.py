"""What stands in place of a worker's writing where millions of objects are needed."""

import numpy as np
import pytest

from avqa.store.commit import Store
from avqa.store.format.chunks import FeatureObjects
from avqa.store.lock import Lock
from avqa.store.writer import ChunkWriter
from benchmarks.scale import FEATURES, Linked, specs

SECONDS = 2


@pytest.fixture
def written(tmp_path):
    """A writer of a store for 8 videos, and where its objects lie."""
    path = tmp_path / "store"
    recipes = {name: {"feature": name} for name in FEATURES}
    with Lock.acquire(path, "run") as lock:
        made = Store.create(path, recipes, specs("float32"), SECONDS, lock=lock)
        made.add_rows([f"v{row}" for row in range(8)])
        yield (
            Linked(ChunkWriter(path, specs("float32"), SECONDS)),
            FeatureObjects(made.root, FEATURES[0]),
        )


def test_linked_objects_are_those_that_were_written(written):
    writer, objects = written
    values = np.full((SECONDS, 1), 3.0, np.float32)
    first = writer.write(FEATURES[0], 0, 0, values)
    assert [writer.write(FEATURES[0], row, 0, values) for row in (1, 1)] == [first, first]
    assert objects.path(0, 0).stat().st_ino == objects.path(1, 0).stat().st_ino
    assert objects.values(1, SECONDS).tolist() == values.tolist()
    other = writer.write(FEATURES[0], 2, 0, 2 * values)
    assert other != first
    assert objects.values(2, SECONDS).tolist() == (2 * values).tolist()


def test_an_object_that_went_into_a_shard_is_written_anew(written):
    writer, objects = written
    values = np.full((SECONDS, 1), 3.0, np.float32)
    first = writer.write(FEATURES[0], 0, 0, values)
    objects.path(0, 0).unlink()
    assert writer.write(FEATURES[0], 1, 0, values) == first
    assert objects.values(1, SECONDS).tolist() == values.tolist()
