"""A store as a mapping, in a notebook, as an xarray Dataset, as a torch Dataset."""

import importlib.util
import pickle
import re
from dataclasses import replace

import numpy as np
import pytest
import torch
from helpers.store.stored import (
    FEATURES,
    RECIPES,
    SPECS,
    add_videos,
    extract,
    failure,
    make_store,
    new_store,
    values_of,
)
from torch.utils.data import DataLoader

from avqa.errors import (
    ConfigError,
    FeatureMissing,
    LibraryMissing,
    StoreError,
    UnknownName,
    UnknownVideo,
)
from avqa.store.commit import Store
from avqa.store.format.records import FeatureRecord, Status
from avqa.store.lock import Lock
from avqa.store.reader import FeatureStore, open_store
from avqa.store.writer import ChunkWriter

FRAME, PATCH, AUDIO = SPECS


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    """Videos a (12 s, warned of), b (3 s), silent (4 s), failed, <gone>."""
    path = make_store(tmp_path_factory.mktemp("views") / "S", {"a": 12, "b": 3}).path
    with Lock.acquire(path, "second") as lock:
        store = Store.open(path, lock)
        rows = store.add_rows(["silent", "failed", "<gone>"])
        writer = ChunkWriter(path, SPECS, 5)
        written = extract(writer, "silent", rows["silent"], 4, SPECS[:2])
        absent = FeatureRecord(AUDIO.name, Status.ABSENT, 0)
        silent = replace(written, features=(*written.features, absent))
        warned = replace(extract(writer, "a", 0, 12), report={"warnings": ["1 < 2 frames"]})
        store.commit([silent, failure("failed", rows["failed"]), warned])
        store.delete(["<gone>"])
    return path


@pytest.fixture
def store(path):
    return open_store(path)


def test_a_store_is_a_mapping_of_the_videos_that_are_there(store):
    assert (len(store), list(store)) == (4, ["a", "b", "silent", "failed"])
    assert list(store.keys()) == list(store.video_ids)
    assert [key in store for key in ("a", np.str_("b"), "<gone>", "x", 1, None, ["a"])] == [
        *(True, True, False, False, False, False, False)
    ]
    assert store["b"].id == store[np.str_("b")].id == "b"
    assert store.get("x") is None
    assert store == store
    assert store != open_store(store.path)  # not by reading all of both
    for name, near in {"aa": "did you mean 'a'", "<gone>": "`video_ids` lists them"}.items():
        with pytest.raises(KeyError, match=f"^no video '{name}' in store .*; .*{near}") as caught:
            store[name]
        assert isinstance(caught.value, UnknownVideo)


def test_a_video_is_a_mapping_of_the_features_that_are_there(store):
    a, silent = store["a"], store["silent"]
    assert list(silent) == [FRAME.name, PATCH.name] != list(a) == list(FEATURES)
    assert (AUDIO.name in a, AUDIO.name in silent, len(silent)) == (True, False, 2)
    for spec in SPECS:
        np.testing.assert_array_equal(a[spec.name], values_of(spec, "a", 12).astype("f2"))
    assert {name: rows.shape for name, rows in silent.items()} == {
        FRAME.name: (4, 8),
        PATCH.name: (4, 3, 8),
    }
    assert (a.seconds, silent.duration, a.pts.tolist()[:2]) == (12, 4, [0.5, 1.5])
    assert (a.warnings, silent.warnings) == (("1 < 2 frames",), ())
    assert silent.status(AUDIO.name) == Status.ABSENT
    assert not a.lost_rows.any()
    with pytest.raises(FeatureMissing, match="vggish/audio is absent; expected ok"):
        silent[AUDIO.name]
    with pytest.raises(UnknownName, match="no feature 'vggish/audi'; did you mean"):
        a["vggish/audi"]
    assert repr(silent) == (
        "<Video 'silent': 4 s; clip/frame [4, 8], clip/patch [4, 3, 8], vggish/audio absent>"
    )
    assert "1 &lt; 2 frames" in a._repr_html_()


def test_what_a_store_shows(store):
    clip, patch, audio = (store.recipe_hash(name)[:12] for name in FEATURES)
    assert repr(store) == (
        f"<FeatureStore {str(store.path)!r}: 4 videos, 0:19\n"
        f"  clip/frame    [T, 8] float16     3 ok, 1 failed            recipe {clip}\n"
        f"  clip/patch    [T, 3, 8] float16  3 ok, 1 failed            recipe {patch}\n"
        f"  vggish/audio  [T, 6] float16     2 ok, 1 failed, 1 absent  recipe {audio}>"
    )
    shown = store._repr_html_()
    assert ">2 ok, 1 failed, 1 absent</td>" in shown
    assert "videos: a, b, silent, failed<" in shown
    assert "RANDOM" not in shown + repr(store)


def test_random_weights_are_marked_and_ids_are_text(tmp_path):
    path = tmp_path / "S"
    drawn = {**RECIPES[AUDIO.name], "weights": {"w": {"source": "random:0"}}}
    with Lock.acquire(path, "run") as lock:
        recipes = {FRAME.name: RECIPES[FRAME.name], AUDIO.name: drawn}
        made = Store.create(path, recipes, (FRAME, AUDIO), 5, lock=lock)
        made.add_rows(["<script>alert(1)</script>", *(f"v{n}" for n in range(9))])
    store = FeatureStore(path)
    lines = repr(store).splitlines()
    assert ["RANDOM WEIGHTS" in line for line in lines] == [False, False, True]
    shown = store._repr_html_()
    assert "RANDOM WEIGHTS made vggish/audio: for tests only" in shown
    assert "<script" not in shown
    assert "&lt;script&gt;alert(1)&lt;/script&gt;, v0, v1, v2, v3 and 5 more" in shown


def test_a_damaged_store_can_still_be_shown(tmp_path):
    path = make_store(tmp_path / "S", {"a": 2}).path
    (path / "features.zarr/clip/frame/zarr.json").write_bytes(b"{")
    assert re.search(r"clip/frame +damaged +1 ok", repr(FeatureStore(path)))
    assert ">damaged</td>" in FeatureStore(path)._repr_html_()


def test_as_xarray(store):
    rows = store.to_xarray()
    assert dict(rows.sizes) == {
        "video": 4,
        "second": 12,
        "clip_channel": 8,
        "clip_position": 3,
        "vggish_channel": 6,
    }
    assert list(rows.data_vars) == list(FEATURES)
    assert rows.video_id.values.tolist() == list(store)
    assert rows.second.values.tolist() == list(range(12))
    assert not any(rows[name].variable._in_memory for name in (*FEATURES, "pts"))
    # Neither silent nor failed has all features.
    assert rows.mask.dtype == bool
    assert rows.mask.sum("second").values.tolist() == [12, 3, 0, 0]
    b = rows.sel(video_id="b")
    assert b[PATCH.name].dtype == np.float16
    np.testing.assert_array_equal(b[PATCH.name][:3], store.read("b", PATCH.name))
    assert b[PATCH.name][3:].isnull().all()
    assert b.pts.values[:3].tolist() == [0.5, 1.5, 2.5]
    assert rows.sel(video_id="silent")[AUDIO.name].isnull().all()
    np.testing.assert_allclose(
        rows[FRAME.name].astype("f8").mean("second").sel(video_id="silent"),
        store.read("silent", FRAME.name).astype("f8").mean(0),
    )
    assert rows[FRAME.name].attrs == {"recipe_hash": store.recipe_hash(FRAME.name)}
    few = store.to_xarray([FRAME.name], videos=np.array(["silent", "b"]))
    assert few.mask.values.tolist() == [[True] * 4, [True] * 3 + [False]]
    assert list(store.to_xarray(AUDIO.name).data_vars) == [AUDIO.name]


@pytest.mark.parametrize(
    "key",
    [
        (1,),
        (slice(None), 2),
        (slice(3, None, -2), slice(1, 9, 3), 0),
        ([2, 0], [3, 1], slice(None), [7, 0]),
        ([], 0, slice(2)),
        (-1, -1, -1, -1),
    ],
)
def test_any_part_of_the_lazy_arrays_is_that_of_the_whole(store, key):
    whole = store.to_xarray([PATCH.name])[PATCH.name].load()
    part = store.to_xarray([PATCH.name])[PATCH.name][key]
    assert part.dtype == np.float16
    np.testing.assert_array_equal(part.values, whole[key].values)


def test_as_xarray_with_dask_and_in_another_process(store):
    rows = pickle.loads(pickle.dumps(store.to_xarray([AUDIO.name])))
    chunked = rows.chunk({"video": 1})
    assert chunked[AUDIO.name].data.numblocks == (4, 1, 1)
    total = float(chunked[AUDIO.name].astype("f8").sum())
    expected = sum(store.read(v, AUDIO.name).astype("f8").sum() for v in "ab")
    assert total == pytest.approx(expected)


def test_xarray_says_damage_and_what_is_not_there(tmp_path, monkeypatch):
    store = open_store(make_store(tmp_path / "S", {"a": 2}).path)
    rows = store.to_xarray()
    (tmp_path / "S/features.zarr/clip/frame/c.0.0.0").unlink()
    with pytest.raises(StoreError, match="video 'a': clip/frame has status ok but an object"):
        rows[FRAME.name].load()
    for call, kind, text in [
        (lambda: store.to_xarray(["clip/fram"]), UnknownName, "did you mean 'clip/frame'"),
        (lambda: store.to_xarray(videos="b"), UnknownName, "no video 'b' in store"),
        (lambda: store.to_xarray([]), ConfigError, r"features=\[\]; expected at least one"),
        (lambda: store.to_xarray(3), ConfigError, "features=3; expected a name, or a sequence"),
        (lambda: store.to_xarray(videos=[1]), ConfigError, r"videos=\[1\]; expected a name"),
    ]:
        with pytest.raises(kind, match=text):
            call()
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(LibraryMissing, match="to_xarray: xarray is not installed; .* pip install"):
        store.to_xarray()


def test_lost_rows_are_masked(tmp_path):
    with Lock.acquire(tmp_path / "S", "run") as lock:
        made = new_store(tmp_path / "S", lock)
        add_videos(made, {"a": 3, "b": 2})
        again = extract(ChunkWriter(tmp_path / "S", SPECS, 5), "a", 0, 3)
        made.commit([replace(again, report={"lost_rows": [1]})])
    store = open_store(tmp_path / "S")
    assert store.lost_rows("a").tolist() == [False, True, False]
    assert store.to_xarray().mask.values.tolist() == [[True, False, True], [True, True, False]]
    rows = store.dataset()
    assert rows.collate([rows[0], rows[1]])["mask"].tolist() == [
        [True, False, True],
        [True, True, False],
    ]


def test_batches_are_padded_masked_and_float32(store):
    rows = store.dataset([AUDIO.name, PATCH.name])
    assert (len(rows), rows.video_ids) == (2, ("a", "b"))  # the others lack the audio
    (batch,) = DataLoader(rows, batch_size=2, collate_fn=rows.collate)
    assert batch["video_id"] == ["a", "b"]
    assert batch["mask"].sum(1).tolist() == [12, 3]
    assert {name: tuple(batch[name].shape) for name in rows.features} == {
        AUDIO.name: (2, 12, 6),
        PATCH.name: (2, 12, 3, 8),
    }
    assert batch[AUDIO.name].dtype == torch.float32
    expected = torch.from_numpy(store.read("b", AUDIO.name)).float()
    assert torch.equal(batch[AUDIO.name][1, :3], expected)
    assert not batch[AUDIO.name][1, 3:].any()
    assert repr(rows) == (
        f"<FeatureDataset of {str(store.path)!r}: 2 videos; vggish/audio, clip/patch;"
        " T: longest of the batch>"
    )


@pytest.mark.parametrize("seconds", [np.int64(5), 2])
def test_a_length_that_is_asked_for_is_every_batchs(store, seconds):
    rows = store.dataset(FRAME.name, videos=("b", "silent"), seconds=seconds)
    (batch,) = DataLoader(rows, batch_size=2, collate_fn=rows.collate)
    assert batch[FRAME.name].shape == (2, seconds, 8)
    assert batch["mask"].sum(1).tolist() == [min(3, seconds), min(4, seconds)]


# Python 3.12 warns of any fork with threads; that it works here is what is tested.
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_worker_processes_read_it(store):
    rows = store.dataset([FRAME.name])
    store.read("a", FRAME.name)
    loader = DataLoader(rows, batch_size=2, collate_fn=rows.collate, num_workers=2)
    first, second = loader
    assert (first["video_id"], second["video_id"]) == (["a", "b"], ["silent"])
    assert torch.equal(first[FRAME.name][0], torch.from_numpy(store.read("a", FRAME.name)).float())
    again = pickle.loads(pickle.dumps(rows))  # to a worker that is started anew
    assert torch.equal(again[2][FRAME.name], second[FRAME.name][0])


def test_damage_that_a_worker_meets(tmp_path):
    rows = open_store(make_store(tmp_path / "S", {"a": 2}).path).dataset()
    (tmp_path / "S/features.zarr/clip/frame/c.0.0.0").unlink()
    with pytest.raises(FeatureMissing, match="an object of it is gone"):
        list(DataLoader(rows, collate_fn=rows.collate))


def test_a_dataset_says_what_is_not_there(store):
    for call, kind, text in [
        (lambda: store.dataset(videos=["a", "silent"]), FeatureMissing, "'silent': vggish/audio"),
        (lambda: store.dataset(videos=[]), ConfigError, "expected at least one id"),
        (lambda: store.dataset(videos=["x"]), UnknownName, "no video 'x'"),
        (lambda: store.dataset(seconds=0), ConfigError, "seconds=0; expected a whole number, 1"),
        (lambda: store.dataset(seconds=2.5), ConfigError, "seconds=2.5; expected a whole"),
        (lambda: store.dataset(seconds=True), ConfigError, "seconds=True; expected a whole"),
    ]:
        with pytest.raises(kind, match=text):
            call()


def test_a_store_where_no_video_has_all(tmp_path):
    with Lock.acquire(tmp_path / "S", "run") as lock:
        made = new_store(tmp_path / "S", lock)
        made.add_rows(["a"])
    with pytest.raises(
        FeatureMissing, match="none of 1 videos has all of clip/frame, .*; expected"
    ):
        open_store(tmp_path / "S").dataset()
