"""A folded ledger says what its segments said, whenever it is read and whoever is killed."""

import itertools
import pathlib
import signal

import pytest
from helpers.killed import exit_code
from helpers.store import crashing
from helpers.store.stored import CHUNK_SECONDS, SPECS, add_videos, extract, make_store, record
from helpers.store.stores import store_bytes
from helpers.store.written import copied
from hypothesis import given
from hypothesis import strategies as st

from avqa.store.checks.verify import verify
from avqa.store.commit import Store
from avqa.store.format.folding import segments as folding
from avqa.store.format.folding.sources import FILE, Sources, from_bytes
from avqa.store.format.ledger import Ledger
from avqa.store.format.records import UNKNOWN_FILE, FeatureRecord, Fingerprint, Status
from avqa.store.lock import Lock
from avqa.store.places.files import LocalPath
from avqa.store.reader import FeatureStore
from avqa.store.writer import ChunkWriter

FEATURES = ("a/x", "a/y")
made = st.builds(
    lambda row, version, statuses: record(
        f"v{row}",
        row,
        tuple(FeatureRecord(f, s, 3 * (s == Status.OK)) for f, s in statuses.items()),
        3,
        version,
    ),
    st.integers(0, 3),
    st.integers(0, 9),
    st.dictionaries(st.sampled_from(FEATURES), st.sampled_from(Status), max_size=2),
)
events = st.lists(st.lists(made, min_size=1, max_size=3) | st.none(), max_size=12)
"""Records of a checkpoint; None: folded."""


@pytest.fixture
def few(monkeypatch):
    """Two segments are many."""
    monkeypatch.setattr(folding, "FOLD_SEGMENTS", 2)


def lines(ledger):
    return [line for segment in ledger.segments() for line in segment.lines()]


def said(ledger):
    """Everything that is asked of a ledger."""
    pairs = set(itertools.product(range(4), FEATURES))
    return repr(
        (
            lines(ledger),
            list(ledger.newest()),
            list(ledger.described()),
            ledger.reports(),
            ledger.failures(pairs),
            ledger.failed(),
            dict(ledger.fingerprints()),
        )
    )


@given(events, st.sampled_from([1, 400, 10**9]))
def test_any_segments_fold_to_the_same(tmp_path_factory, events, size):
    folder = LocalPath(tmp_path_factory.mktemp("ledgers"))
    plain, folded = Ledger(folder / "plain"), Ledger(folder / "folded")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(folding, "FOLD_SEGMENTS", 2)
        patch.setattr(folding, "FOLD_BYTES", size)
        for number, records in enumerate(events):
            before = folded.segments()
            if records is None:
                folded.fold(folded.last)
                folded.keep(folded.fingerprints())
                for segment in before:  # who listed them before reads on
                    if segment.path.parent.name != folding.FOLDED:
                        assert segment.lines() == plain.segments()[segment.number - 1].lines()
            else:
                for ledger in (plain, folded):
                    ledger.append(f"run{number % 2}", records)
            assert said(folded) == said(plain)
            assert said(Ledger(folder / "folded")) == said(plain)
            assert (folded.last, folded.segments(folded.last)) == (plain.last, [])


def ledger_of(folder, count=5):
    ledger = Ledger(LocalPath(folder))
    for row in range(count):
        ledger.append("run", [record(f"v{row}", row, (), 3, row), record("w", 9, (), 3, row)])
    return ledger


def test_many_segments_become_one_and_its_index(tmp_path, few):
    ledger = ledger_of(tmp_path)
    before, listed = lines(ledger), ledger.segments()
    ledger.fold(4)
    assert sorted(str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*.js*")) == [
        "folded/000004.json",
        "folded/000004.jsonl",
        "run/000005.jsonl",
    ]
    assert [segment.number for segment in ledger.segments()] == [4, 5]
    assert lines(ledger) == before
    assert [s.lines() for s in listed] == [before[k : k + 2] for k in range(0, 10, 2)]
    assert ledger.append("run", [record("z", 7, (), 3, 0)]) == 6


def test_few_segments_stay_and_so_do_those_behind_an_empty_one(tmp_path, monkeypatch):
    monkeypatch.setattr(folding, "FOLD_SEGMENTS", 6)
    ledger = ledger_of(tmp_path)
    ledger.fold(5)
    assert len(ledger.segments()) == 5
    monkeypatch.setattr(folding, "FOLD_SEGMENTS", 2)
    (tmp_path / "run/000003.jsonl").write_bytes(b"")
    Ledger(LocalPath(tmp_path)).fold(5)
    assert [segment.number for segment in ledger.segments()] == [2, 3, 4, 5]
    assert [str(line) for line in ledger.bad_lines()] == [
        f"'{tmp_path}/run/000003.jsonl' line=0: it is empty"
    ]


def test_a_cut_line_stays_one_line(tmp_path, few):
    ledger = ledger_of(tmp_path)
    path = tmp_path / "run/000002.jsonl"
    path.write_bytes(path.read_bytes()[:-30])
    before = lines(ledger)
    ledger.fold(5)
    assert lines(ledger) == before
    assert [line.number for line in ledger.bad_lines()] == [4]


def test_what_a_kill_left_does_not_count_and_goes(tmp_path, few):
    ledger = ledger_of(tmp_path)
    before = lines(ledger)
    kept = {path: path.read_bytes() for path in tmp_path.glob("run/*")}
    ledger.fold(5)
    for path, data in kept.items():
        path.write_bytes(data)
    assert lines(ledger) == before
    Ledger(LocalPath(tmp_path)).fold(5)
    assert lines(ledger) == before
    assert not list(tmp_path.glob("run/*"))


def test_who_lists_while_segments_fold_misses_none(tmp_path, few, monkeypatch):
    before, real = lines(ledger_of(tmp_path)), folding._segments

    def listing(folder, run):
        found = real(folder, run)
        monkeypatch.setattr(folding, "_segments", real)
        Ledger(folder).fold(5)
        return found

    monkeypatch.setattr(folding, "_segments", listing)
    assert lines(Ledger(LocalPath(tmp_path))) == before
    assert not list(tmp_path.glob("run/*"))


def test_a_disk_that_refuses_costs_nothing_but_the_saving(tmp_path, few, monkeypatch):
    ledger = ledger_of(tmp_path)
    before = lines(ledger)

    def full(*values, **options):
        raise OSError(28, "full")

    monkeypatch.setattr(LocalPath, "write", full)
    ledger.fold(5)
    ledger.keep(ledger.fingerprints())
    assert lines(ledger) == before
    assert len(ledger.segments()) == 5
    assert not (tmp_path / FILE).exists()


@given(st.lists(st.tuples(st.integers(0, 40), st.text(), st.integers(-1, 2**63 - 1))))
def test_sources_survive_their_file(found):
    sources, told = Sources(), {}
    for row, name, number in found:
        sources.add([(row, name, Fingerprint(number, -number, f"{number % 255:032x}"))])
        told[row] = (name, Fingerprint(number, -number, f"{number % 255:032x}"))
    sources.number = 7
    data = sources.to_bytes()
    for each in (sources, from_bytes(data)):
        assert each == {row: file for row, (_, file) in told.items()}
        assert {row: each.relpath(row) for row in each} == {row: n for row, (n, _) in told.items()}
        assert each.relpath(41) is each.get(41) is None
        assert each.number == 7
    assert from_bytes(data[:-1]) is None
    assert from_bytes(bytes([data[0] ^ 1]) + data[1:]) is None


def test_sources_that_cannot_be_used_are_read_from_the_ledger(tmp_path):
    ledger = ledger_of(tmp_path)
    ledger.keep(ledger.fingerprints())
    good = (tmp_path / FILE).read_bytes()
    (tmp_path / "run/000005.jsonl").unlink()  # they are ahead of the ledger now
    again = Ledger(LocalPath(tmp_path))
    left = {row: Fingerprint(1000 + row, row, "ab12") for row in range(4)}
    assert dict(again.fingerprints()) == left | {9: Fingerprint(1003, 3, "ab12")}
    for data in (b"", good[:-9], bytes([good[40] ^ 1]) + good):
        (tmp_path / FILE).write_bytes(data)
        assert 9 in again.fingerprints()


def test_only_segments_after_the_sources_are_read(tmp_path, monkeypatch):
    ledger = ledger_of(tmp_path)
    ledger.keep(ledger.fingerprints())
    ledger.append("run", [record("z", 7, (), 3, 1)])
    read, real = [], folding.read_segment
    monkeypatch.setattr(folding, "read_segment", lambda file: read.append(file.stem) or real(file))
    assert set(Ledger(LocalPath(tmp_path)).fingerprints()) == {0, 1, 2, 3, 4, 7, 9}
    assert read == ["000006"]


# Whole stores.


class Cut(Exception):
    """The process ends here."""


def made_before(path):
    """A store as earlier versions left it: three segments, and nothing beside them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(folding, "FOLD_SEGMENTS", 10**9)
        store = make_store(path, {"a": 3, "b": 12, "c": 5}, run_id="before")
    (path / "ledger" / FILE).unlink(missing_ok=True)
    assert len(store.ledger.segments()) == len(list(path.glob("ledger/before/*"))) == 3
    return store.path


def test_cut_before_each_change_of_a_fold(tmp_path, few, monkeypatch):
    base = made_before(tmp_path / "base")
    before = lines(Store.open(base).ledger)
    for change in range(100):
        path = LocalPath(copied(base, tmp_path / str(change)))
        left = [change]

        def count(left=left):
            left[0] -= 1
            if left[0] < 0:
                raise Cut

        with monkeypatch.context() as patch:
            for name in ("replace", "rename", "unlink"):
                method = crashing.guarded(getattr(pathlib.Path, name), count)
                patch.setattr(pathlib.Path, name, method)
            try:
                Ledger(path / "ledger").fold(3)
                break
            except Cut:
                pass
        assert lines(Store.open(path).ledger) == before, f"before change {change}"
        assert verify(path).problems == []
        with Lock.acquire(path, "next") as lock:
            store = Store.open(path, lock)
            store.recover()
            assert lines(store.ledger) == before
            assert len(store.ledger.segments()) == 1
            assert not list(path.glob("ledger/before/*"))
    assert change > 4  # the index, the folded segment, three that go


def test_killed_while_folding_and_resumed(tmp_path, step):
    assert exit_code(crashing.run, tmp_path / "whole", "only") == 0
    whole = store_bytes(tmp_path / "whole")
    told = sorted(map(str, Store.open(tmp_path / "whole").ledger.newest()))
    folded = 0
    for change in range(150, 1000, 8 * step):
        path = tmp_path / str(change)
        ended = exit_code(crashing.run_folding_and_die, str(path), "killed", change)
        folded += bool(list(path.glob("ledger/folded/*.jsonl")))
        if ended == 0:
            break
        assert ended == -signal.SIGKILL
        assert exit_code(crashing.run_folding_and_die, str(path), "resumed", 10**6) == 0
        assert store_bytes(path) == whole, f"after change {change}"
        assert sorted(map(str, Store.open(path).ledger.newest())) == told
        assert verify(path).problems == []
    assert folded > 1


def test_a_store_of_before_is_read_and_folded(tmp_path, few):
    """By its first run; it had neither a folded segment nor sources."""
    path = made_before(tmp_path / "S")
    bytes_before = store_bytes(path)
    reader = FeatureStore(path)
    rows = {name: reader.read(name, "clip/patch").tolist() for name in reader.video_ids}
    with Lock.acquire(path, "second") as lock:
        store = Store.open(path, lock)
        store.recover()
        assert dict(store.fingerprints()) == dict.fromkeys(range(3), Fingerprint(1000, 0, "ab12"))
        store.finish_run({})
    assert store_bytes(path) == bytes_before
    assert [segment.number for segment in store.ledger.segments()] == [3]
    assert {n: FeatureStore(path).read(n, "clip/patch").tolist() for n in rows} == rows
    assert verify(path).problems == []
    with Lock.acquire(path, "third") as lock:
        store = Store.open(path, lock)
        store.recover()
        add_videos(store, {"d": 4})
        store.finish_run({})
        assert store.runs.checkpoint() == store.ledger.last == 4
    assert verify(path).problems == []


def test_a_damaged_column_comes_back_from_a_folded_ledger(tmp_path, few):
    path = made_before(tmp_path / "S")
    with Lock.acquire(path, "fold") as lock:
        Store.open(path, lock).recover()
    assert (path / "ledger/folded/000003.jsonl").exists()
    before = store_bytes(path)
    (path / "features.zarr/status/clip/frame/c.0").write_bytes(b"short")
    with Lock.acquire(path, "next") as lock:
        Store.open(path, lock).recover()
    assert store_bytes(path) == before


def test_repair_of_a_folded_ledger(tmp_path, few):
    path = made_before(tmp_path / "S")
    with Lock.acquire(path, "fold") as lock:
        store = Store.open(path, lock)
        store.recover()
        files = dict(store.fingerprints())
    file = path / "ledger/folded/000003.jsonl"
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)
    assert verify(path).problems != []
    verify(path, repair=True)
    assert verify(path).problems == []
    assert dict(Store.open(path).fingerprints()) in (files, files | {1: UNKNOWN_FILE})


def test_a_stale_reader_of_a_repaired_ledger_is_told(tmp_path, few):
    ledger = ledger_of(tmp_path)
    listed = ledger.segments()
    ledger.fold(5)
    (tmp_path / "folded/000005.jsonl").write_bytes(b"other\n")
    with pytest.raises(FileNotFoundError):
        folding.read_segment(listed[1].path)


def test_a_long_run_folds_as_it_goes(tmp_path, few):
    path = make_store(tmp_path / "S", {"a": 3}).path
    with Lock.acquire(path, "second") as lock:
        store = Store.open(path, lock)
        store.recover()
        rows = store.add_rows([f"v{k}" for k in range(7)])
        writer = ChunkWriter(path, SPECS, CHUNK_SECONDS)
        for name, row in rows.items():
            store.commit([extract(writer, name, row, 2)])
            assert len([*path.glob("ledger/*/*.jsonl")]) <= 5
        assert store.runs.checkpoint() == store.ledger.last == 8
    assert verify(path).problems == []
    assert len(list(Store.open(path).ledger.newest())) == 8 * len(SPECS)
