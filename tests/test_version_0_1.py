"""What version 0.1 wrote is read, verified, trained on and evaluated: same rows, same answers.

It read videos by other rules, so that its stores are not extended and its runs not asked about a
video; that all else in them is taken up is tested with the rules set aside (`rules_of_then`).
Numbers that this machine makes anew are compared within the rounding that processors differ by;
everything else to the byte.
"""

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from helpers.old_version import unpack
from safetensors.numpy import load_file
from typer.testing import CliRunner

from avqa.addresses import page
from avqa.cli import app
from avqa.extract.recipe import feature_recipe
from avqa.pipelines.cluster import environment
from avqa.store.reader import open_store

FEATURES = ("resnet18/pool", "vggish/audio")
EXTRACT = (
    *("extract", "--videos", "videos", "--features", ",".join(FEATURES), "--chunk-seconds", "2"),
    *("--weights", "random:0", "--scheduler", "sync", "--device", "cpu"),
)
QUESTIONS = ("--dataset", "music-avqa", "--annotations", "annotations")
pytestmark = [
    pytest.mark.filterwarnings("ignore::avqa.store.reader.RandomWeightsWarning"),
    pytest.mark.usefixtures("kept_weights", "reused_children"),
]


@pytest.fixture(autouse=True)
def old(tmp_path_factory, monkeypatch, unpacked):
    folder = tmp_path_factory.mktemp("old") / "copy"
    shutil.copytree(unpacked, folder)
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory):
    return unpack(
        tmp_path_factory.mktemp("v0_1"),
        *("videos", "annotations", "store", "packed", "part", "tasks", "whole", "run", "killed"),
        *("finished", "evaluated.txt", "predictions.json", "asked.txt"),
    )


@pytest.fixture
def rules_of_then(monkeypatch):
    """Recipes as version 0.1 made them. The videos here have the same rows by both rules."""

    def made(*given):
        recipe = feature_recipe(*given)
        del recipe["decoder"]["rules"]
        return recipe

    monkeypatch.setattr(environment, "feature_recipe", made)


def refused(*line, code=4):
    done = CliRunner().invoke(app, [str(word) for word in line])
    assert done.exit_code == code, done.output
    return done.stderr


def avqa(*line):
    done = CliRunner().invoke(app, [str(word) for word in line])
    assert done.exit_code == 0, done.output
    return done.stdout


def index_bytes(store):
    """Every file of the store's arrays but the features' values."""
    root = store / "features.zarr"
    return {
        str(path.relative_to(root)): path.read_bytes()
        for path in root.rglob("*")
        if path.is_file() and not str(path.relative_to(root)).startswith(FEATURES)
    }


def attributes(metadata):
    """Of a store's group, but for what later versions add: a checksum, and what is compressed."""
    found = json.loads(metadata)["attributes"]
    found.pop("crc32c", None)
    for entry in found["features"].values():
        entry.pop("sparse", None)
    return found


def assert_same_store(path, expected):
    ours, theirs = index_bytes(path), index_bytes(expected)
    assert attributes(ours.pop("zarr.json")) == attributes(theirs.pop("zarr.json"))
    assert ours == theirs
    ours, theirs = open_store(path), open_store(expected)
    assert ours.video_ids == theirs.video_ids
    for video in theirs.video_ids:
        for feature in FEATURES:
            rows = theirs.read(video, feature).astype(np.float32)
            np.testing.assert_allclose(ours.read(video, feature), rows, rtol=2e-2, atol=2e-3)


def test_a_store_read_by_other_rules_is_not_extended(old):
    before = index_bytes(old / "part")
    for features in (",".join(FEATURES), "resnet18/map7"):
        line = [features if word == EXTRACT[4] else word for word in EXTRACT]
        assert refused(*line, "--out", "part") == (
            "avqa: store 'part': another recipe: decoder.rules: store=(none) asked=2"
            f" ({features.replace(',', ', ')}); expected the same; go on with the version that"
            f" made the store ({page('docs/reading.md')}), or give another --out\n"
        )
    assert index_bytes(old / "part") == before


def test_a_run_of_other_rules_is_not_asked(old, monkeypatch):
    monkeypatch.setenv("AVQA_CACHE", str(old / "cache"))
    error = refused("ask", "run", "videos/00000001.mp4", "Is the flute always playing?")
    assert "another recipe: decoder.rules: run=(none) here=2 (" in error
    assert "ask where its features were made, or train on features made here" in error


def test_rows_of_other_rules_are_not_taken_for_damage(old):
    sample = ("--level", "sample", "--videos", "videos", "--repair")
    assert refused("verify", "store", *sample, code=2) == (
        f"avqa: features read by rules of another version ({page('docs/reading.md')}) cannot be"
        " extracted again; expected decoder.rules=2 for level='sample'; use --level crc, or the"
        " version that made the store\n"
    )
    assert "no problem" in avqa("verify", "store", "--level", "crc")


@pytest.mark.usefixtures("rules_of_then")
def test_an_extraction_is_resumed(old):
    kept = {p: p.read_bytes() for p in (old / "part").glob("features.zarr/*/*/c.[01].0.0")}
    assert len(kept) == 4, kept.keys()
    assert "2 extracted, 2 already there" in avqa(*EXTRACT, "--out", "part")
    assert {p: p.read_bytes() for p in kept} == kept
    assert_same_store(old / "part", old / "whole")


@pytest.mark.usefixtures("rules_of_then")
def test_the_second_task_of_an_array_job_and_finalize(old):
    avqa(*EXTRACT, "--out", "tasks", "--partition", "1/2")
    avqa("finalize", "tasks")
    assert_same_store(old / "tasks", old / "whole")


@pytest.mark.usefixtures("rules_of_then")
def test_stores_are_verified_and_nothing_is_done_again(old):
    before = index_bytes(old / "store")
    assert "0 extracted, 4 already there" in avqa(*EXTRACT, "--out", "store")
    assert index_bytes(old / "store") == before
    assert "no problem" in avqa("verify", "store")
    assert "no problem" in avqa("verify", "packed")
    assert "0 encoded" in avqa("questions", *QUESTIONS, "--store", "store", "--weights", "random:0")
    store, packed = open_store("store"), open_store("packed")
    for video in store.video_ids:
        for feature in FEATURES:
            assert (store.read(video, feature) == packed.read(video, feature)).all()
    for text in store.texts:
        assert (
            store.read_text(text, "clip_vit_b32/word")
            == packed.read_text(text, "clip_vit_b32/word")
        ).all()


@pytest.mark.parametrize("store", ["store", "packed"])
def test_a_run_is_evaluated(old, store):
    given = ("--store", store, "--annotations", "annotations")
    told = avqa("evaluate", "run", *given)
    assert scored(told) == scored((old / "evaluated.txt").read_text(encoding="utf-8"))
    assert "(batches=grouped)" in told  # which it did, and did not say
    assert "tau=0.07" in told  # by default then, and no longer
    avqa("predict", "run", "--out", "again.json", *given)
    assert json.loads((old / "again.json").read_text(encoding="utf-8")) == json.loads(
        (old / "predictions.json").read_text(encoding="utf-8")
    )


def scored(table):
    """Rows of our own, without the numbers of their notes."""
    ours = [line for line in table.splitlines() if re.match(r"ours: \S+ +(\(\d+\))? ", line)]
    assert len(ours) == 2
    return [re.sub(r" *\(\d+\) *", " ", line).split() for line in ours]


def answers(text):
    """Answer → per cent, of what `avqa ask` prints."""
    lines = [line[11:] for line in text.splitlines() if line.endswith("%") and "looked" not in line]
    return {line.rsplit(maxsplit=2)[0]: float(line.rsplit(maxsplit=2)[1]) for line in lines}


@pytest.mark.usefixtures("rules_of_then")
def test_a_run_is_asked(old, monkeypatch):
    monkeypatch.setenv("AVQA_CACHE", str(old / "cache"))
    asked = avqa("ask", "run", "videos/00000001.mp4", "Is the flute always playing?")
    expected = answers((old / "asked.txt").read_text(encoding="utf-8"))
    assert len(expected) == 5
    assert answers(asked) == pytest.approx(expected, abs=0.11)


def test_a_killed_training_is_resumed(old):
    chosen = (
        "visual=resnet18",
        "question=clip",
        "width=8",
        "batch_size=4",
        "device=cpu",
        "epochs=6",
    )
    words = [word for setting in chosen for word in ("--set", setting)]
    line = ("train-head", "mcd", "--store", "store", *QUESTIONS, "--out", "killed", *words)
    before = json.loads(Path("killed/run.json").read_text(encoding="utf-8"))["options"]
    assert before["tau"] == 0.07
    assert "negatives" not in before
    avqa(*line, "--resume")
    config = json.loads(Path("killed/default/seed-0/config.json").read_text(encoding="utf-8"))
    assert (config["options"]["tau"], config["options"]["negatives"]) == (0.07, "cross")
    ours = load_file("killed/default/seed-0/model.safetensors")
    theirs = load_file("finished/default/seed-0/model.safetensors")
    assert ours.keys() == theirs.keys()
    for name, values in theirs.items():
        np.testing.assert_allclose(ours[name], values, rtol=1e-4, atol=1e-5)
