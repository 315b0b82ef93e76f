"""Recipes: the hashes that are in stores, and the way back from them to settings."""

from __future__ import annotations

import pytest

from avqa.errors import ConfigError, UnknownName
from avqa.extract.profiles import profile
from avqa.extract.recipe import RULES, feature_recipe, options_to_set, settings_from
from avqa.extract.settings import Settings, check_settings
from avqa.extract.weights import WeightsSource
from avqa.store.format.recipe_diff import recipe_hash

HASHES = {
    (
        "default",
        "clip_vit_b32/frame",
    ): "0b4c09f940d5fad62c706d4a2333d83b",
    (
        "default",
        "clip_vit_b32/patch",
    ): "21868ebaacce67b0934b4ce4d42f3e75",
    (
        "default",
        "resnet18/pool",
    ): "c9dd4c3a7b55cde1b750b0bca1f125c9",
    ("default", "resnet18/map"): "3b79d07b5813ff9bf66efe581e85ba46",
    (
        "default",
        "resnet18/map7",
    ): "1a136fa075a2268ad1dfb6761a550506",
    ("default", "vggish/audio"): "8f7c6418c19c2cbae7749ade02aa59b2",
    (
        "default",
        "vggish/audio_pre_relu",
    ): "56541b44c59be5e00a1f32374f23072b",
    (
        "default",
        "vggish/audio_pca8",
    ): "994479d1832f65f1677a5e32d3fdfea1",
    (
        "chosen",
        "clip_vit_b32/frame",
    ): "596ea7fa2ef468036eee97181352c8b5",
    (
        "chosen",
        "clip_vit_b32/patch",
    ): "46873db8d3645b4516e806f266301b30",
    ("chosen", "resnet18/pool"): "296678300115e46681c912eddbf89190",
    ("chosen", "resnet18/map"): "8ab38cf3df0ba9af5663e577079dc144",
    ("chosen", "resnet18/map7"): "78b37693ea228140765e0a242e91977f",
    ("chosen", "vggish/audio"): "176a04ac4e49a8555de6991cd0b86d77",
    (
        "chosen",
        "vggish/audio_pre_relu",
    ): "0f4e38e28e6b6d5c9f235ae246506bde",
    (
        "chosen",
        "vggish/audio_pca8",
    ): "a5868a50ce32b8e9631e87365755abad",
}
"""First half of those of version 0.1, which had no ``decoder.rules``: what else is in a recipe is
as it was, so that a store can be extended for as long as the rules stay."""
CHOSEN = {
    "default": Settings(),
    "chosen": Settings(
        frame_at="ffmpeg-r1",
        resample="nearest44k",
        options={"clip_vit_b32.crop": "pad", "vggish.audio_hop": 0.96},
        precision="bf16",
        device="cuda",
    ),
}


def recipe(feature, settings):
    names = ("clip_vit_b32", "resnet18", "vggish", "vggish_pca")
    digests = {name: f"digest of {name}" for name in names}
    source = WeightsSource("pretrained", files=dict.fromkeys(names, "x"), digests=digests)
    return feature_recipe(feature, settings, source, "1.0")


@pytest.mark.parametrize(("how", "feature"), HASHES)
def test_recipes_are_those_of_the_stores_there_are_but_for_the_rules(how, feature):
    made = recipe(feature, CHOSEN[how])
    assert made["decoder"].pop("rules") == RULES == 2, "see docs/reading.md"
    assert recipe_hash(made)[:32] == HASHES[how, feature]


@pytest.mark.parametrize("how", CHOSEN)
def test_settings_are_found_again(how):
    features = ("clip_vit_b32/patch", "vggish/audio")
    settings = profile("default", **{**vars(CHOSEN[how]), "features": features})
    found = settings_from({feature: recipe(feature, settings) for feature in features})
    assert check_settings(found) == check_settings(settings)


def test_a_mix_is_in_the_recipes_of_audio_unless_it_is_the_default():
    for mix, expected in (("mean", None), ("itu", "itu"), ("first", "first")):
        settings = Settings(mix=mix)
        of_audio = recipe("vggish/audio", settings)
        assert of_audio["encoder"].get("mix") == expected
        assert "mix" not in recipe("resnet18/map", settings)["encoder"]
        assert settings_from({"vggish/audio": of_audio}).mix == mix
    both = ("mean", "vggish/audio_pre_relu"), ("itu", "vggish/audio")
    recipes = {feature: recipe(feature, Settings(mix=mix)) for mix, feature in both}
    with pytest.raises(ConfigError, match=r"^features differ in mix;"):
        settings_from(recipes)
    assert options_to_set(["encoder.mix"], ["vggish/audio"]) == ["--mix"]


def test_features_of_two_options_have_no_settings():
    features = ("vggish/audio", "vggish/audio_pre_relu")
    recipes = {f: recipe(f, s) for f, s in zip(features, CHOSEN.values(), strict=True)}
    with pytest.raises(ConfigError, match=r"^features differ in .*resample, vggish.audio_hop;"):
        settings_from(recipes)


def test_a_difference_names_the_options_that_set_it():
    features = ("clip_vit_b32/frame", "clip_vit_b32/patch", "vggish/audio")
    keys = ("encoder.audio_hop", "encoder.crop", "grid.frame_at")
    assert options_to_set(keys, features) == [
        "--frame-at",
        "--set clip_vit_b32.crop",
        "--set vggish.audio_hop",
    ]
    assert options_to_set(["encoder.crop"], ["resnet18/map"]) == []


# Options of encoders


@pytest.mark.parametrize("value", [0.96, "0.96", ".96"])
def test_a_value_becomes_that_of_the_encoder(value):
    options = check_settings(Settings(options={"vggish.audio_hop": value})).options
    assert repr(options) == "{'vggish.audio_hop': 0.96}"


def test_a_default_that_is_given_is_no_choice():
    options = {"vggish.audio_hop": "1", "clip_vit_b32.crop": "center"}
    assert check_settings(Settings(options=options)) == Settings()


def test_a_value_that_is_none_is_refused():
    for value in ("top", "", 1, None):
        with pytest.raises(ConfigError) as caught:
            check_settings(Settings(options={"clip_vit_b32.crop": value}))
        assert str(caught.value) == (
            f"clip_vit_b32.crop={value!r}; expected one of center, squash, pad; check --set"
            " clip_vit_b32.crop"
        )


@pytest.mark.parametrize("key", ["vggish.hop", "vgish.audio_hop", "audio_hop"])
def test_an_option_that_is_none_has_a_neighbour(key):
    with pytest.raises(UnknownName) as caught:
        check_settings(Settings(options={key: "1"}))
    assert f"no option {key!r}; did you mean 'vggish.audio_hop'? available: " in str(caught.value)


def test_names_of_before_are_options_with_a_warning():
    with pytest.warns(DeprecationWarning, match="goes with the next release") as warned:
        settings = profile("pstp", clip_crop="pad", audio_hop=None, options={"a.b": 1})
    assert settings.options == {"a.b": 1, "clip_vit_b32.crop": "pad"}
    assert [str(warning.message) for warning in warned] == [
        "clip_crop=… goes with the next release; use options={'clip_vit_b32.crop': …}"
    ]
