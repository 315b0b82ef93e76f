import dataclasses
import itertools

import numpy as np
import pytest
import torch
from helpers.extraction import dropped
from helpers.store import stored
from helpers.store.reading import (
    EVERYTHING,
    NAMES,
    SPEC,
    expected,
    question_set,
    store_of,
    store_with,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from avqa import heads
from avqa.errors import ConfigError, FeatureMissing, StoreError
from avqa.extract.profiles import profile
from avqa.store.format.chunks import chunk_path
from avqa.store.format.records import FeatureRecord, RowFlag, Status
from avqa.training.data import features
from avqa.training.data.features import VideoFeatures
from avqa.training.data.handover import Parcel
from avqa.training.data.names import feature_names, names_of, num_patches, source_of
from avqa.training.grounding import _inputs
from avqa.training.settings import resolve

LENGTHS = {"a": 7, "b": 12, "c": 1}


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return store_of(tmp_path_factory.mktemp("features") / "store", LENGTHS)


def loaded(store, budget, names=NAMES, **choices):
    reader = VideoFeatures(store, names, budget_bytes=budget, **choices)
    reader.preload(LENGTHS)
    return reader


def chosen(**values):
    return dataclasses.replace(resolve("late_fusion")[0], **values)


def test_names_follow_the_fields_and_the_encoder_of_the_pictures():
    assert feature_names(["audio", "patch"], "resnet18") == {
        "audio": "vggish/audio",
        "patch": "resnet18/map",
    }
    assert feature_names(["frame", "patch"], "clip_vit_b32") == {
        "frame": "clip_vit_b32/frame",
        "patch": "clip_vit_b32/patch",
    }
    assert feature_names(["frame"], "resnet18") == {"frame": "resnet18/pool"}


def test_the_first_tap_of_the_shape_serves_whatever_encoder_it_is(tmp_path):
    with dropped.dropped_in(tmp_path, dropped.source()):
        assert feature_names(["audio", "frame", "patch"], "coarse", "coarse") == {
            "audio": "coarse/loudness",
            "frame": "coarse/mean",
            "patch": "coarse/cells",
        }
        assert num_patches(chosen(visual="coarse")) == 15
    wanted = ("clip_vit_b32", "resnet18", "vggish")
    assert [num_patches(chosen(visual=name)) for name in wanted] == [49, 196, 1]


def test_bands_are_of_the_audios_encoder_and_frames_may_be_one_feature():
    assert feature_names(["bands", "audio"], "resnet18", "ast") == {
        "bands": "ast/band",
        "audio": "ast/class",
    }
    named = "clip_vit_l14_336/frame@tome"
    assert names_of(chosen(visual=named), ["frame", "patch"]) == {
        "frame": named,
        "patch": "clip_vit_l14_336/patch",
    }
    with pytest.raises(ConfigError, match="visual='clip_vit_l14_336/tome14'; expected one of ast"):
        names_of(chosen(visual="clip_vit_l14_336/tome14"), ["frame"])


@pytest.mark.parametrize("head", ["cuespace", "qa_tiger", "tspm"])
def test_the_profile_of_a_head_stores_what_it_reads(head):
    needs = heads.build(head, width=8).needs
    read = names_of(resolve(head)[0], needs)
    assert {*read} == {*needs} & {*heads.VIDEO_FEATURES}
    stored_there = profile(head.replace("_", "-")).features
    assert {*read.values()} <= {*stored_there}
    assert source_of(read["patch"]) in stored_there


@pytest.mark.parametrize(
    ("patch", "found"),
    [
        ("visual", "clip_vit_l14_336/patch"),
        ("vit_l16_384", "vit_l16_384/tome14"),
        ("clip_vit_l14_336/tome14", "clip_vit_l14_336/tome14"),
        ("resnet18", "resnet18/map"),
    ],
)
def test_patches_may_be_of_another_encoder_than_frames(patch, found):
    settings = chosen(visual="clip_vit_l14_336", patch=patch)
    assert names_of(settings, ["audio", "frame", "patch"]) == {
        "audio": "vggish/audio",
        "frame": "clip_vit_l14_336/frame",
        "patch": found,
    }
    assert num_patches(settings) == {"patch": 576, "tome14": 14, "map": 196}[found.split("/")[1]]


@pytest.mark.parametrize(
    ("patch", "message"),
    [
        ("vggish", "patch=vggish has no features for patch; expected an encoder with a tap of sh"),
        ("vit_l16_384/tome14_source", "patch='vit_l16_384/tome14_source'; expected one of ast, cl"),
        ("vit_l16", "patch='vit_l16'; expected one of ast, clip_vit_b32, "),
        ("vit_l16_385", ", vit_l16_384; did you mean 'vit_l16_384'? see `avqa encoders`, and"),
    ],
)
def test_what_patches_cannot_be_read_from_is_refused(patch, message):
    with pytest.raises(ConfigError) as caught:
        names_of(chosen(patch=patch), ["patch"])
    assert message in str(caught.value)


def test_merged_tokens_come_with_where_each_patch_went():
    assert source_of("vit_l16_384/tome14") == "vit_l16_384/tome14_source"
    assert source_of("clip_vit_b32/patch") is None
    assert source_of("resnext101/pool") is None


@pytest.mark.parametrize(
    ("field", "visual", "audio", "message"),
    [
        ("patch", "vggish", "vggish", "visual=vggish has no features for patch; expected an"),
        ("frame", "vggish", "vggish", "expected an encoder with a tap of shape (D,); see `avqa"),
        ("bands", "resnet18", "vggish", "audio=vggish has no features for bands; expected an"),
        ("audio", "resnet18", "resnet18", "audio=resnet18 has no features for audio; expected an"),
    ],
)
def test_an_encoder_without_such_a_tap_is_refused(field, visual, audio, message):
    with pytest.raises(ConfigError) as caught:
        feature_names([field], visual, audio)
    assert message in str(caught.value)


def test_what_a_head_needs_of_texts_is_no_feature_of_videos():
    needs = heads.build("avaf", width=16).needs
    assert set(needs) > {"audio", "patch"}
    assert set(feature_names(needs, "clip_vit_b32")) == {"audio", "patch"}


@pytest.mark.parametrize("budget", [0, EVERYTHING])
def test_rows_are_those_stored(store, budget):
    reader = loaded(store, budget)
    for video, seconds in LENGTHS.items():
        rows = reader.read(video)
        assert set(rows) == set(NAMES)
        for field, values in rows.items():
            assert values.dtype == torch.float16
            np.testing.assert_array_equal(values.numpy(), expected(video, field, seconds))


@settings(max_examples=25, deadline=None)
@given(stride=st.integers(1, 13), most=st.integers(1, 14), loads=st.booleans())
def test_stride_and_end_choose_the_rows(store, stride, most, loads):
    reader = loaded(store, EVERYTHING if loads else 0, stride_seconds=stride, max_seconds=most)
    for video, seconds in LENGTHS.items():
        chosen = [second for second in range(seconds) if second % stride == 0 and second < most]
        rows = reader.read(video)["patch"].numpy()
        np.testing.assert_array_equal(rows, expected(video, "patch", seconds)[chosen])


def test_a_map_becomes_patches_row_by_row(tmp_path):
    def records(writer, rows):
        return [stored.extract(writer, "a", rows["a"], 3, (stored.EXTRA,))]

    store = store_with(tmp_path / "store", ["a"], records, (stored.EXTRA,))
    rows = VideoFeatures(store, {"patch": "resnet18/map"}).read("a")["patch"].numpy()
    maps = stored.values_of(stored.EXTRA, "a", 3).astype(np.float16)
    assert rows.shape == (3, 4, 4)
    for y, x in itertools.product(range(2), range(2)):
        np.testing.assert_array_equal(rows[:, 2 * y + x], maps[:, y, x])


def test_features_that_differ_by_a_second_end_together(tmp_path):
    def records(writer, rows):
        long = stored.extract(writer, "a", rows["a"], 6, stored.SPECS[:2])
        short = stored.extract(writer, "a", rows["a"], 5, stored.SPECS[2:])
        return [dataclasses.replace(long, features=long.features + short.features)]

    store = store_with(tmp_path / "store", ["a"], records)
    for budget in (0, EVERYTHING):
        reader = VideoFeatures(store, NAMES, budget_bytes=budget)
        reader.preload(["a"])
        rows = reader.read("a")
        assert {field: len(values) for field, values in rows.items()} == dict.fromkeys(NAMES, 5)
        np.testing.assert_array_equal(rows["frame"].numpy(), expected("a", "frame", 6)[:5])


def with_lost(writer, rows):
    """Video a of 6 seconds lost 0, 1 and 4; b is whole."""
    for name, row in rows.items():
        made = stored.extract(writer, name, row, 6)
        if name == "a":
            lost = {"lost_rows": [0, 1, 4]}
            made = dataclasses.replace(made, row_flags=RowFlag.PARTIAL, report=lost)
        yield made


def test_lost_rows_are_masked(tmp_path):
    store = store_with(tmp_path / "S", ["a", "b"], lambda *of: list(with_lost(*of)))
    assert store.lost_rows("a").tolist() == [True, True, False, False, True, False]
    valid = question_set(store, ["b", "a"])[1].inputs.valid
    assert valid.tolist() == [[False, False, True, True, False, True]]
    batch = question_set(store, ["a", "b", "a"]).__getitems__([0, 1])
    assert batch.to("cpu").inputs.valid.sum(1).tolist() == [3, 6]
    strided = VideoFeatures(store, NAMES, stride_seconds=2).read("a")
    assert strided["valid"].tolist() == [False, True, False]
    first = VideoFeatures(store, NAMES, max_seconds=3)
    assert _inputs(first, ["b", "a"]).valid.tolist() == [[True] * 3, [False, False, True]]
    # A head needs one row at least: if all that it would see are lost, they are zeros to it.
    assert "valid" not in VideoFeatures(store, NAMES, max_seconds=2).read("a")


def test_a_head_that_sees_nothing_reads_nothing(store):
    reader = loaded(store, EVERYTHING, {})
    before = store.reads.clone()
    assert reader.read("a") == {}
    assert torch.equal(store.reads, before)


def reads_of(store, reader):
    """Reads of the store when every video is read twice."""
    before = store.reads.sum().item()
    for video in [*LENGTHS, *LENGTHS]:
        reader.read(video)
    return store.reads.sum().item() - before


def test_arrays_are_loaded_if_they_fit(store):
    sizes = {
        field: 2 * sum(LENGTHS.values()) * int(np.prod(SPEC[n].shape)) for field, n in NAMES.items()
    }
    assert sizes == {"audio": 240, "frame": 320, "patch": 960}
    left = {239: 3, 240: 2, 319: 2, 320: 1, 959: 1, 960: 0}
    for budget, fields in left.items():
        assert reads_of(store, loaded(store, budget)) == fields * len(LENGTHS)


def test_by_default_an_array_may_take_a_quarter_of_the_free_memory(store, monkeypatch):
    monkeypatch.setattr(features, "free_memory", lambda: 4 * 320)
    assert reads_of(store, loaded(store, None)) == len(LENGTHS)
    monkeypatch.setattr(features, "free_memory", lambda: 4 * 320 - 1)
    assert reads_of(store, loaded(store, None)) == 2 * len(LENGTHS)


def test_small_arrays_are_loaded_first(store, monkeypatch):
    free = iter([2**30, 0, 0])
    monkeypatch.setattr(features, "free_memory", lambda: next(free))
    rows = loaded(store, None).read("a")
    assert [field for field, values in rows.items() if values.is_shared()] == ["audio"]


def test_what_fits_is_what_would_be_loaded(store, monkeypatch):
    """By a quarter of the memory that is left after every array, or by a budget for each."""
    rows = sum(-(-length // 2) for length in LENGTHS.values())
    sizes = sorted(rows * store.zero_rows(name, 1).nbytes for name in NAMES.values())
    enough = 4 * sizes[-1] + sum(sizes[:-1])
    answers = []
    for free, budget in [(f, None) for f in (enough - 1, enough)] + [
        (0, b) for b in (sizes[-1] - 1, sizes[-1])
    ]:
        reader = VideoFeatures(store, NAMES, stride_seconds=2, budget_bytes=budget)

        def left(reader=reader, free=free):
            return free - sum(each.rows.nbytes for each in reader._loaded.values())

        monkeypatch.setattr(features, "free_memory", left)
        answers.append(reader.fits([*LENGTHS, "a"]))
        reader.preload(LENGTHS)
        assert answers[-1] == (reader._loaded.keys() == NAMES.keys())
    assert answers == [False, True, False, True]
    assert VideoFeatures(store, {}).fits(LENGTHS)


def test_what_is_loaded_is_shared(store):
    assert all(rows.is_shared() for rows in loaded(store, EVERYTHING).read("a").values())
    assert not any(rows.is_shared() for rows in loaded(store, 0).read("a").values())


def test_videos_that_were_not_loaded_are_read(store):
    reader = VideoFeatures(store, NAMES, budget_bytes=EVERYTHING)
    reader.preload(["a"])
    np.testing.assert_array_equal(reader.read("b")["frame"].numpy(), expected("b", "frame", 12))
    reader.preload([])
    np.testing.assert_array_equal(reader.read("a")["frame"].numpy(), expected("a", "frame", 7))


def test_the_videos_read_last_are_kept(store, monkeypatch):
    monkeypatch.setattr(features, "KEPT_VIDEOS", 2)
    reader = VideoFeatures(store, {"audio": "vggish/audio"})
    before = store.reads.sum().item()
    for video in ["a", "b", "a", "c", "a"]:  # c takes the place of b, which was not used since
        reader.read(video)
    assert store.reads.sum().item() - before == 3
    reader.read("b")
    assert store.reads.sum().item() - before == 4


def test_another_process_starts_without_what_was_kept(store):
    reader = VideoFeatures(store, NAMES)
    reader.read("a")
    assert not reader.__getstate__()["_kept"]
    assert reader._kept


ABSENT = FeatureRecord("vggish/audio", Status.ABSENT, 0, ())


def partly(writer, rows):
    """Video a has all; b failed; c has no audio."""
    silent = stored.extract(writer, "c", rows["c"], 2, stored.SPECS[:2])
    return [
        stored.extract(writer, "a", rows["a"], 2),
        stored.failure("b", rows["b"]),
        dataclasses.replace(silent, features=(*silent.features, ABSENT)),
    ]


@pytest.fixture(scope="module")
def partial_store(tmp_path_factory):
    path = tmp_path_factory.mktemp("partial") / "my store"
    return store_with(path, ["a", "b", "c", "d"], partly)


def refusal(store, videos, names=NAMES):
    with pytest.raises(FeatureMissing) as caught:
        VideoFeatures(store, names).require(videos, "error")
    return str(caught.value).replace(str(store.path), "STORE")


def test_videos_that_failed_are_to_be_tried_again(partial_store):
    assert refusal(partial_store, ["a", "b", "b"]) == (
        "1 of 2 videos lack a needed feature, the first is 'b': vggish/audio is failed and"
        " clip/frame is failed and clip/patch is failed; expected ok; run: avqa extract --videos"
        " DIR --out 'STORE' --features clip/frame,clip/patch,vggish/audio --retry-failed, or leave"
        " these videos' questions out with --set missing=skip"
    )


def test_videos_that_wait_are_to_be_extracted(partial_store):
    assert refusal(partial_store, "ad", {"frame": "clip/frame"}) == (
        "1 of 2 videos lack a needed feature, the first is 'd': clip/frame is pending; expected"
        " ok; run: avqa extract --videos DIR --out 'STORE' --features clip/frame, or leave these"
        " videos' questions out with --set missing=skip"
    )


def test_videos_without_sound_can_only_be_left_out(partial_store):
    assert refusal(partial_store, ["a", "c"]) == (
        "1 of 2 videos lack a needed feature, the first is 'c': vggish/audio is absent; expected"
        " ok; they have no such stream: leave these videos' questions out with --set missing=skip,"
        " or go without their audio with --set missing=masked"
    )
    assert refusal(partial_store, ["b", "c"]).endswith(
        ", or go without the audio of 1 of them with --set missing=masked"
    )


@pytest.mark.parametrize("missing", ["masked", "zeros"])
def test_silent_videos_alone_are_read_without_audio(partial_store, missing):
    reader = VideoFeatures(partial_store, NAMES, missing=missing)
    assert reader.require(["a", "c"], missing) == {"a", "c"}
    assert reader.silent(["a", "c"]) == {"c"}
    with pytest.raises(FeatureMissing, match="1 of 2 videos lack a needed feature, .* 'b'"):
        reader.require(["b", "c"], missing)
    alone = VideoFeatures(partial_store, {"frame": NAMES["frame"], "patch": NAMES["patch"]})
    once = reader.read("c")
    reader.preload(["c", "a"])
    for rows in (once, reader.read("c")):
        assert not rows["audio"].any()
        assert rows["audio"].shape == (2, *reader.read("a")["audio"].shape[1:])
        assert rows["audio"].dtype == reader.read("a")["audio"].dtype
        assert torch.equal(rows["frame"], alone.read("c")["frame"])
        heard = rows.get("audio_valid")
        assert (None if heard is None else heard.tolist()) == {"masked": [False] * 2}.get(missing)
    assert reader.read("a")["audio"].any()
    frames = {"frame": NAMES["frame"]}
    assert VideoFeatures(partial_store, frames, missing=missing).read("c").keys() == {"frame"}


def test_batches_say_which_seconds_have_sound(partial_store):
    """All of a run's batches do, whether a silent video is in one or not; else none does."""

    def batch(missing, rows):
        questions = question_set(partial_store, ["a", "c"], missing=missing)
        return Parcel(questions.__getitems__(rows)).unpack().to("cpu").inputs.apart()

    found = batch("masked", [0, 1, 0])
    assert found.audio_valid.dtype == torch.bool
    assert found.audio_valid.tolist() == [[True] * 2, [False] * 2, [True] * 2]
    assert found.heard.tolist() == (found.valid & found.audio_valid).tolist()
    assert batch("masked", [0]).audio_valid.all()
    assert batch("zeros", [0, 1]).audio_valid is None


def test_imported_features_are_to_be_imported(partial_store, monkeypatch):
    monkeypatch.setattr(partial_store, "recipe", lambda name: {"imported": {}})
    assert "; take the files of clip/frame in with `avqa import npy`, or leave" in refusal(
        partial_store, ["d"], {"frame": "clip/frame"}
    )


def test_videos_can_be_left_out(partial_store):
    reader = VideoFeatures(partial_store, NAMES)
    assert reader.require(["a", "b", "c", "d", "a"], "skip") == {"a"}
    frames = VideoFeatures(partial_store, {"frame": "clip/frame"})
    assert frames.require(["a", "b", "c"], "skip") == {"a", "c"}


@pytest.mark.parametrize("missing", ["error", "skip"])
def test_a_store_without_the_feature_is_refused(partial_store, missing):
    names = {"audio": "vggish/audio", "patch": "clip_vit_b32/patch"}
    with pytest.raises(FeatureMissing) as caught:
        VideoFeatures(partial_store, names).require(["a"], missing)
    assert str(caught.value).replace(str(partial_store.path), "STORE") == (
        "store 'STORE' has no clip_vit_b32/patch; expected vggish/audio, clip_vit_b32/patch; add"
        " with: avqa extract --videos DIR --out 'STORE' --features clip_vit_b32/patch"
    )


def test_a_damaged_object_stops_the_loading(tmp_path):
    store = store_of(tmp_path / "store", {"a": 3, "b": 3})
    path = chunk_path(store.path / "features.zarr", "clip/frame", 1, 0, 1)
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    with pytest.raises(StoreError, match="video 'b': clip/frame is damaged"):
        VideoFeatures(store, NAMES, budget_bytes=EVERYTHING).preload(["a", "b"])
