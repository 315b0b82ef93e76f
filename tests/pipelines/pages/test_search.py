"""Seconds found by a sentence: their order and cosines, and what stands in the way."""

import shutil

import numpy as np
import pytest
from helpers.extraction.as_typed import avqa
from helpers.media import clips
from helpers.pages.parsed import NASTY, Page, outside
from helpers.questions import asking
from helpers.store import stored

from avqa.errors import FeatureMissing, RecipeMismatch
from avqa.extract.weights import resolve
from avqa.pipelines.pages import search as searching
from avqa.pipelines.pages.search import search
from avqa.store.commit import Store
from avqa.store.lock import Lock
from avqa.store.reader import FeatureStore, open_store
from avqa.store.writer import ChunkWriter

pytestmark = pytest.mark.filterwarnings("ignore::avqa.store.reader.RandomWeightsWarning")
TEXT = "Is there a violin sound"


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A store whose frames are said to be of the weights that CLIP's texts have here."""
    path = tmp_path_factory.mktemp("searched") / "store"
    weights = resolve("random:0").describe("clip_vit_b32")
    recipes = {asking.FRAME.name: asking.recipe(weights)}
    videos = {"clip": 3, "other": 4}
    with Lock.acquire(path, "first") as lock:
        store = Store.create(path, recipes, [asking.FRAME], stored.CHUNK_SECONDS, lock=lock)
        store.start_run({})
        rows = store.add_rows(list(videos))
        writer = ChunkWriter(store.path, [asking.FRAME], stored.CHUNK_SECONDS)
        store.set_pending((row, asking.FRAME.name) for row in rows.values())
        for name, seconds in videos.items():
            store.commit([stored.extract(writer, name, rows[name], seconds, (asking.FRAME,))])
        store.finish_run({"reason": "done"})
    return path


def cosine(a, b):
    a, b = a.astype(np.float64), b.astype(np.float64)
    return a @ b / np.linalg.norm(a) / np.linalg.norm(b)


def test_the_page_lists_the_best_seconds_as_typed(made, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "videos").mkdir()
    shutil.copy(clips.cached_clip("clip.mp4", seconds=3, fps=8), tmp_path / "videos/clip.mp4")
    search_for = ["--search", TEXT, "--search", NASTY, "--videos", "videos"]
    code, out, err = avqa("report", made, *search_for)
    assert (code, out) == (0, "page: 'store-report.html'\n"), err
    page = Page((tmp_path / "store-report.html").read_bytes())
    assert outside(page) == []
    shutil.copytree(made, tmp_path / "S")
    asking.music(tmp_path / "annotations", [("clip", TEXT, [])])
    asked = ("--dataset", "music-avqa", "--annotations", tmp_path / "annotations")
    code, _, err = avqa("questions", *asked, "--store", tmp_path / "S", "--weights", "random:0")
    assert code == 0, err
    store = FeatureStore(tmp_path / "S")
    sentence = store.read_text(TEXT, "clip_vit_b32/sentence")
    for video in store.video_ids:
        cosines = [cosine(row, sentence) for row in store.read(video, asking.FRAME.name)]
        best = int(np.argmax(cosines))
        assert f"{video} {store.pts(video)[best]:.1f} s, {cosines[best]:.3f}" in page.text
    assert TEXT in page.text
    picks = [button["data-pick"] for button in page.of("button") if "data-pick" in button]
    assert sorted(picks) == ["0", "0", "1", "1"]
    stills = [image for image in page.of("img") if image["src"].startswith("data:image/jpeg")]
    assert len(stills) == 2  # of the video that is there, one for each sentence


@pytest.fixture
def four(tmp_path, monkeypatch):
    """A store whose encoder's sentences are made up."""
    stored.make_store(tmp_path / "S", {"a": 3, "b": 7, "c": 5, "d": 5})
    monkeypatch.setattr(searching, "_joint", lambda reader: "clip/frame")
    return open_store(tmp_path / "S")


def test_the_best_second_of_each_video_the_nearest_first(four, monkeypatch):
    wanted = four.read("c", "clip/frame")[[3, 1]].astype(np.float32)
    monkeypatch.setattr(searching, "_sentences", lambda reader, feature, texts: 7 * wanted)
    first, second = search(four, four.video_ids, ["one", "two"])
    assert (first.text, second.text, first.feature) == ("one", "two", "clip/frame")
    for found, row in ((first, 3), (second, 1)):
        assert found.hits[0].number == 2
        assert found.hits[0].second == four.pts("c")[row]
        assert found.hits[0].cosine == pytest.approx(1, abs=1e-5)
        assert sorted(hit.number for hit in found.hits) == [0, 1, 2, 3]
        cosines = [hit.cosine for hit in found.hits]
        assert cosines == sorted(cosines, reverse=True)
        for hit in found.hits:
            rows = four.read(four.video_ids[hit.number], "clip/frame")
            assert hit.cosine == pytest.approx(max(cosine(r, wanted[int(row == 1)]) for r in rows))


def test_only_so_many_are_listed_and_damaged_ones_are_none(four, monkeypatch):
    wanted = four.read("c", "clip/frame")[:1].astype(np.float32)
    monkeypatch.setattr(searching, "_sentences", lambda reader, feature, texts: wanted)
    monkeypatch.setattr(searching, "MOST_HITS", 2)
    (found,) = search(four, ["a", "gone", "c", "d"], ["one"])
    assert len(found.hits) == 2
    assert found.hits[0].number == 2


def test_what_cannot_be_searched_says_why(tmp_path):
    stored.make_store(tmp_path / "S", {"a": 3})
    with pytest.raises(FeatureMissing, match="no frames of an encoder that also reads sentences"):
        search(open_store(tmp_path / "S"), ["a"], ["one"])


def test_weights_of_others_find_nothing(made, monkeypatch):
    store = FeatureStore(made)
    recipe = store.recipe("clip_vit_b32/frame")
    its = {"source": "random:0", "sha256": "0" * 64}
    other = {**recipe, "weights": {"clip_vit_b32": its}}
    monkeypatch.setattr(store, "recipe", lambda feature: other)
    with pytest.raises(RecipeMismatch, match="expected the same, which alone put frames and"):
        search(store, store.video_ids, [TEXT])


def test_a_search_that_cannot_be_is_named_and_the_page_written(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    stored.make_store(tmp_path / "S", {"a": 3})
    code, out, err = avqa("report", "S", "--search", "a dog")
    assert (code, out) == (0, "page: 'S-report.html'\n")
    assert err.startswith("avqa: ") is False
    assert "not on the page: the search: the store has no frames of an encoder" in err
    page = Page((tmp_path / "S-report.html").read_bytes())
    assert "Not on this page: the search: the store has no frames" in page.text
    code, out, err = avqa("report", "S", "--search", " ")
    assert (code, out) == (2, "")
    assert err == "avqa: --search=' '; expected a value; give one\n"
