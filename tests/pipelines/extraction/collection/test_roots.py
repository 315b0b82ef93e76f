"""A store knows its videos' folders: others are refused, renamed files keep their features."""

import json
import shutil

import pytest
from helpers.extraction.light import AUDIO, POOL
from helpers.media import fake_reader
from helpers.store.stores import store_bytes

import avqa
from avqa.errors import ConfigError, RootMismatch, StoreError
from avqa.pipelines.extraction.array_job import partition_of
from avqa.pipelines.extraction.finalize import finalize
from avqa.pipelines.extraction.stores import status
from avqa.store.checks.verify import verify
from avqa.store.collection import Collection, Root, read_collection, videos_typed, write_collection
from avqa.store.places.files import store_path

pytestmark = pytest.mark.filterwarnings("ignore::avqa.store.reader.RandomWeightsWarning")


def write(folder, **seeds):
    """Videos of 2 s or, from seed 10 on, 3 s."""
    for name, seed in seeds.items():
        path = folder / f"{name.replace('_', '/')}.mp4"
        fake_reader.write_video(path, seconds=2 + seed // 10, seed=seed)
    return folder


@pytest.fixture
def run(tmp_path, extract):
    """Extract a folder below tmp_path; (report, what was said)."""

    def made(videos="videos", **options):
        said = []
        report = extract(say=said.append, videos=tmp_path / videos, **options)
        return report, "\n".join(said)

    return made


@pytest.fixture
def ids(tmp_path):
    return lambda: avqa.open_store(tmp_path / "store").video_ids


def test_another_folder_with_equal_names_changes_nothing(tmp_path, run):
    write(tmp_path / "A", v0=0, v1=1)
    write(tmp_path / "B", v1=2, v2=3)
    run("A")
    before = store_bytes(tmp_path / "store")
    with pytest.raises(
        RootMismatch,
        match=r"store '.*store' was made of '.*/A' with --id relpath; 1 of 1 videos in '.*/B' with"
        r" ids that it has are other files, the first is 'v1'; expected the same files under the"
        r" same ids; add them under ids of their own with --root NAME, or, if they replace those,"
        r" first: avqa remove .*store --ids FILE",
    ):
        run("B")
    assert store_bytes(tmp_path / "store") == before


def test_a_named_root_stands_beside_the_first(tmp_path, run, ids):
    write(tmp_path / "A", v0=0, v1=1)
    write(tmp_path / "B", v1=2, v2=3)
    run("A")
    report, _ = run("B", root="b")
    assert (report.extracted, report.finished_before) == (2, 0)
    assert ids() == ("v0", "v1", "b/v1", "b/v2")
    report, _ = run("B")  # the name is remembered
    assert (report.extracted, report.finished_before) == (0, 2)
    store = avqa.open_store(tmp_path / "store")
    assert (store.read("v1", POOL) != store.read("b/v1", POOL)).any()
    assert verify(tmp_path / "store").problems == []


def test_other_videos_of_another_folder_are_added(tmp_path, run, ids):
    write(tmp_path / "A", v0=0)
    write(tmp_path / "B", v1=1)
    run("A")
    report, said = run("B")
    assert report.extracted == 1
    assert "gone" not in said  # v0 is still in its own folder
    assert ids() == ("v0", "v1")


@pytest.mark.parametrize("name", ["", "a/", "/a", "a\nb"])
def test_a_name_of_a_root_can_begin_an_id(tmp_path, run, name):
    write(tmp_path / "A", v0=0)
    with pytest.raises(ConfigError, match=r"root=.*; expected a name that ids begin with"):
        run("A", root=name)


def test_a_folder_one_level_off_is_refused(tmp_path, run):
    write(tmp_path / "A" / "in", v0=0, v1=1)
    run("A/in")
    with pytest.raises(
        RootMismatch,
        match=r"it has 2 of 2 new videos in '.*/A' under other ids, the first is 'in/v0', there"
        r" 'v0'; expected one id per file; give the folder and --id as before, or",
    ):
        run("A")


def test_another_rule_for_ids_is_refused_and_the_first_is_remembered(tmp_path, run, ids):
    write(tmp_path / "A", x_v0=0, y_v1=1)
    run("A", id_rule="stem")
    with pytest.raises(RootMismatch, match="under other ids, the first is 'x/v0', there 'v0'"):
        run("A", id_rule="relpath")
    report, _ = run("A")
    assert (report.extracted, report.finished_before) == (0, 2)
    assert ids() == ("v0", "v1")


def test_a_folder_that_moved_is_the_same(tmp_path, run):
    write(tmp_path / "A", v0=0, v1=1)
    run("A")
    (tmp_path / "A").rename(tmp_path / "elsewhere")
    write(tmp_path / "elsewhere", v2=2)
    report, _ = run("elsewhere")
    assert (report.extracted, report.finished_before) == (1, 2)


def test_what_is_gone_from_a_folder_that_moved_is_told(tmp_path, run, ids):
    write(tmp_path / "A", v0=0, v1=1, v2=2)
    run("A")
    (tmp_path / "A").rename(tmp_path / "elsewhere")
    (tmp_path / "elsewhere/v1.mp4").unlink()
    _, said = run("elsewhere")
    assert "gone: 1 videos of the store have no file any more, one is 'v1'" in said
    assert (
        status(store_path(tmp_path / "store"))
        .lines()[-1]
        .startswith(
            f"videos from '{tmp_path}/elsewhere' with --id relpath: 1 have no file any more"
        )
    )
    run("elsewhere", prune=True)
    assert ids() == ("v0", "v2")


def test_a_folder_that_is_not_mounted_keeps_its_videos(tmp_path, run, ids):
    write(tmp_path / "A", v0=0, v1=1, v2=2)
    run("A")
    (tmp_path / "A").rename(tmp_path / "away")
    write(tmp_path / "B", v3=3)
    _, said = run("B", prune=True)
    assert "gone" not in said
    assert ids() == ("v0", "v1", "v2", "v3")
    (tmp_path / "away").rename(tmp_path / "A")
    report, _ = run("A")
    assert (report.extracted, report.finished_before) == (0, 3)


def test_a_copy_in_another_folder_is_an_own_video(tmp_path, run, ids):
    write(tmp_path / "A", v0=0, v1=1)
    run("A")
    write(tmp_path / "B", v2=2, v3=3, v4=4)
    shutil.copy(tmp_path / "A/v0.mp4", tmp_path / "B/copy.mp4")
    report, _ = run("B")
    assert report.extracted == 4
    assert ids() == ("v0", "v1", "copy", "v2", "v3", "v4")


def test_a_renamed_file_keeps_its_features(tmp_path, run, ids):
    write(tmp_path / "A", v0=0, v1=10, v2=2)
    run("A", features=(POOL, AUDIO))
    old = avqa.open_store(tmp_path / "store")
    before = {f: old.read("v1", f) for f in (POOL, AUDIO)}, old.pts("v1")
    (tmp_path / "A/sub").mkdir()
    (tmp_path / "A/v1.mp4").rename(tmp_path / "A/sub/new.mp4")
    report, said = run("A", features=(POOL, AUDIO))
    assert (report.extracted, report.finished_before, report.renamed) == (0, 3, 1)
    assert "renamed: 1 videos, one is 'sub/new', before 'v1'" in said
    assert ", 1 renamed; 0 rows" in report.summary()
    store = avqa.open_store(tmp_path / "store")
    assert set(ids()) == {"v0", "v2", "sub/new"}
    for feature, rows in before[0].items():
        assert (store.read("sub/new", feature) == rows).all()
    assert (store.pts("sub/new") == before[1]).all()
    assert verify(tmp_path / "store").problems == []
    report, said = run("A", features=(POOL, AUDIO))
    assert (report.extracted, report.finished_before, report.renamed) == (0, 3, 0)
    assert "gone" not in said


def test_a_name_that_comes_back_gets_its_row_again(tmp_path, run, ids):
    write(tmp_path / "A", v0=0, v1=1)
    run("A")
    for old, new in (("v1", "w"), ("w", "v1")):
        (tmp_path / f"A/{old}.mp4").rename(tmp_path / f"A/{new}.mp4")
        report, _ = run("A")
        assert (report.extracted, report.renamed) == (0, 1)
    assert ids() == ("v0", "v1")
    assert verify(tmp_path / "store").problems == []


def test_two_that_exchange_names_are_extracted_again(tmp_path, run):
    write(tmp_path / "A", v0=0, v1=1)
    run("A")
    for old, new in (("v0", "x"), ("v1", "v0"), ("x", "v1")):
        (tmp_path / f"A/{old}.mp4").rename(tmp_path / f"A/{new}.mp4")
    report, said = run("A")
    assert (report.extracted, report.renamed) == (2, 0)
    assert "changed since they were extracted: 2 videos" in said


def test_a_failed_video_that_is_renamed_stays_failed(tmp_path, run):
    write(tmp_path / "A", v0=0)
    (tmp_path / "A/bad.mp4").write_bytes(b"no video")
    run("A")
    (tmp_path / "A/bad.mp4").rename(tmp_path / "A/worse.mp4")
    report, _ = run("A")
    assert (report.renamed, report.failed_before, report.failed) == (1, 1, 0)


def test_gone_files_are_told_and_pruned(tmp_path, run, ids):
    write(tmp_path / "A", v0=0, v1=1, v2=2)
    run("A")
    (tmp_path / "A/v1.mp4").unlink()
    report, said = run("A")
    assert "gone: 1 videos of the store have no file any more, one is 'v1'; --prune rem" in said
    assert ids() == ("v0", "v1", "v2")
    lines = status(store_path(tmp_path / "store")).lines()
    assert lines[-1].endswith(
        "A' with --id relpath: 1 have no file any more, one is 'v1'; `avqa extract --prune`"
        " removes them"
    )
    report, said = run("A", prune=True)
    assert report.pruned == 1
    assert ", 1 removed; 0 rows" in report.summary()
    assert ids() == ("v0", "v2")
    lines = status(store_path(tmp_path / "store")).lines()
    assert lines[-1].endswith("A' with --id relpath")
    assert verify(tmp_path / "store").problems == []


def test_a_disk_that_is_missing_prunes_nothing(tmp_path, run, ids):
    write(tmp_path / "A", v0=0, v1=1, v2=2)
    run("A")
    for name in ("v0", "v1"):
        (tmp_path / f"A/{name}.mp4").unlink()
    with pytest.raises(StoreError, match=r"2 of its 3 videos have no file any more, the first is"):
        run("A", prune=True)
    assert ids() == ("v0", "v1", "v2")


def test_only_the_root_that_was_given_is_pruned(tmp_path, run, ids):
    write(tmp_path / "A", v0=0, v1=1, v2=2)
    write(tmp_path / "B", v0=3, v1=4)
    run("A")
    run("B", root="b")
    for name in ("A/v1", "B/v1"):
        (tmp_path / f"{name}.mp4").unlink()
    run("B", prune=True)
    assert ids() == ("v0", "v1", "v2", "b/v0")


def test_a_folder_that_is_not_here_is_told(tmp_path, run):
    write(tmp_path / "A", v0=0)
    run("A")
    shutil.rmtree(tmp_path / "A")
    line = status(store_path(tmp_path / "store")).lines()[-1]
    assert line.endswith("A' with --id relpath: not on this machine")


def test_a_list_is_a_root_and_grows(tmp_path, run, ids):
    write(tmp_path / "A", v0=0)
    write(tmp_path / "B", v0=1, v1=2)
    (tmp_path / "l.csv").write_text("id,path\none,A/v0.mp4\ntwo,B/v0.mp4\n", encoding="utf-8")
    run("l.csv")
    assert ids() == ("one", "two")
    with (tmp_path / "l.csv").open("a", encoding="utf-8") as file:
        file.write("three,B/v1.mp4\n")
    report, _ = run("l.csv")
    assert (report.extracted, report.finished_before) == (1, 2)
    assert ids() == ("one", "two", "three")
    with pytest.raises(RootMismatch, match=r"was made of '.*/l.csv'; it has 1 of 1 new videos"):
        run("A")
    lines = status(store_path(tmp_path / "store")).lines()
    assert lines[-1] == f"videos from '{tmp_path}/l.csv'"


def test_what_is_remembered_is_lost_without_harm(tmp_path, run):
    write(tmp_path / "A", v0=0)
    run("A")
    file = tmp_path / "store/collection.json"
    kept = Root(str(tmp_path / "A"))
    assert read_collection(store_path(tmp_path / "store")).roots == (kept,)
    plain = json.loads(file.read_bytes())
    for content in (
        *("", "[]", "{}", '{"roots": 7, "weights": ""}', '{"roots": [{}], "weights": ""}'),
        json.dumps({**plain, "roots": [{**plain["roots"][0], "path": 7}]}),
    ):
        file.write_text(content, encoding="utf-8")
        assert read_collection(store_path(tmp_path / "store")).roots == ()
        report, _ = run("A")
        assert (report.extracted, report.finished_before) == (0, 1)
        assert read_collection(store_path(tmp_path / "store")).roots == (kept,)


def test_tasks_of_an_array_job_refuse_another_folder_and_finalize_remembers(tmp_path, run, ids):
    write(tmp_path / "A", v0=0, v1=1)
    write(tmp_path / "B", v0=2, v1=3)
    for task in ("0/2", "1/2"):
        run("A", partition=partition_of(task), id_rule="stem")
    finalize(store_path(tmp_path / "store"))
    assert read_collection(store_path(tmp_path / "store")).roots == (
        Root(str(tmp_path / "A"), ids="stem"),
    )
    with pytest.raises(RootMismatch, match="ids that it has are other files"):
        run("B", partition=partition_of("0/2"))
    with pytest.raises(ConfigError, match="--prune with --partition; expected one of them"):
        run("A", partition=partition_of("0/2"), prune=True)


def test_every_video_is_a_line_of_a_table(tmp_path, run):
    write(tmp_path / "A", v0=0, v1=10)
    (tmp_path / "A/bad.mp4").write_bytes(b"no video")
    run("A", features=(POOL, AUDIO))
    assert status(store_path(tmp_path / "store"), ["videos"]).lines() == [
        "video  seconds  rows  light/audio  light/pool",
        "bad                0  failed       failed",
        "v0         2.0     2  ok           ok",
        "v1         3.0     3  ok           ok",
    ]
    recipes = status(store_path(tmp_path / "store"), ["recipes"]).lines()
    assert recipes[0].startswith("recipe of all features: ")
    assert 'feature="light/pool"' in recipes[2]


def test_advice_names_the_folder_if_there_is_one(tmp_path):
    store = store_path(tmp_path)
    assert videos_typed(store) == "DIR"
    write_collection(store, Collection((Root("/my clips"),)))
    assert videos_typed(store) == "'/my clips'"
    write_collection(store, Collection((Root("/my clips"), Root("/others", name="others"))))
    assert videos_typed(store) == "DIR"
