"""Features that were imported and that avqa has no networks of: by name, and their lengths."""

import dataclasses

import numpy as np
import pytest
import torch
from helpers.store import avqa_files as files
from helpers.store.dumps import write_dump
from hypothesis import given, settings
from hypothesis import strategies as st

from avqa.errors import ConfigError, FeatureMissing
from avqa.pipelines.npy.dumps import import_npy
from avqa.pipelines.npy.hdf5 import import_hdf5
from avqa.store.reader import FeatureStore
from avqa.training.data.features import VideoFeatures
from avqa.training.data.names import check_encoders, feature_names, names_of, num_patches
from avqa.training.data.questions import _padded
from avqa.training.settings import resolve

EVERYTHING = 2**40
LENGTHS = {"a": 7, "b": 12, "c": 1}
NAMES = {"audio": "panns_cnn14/clip", "frame": "resnext101/pool"}


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """AVQA's three features of two videos, and frames and tokens of another encoder."""
    folder = tmp_path_factory.mktemp("imported")
    for name in files.SHAPES:
        files.write(folder / "h5" / f"{name}.h5", name, [b"a", b"b"])
    list(import_hdf5(folder / "h5", folder / "S"))
    for kind in ("clip_vit_l14", "clip_l14_tome14", "vggish"):
        import_npy(write_dump(folder / kind, kind, {"a": 8, "b": 8}), folder / "S", kind=kind)
    import_npy(
        write_dump(folder / "clip_patch", "clip_patch", {"a": 8}), folder / "S", kind="clip_patch"
    )
    return FeatureStore(folder / "S")


def chosen(**values):
    return dataclasses.replace(resolve("late_fusion")[0], **values)


def test_names_follow_what_the_store_holds(store):
    def names(fields, *encoders):
        return list(feature_names(fields, *encoders, store).values())

    both = ["audio", "frame"]
    assert names(both, "resnext101", "panns_cnn14") == ["panns_cnn14/clip", "resnext101/pool"]
    assert names(both, "resnet101", "vggish") == ["vggish/audio", "resnet101/pool"]
    tokens = ["clip_vit_l14_336/frame", "clip_vit_l14_336/tome14"]
    assert names(["frame", "patch"], "clip_vit_l14_336", "vggish") == tokens
    # Of an encoder that avqa has: its own feature where it is there, else what was imported.
    own = ["clip_vit_b32/class", "clip_vit_b32/patch"]
    assert names(["frame", "patch"], "clip_vit_b32", "vggish") == own
    assert names(["frame"], "resnet18", "vggish") == ["resnet18/pool"]
    wanted = ("clip_vit_l14_336", "resnext101", "clip_vit_b32", "resnet18")
    assert [num_patches(chosen(visual=n), store) for n in wanted] == [14, 1, 49, 196]
    of_tokens = chosen(visual="resnext101", patch="clip_vit_l14_336/tome14")
    check_encoders(of_tokens, store)
    assert list(names_of(of_tokens, ["frame", "patch"], store).values()) == [
        "resnext101/pool",
        "clip_vit_l14_336/tome14",
    ]


@pytest.mark.parametrize(
    ("field", "visual", "audio", "message"),
    [
        ("frame", "panns_cnn14", "vggish", "visual=panns_cnn14 has no features for frame; expec"),
        ("audio", "resnext101", "resnext101", "`avqa encoders`; the store has resnext101/pool"),
        ("patch", "resnet101", "vggish", "shape (P, D) or (y, x, D); see `avqa encoders`; the st"),
        ("frame", "resnet102", "vggish", "visual='resnet102'; expected one of ast, clip_vit_b32,"),
        (
            "frame",
            "resnet18",
            "panns",
            "vit_l16_384, panns_cnn14, resnet101, resnext101; did you mean 'panns_cnn14'? see `av",
        ),
    ],
)
def test_what_is_not_there_is_refused(store, field, visual, audio, message):
    def named():
        settings = chosen(visual=visual, audio=audio)
        check_encoders(settings, store)
        return names_of(settings, [field], store)

    with pytest.raises(ConfigError) as caught:
        named()
    assert message in str(caught.value)


def test_a_feature_that_no_run_can_add_is_to_be_chosen_otherwise(store):
    reader = VideoFeatures(store, {"frame": "resnet18/pool"})
    with pytest.raises(FeatureMissing) as caught:
        reader.require(["a"], "error")
    assert "has no resnet18/pool; expected resnet18/pool; choose with --set visual and" in str(
        caught.value
    )
    assert "or take in what lacks with `avqa import`" in str(caught.value)


def test_some_frames_a_row_are_their_mean(store):
    reader = VideoFeatures(store, {"frame": "resnet101/pool"}, budget_bytes=EVERYTHING)
    for _ in range(2):
        found = reader.read("b")["frame"]
        mean = store.read("b", "resnet101/pool").mean(1)
        np.testing.assert_allclose(found.numpy(), mean, rtol=1e-6)
        assert found.shape == (8, 2048)
        reader.preload(["a", "b"])
    assert reader.fits(["a", "b"])
    exactly = VideoFeatures(store, reader.names, budget_bytes=2 * 8 * 2048 * 4)
    assert exactly.fits(["a", "b"])


def counted(store, budget, names=NAMES, **choices):
    reader = VideoFeatures(store, names, budget_bytes=budget, **choices)
    reader.preload(["a", "b"])
    return reader


@settings(max_examples=30, deadline=None)
@given(stride=st.integers(1, 9), most=st.integers(1, 9), loads=st.booleans())
def test_the_row_of_a_whole_video_stands_beside_every_row(store, stride, most, loads):
    reader = counted(store, EVERYTHING if loads else 0, stride_seconds=stride, max_seconds=most)
    chosen = [row for row in range(8) if row % stride == 0 and row < most]
    for video in "ab":
        rows = reader.read(video)
        whole = store.read(video, NAMES["audio"])
        np.testing.assert_array_equal(rows["audio"].numpy(), whole.repeat(len(chosen), axis=0))
        frames = store.read(video, NAMES["frame"])[chosen]
        np.testing.assert_array_equal(rows["frame"].numpy(), frames)
    lengths, _, padded = _padded([reader.read(video) for video in "ab"])
    assert lengths.tolist() == [len(chosen)] * 2
    assert torch.equal(padded["audio"][1], reader.read("b")["audio"])


def test_one_row_is_kept_once_and_shared(store):
    rows = counted(store, EVERYTHING).read("a")
    assert all(values.is_shared() for values in rows.values())
    assert rows["audio"].stride() == (0, 1)
    # The array of the sound has a row a video; that of the frames does not fit.
    sound = 2 * 2048 * 4
    assert counted(store, sound - 1)._loaded.keys() == set()
    assert counted(store, sound)._loaded.keys() == {"audio"}
    assert counted(store, 8 * sound)._loaded.keys() == {"audio", "frame"}
    assert VideoFeatures(store, NAMES, budget_bytes=8 * sound).fits(["a", "b"])
    assert not VideoFeatures(store, NAMES, budget_bytes=8 * sound - 1).fits(["a", "b"])


def test_alone_it_is_one_row(store):
    assert counted(store, 0, {"audio": NAMES["audio"]}).read("a")["audio"].shape == (1, 2048)


def lengths_of(tmp_path, sound, pictures):
    """A store of .npy files of these lengths: nothing says that one row is of a whole video."""
    for kind, lengths in (("vggish", sound), ("res18", pictures)):
        import_npy(write_dump(tmp_path / kind, kind, lengths), tmp_path / "S", kind=kind)
    return VideoFeatures(
        FeatureStore(tmp_path / "S"), {"audio": "vggish/audio", "frame": "resnet18/pool"}
    )


def test_a_video_of_one_second_is_not_repeated(tmp_path):
    reader = lengths_of(tmp_path, {"a": 1, "b": 5}, {"a": 2, "b": 4})
    assert reader.require("ab", "error") == {"a", "b"}
    assert [len(rows) for rows in reader.read("a").values()] == [1, 1]
    assert [len(rows) for rows in reader.read("b").values()] == [4, 4]


def test_other_lengths_are_refused(tmp_path):
    reader = lengths_of(tmp_path, {"a": 60, "b": 60, "c": 60}, {"a": 59, "b": 10, "c": 62})
    for missing in ("error", "zeros"):
        with pytest.raises(ConfigError) as caught:
            reader.require("abc", missing)
        assert str(caught.value) == (
            "2 of 3 videos have features of different lengths, the first is 'b': vggish/audio 60"
            " rows, resnet18/pool 10 rows; expected rows of the same seconds, so as many, or 1"
            " less; choose others with --set visual or audio, cut the longer with `avqa import npy"
            " --truncate` into another store if they begin together, or leave these videos'"
            " questions out with --set missing=skip"
        )
    assert reader.require("abc", "skip") == {"a"}
    with pytest.raises(ConfigError, match="2 of 2 videos have features of different lengths"):
        reader.require("bc", "skip")


def test_ten_rows_of_tspm_are_no_seconds_even_where_as_many_are_read(tmp_path):
    write_dump(tmp_path / "feats/vggish", "vggish", {"a": 60})
    write_dump(tmp_path / "feats/visual_tome14", "vit_l16_tome14", {"a": 10})
    import_npy(tmp_path / "feats", tmp_path / "S", layout="tspm")
    names = {"patch": "vit_l16_384/tome14"}
    with pytest.raises(ConfigError) as caught:
        VideoFeatures(FeatureStore(tmp_path / "S"), names).require("a", "skip")
    assert str(caught.value) == (
        f"store {str(tmp_path / 'S')!r}: vit_l16_384/tome14 has rows=tspm-10 of a video, in an"
        " order that nobody knows; expected a row a second; take in files of 60 rows with `avqa"
        " import npy --from-layout qa-tiger` into another store, or make them with `avqa extract"
        " --features vit_l16_384/tome14`"
    )
    sound = VideoFeatures(FeatureStore(tmp_path / "S"), {"audio": "vggish/audio"})
    assert sound.require("a", "error") == {"a"}


def test_zeros_stand_for_the_sound_of_a_whole_video(tmp_path):
    values = files.rows_of("vlaudio_features", 2)
    values[1] = 0
    files.write(tmp_path / "f" / "a.h5", "vlaudio_features", [b"a", b"b"], values)
    files.write(tmp_path / "f" / "m.h5", "resnext_features", [b"a", b"b"])
    list(import_hdf5(tmp_path / "f", tmp_path / "S"))
    store = FeatureStore(tmp_path / "S")
    with pytest.raises(FeatureMissing, match="the files have zeros for them: leave these videos'"):
        VideoFeatures(store, NAMES).require("ab", "error")
    assert VideoFeatures(store, NAMES).require("ab", "skip") == {"a"}
    for budget in (0, EVERYTHING):
        reader = counted(store, budget, missing="zeros")
        assert reader.require("ab", "zeros") == {"a", "b"}
        assert reader.read("b")["audio"].shape == (8, 2048)
        assert not reader.read("b")["audio"].any()
        assert reader.read("a")["audio"].any()
