"""Choices that are not given are those of the store; the command says which."""

import pytest
from helpers.extraction.light import AUDIO, POOL
from helpers.media import fake_reader

import avqa
from avqa.errors import ConfigError, RecipeMismatch, UnknownName
from avqa.extract.recipe import feature_recipe, settings_like
from avqa.extract.settings import Settings
from avqa.extract.weights import WeightsSource
from avqa.pipelines.extraction.as_stored import settings_for
from avqa.store.collection import Collection, write_collection
from avqa.store.places.files import store_path

pytestmark = pytest.mark.filterwarnings("ignore::avqa.store.reader.RandomWeightsWarning")
RANDOM = WeightsSource("random:3", seed=3)


def recipe(feature, source=RANDOM, **choices):
    return feature_recipe(feature, Settings(features=(feature,), **choices), source, "1.0")


def test_a_run_goes_on_with_all_that_a_store_has():
    made = {"precision": "bf16", "frame_at": "start", "chunk_seconds": 8, "dtype": "float32"}
    recipes = {f: recipe(f, **made) for f in ("resnet18/map", "resnet18/pool")}
    settings = settings_like(recipes, None)
    assert settings == Settings(
        features=("resnet18/map", "resnet18/pool"), weights="random:3", **made
    )
    assert settings_like(recipes, ("vggish/audio",)) == Settings(
        features=("vggish/audio",), weights="random:3", **made
    )


def test_where_features_differ_a_stored_one_goes_by_its_own_recipe():
    recipes = {
        "resnet18/pool": recipe("resnet18/pool", precision="bf16"),
        "vggish/audio": recipe("vggish/audio", mix="first"),
    }
    assert settings_like(recipes, ("resnet18/pool",)).precision == "bf16"
    assert settings_like(recipes, ("vggish/audio",)).mix == "first"
    new = settings_like(recipes, ("clip_vit_b32/frame",))
    assert (new.precision, new.mix) == ("fp32", "first")
    with pytest.raises(ConfigError, match="features differ in precision; expected one value"):
        settings_like(recipes, None)


@pytest.fixture
def store(tmp_path, extract):
    fake_reader.write_video(tmp_path / "videos/v0.mp4", seconds=2)
    extract(chunk_seconds=4, dtype="float32", frame_at="start")
    return store_path(tmp_path / "store")


def given(store, profile=None, *, auto=True, **choices):
    return settings_for(store, profile, "cpu", auto=auto, **choices)


def test_without_a_store_the_defaults_stand(tmp_path):
    settings, said = given(store_path(tmp_path / "none"), weights="random:0")
    assert (settings, said) == (Settings(weights="random:0"), "")


def test_options_are_told_as_they_would_be_typed(store):
    settings, said = given(store)
    assert settings.features == (POOL,)
    assert said == (
        f"--features {POOL} --frame-at start --chunk-seconds 4 --decoder {fake_reader.DECODER}"
        " --weights random:0 --dtype float32"
    )
    again, said = given(store, features=(POOL,), dtype="float16", precision="bf16")
    assert (again.dtype, again.precision, again.chunk_seconds) == ("float16", "bf16", 4)
    assert "--dtype" not in said
    assert "--features" not in said


def test_a_profile_says_what_it_says_and_the_store_the_rest(store):
    settings, _ = given(store, "music-avqa")
    assert settings.frame_at == "music-avqa"
    assert settings.features == ("resnet18/pool", "resnet18/map", "vggish/audio")
    assert (settings.weights, settings.chunk_seconds) == ("random:0", 4)
    with pytest.raises(UnknownName, match="no profile 'music'"):
        given(store, "music")


def test_weights_come_from_the_folder_that_they_came_from(tmp_path, monkeypatch):
    from avqa.pipelines.extraction import as_stored

    of_files = WeightsSource(
        "x", files={"resnet18": tmp_path / "r"}, digests={"resnet18": "0" * 64}
    )
    recipes = {"resnet18/pool": recipe("resnet18/pool", of_files)}
    monkeypatch.setattr(as_stored, "_recipes", lambda path: recipes)
    store = store_path(tmp_path / "S")
    assert given(store)[0].weights == "pretrained"
    (tmp_path / "weights").mkdir()
    write_collection(store, Collection(weights=str(tmp_path / "weights")))
    settings, said = given(store)
    assert settings.weights == str(tmp_path / "weights")
    assert said == f"--features resnet18/pool --weights {tmp_path}/weights"
    assert given(store, weights="random:1")[0].weights == "random:1"
    (tmp_path / "weights").rmdir()
    assert given(store)[0].weights == "pretrained"


def test_from_python_a_clip_is_added_with_the_folder_and_the_store_alone(store, tmp_path):
    fake_reader.write_video(tmp_path / "videos/v1.mp4", seconds=3, seed=1)
    said = []
    videos, out = tmp_path / "videos", tmp_path / "store"
    report = avqa.extract(videos, out, scheduler="sync", say=said.append)
    assert (report.extracted, report.finished_before) == (1, 1)
    assert said[0].startswith(f"as the store has it: --features {POOL} --frame-at start ")
    with pytest.raises(RecipeMismatch, match=r"dtype.*set --dtype as the store has it"):
        avqa.extract(videos, out, scheduler="sync", dtype="float16")
    report = avqa.extract(videos, out, [AUDIO], scheduler="sync")
    assert report.extracted == 2
    assert avqa.open_store(out).read("v1", AUDIO).dtype == "float32"
