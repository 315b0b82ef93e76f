"""What is left to do of a store, by columns, is what a look at each video alone would find."""

import sys
from types import SimpleNamespace

import numpy as np
import pytest
from helpers.extraction.as_typed import extract, two_videos
from helpers.extraction.light import finished
from hypothesis import given
from hypothesis import strategies as st

from avqa.pipelines.engine.files import fingerprint
from avqa.pipelines.engine.job import VideoJob
from avqa.pipelines.extraction.collection.sources import Source
from avqa.pipelines.extraction.work import Held, find_work
from avqa.store.format.folding import segments
from avqa.store.format.folding.sources import Sources
from avqa.store.format.records import UNKNOWN_FILE, Fingerprint, Status

FEATURES = ("a", "b", "c")
VIDEOS = ("v0", "v1", "v2", "v3")
OTHER = Fingerprint(1, 1, "0" * 32)
THERE, CHANGED, UNKNOWN = range(3)


class Store:
    """As much of one as the comparison asks for."""

    def __init__(self, features, videos):
        self._features, self._videos = features, videos

    def rows(self):
        return {name: row for row, (name, _) in enumerate(self._videos)}

    def features(self):
        return self._features

    def status(self, feature):
        at = FEATURES.index(feature)
        return np.array([of[0][at] for _, of in self._videos], np.uint8)

    def length(self, feature):
        at = FEATURES.index(feature)
        ok = self.status(feature) == Status.OK
        return np.array([10 * row + at + 1 for row in range(len(self._videos))], np.uint32) * ok

    def fingerprints(self):
        found, paths = Sources(), {s.video_id: s.path for s in self.sources}
        for row, (name, (_, file)) in enumerate(self._videos):
            of = [fingerprint(paths[name]), OTHER, UNKNOWN_FILE][file]
            found.add([(row, f"{name}.mp4", of)])
        return found


of_video = st.tuples(
    st.tuples(*[st.sampled_from(Status)] * 3), st.sampled_from([THERE, CHANGED, UNKNOWN])
)


def stores(names):
    return st.builds(
        lambda features, of: Store(tuple(sorted(features)), [*zip(names, of, strict=True)]),
        st.sets(st.sampled_from(FEATURES), min_size=1),
        st.tuples(*[of_video] * len(names)),
    )


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    folder = tmp_path_factory.mktemp("videos")
    for name in VIDEOS:
        (folder / f"{name}.mp4").write_text(name, encoding="utf-8")
    return [Source(name, f"{name}.mp4", str(folder)) for name in VIDEOS]


@given(
    stores(VIDEOS),
    st.none() | stores(VIDEOS[1:]),
    st.sets(st.sampled_from(FEATURES), min_size=1).map(sorted),
    st.booleans(),
)
def test_columns_say_what_each_video_says(sources, store, earlier, features, retry_failed):
    store.sources = sources
    if earlier is not None:
        earlier.sources = sources
    work = find_work(
        store, sources, features, retry_failed=retry_failed, earlier=earlier and Held(earlier)
    )
    expected = one_by_one(store, sources, features, retry_failed, earlier)
    jobs = list(work.jobs)
    assert [(j.row, j.video_id, j.relpath, j.path, j.features) for j in jobs] == [
        (j.row, j.video_id, j.relpath, j.path, j.features) for j in expected.jobs
    ]
    for job, other in zip(jobs, expected.jobs, strict=True):
        assert (job.max_rows is None) == (other.max_rows is None)
        assert job.max_rows in (*other.choices, None)
    assert work.jobs[1:] == jobs[1:]
    assert sum(work.jobs.counts().values()) == len(jobs)
    assert {f: n for f, n in work.jobs.counts().items()} == {
        f: sum(job.features == f for job in jobs) for f in {job.features for job in jobs}
    }
    assert work.jobs.rows.tolist() == [job.row for job in jobs]
    assert work.finished == expected.finished
    assert (work.failed_before, work.changed) == (expected.failed_before, expected.changed)
    assert work.returned == expected.returned
    assert sorted(work.pending) == sorted(set(expected.pending))


def one_by_one(store, sources, features, retry_failed, earlier):
    """By the words of `find_work`, a video at a time."""
    work = SimpleNamespace(
        jobs=[], finished=0, failed_before=[], changed=[], returned=[], pending=[]
    )
    done = {Status.OK, Status.ABSENT} | (set() if retry_failed else {Status.FAILED})
    for source in sources:
        name, row = source.video_id, store.rows()[source.video_id]
        full, full_before = states(store, name), states(earlier, name)
        stale, outdated = is_stale(store, source, full), is_stale(earlier, source, full_before)
        own = {} if stale else full
        before = {} if stale or outdated else full_before
        there = before | own
        needed = tuple(f for f in features if f not in there or there[f][0] not in done)
        work.pending += [(row, f) for f in full if stale] + [(row, f) for f in needed if f in own]
        if any(s == Status.DELETED for s, _ in [*full.values(), *full_before.values()]):
            work.returned.append(name)
        elif stale or (outdated and needed):
            work.changed.append(name)
        if needed:
            good = [n for f, (s, n) in there.items() if s == Status.OK and f not in needed]
            job = VideoJob(row, name, source.relpath, source.path, needed, None)
            work.jobs.append(
                SimpleNamespace(**vars(job) | {"max_rows": min(good, default=None)}, choices=good)
            )
        elif any(there[feature][0] == Status.FAILED for feature in features):
            work.failed_before.append(name)
        else:
            work.finished += 1
    return work


def states(store, name):
    if store is None or name not in store.rows():
        return {}
    row = store.rows()[name]
    return {
        f: (Status(store.status(f)[row]), int(store.length(f)[row]))
        for f in store.features()
        if store.status(f)[row] != Status.PENDING
    }


def is_stale(store, source, there):
    if not there:
        return False
    known = store.fingerprints()[store.rows()[source.video_id]]
    return known != UNKNOWN_FILE and known != fingerprint(source.path)


@pytest.mark.filterwarnings("ignore::avqa.store.reader.RandomWeightsWarning")
@pytest.mark.usefixtures("light", "reused_children")
def test_with_nothing_to_do_no_record_is_read(tmp_path, monkeypatch):
    """As typed: what the first run wrote down is enough; a new video brings records of its own."""
    monkeypatch.setattr(segments, "FOLD_SEGMENTS", 1)
    folder, store = two_videos(tmp_path / "videos"), tmp_path / "store"
    assert extract(folder, store)[0] == 0
    read, real = [], segments.read_segment
    monkeypatch.setattr(segments, "read_segment", lambda file: read.append(file) or real(file))
    code, said, _ = extract(folder, store)
    assert (code, read) == (0, [])
    assert said.startswith("2 videos: 0 extracted, 2 already there; ")
    (store / "ledger/sources.npz").unlink()
    code, said, _ = extract(folder, store)
    assert code == 0
    assert said.startswith("2 videos: 0 extracted, 2 already there; ")
    assert read != []
    assert (store / "ledger/sources.npz").exists()


TYPED = """
import sys
from avqa.cli import app
app(sys.argv[1:], standalone_mode=False)
print("loaded", sorted({"zarr", "torch", "distributed"} & sys.modules.keys()))
"""


@pytest.mark.usefixtures("light", "reused_children")
def test_with_nothing_to_do_zarr_is_not_loaded(tmp_path):
    folder, store = two_videos(tmp_path / "videos"), tmp_path / "store"
    assert extract(folder, store)[0] == 0
    line = ("extract", "--videos", str(folder), "--out", str(store), "--weights", "random:0")
    code, said, wrong = finished([sys.executable, "-c", TYPED, *line])
    assert code == 0, wrong
    assert said.splitlines()[-1] == "loaded []"
    assert "2 already there" in said
