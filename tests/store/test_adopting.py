"""What finalize takes for a part's chunk in the store: adopted in a shard, or lying beside it."""

import numpy as np
import pytest

from avqa.store.adopting import Item, Mover
from avqa.store.commit import Store
from avqa.store.format.chunks import FeatureObjects
from avqa.store.format.records import FeatureRecord, Fingerprint, Status, VideoRecord
from avqa.store.format.schema import FeatureSpec
from avqa.store.lock import Lock
from avqa.store.writer import ChunkWriter

FEATURE, SECONDS = "light/pool", 2
SPECS = (FeatureSpec(FEATURE, (3,), ("value",), False, "float32"),)


def made(path, lock):
    store = Store.create(path, {FEATURE: {}}, SPECS, SECONDS, lock=lock, shard_videos={FEATURE: 2})
    store.add_rows(["a", "b"])
    return store


@pytest.fixture
def adopted(tmp_path):
    """A store whose only shard came from a part, the part's item of a video, objects and bytes."""
    with Lock.acquire(tmp_path / "P", "p") as one, Lock.acquire(tmp_path / "S", "s") as two:
        part, store = made(tmp_path / "P", one), made(tmp_path / "S", two)
        writer = ChunkWriter(tmp_path / "P", SPECS, SECONDS)
        chunks = [writer.write(FEATURE, row, 0, np.full((2, 3), row + 1.0, "f4")) for row in (0, 1)]
        its, mine = (FeatureObjects(each.root, FEATURE) for each in (part, store))
        pieces = {row: its.read(row, 0) for row in (0, 1)}
        mine.write_shard(0, 0, pieces)
        for row in (0, 1):
            its.path(row, 0).unlink()
        record = VideoRecord(
            video_id="a",
            row=0,
            relpath="a.mp4",
            fingerprint=Fingerprint(1, 1, "x"),
            duration=2.0,
            pts=(0.5, 1.5),
            audio_start=None,
            audio_end=None,
            row_flags=0,
            features=(FeatureRecord(FEATURE, Status.OK, 2, (chunks[0],)),),
        )
        yield store, Item(part, record, record), mine, pieces


def test_a_chunk_in_an_adopted_shard_is_in_place(adopted):
    store, item, _, _ = adopted
    mover = Mover(store)
    assert mover.move(item) == item.record
    assert mover.copied == 0


def test_another_chunk_beside_the_shard_counts_before_it(adopted):
    """As a killed run may have left it: read, it would be another video's."""
    store, item, mine, pieces = adopted
    mine.path(0, 0).write(pieces[1])
    assert mine.values(0, 2).tolist() == [[2.0] * 3] * 2
    assert Mover(store).move(item).features == ()
