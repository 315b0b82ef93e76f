"""What two witnesses vouch for stays: records, columns and metadata are made anew from the rest."""

import json
import re
import shutil

import numpy as np
import pytest
from helpers.extraction import stub_extraction as stub
from helpers.media import fake_reader
from helpers.store import mutations, s3_server, written
from helpers.store.packed import damage
from helpers.store.stored import FEATURES, SPECS, failure, make_store
from helpers.store.stores import store_bytes
from typer.testing import CliRunner

from avqa.cli import app
from avqa.errors import StoreError
from avqa.pipelines.extraction.finalize import finalize
from avqa.store.checks.verify import verify
from avqa.store.commit import Store
from avqa.store.format.layout import COPY
from avqa.store.format.ledger import Ledger, source_of
from avqa.store.format.lines import from_line, to_line
from avqa.store.format.records import UNKNOWN_FILE, Status
from avqa.store.lock import Lock
from avqa.store.packing.pack import pack
from avqa.store.places.files import store_path
from avqa.store.reader import FeatureStore

LENGTHS = {"a": 12, "b": 3, "c": 5}


@pytest.fixture
def path(tmp_path):
    return make_store(tmp_path / "S", LENGTHS).path


def avqa(*words):
    """Exit code and all that is printed, of the command as typed."""
    done = CliRunner().invoke(app, list(map(str, words)))
    return done.exit_code, done.output


def segment(path, number=1):
    (found,) = (path / "ledger").glob(f"*/{number:06d}.jsonl")
    return found


def one_segment(path):
    """All records in one segment, as a checkpoint of many videos has them."""
    lines = b"".join(segment(path, n).read_bytes() for n in (1, 2, 3))
    for number in (1, 2):
        segment(path, number).unlink()
    segment(path, 3).write_bytes(lines)
    return segment(path, 3)


def strip(path):
    """Lines as version 0.1 wrote them: without a checksum."""
    for file in (path / "ledger").glob("*/*.jsonl"):
        file.write_bytes(re.sub(rb',"crc32c":"\w{8}"}\n', b"}\n", file.read_bytes()))


@pytest.mark.parametrize("old", [False, True])
def test_a_bad_line_costs_nothing(path, old):
    file = one_segment(path)
    if old:
        strip(path)
    good, records = store_bytes(path), Ledger(path / "ledger").fingerprints()
    line = file.read_bytes().index(b'"video_id":"b"')
    damage(file, line + 1)
    code, said = avqa("verify", path)
    why = "no key 'video_id'" if old else "its checksum does not fit"
    assert code == 6
    assert f"ledger: ledger: {str(file)!r} line=2: {why}\n" in said
    told = "ledger: clip/frame video='b' row=1: is ok, ledger says nothing; all 1 objects of it"
    assert told in said
    code, said = avqa("verify", path, "--repair")
    assert code == 0
    assert "; 4 problems (4 ledger); repaired, nothing is pending by it; what was taken a" in said
    assert store_bytes(path) == good
    assert Ledger(path / "ledger").fingerprints() == records  # the bad line still told it
    assert avqa("verify", path)[0] == 0
    (kept,) = path.glob(f"removed/*/ledger/first/{file.name}")
    assert kept.read_bytes().count(b"\n") == 3
    assert file.read_bytes().count(b"\n") == 2


@pytest.mark.parametrize("how", ["lose", "empty", "nonsense"])
def test_a_lost_segment_costs_nothing(path, how):
    good = store_bytes(path)
    file = one_segment(path)
    if how == "lose":
        file.unlink()
    else:
        file.write_bytes(b"" if how == "empty" else b"\xff" * 300 + b"\n[]\n")
    assert avqa("verify", path)[0] == 6
    assert avqa("verify", path, "--repair")[0] == 0
    assert store_bytes(path) == good
    assert avqa("verify", path)[0] == 0
    store = Store.open(path)
    assert set(store.fingerprints().values()) == {UNKNOWN_FILE}
    (rebuilt,) = [r for s in store.ledger.segments() for r in s.records() if r.row == 0]
    assert (rebuilt.video_id, rebuilt.relpath, rebuilt.pts) == (
        "a",
        "",
        tuple(np.arange(12) + 0.5),
    )
    assert (rebuilt.duration, rebuilt.audio_start, rebuilt.row_flags) == (12.0, 0.25, 1)
    # Numbers of lost segments are not used again: what comes after a checkpoint is new.
    assert store.ledger.last == 4


def test_a_record_is_not_rebuilt_from_objects_that_are_not_whole(path):
    one_segment(path).unlink()
    damage(path / "features.zarr/clip/patch/c.0.1.0.0")
    (path / "features.zarr/vggish/audio/c.1.0.0").unlink()
    found = {(p.kind, p.array, p.video_id) for p in verify(path, repair=True).problems}
    assert {("status", "clip/patch", "a"), ("status", "vggish/audio", "b")} <= found
    assert sum(kind == "status" for kind, _, _ in found) == 2
    store = Store.open(path)
    assert store.status("clip/patch").tolist() == [0, 1, 1]
    assert store.status("vggish/audio").tolist() == [1, 0, 1]
    assert store.status("clip/frame").tolist() == [1, 1, 1]
    assert verify(path).problems == []
    moved = {file.name for file in path.glob("removed/*/features.zarr/clip/patch/*")}
    assert moved == {"c.0.0.0.0", "c.0.1.0.0", "c.0.2.0.0"}


def test_failed_removed_and_silent_videos_without_a_record(tmp_path):
    path = mutations.build(tmp_path / "S")
    whole = mutations.content(path)
    for file in (path / "ledger").glob("*/*.jsonl"):
        file.unlink()
    verify(path, repair=True)
    assert verify(path).problems == []
    store = Store.open(path)
    rows, audio = store.rows(), store.status("vggish/audio")
    assert audio[rows["silent"]] == Status.ABSENT
    assert audio[rows["gone"]] == Status.DELETED
    assert audio[rows["bad"]] == Status.PENDING  # its reason is lost: tried again
    mutations.resume(path)
    assert mutations.same(mutations.content(path), whole)


def test_a_rebuilt_video_is_not_extracted_again(tmp_path, monkeypatch):
    """The whole way: extraction, a lost segment, a repair, the next extraction."""
    stub.install(monkeypatch)
    videos, path = tmp_path / "videos", tmp_path / "S"
    for seed, name in enumerate("abc"):
        fake_reader.write_video(videos / f"{name}.mp4", seconds=3 + seed, seed=seed)
    stub.extract(videos, path)
    good = store_bytes(path)
    segment(path).unlink()
    assert avqa("verify", path, "--repair")[0] == 0
    report = stub.extract(videos, path)
    assert (report.extracted, report.finished_before) == (0, 3)
    assert store_bytes(path) == good
    # A bad line that no repair has seen: its video is left as it is, too.
    (file,) = (path / "ledger").glob("verify-*/*.jsonl")
    damage(file, 5)
    assert stub.extract(videos, path).extracted == 0
    fake_reader.write_video(videos / "d.mp4", seconds=4, seed=9)
    assert stub.extract(videos, path).extracted == 1
    assert avqa("verify", path, "--repair")[0] == 0
    assert verify(path).problems == []


def test_who_needs_every_record_refuses_a_bad_line(path, tmp_path):
    damage(segment(path, 2), 20)
    with pytest.raises(StoreError, match=r"ledger: '.*000002.jsonl' line=1: its checksum does not"):
        pack(path, tmp_path / "P")
    with pytest.raises(StoreError, match=r"its ledger is damaged: '.*' line=1: .*verify --repair"):
        Store.open(path).ledger.require_sound()
    (path / "features.zarr/length/clip/frame/c.0").unlink()
    with Lock.acquire(path, "next") as lock, pytest.raises(StoreError, match="its ledger is dam"):
        Store.open(path, lock).recover()


def test_a_bad_line_of_a_part_is_refused_by_finalize(tmp_path, monkeypatch):
    stub.install(monkeypatch)
    videos, path = tmp_path / "videos", tmp_path / "S"
    for seed, name in enumerate("abcd"):
        fake_reader.write_video(videos / f"{name}.mp4", seconds=3 + seed, seed=seed)
    stub.extract_parts(videos, path, 2)
    part = path / "parts/1-of-2"
    damage(segment(part), 30)
    with pytest.raises(StoreError, match=rf"store '{part}': its ledger is damaged: .*{part}$"):
        finalize(store_path(path))
    assert avqa("verify", part, "--repair")[0] == 0
    assert finalize(store_path(path)).taken == 4
    assert verify(path).problems == []


def test_every_flip_in_a_line_is_found(path):
    line = segment(path).read_bytes().rstrip(b"\n")
    assert from_line(line)["video_id"] == "a"
    checked = line.index(b',"crc32c"')
    for bit in range(0, 8 * checked, 7):
        raw = bytearray(line)
        raw[bit // 8] ^= 1 << bit % 8
        with pytest.raises(ValueError):
            from_line(bytes(raw))


@pytest.mark.parametrize(
    ("old", "new", "why"),
    [
        (b'"row":', b'"sow":', "no key 'row'"),
        (b'"features":', b'"fuatures":', "no key 'features'"),
        (b'"size":', b'"sixe":', "no key 'size'"),
        (b'"chunks":', b'"chunkr":', "no key 'chunks'"),
        (b'"status":1', b'"status":9', "status=9 of a feature; expected 0 to 4"),
        (b'"length":12', b'"length":"1', "no JSON: .*"),
        (b'"duration":12.0', b'"duration":"2."', "duration='2.' is not of its kind"),
        (b'"row":0', b'"row":-1', "row='-1' is not of its kind"),
    ],
)
def test_a_line_without_a_checksum_is_judged_by_what_it_says(path, old, new, why):
    strip(path)
    line = segment(path).read_bytes().rstrip(b"\n")
    assert from_line(line)["video_id"] == "a"
    with pytest.raises(ValueError, match=f"^{why}"):
        from_line(line.replace(old, new, 1))
    more = line.replace(b'"row":', b'"later":[1],"row":').replace(b'"stage":', b'"new":0,"stage":')
    segment(path).write_bytes(more + b"\n")
    assert verify(path).problems == []  # keys of later versions


def test_a_damaged_line_may_still_tell_its_file(path):
    (record,) = Ledger(path / "ledger").segments()[0].records()
    line = to_line(record)
    cut = line[: line.index(b'"features"')]
    assert source_of(cut) == (record.row, record.relpath, record.fingerprint)
    assert source_of(line[:20]) is None


COLUMNS = [
    *(f"index/{name}" for name in ("video_id", "duration", "audio_start", "audio_end")),
    *("index/row_flags", "status/clip/frame", "length/clip/patch", "index/pts"),
]


@pytest.mark.parametrize("name", COLUMNS)
def test_a_lost_column_is_found_and_written_anew(path, tmp_path, name):
    good = store_bytes(path)
    for file in (path / "features.zarr" / name).glob("c.*"):
        file.unlink()
    code, said = avqa("verify", path)
    assert (code, f"index: {name}" in said or f"length: {name[7:]}" in said) == (6, True)
    with pytest.raises(StoreError):
        pack(path, tmp_path / "P")
    assert avqa("verify", path, "--repair")[0] == 0
    assert store_bytes(path) == good
    assert avqa("verify", path)[0] == 0


def test_readers_refuse_a_column_that_cannot_be(path):
    (path / "features.zarr/length/clip/frame/c.0").unlink()
    told = "array length/clip/frame: c.0 is gone; expected a length of what is ok; rebuild it from"
    with pytest.raises(StoreError, match=told):
        FeatureStore(path)
    code, said = avqa("status", path)
    assert (code, told in said) == (4, True)
    verify(path, repair=True)
    (path / "features.zarr/index/pts/c.0.1").unlink()
    with pytest.raises(StoreError, match="video 'a': index/pts lacks time stamps; expected one"):
        FeatureStore(path).pts("a")
    shutil.copy(path / "features.zarr/status/clip/frame/c.0", path.parent / "kept")
    (path / "features.zarr/index/video_id/c.0").unlink()
    with pytest.raises(StoreError, match="array index/video_id: c.0 is gone; expected an id of ev"):
        FeatureStore(path)


def test_a_packed_copy_without_a_status_keeps_its_shards(path, tmp_path):
    pack(path, tmp_path / "P")
    (tmp_path / "P/features.zarr/status/clip/frame/c.0").unlink()
    code, said = avqa("verify", tmp_path / "P")
    assert code == 6
    assert "index: status/clip/frame: c.0 is gone; the ledger has videos of it" in said
    assert "foreign" not in said
    assert "fetch this packed copy again" in said


def metadata(path):
    root = path / "features.zarr"
    return sorted(str(p.relative_to(root)) for p in root.rglob("*/zarr.json"))


def test_all_metadata_follows_from_the_attributes(path):
    """Every ``zarr.json`` lost, at once and one by one."""
    written.add_texts(path, written.named(9))
    good, names = store_bytes(path), metadata(path)
    assert len(names) > 25
    for name in names[::6]:
        (path / "features.zarr" / name).unlink()
        found = verify(path, repair=True)
        assert [(p.kind, p.array, p.detail) for p in found.problems] == [
            ("metadata", name.removesuffix("/zarr.json"), "zarr.json is gone")
        ]
        assert store_bytes(path) == good
    arrays = [
        n for n in names if json.loads((path / "features.zarr" / n).read_bytes()).get("shape")
    ]
    for name in arrays[::2]:
        (path / "features.zarr" / name).write_bytes(b"{")
    assert verify(path).counts == {"metadata": len(arrays[::2])}
    verify(path, repair=True)
    assert store_bytes(path) == good


@pytest.mark.parametrize(
    ("name", "old", "new", "why"),
    [
        ("clip/frame", b'"float16"', b'"float17"', "zarr.json is damaged: "),
        ("clip/frame", b'"shape": [\n    3,', b'"shape": [\n    7,', "zarr.json has shape=[7, 15"),
        ("index/pts", b'"second"', b'"sfcond"', 'zarr.json has dimension_names=["video", "sfc'),
        ("index/duration", b"65536", b"65532", "zarr.json has chunk_grid="),
        ("vggish/audio", b'"zstd"', b'"zst`"', "zarr.json is damaged: "),
        ("status/clip", b'"group"', b'"gr/up"', "zarr.json is damaged: "),
    ],
)
def test_damaged_metadata_is_named_by_every_command(path, name, old, new, why):
    good = store_bytes(path)
    file = path / "features.zarr" / name / "zarr.json"
    assert old in file.read_bytes()
    file.write_bytes(file.read_bytes().replace(old, new))
    code, said = avqa("verify", path)
    assert (code, f"metadata: {name}: {why}" in said) == (6, True), said
    if why.endswith("damaged: ") and name != "status/clip":
        code, said = avqa("status", path)
        assert code in (0, 4), said
    assert avqa("verify", path, "--repair")[0] == 0
    assert store_bytes(path) == good


@pytest.mark.parametrize("how", ["lose", "flip", "schema", "cut"])
def test_the_attributes_have_a_copy(path, how):
    good = store_bytes(path)
    file = path / "features.zarr/zarr.json"
    raw = file.read_bytes()
    if how == "lose":
        file.unlink()
    else:
        flipped = raw.replace(b'"chunk_seconds": 5', b'"chunk_seconds": 4')
        other = raw.replace(b"avqa.features/1", b"avqa.features/3")
        file.write_bytes({"flip": flipped, "schema": other, "cut": raw[:90]}[how])
    for command in (("verify", path), ("status", path)):
        code, said = avqa(*command)
        assert code == 4
        assert f"restore it from its copy {COPY!r} with: avqa verify --repair {path}" in said
    with Lock.acquire(path, "next") if how == "lose" else pytest.raises(StoreError) as lock:
        if how == "lose":
            with pytest.raises(StoreError, match="zarr.json' is gone, and '.*ledger' is there"):
                Store.create(path, {}, [], 5, lock=lock)  # would bury what is there
        else:
            Store.open(path)
    assert avqa("verify", path, "--repair")[0] == 0
    assert store_bytes(path) == good
    assert avqa("verify", path)[0] == 0


def test_without_a_copy_nothing_is_made_up(path):
    (path / COPY).unlink()
    (path / "features.zarr/zarr.json").write_bytes(b"{}")
    code, said = avqa("verify", path, "--repair")
    assert (
        code,
        "no attributes; expected the attributes of a store; restore it from a b" in said,
    ) == (
        4,
        True,
    )


def test_a_newer_line_that_is_lost_does_not_bring_an_old_failure_back(path):
    """The ledger still has the failure, columns and objects say that it was mended."""
    with Lock.acquire(path, "second") as lock:
        store = Store.open(path, lock)
        store.commit([failure("d", store.add_rows(["d"])["d"])])
        store.finish_run({})
    with Lock.acquire(path, "third") as lock:
        mutations.LENGTHS.setdefault("d", 4)
        store = Store.open(path, lock)
        store.set_pending([(3, spec.name) for spec in SPECS])
        store.commit([mutations.attempt(store, "d")])
        store.finish_run({})
    del mutations.LENGTHS["d"]
    good = store_bytes(path)
    segment(path, 5).unlink()
    (path / "features.zarr/index/duration/c.0").write_bytes(b"short")  # has it all written anew
    found = verify(path, repair=True)
    assert {p.kind for p in found.problems} == {"index", "ledger"}
    after = store_bytes(path)
    assert {n: d for n, d in after.items() if not n.startswith("index/duration")} == {
        n: d for n, d in good.items() if not n.startswith("index/duration")
    }
    assert verify(path).problems == []
    assert FeatureStore(path).read("d", FEATURES[0]).shape == (4, 8)


def test_a_run_file_that_cannot_be_read_is_taken_away(path):
    (path / "runs/first.json").write_bytes(b'{"run_id": "first"')
    assert [str(p) for p in verify(path).problems] == ["run: runs: first.json cannot be read"]
    assert avqa("verify", path, "--repair")[0] == 0
    assert verify(path).problems == []
    assert [*path.glob("removed/*/runs/first.json")]


def test_a_bucket_is_repaired_too(s3, tmp_path):
    path = store_path(f"s3://{s3_server.BUCKET}/repaired")
    make_store(path, LENGTHS)
    whole = FeatureStore(path)
    (path / "ledger/first/000002.jsonl").write(b"{")
    (path / "features.zarr/clip/frame/zarr.json").unlink()
    (path / "features.zarr/status/vggish/audio/c.0").unlink()
    (path / "features.zarr/clip/patch/c.2.0.0.0").write(b"nonsense")
    found = verify(path, repair=True)
    assert {"ledger", "metadata", "index"} <= found.counts.keys()
    assert verify(path).problems == []
    after = FeatureStore(path)
    for name in LENGTHS:
        np.testing.assert_array_equal(after.read(name, FEATURES[0]), whole.read(name, FEATURES[0]))
    assert after.status("c", "clip/patch") == Status.PENDING
    kept = [*path.glob("removed/*/ledger/first/000002.jsonl")]
    assert [each.read_bytes() for each in kept] == [b"{"]


@pytest.mark.parametrize("name", ["status/clip/patch", "length/clip/frame"])
def test_a_run_itself_heals_a_lost_column(tmp_path, name):
    """What was removed stays so, and nothing is extracted again."""
    path = mutations.build(tmp_path / "S")
    whole = mutations.content(path)
    (path / f"features.zarr/{name}/c.0").unlink()
    assert mutations.resume(path) == 0
    assert mutations.same(mutations.content(path), whole)
    assert verify(path).problems == []


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("text/eot/c.0", "array text/eot: an object of it is gone; expected what was written; reb"),
        ("text/content/c.0", "array text/content: an object of it is gone"),
        ("status/clip/word/c.0", "array status/clip/word: it holds what is no status"),
    ],
)
def test_readers_refuse_texts_whose_columns_cannot_be(tmp_path, name, why):
    path = mutations.build(tmp_path / "S")
    whole = mutations.content(path)
    file = path / "features.zarr" / name
    if name.startswith("text"):
        file.unlink()
    else:
        shutil.copy(path / "features.zarr/text/eot/c.0", file)
    with pytest.raises(StoreError, match=why):
        FeatureStore(path).eot("text number 1")
    assert avqa("verify", path)[0] == 6
    assert avqa("verify", path, "--repair")[0] == 0
    mutations.resume(path)
    assert verify(path).problems == []
    found = mutations.content(path)
    del whole["eot"], found["eot"]  # the command takes them from CLIP's tokens
    assert mutations.same({k: found[k] for k in whole}, whole)
