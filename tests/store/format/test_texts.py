"""Texts beside the videos: what was written is read; nothing torn, lost or mixed up."""

import pathlib
import pickle
import re
import shutil

import numpy as np
import pytest
import xarray
from helpers.store import crashing, written
from helpers.store.stored import SPECS, make_store, values_of
from helpers.store.stores import store_bytes
from helpers.store.written import (
    SENTENCE,
    TEXT_RECIPES,
    WORD,
    add_texts,
    copied,
    key,
    named,
    open_texts,
    value,
)

from avqa.errors import FeatureMissing, RecipeMismatch, StoreError, StoreLocked, UnknownName
from avqa.store.checks.summary import summary
from avqa.store.checks.verify import verify
from avqa.store.commit import Store
from avqa.store.format.columns import Column
from avqa.store.format.records import Status
from avqa.store.format.schema import FeatureSpec
from avqa.store.format.texts import CHUNK_TEXTS, missing_text
from avqa.store.lock import Lock
from avqa.store.reader import FeatureStore
from avqa.store.text_writer import check_text_recipes

MANY = 300
"""Texts: one chunk and a part of the next."""


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    return make_store(tmp_path_factory.mktemp("videos") / "S", {"a": 3}).path


@pytest.fixture(scope="module")
def _full(tmp_path_factory, videos):
    path = tmp_path_factory.mktemp("texts") / "S"
    copied(videos, path)
    add_texts(path, named(MANY))
    return path


@pytest.fixture
def base(tmp_path, videos):
    """A store of one video, without texts."""
    return copied(videos, tmp_path / "S")


@pytest.fixture
def full(tmp_path, _full):
    """The same with all texts."""
    return copied(_full, tmp_path / "full")


def assert_complete(path, contents):
    store = FeatureStore(path)
    assert store.texts == tuple(contents)
    for spec in (SENTENCE, WORD):
        wanted = np.stack([value(spec, content) for content in contents])
        np.testing.assert_array_equal(store.read_texts(contents, spec.name), wanted)


def test_a_text_is_read_as_it_was_written_by_itself_or_by_its_key(full):
    store = FeatureStore(full)
    assert store.text_features == ("clip/sentence", "clip/word")
    assert store.features == tuple(sorted(spec.name for spec in SPECS))
    for content in named(MANY)[::37]:
        for spec in (SENTENCE, WORD):
            for name in (content, key(content)):
                found = store.read_text(name, spec.name)
                assert found.dtype == np.float16
                np.testing.assert_array_equal(found, value(spec, content))
        assert store.eot(content) == 2 + len(content) % 70
    assert store.recipe("clip/word") == TEXT_RECIPES["clip/word"]
    assert len(store.recipe_hash("clip/word")) == 64
    np.testing.assert_array_equal(
        store.read("a", "clip/frame"), values_of(SPECS[0], "a", 3).astype(np.float16)
    )


def test_many_texts_are_read_in_the_order_asked_for(full):
    store = pickle.loads(pickle.dumps(FeatureStore(full)))
    asked = [named(MANY)[n] for n in (299, 0, 255, 256, 0)]
    wanted = np.stack([value(WORD, content) for content in asked])
    np.testing.assert_array_equal(store.read_texts(asked, "clip/word"), wanted)
    assert store.read_texts([], "clip/word").shape == (0, 3, 8)


def test_texts_added_in_parts_give_the_same_bytes_as_at_once(base, full):
    for start, end in ((0, 1), (1, 200), (150, 256), (250, MANY)):
        add_texts(base, named(start, end))
        assert_complete(base, named(end))
    assert store_bytes(base) == store_bytes(full)


def test_finished_texts_are_not_encoded_again(full):
    before = {path: path.stat().st_mtime_ns for path in full.rglob("c.*")}
    assert add_texts(full, named(MANY)) == 0
    assert before == {path: path.stat().st_mtime_ns for path in full.rglob("c.*")}
    assert add_texts(full, named(MANY + 2)) == 2


def test_a_text_given_twice_is_there_once(base):
    assert add_texts(base, ["one", "two", "one"]) == 2
    assert FeatureStore(base).texts == ("one", "two")


def test_texts_are_asked_for_without_the_mark_they_were_encoded_with(base):
    recipes = {name: {**recipe, "text": {"mark": "?"}} for name, recipe in TEXT_RECIPES.items()}
    with Lock.acquire(base, "marked") as lock:
        texts = written.Texts.open(base, written.TEXT_SPECS, recipes, lock=lock)
        texts.add([written.NewText(key("is it"), "is it?", 4), written.NewText(key("c"), "c", 2)])
        for rows, contents in texts.work():
            assert contents == ["is it?", "c"]
            texts.write(rows, written.values(contents))
    store = FeatureStore(base)
    for name in ("is it", key("is it")):
        np.testing.assert_array_equal(
            store.read_text(name, "clip/sentence"), value(SENTENCE, "is it?")
        )
    assert store.eot("c") == 2


def test_what_is_not_there_says_what_to_run(base, full):
    with pytest.raises(FeatureMissing) as caught:
        FeatureStore(full).read_text("who", "clip/word")
    assert str(caught.value) == (
        f"no text 'who' in store {str(full)!r}; expected one of its texts; add it with: avqa"
        f" questions --dataset NAME --annotations PATH --store {full} --features"
        " clip/sentence,clip/word"
    )
    message = str(missing_text("who", full, ("a/word", "b/word", "a/sentence")))
    assert message.endswith(" --features a/word,a/sentence, and with --features b/word")
    assert FeatureStore(base).text_features == ()
    assert FeatureStore(base).texts == ()
    with pytest.raises(FeatureMissing, match="add it with: avqa questions --dataset NAME"):
        FeatureStore(base).eot("who")
    with pytest.raises(UnknownName, match="no text feature 'clip/words'; did you mean 'clip/word'"):
        FeatureStore(full).read_text("text number 1", "clip/words")


def test_a_pending_text_is_not_read(base):
    with Lock.acquire(base, "adds") as lock:
        open_texts(base, lock).add(written.new(["later"]))
    with pytest.raises(
        FeatureMissing, match="'later': clip/word is pending; expected ok; .*finish"
    ):
        FeatureStore(base).read_text("later", "clip/word")
    assert verify(base).problems == []
    assert add_texts(base, []) == 1  # also by a run that does not ask for it
    assert_complete(base, ["later"])


def test_a_value_that_does_not_fit_fails_its_text_alone(base):
    contents = named(4)
    with Lock.acquire(base, "wide") as lock:
        texts = open_texts(base, lock)
        texts.add(written.new(contents))
        for rows, of_chunk in texts.work():
            made = written.values(of_chunk)
            made["clip/word"][1, 2, 3] = 65520.0  # rounds beyond the largest float16
            made["clip/word"][2, 0, 0] = np.nan
            made["clip/sentence"][3, 0] = -np.inf
            texts.write(rows, made)
        assert texts.num_failed() == 3
        assert texts.num_pending() == 0
    store = FeatureStore(base)
    np.testing.assert_array_equal(
        store.read_text(contents[0], "clip/word"), value(WORD, contents[0])
    )
    np.testing.assert_array_equal(
        store.read_text(contents[1], "clip/sentence"), value(SENTENCE, contents[1])
    )
    for number, feature in ((1, "word"), (2, "word"), (3, "sentence")):
        with pytest.raises(FeatureMissing, match="is failed; expected ok"):
            store.read_text(contents[number], f"clip/{feature}")
    assert verify(base).problems == []
    assert add_texts(base, contents) == 0


def test_another_recipe_is_refused_and_nothing_written(full):
    before = store_bytes(full)
    other = {name: {**recipe, "text": {"mark": "?"}} for name, recipe in TEXT_RECIPES.items()}
    told = r'text.mark: store="" asked="\?" \(clip/sentence, clip/word\); expected the same'
    with pytest.raises(RecipeMismatch, match=told):
        check_text_recipes(full, other)
    with Lock.acquire(full, "other") as lock, pytest.raises(RecipeMismatch, match=told):
        written.Texts.open(full, written.TEXT_SPECS, other, lock=lock)
    assert store_bytes(full) == before


def test_a_lost_lock_writes_nothing(base):
    with Lock.acquire(base, "first") as lock:
        texts = open_texts(base, lock)
        texts.add(written.new(["one"]))
        (base / "lock.json").unlink()
        before = store_bytes(base)
        for rows, contents in texts.work():
            with pytest.raises(StoreLocked, match="lost its lock"):
                texts.write(rows, written.values(contents))
        with pytest.raises(StoreLocked, match="lost its lock"):
            texts.add(written.new(["two"]))
    assert store_bytes(base) == before


def test_features_of_another_tower_join_texts_that_are_there(full):
    """Pending from the moment that they are there; what was there is left as it was."""
    other = FeatureSpec("other/state", (2,), ("width",), False)
    recipes = {other.name: {"feature": other.name, "text": {"mark": "", "tokens": 77}}}
    before = FeatureStore(full).read_texts(named(MANY), "clip/word")
    with Lock.acquire(full, "first") as lock:
        written.Texts.open(full, [other], recipes, lock=lock)
    with pytest.raises(FeatureMissing, match="other/state is pending"):
        FeatureStore(full).read_text(named(1)[0], "other/state")
    assert verify(full).problems == []
    with Lock.acquire(full, "second") as lock:
        texts = written.Texts.open(full, [other], recipes, lock=lock)
        assert texts.num_pending() == MANY
        for rows, contents in texts.work():
            rows_of = np.stack([value(other, content) for content in contents])
            texts.write(rows, {other.name: rows_of})
        assert texts.num_pending() == 0
    store = FeatureStore(full)
    assert store.text_features == ("clip/sentence", "clip/word", "other/state")
    for content in (named(MANY)[0], named(MANY)[-1]):
        np.testing.assert_array_equal(store.read_text(content, other.name), value(other, content))
    np.testing.assert_array_equal(store.read_texts(named(MANY), "clip/word"), before)
    assert verify(full).problems == []
    told = r'text.mark: store="" asked="\?" \(new/state\)'
    new_marked = {"new/state": {"feature": "new/state", "text": {"mark": "?"}}}
    with pytest.raises(RecipeMismatch, match=told):
        check_text_recipes(full, new_marked)


class Cut(Exception):
    """The process ends here, as far as the store can tell."""


def test_cut_before_changes_of_the_disk_it_resumes_to_the_same_bytes(
    tmp_path, full, videos, monkeypatch, step
):
    """Some changes of a first run, and more of a run that fills up a chunk."""
    partly = copied(videos, tmp_path / "partly")
    add_texts(partly, named(200))
    states = set()
    for start, each in ((videos, 3 * step), (partly, step)):
        for change in range(1, 200, each):
            path = copied(start, tmp_path / f"{start.name}-{change}")
            finished = add_until(path, change, monkeypatch)
            store = FeatureStore(path)  # opens, and what is ok is right
            index = store._text_index() if store.text_features else None
            for spec in (SENTENCE, WORD) if index else ():
                ok = np.flatnonzero(index.status[spec.name] == Status.OK)
                states.add((len(index.keys), len(ok)))
                for content in [index.contents[row] for row in ok[::50]]:
                    found = store.read_text(content, spec.name)
                    np.testing.assert_array_equal(found, value(spec, content))
            add_texts(path, named(MANY), "resumed")
            assert store_bytes(path) == store_bytes(full), f"after change {change}"
            assert verify(path, "size").problems == []
            if finished:
                break
        assert change > 15
    # No texts, all pending, old ones alone, with the first chunk, all.
    assert states >= {(0, 0), (MANY, 0), (200, 200), (MANY, 200), (MANY, 256), (MANY, MANY)}


def add_until(path, change, monkeypatch):
    """Add all texts, cut off before a change of the disk; whether it came to its end."""
    left = [change]

    def count():
        if left[0] == 0:
            raise Cut
        left[0] -= 1

    with Lock.acquire(path, "cut") as lock, monkeypatch.context() as patched:
        Store.open(path, lock).start_run({})
        patched.setattr(Lock, "heartbeat", Lock.check)  # a sign of life is no change of the arrays
        for name in ("replace", "rename", "unlink"):
            method = crashing.guarded(getattr(pathlib.Path, name), count)
            patched.setattr(pathlib.Path, name, method)
        try:
            texts = open_texts(path, lock)
            texts.add(written.new(named(MANY)))
            for rows, contents in texts.work():
                texts.write(rows, written.values(contents))
        except Cut:
            left[0] = -1  # what runs on the way out is no change of this run's
            return False
    return True


def test_what_a_crash_left_half_added_is_forgotten(base, videos, tmp_path):
    clean = copied(videos, tmp_path / "clean")
    for path in (clean, base):
        add_texts(path, named(2))
    content = Column(base / "features.zarr", "text/content")
    content.extend(5)
    for row in (2, 3, 4):
        content[row] = "half added"
    content.flush()
    content.commit_shape()
    assert FeatureStore(base).texts == tuple(named(2))
    for path in (clean, base):
        add_texts(path, named(3))
    assert store_bytes(base) == store_bytes(clean)


def damaged(path, name, how):
    file = path / "features.zarr" / name
    raw = bytearray(file.read_bytes())
    if how == "flip":
        raw[20] ^= 1
    file.write_bytes(raw if how == "flip" else raw[:-7])


@pytest.mark.parametrize(
    ("name", "how", "kind", "lost"),
    [
        ("clip/word/c.0.0.0", "flip", "crc", 256),
        ("clip/word/c.1.0.0", "cut", "size", MANY - 256),
        ("clip/sentence/c.0.0", None, "missing", 256),
    ],
)
def test_verify_finds_a_bad_object_and_repair_has_it_encoded_again(full, name, how, kind, lost):
    before = store_bytes(full)
    if how is None:
        (full / "features.zarr" / name).unlink()
    else:
        damaged(full, name, how)
    with pytest.raises(StoreError, match=r"`avqa questions`"):
        FeatureStore(full).read_texts(named(MANY), name.rpartition("/")[0])
    report = verify(full, repair=True)
    assert [(p.kind, p.array, p.of_texts) for p in report.problems] == [
        (kind, name.rpartition("/")[0], True)
    ]
    assert f"chunk={name.split('.')[1]} of {lost} texts: " in str(report.problems[0])
    assert "1 videos, 300 texts, " in report.lines()[-1]
    assert "repaired, run `avqa questions` again to fill" in report.lines()[-1]
    assert add_texts(full, []) == lost
    assert store_bytes(full) == before
    assert verify(full).problems == []


def test_verify_finds_what_does_not_belong(full):
    before = store_bytes(full)
    folder = full / "features.zarr/clip/sentence"
    shutil.copy(folder / "c.1.0", folder / "c.2.0")
    (folder / "c.0.beef.partial").write_bytes(b"left over")
    (folder / "notes.txt").write_text("mine", encoding="utf-8")
    report = verify(full, "size", repair=True)
    assert report.counts == {"orphan": 1, "partial": 1, "foreign": 1}
    (folder / "notes.txt").unlink()
    assert store_bytes(full) == before


def test_a_bad_object_of_a_partly_filled_chunk_is_encoded_anew_as_a_whole(base, full):
    add_texts(base, named(100))
    damaged(base, "clip/word/c.0.0.0", "flip")
    assert add_texts(base, named(MANY)) == MANY
    assert store_bytes(base) == store_bytes(full)


def harmed(full, name):
    """Nothing reads texts with such a column, until a repair."""
    damaged(full, name, "flip")
    array = name.rpartition("/")[0]
    told = f"array {array}: a chunk is damaged; .*avqa verify --repair, then .* avqa questions"
    store = FeatureStore(full)
    assert store.read("a", "clip/frame").shape == (3, 8)
    with pytest.raises(StoreError, match=told):
        store.eot("text number 1")
    with Lock.acquire(full, "next") as lock, pytest.raises(StoreError, match=told):
        open_texts(full, lock)


@pytest.mark.parametrize("name", ["text/key/c.0.0", "status/clip/word/c.0"])
def test_a_column_of_the_texts_that_follows_from_the_rest_is_rebuilt(full, name):
    good = store_bytes(full)
    harmed(full, name)
    report = verify(full, repair=True)
    assert [(p.kind, p.array) for p in report.problems] == [("index", "text")]
    assert "nothing is pending by it" in report.lines()[-1]
    assert verify(full).problems == []
    assert store_bytes(full) == good
    (kept,) = (full / "removed").glob(f"*/features.zarr/{name}")
    assert kept.is_file()


@pytest.mark.parametrize("lost", [False, True])
def test_texts_without_their_contents_are_taken_away_by_repair_and_videos_stay(full, lost):
    before = store_bytes(full)
    if lost:
        (full / "features.zarr/text/content/c.0").unlink()
    else:
        harmed(full, "text/content/c.0")
    report = verify(full, repair=True)
    assert [p.kind for p in report.problems] == ["index"]
    assert "run `avqa questions` again" in report.lines()[-1]
    assert FeatureStore(full).text_features == ()
    (removed,) = (full / "removed").iterdir()
    words = {name for name in before if name.startswith("clip/word/c.")}
    assert {name: before[name] for name in words} == {
        name: store_bytes(removed)[name] for name in words
    }
    assert verify(full).problems == []
    assert not (full / "features.zarr/clip/word").exists()
    assert add_texts(full, named(3)) == 3
    assert FeatureStore(full).read("a", "clip/frame").shape == (3, 8)


def test_repair_of_a_video_leaves_texts_alone(full):
    (full / "features.zarr/clip/frame/c.0.0.0").unlink()
    (full / "features.zarr/index/duration/c.0").write_bytes(b"short")
    report = verify(full, repair=True)
    assert not any(problem.of_texts for problem in report.problems)
    assert_complete(full, named(MANY))
    assert Store.open(full).status("clip/frame").tolist() == [Status.PENDING]


def test_status_counts_texts(full):
    add_texts(full, named(MANY))
    with Lock.acquire(full, "adds") as lock:
        open_texts(full, lock).add(written.new(["later"]))
    text = "\n".join(summary(full).lines())
    assert "texts of questions: 301" in text
    assert re.search(r"^clip/word +300 +1 +0 +0 +0 +300 +0\.0 ", text, re.MULTILINE)


def test_xarray_shows_every_array_of_texts_as_data(full):
    root = full / "features.zarr"
    clip = xarray.open_zarr(root, group="clip", consolidated=False)
    assert set(clip.data_vars) == {"frame", "patch", "sentence", "word"}
    assert clip.word.dims == ("text", "token", "channel")
    assert clip.sentence.shape == (MANY, 8)
    assert not clip.coords
    text = xarray.open_zarr(root, group="text", consolidated=False)
    assert set(text.data_vars) == {"key", "content", "eot"}
    assert text.content.values[256] == "text number 256"
    assert bytes(text.key.values[256]).hex() == key("text number 256")
    status = xarray.open_zarr(root, group="status/clip", consolidated=False)
    assert set(status.data_vars) == {"frame", "patch", "sentence", "word"}
    assert clip.word.encoding["chunks"][0] == CHUNK_TEXTS
