"""Parts of a store that are verified beside each other find what one whole `avqa verify` finds."""

import itertools
import random
import shutil
from collections import Counter

import pytest
import zarr
from helpers.store import mutations
from helpers.store.packed import damage
from helpers.store.stored import make_store
from hypothesis import given
from hypothesis import strategies as st

from avqa.errors import StoreError
from avqa.store.checks.verify import verify
from avqa.store.commit import Store
from avqa.store.format.chunks import RowPart
from avqa.store.format.ledger import Ledger
from avqa.store.packing import pack as packing
from avqa.store.packing.pack import pack

LENGTHS = {f"v{number}": 3 + number % 9 for number in range(11)}


@given(
    count=st.integers(1, 20),
    total=st.integers(0, 300),
    step=st.sampled_from([1, 2, 64]),
    row=st.none() | st.integers(0, 400),
)
def test_every_row_is_of_exactly_one_part(count, total, step, row):
    parts = [RowPart(index, count, total, step) for index in range(count)]
    assert [part for part in parts if part.has(row)] == [next(p for p in parts if p.has(row))]
    assert [number for part in parts for number in part.rows] == list(range(total))
    assert all(part.rows.start % step == 0 for part in parts if part.rows)
    blocks = [-(-len(part.rows) // step) for part in parts]
    assert max(blocks) - min(blocks) <= 1


@pytest.fixture
def path(tmp_path):
    return make_store(tmp_path / "S", LENGTHS).path


def harm(path):
    """Something of every kind that is of one row, or of none, at rows far from each other."""
    root = path / "features.zarr"
    damage(root / "clip/frame/c.0.0.0")
    (root / "clip/patch/c.4.0.0.0").unlink()
    (root / "clip/patch/c.5.7.0.0").write_bytes(b"beyond the end")
    (root / "vggish/audio/c.77.0.0").write_bytes(b"no such row")
    (root / "vggish/audio/c.9.0.0.feed.partial").write_bytes(b"half")
    (root / "vggish/audio/notes.txt").write_bytes(b"foreign")
    (root / "index/pts/c.9.0").write_bytes(b"no time stamps of any row")
    for name, row, value in (
        ("index/duration", 2, 99.0),
        ("length/clip/frame", 6, 1),
        ("status/clip/frame", 8, 2),
    ):
        zarr.open_array(root / name, mode="r+")[row] = value
    segments = sorted((path / "ledger/first").iterdir())  # a video each
    moved = segments[10].read_bytes().replace(b'"row":10', b'"row":3')  # its checksum tells
    segments[10].write_bytes(moved)
    segments[7].write_bytes(b"no record\n")
    segments[9].write_bytes(b"")
    (path / "runs/lost.json").write_text("{", encoding="ascii")


def told(report):
    return Counter(map(str, report.problems))


@pytest.mark.parametrize("count", [1, 2, 3, 11, 30])
@pytest.mark.parametrize("level", ["size", "crc"])
def test_together_they_find_what_one_finds_each_of_it_once(path, count, level):
    harm(path)
    whole = verify(path, level)
    kinds = {
        "missing",
        "index",
        "ledger",
        "run",
        "length",
        "status",
        "orphan",
        "partial",
        "foreign",
    }
    assert whole.counts.keys() == kinds | ({"crc"} if level == "crc" else set())
    parts = [verify(path, level, part=(index, count)) for index in range(count)]
    assert sum(map(told, parts), Counter()) == told(whole)
    for name in ("videos", "objects", "n_bytes", "uncommitted"):
        assert sum(getattr(part, name) for part in parts) == getattr(whole, name)


@pytest.mark.parametrize(
    "taken", [slice(1, None, 9), pytest.param(slice(None), marks=pytest.mark.soak)], ids=["few", ""]
)
def test_one_harmed_file_is_found_by_parts_too(tmp_path, taken):
    """Every kind of file harmed in every way, as in test_damage.py."""
    store = mutations.build(tmp_path / "whole")
    kinds, rng = {}, random.Random(3)
    for file in mutations.files(store):
        kinds.setdefault(mutations.kind_of(store, file), []).append(file.relative_to(store))
    cases = [*itertools.product(sorted(kinds), ("flip", "half", "lose", "swap"))][taken]
    found = 0
    for kind, how in cases:
        path = tmp_path / "S"
        shutil.copytree(store, path, ignore=shutil.ignore_patterns(".reserve"))
        mutations.harm(path, path / rng.choice(kinds[kind]), how, rng)
        whole = problems(path)
        found += bool(whole)
        of_parts = [problems(path, part=(index, 2)) for index in range(2)]
        assert set().union(*of_parts) == whole, (kind, how)
        shutil.rmtree(path)
    assert found > len(cases) // 2


def problems(path, part=None):
    try:
        return set(told(verify(path, part=part)))
    except StoreError as error:
        return {str(error)}


def test_what_keeps_any_part_from_checking_is_told_by_all(path):
    root = path / "features.zarr"
    damage(root / "index/duration/c.0")
    assert [told(verify(path, part=(i, 2))) for i in range(2)] == [told(verify(path))] * 2
    (root / "clip/frame/zarr.json").unlink()
    assert [told(verify(path, part=(i, 2))) for i in range(2)] == [told(verify(path))] * 2


def test_an_id_that_two_rows_have_is_found_by_the_part_of_the_first(path):
    """Of rows with one id the last one counts, though it is another part's."""
    zarr.open_array(path / "features.zarr/index/video_id", mode="r+")[10] = "v1"
    whole = verify(path)
    expected = "index: index/video_id video='v1' row=1: in the ledger, but not in the index"
    assert expected in told(whole)
    parts = [verify(path, part=(index, 4)) for index in range(4)]
    assert sum(map(told, parts), Counter()) == told(whole)


def test_a_part_reads_the_records_of_its_rows_alone(path):
    part = RowPart(1, 3, len(LENGTHS))
    assert [*part.rows] == [3, 4, 5, 6]
    store = Store.open(path, part=part)
    assert store.names() == {row: f"v{row}" for row in part.rows}
    records = [record for segment in Ledger(path / "ledger", part).segments()
               for record in segment.records()]  # fmt: skip
    assert [record.row for record in records] == [3, 4, 5, 6]
    durations = store.arrays.columns["index/duration"].values.tolist()
    assert durations == [0, 0, 0, 6, 7, 8, 9, 0, 0, 0, 0]


def test_a_shard_is_checked_by_one_part(path, tmp_path, monkeypatch):
    monkeypatch.setattr(packing, "videos_per_shard", lambda chunk_seconds, chunk_bytes: 4)
    pack(path, tmp_path / "P")
    root = tmp_path / "P/features.zarr"
    damage(root / "clip/frame/c.1.0.0")
    (root / "clip/patch/c.2.1.0.0").unlink()
    (root / "vggish/audio/c.9.0.0").write_bytes(b"no such block")
    whole = verify(tmp_path / "P")
    assert whole.counts == {"crc": 1, "missing": 1, "foreign": 1}
    for count in (2, 3, 4):
        parts = [verify(tmp_path / "P", part=(index, count)) for index in range(count)]
        assert sum(map(told, parts), Counter()) == told(whole)
        assert all(part.part.rows.start % 4 == 0 for part in parts if part.part.rows)
        assert sum(part.objects for part in parts) == whole.objects


def test_a_part_is_not_repaired_nor_sampled(path):
    for options in ({"repair": True}, {"level": "sample", "extract": print}):
        with pytest.raises(ValueError, match="a part is looked at with level='size' or 'crc'"):
            verify(path, part=(0, 2), **options)
