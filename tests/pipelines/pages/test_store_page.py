"""The page of a store: what it holds, and what is the matter with it."""

import base64
import io
import itertools
import shutil

import numpy as np
import pytest
from helpers.media import clips
from helpers.pages.parsed import NASTY, Page, outside
from helpers.runs import run_folders
from helpers.store import stored
from PIL import Image

from avqa.errors import ConfigError, StoreError
from avqa.pipelines.pages import store as page_of_store
from avqa.pipelines.pages.media.posters import FRAMES, HEIGHT, SOUND_HEIGHT, WIDTH, Videos, evenly
from avqa.pipelines.pages.store import store_page
from avqa.store.commit import Store
from avqa.store.lock import Lock
from avqa.store.packing.pack import pack
from avqa.store.places.files import store_path

LENGTHS = {"a": 3, "b": 7, "part/c": 5, "d": 5}


@pytest.fixture
def store(tmp_path):
    stored.make_store(tmp_path / "S", LENGTHS)
    return tmp_path / "S"


def page_of(store, videos=None):
    said = []
    return Page(store_page(store_path(store), videos, said.append)), said


def test_it_lists_the_videos_and_maps_the_small_features(store):
    page, said = page_of(store)
    assert said == []
    assert outside(page) == []
    videos = page.data["videos"]
    assert videos["id"] == list(LENGTHS)
    assert videos["seconds"] == [3, 7, 5, 5]
    assert videos["status"] == [[1, 1, 1]] * 4
    assert [m["feature"] for m in page.data["maps"]] == [
        *("vggish/audio", "clip/frame", "clip/patch")
    ]
    for found in page.data["maps"]:
        assert found["videos"] == [0, 1, 2, 3]
        assert np.shape(found["places"]) == (4, 2)
        assert len(found["apart"]) == 4
    assert "clip/patch" in page.words
    assert "[T, 3, 8] float16" in page.words


def test_reasons_and_warnings_stand_beside_the_video(tmp_path):
    run_folders.write_store(tmp_path / "S", LENGTHS, missing=["d"], made="random:0")
    page, _ = page_of(tmp_path / "S")
    videos = page.data["videos"]
    assert videos["notes"] == [[], [], [], ["corrupt: no frame"]]
    assert [page.data["states"][n] for n in videos["status"][3]] == ["failed", "failed"]
    assert any(w.startswith("RANDOM WEIGHTS made ") for w in page.words)
    assert "1" in page.words[page.words.index("failed") :][:2]


def test_ids_and_reasons_do_not_run(tmp_path):
    run_folders.write_store(tmp_path / "S", {NASTY.replace("/", "|"): 2, "b": 2, "c": 3})
    page, _ = page_of(tmp_path / "S")
    assert outside(page) == []
    assert page.of("img") == []
    assert page.data["videos"]["id"][0] == NASTY.replace("/", "|")


def test_an_empty_store_and_a_small_one_say_so(tmp_path, store):
    with Lock.acquire(tmp_path / "E", "made") as lock:
        stored.new_store(tmp_path / "E", lock).finish_run({"reason": "done"})
    page, said = page_of(tmp_path / "E")
    assert "There are no videos in it." in page.words
    assert said == []
    stored.make_store(tmp_path / "two", {"a": 2, "b": 3})
    page, said = page_of(tmp_path / "two")
    assert "not on the page: map of clip/frame: 2 videos; expected 3 or more that differ" in said
    assert page.data["maps"][0]["places"] is None
    assert len(page.data["maps"][0]["strips"]) == 2


def test_a_packed_store_has_a_page(store, tmp_path):
    pack(store_path(store), str(tmp_path / "P"))
    page, said = page_of(tmp_path / "P")
    assert said == []
    assert "a packed copy, read-only" in page.text
    before, _ = page_of(store)
    assert page.data["maps"] == before.data["maps"]


def test_damage_of_one_video_is_told_and_that_of_the_store_refused(store):
    row = Store.open(store_path(store)).rows()["b"]
    chunk = store / f"features.zarr/clip/frame/c.{row}.0.0"
    chunk.write_bytes(b"\0" * chunk.stat().st_size)
    page, said = page_of(store)
    (line,) = said
    assert line.startswith("not on the page: clip/frame of 1 videos that cannot be read, the first")
    assert "'b'" in line
    (frame,) = (m for m in page.data["maps"] if m["feature"] == "clip/frame")
    assert frame["videos"] == [0, 2, 3]
    (store / "features.zarr/zarr.json").write_text("{", encoding="utf-8")
    with pytest.raises(StoreError, match="expected"):
        page_of(store)


def test_only_so_many_videos_are_read_and_listed(store, monkeypatch):
    monkeypatch.setattr(page_of_store, "MOST_READ", 2)
    monkeypatch.setattr(page_of_store, "MOST_VIDEOS", 3)
    page, said = page_of(store)
    assert page.data["videos"]["id"] == ["a", "b", "part/c"]
    assert page.data["maps"][0]["videos"] == [0, 2]  # evenly spread
    assert "not on the page: 1 of 4 videos: the first ones are listed" in said


def test_frames_are_of_the_video_and_its_own(tmp_path):
    (tmp_path / "part").mkdir()
    shutil.copy(clips.cached_clip("a.mp4", seconds=3, fps=8), tmp_path / "part/a.mp4")
    (tmp_path / "broken.mp4").write_bytes(b"no video")
    (tmp_path / "list.mp4").write_text("#EXTM3U\n/etc/passwd\n", encoding="utf-8")
    lengths = {"part/a": 3.0, "broken": 2.0, "list": float("nan"), "gone": 1.0}
    wanted = {name: (name, evenly(length)) for name, length in lengths.items()}
    found = Videos(tmp_path).frames(wanted)
    assert list(found) == ["part/a"]
    content = base64.b64decode(found["part/a"].removeprefix("data:image/jpeg;base64,"))
    picture = np.asarray(Image.open(io.BytesIO(content)).convert("L")).astype(int)
    assert picture.shape == (HEIGHT, FRAMES * WIDTH)
    boxes = np.split(picture, FRAMES, axis=1)
    assert all(abs(a - b).max() > 50 for a, b in itertools.combinations(boxes, 2))
    for unknown in (float("nan"), None, 0.0, float("inf")):  # the first frame alone
        assert evenly(unknown) == [0.0]
    unknown = Videos(tmp_path).frames({"part/a": ("part/a", evenly(None))})
    content = base64.b64decode(unknown["part/a"].removeprefix("data:image/jpeg;base64,"))
    assert Image.open(io.BytesIO(content)).size == (WIDTH, HEIGHT)
    with pytest.raises(ConfigError, match="does not exist; expected a folder of videos"):
        Videos(tmp_path / "no")


def test_frames_that_are_not_there_are_counted(store, tmp_path):
    (tmp_path / "videos").mkdir()
    shutil.copy(clips.cached_clip("a.mp4", seconds=3, fps=8), tmp_path / "videos/a.mp4")
    page, said = page_of(store, tmp_path / "videos")
    assert list(page.data["posters"]) == ["0"]
    assert said[-1].startswith("not on the page: frames of 3 videos: not in ")
    assert outside(page) == []


def test_the_spectrum_is_that_of_the_sound(tmp_path):
    heard = clips.cached_clip("a.mp4", seconds=3, fps=8, sound_codec="aac")
    shutil.copy(heard, tmp_path / "a.mp4")
    shutil.copy(clips.cached_clip("b.mp4", seconds=3, fps=8), tmp_path / "b.mp4")
    found = Videos(tmp_path).spectra(["a", "b", "gone"])
    assert list(found) == ["a"]
    content = base64.b64decode(found["a"].removeprefix("data:image/jpeg;base64,"))
    picture = np.asarray(Image.open(io.BytesIO(content)).convert("L")).astype(int)
    assert picture.shape == (SOUND_HEIGHT, FRAMES * WIDTH)
    assert picture.max() > 100
    assert picture.mean() < 100  # a tone is loud in few frequencies
