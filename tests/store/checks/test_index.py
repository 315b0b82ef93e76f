"""What the index says of a video against the records that may have described it."""

from dataclasses import replace

import pytest
from helpers.store.stored import make_store, new_store

from avqa.store.checks.indexcheck import check_index
from avqa.store.checks.verify import verify
from avqa.store.commit import Store
from avqa.store.format.ledger import Ledger
from avqa.store.format.records import Status
from avqa.store.lock import Lock


@pytest.fixture
def store(tmp_path):
    return Store.open(make_store(tmp_path / "S", {"a": 3, "b": 5}).path)


@pytest.fixture
def told(store, monkeypatch):
    """The ledger's record of row 1, and a way to make the ledger tell others instead."""
    (record,) = [record for row, record in store.ledger.described() if row == 1]

    def tell(*records):
        monkeypatch.setattr(Ledger, "described", lambda ledger: iter([(1, r) for r in records]))
        return list(check_index(store))

    return record, tell


def test_either_record_may_be_right_and_the_newest_is_told(told):
    record, tell = told
    longer, longest = replace(record, duration=98.0), replace(record, duration=99.0)
    assert tell(record) == tell(longer, record) == tell(record, longer) == []
    assert tell(longest, longer) == [
        ("index/duration", 1, f"is {record.duration}, ledger says 99.0")
    ]


def test_each_array_may_be_right_by_another_record(told):
    record, tell = told
    earlier, silent = replace(record, pts=record.pts[:-1]), replace(record, row_flags=8)
    assert tell(earlier, silent) == []
    assert [name for name, _, _ in tell(earlier)] == ["index/pts"]
    assert [name for name, _, _ in tell(silent)] == ["index/row_flags"]


def test_time_stamps_are_told_by_number_or_by_the_second_that_differs(told):
    record, tell = told
    assert tell(replace(record, pts=record.pts[:-1]))[0][2] == ("has 5 time stamps, ledger says 4")
    other = (*record.pts[:2], 7.25, *record.pts[3:])
    assert tell(replace(record, pts=other))[0][2] == (
        f"second=2 is {record.pts[2]}, ledger says 7.25"
    )


def test_a_row_that_was_another_videos_once_is_not_judged(told):
    record, tell = told
    longer = replace(record, duration=99.0)
    assert tell(longer, replace(longer, video_id="z")) == []
    assert tell(replace(longer, video_id="z"), longer) == []


def test_the_records_of_a_video_end_with_the_newest_of_which_something_stands(store):
    ledger = Ledger(store.path / "ledger")
    (first,) = [r for part in ledger.segments() for r in part.records() if r.row == 1]
    one = first.features[0]

    def durations():
        return [record.duration for row, record in ledger.described() if row == 1]

    (store.path / "ledger/later").mkdir()
    ledger.append("later", [replace(first, duration=98.0, features=(one,))])
    assert durations() == [98.0]
    failed = replace(one, status=Status.FAILED, length=0, chunks=())
    ledger.append("later", [replace(first, duration=99.0, features=(failed,))])
    assert durations() == [98.0, first.duration]


def test_statuses_of_rows_that_the_ledger_never_heard_of_may_be_in_no_object(tmp_path, store):
    with Lock.acquire(tmp_path / "new", "run") as lock:
        new_store(tmp_path / "new", lock).add_rows(["a", "b"])
    for path in (tmp_path / "new", store.path):
        for file in (path / "features.zarr/status").rglob("c.0"):
            file.unlink()
    assert verify(tmp_path / "new").problems == []
    assert {problem.detail for problem in verify(store.path).problems} == {
        "c.0 is gone; the ledger has videos of it"
    }
