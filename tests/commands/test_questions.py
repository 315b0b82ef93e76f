"""`avqa questions` as a user types it: what it prints, and the code it exits with."""

import re

import pytest
from helpers.questions import asking
from helpers.store.dumps import write_dump
from typer.testing import CliRunner

from avqa.cli import app
from avqa.store.lock import Lock
from avqa.store.reader import FeatureStore


def avqa(*arguments):
    """Run a command in this process: (exit code, stdout, stderr)."""
    done = CliRunner().invoke(app, [str(argument) for argument in arguments])
    return done.exit_code, done.stdout, done.stderr


def ask(annotations, *more, dataset="music-avqa"):
    return avqa("questions", "--dataset", dataset, "--annotations", annotations, *more)


@pytest.fixture
def annotations(tmp_path):
    rows = [("00000001", "Where is the <LL> instrument?", ["loudest"]), ("9", "Who is it?", [])]
    return asking.music(tmp_path / "json", rows)


@pytest.fixture
def store(tmp_path):
    return asking.video_store(tmp_path / "S")


@pytest.fixture(autouse=True)
def _fakes():
    with asking.fakes():
        yield


def test_a_run_prints_counts_and_a_second_one_finds_all_done(annotations, store):
    code, out, err = ask(annotations, "--store", store, "--device", "cpu")
    assert code == 0
    lines = out.splitlines()
    assert lines[0] == "questions: 2, distinct texts: 2"
    assert lines[1].endswith(
        "1 questions matched by full id, 0 by last part of the id, 1 unmatched"
    )
    assert lines[2].startswith("not in the store: 1 videos: 9; see ")
    assert lines[3].startswith("texts: 0 already there, 2 encoded; 20.4 MB in ")
    assert err == "RANDOM WEIGHTS: the texts' features come from random:0 and mean nothing\n"
    code, out, _ = ask(annotations, "--store", store)
    assert code == 0
    assert "texts: 2 already there, 0 encoded; 0 B in " in out
    assert re.search(r"^clip_vit_b32/word +2 +0 +0 ", avqa("status", store)[1], re.MULTILINE)
    code, out, _ = avqa("verify", store)
    assert code == 0
    assert " 2 texts, " in out


def test_every_option_reaches_the_recipe(annotations, store):
    options = ["--mark", "--precision", "bf16", "--dtype", "float32", "--weights", "random:5"]
    code, _, err = ask(annotations, "--store", store, "--device", "cpu", *options)
    assert code == 0
    assert "warning: texts would have weights random:5, the store's CLIP frames have" in err
    recipe = FeatureStore(store).recipe("clip_vit_b32/word")
    assert recipe["text"]["mark"] == "?"
    assert recipe["compute"] == {"precision": "bf16", "device": "cpu", "batch": 16}
    assert recipe["storage"] == {"dtype": "float32"}
    assert recipe["weights"]["clip_vit_b32"] == {"source": "random:5"}
    code, _, err = ask(annotations, "--store", store)
    assert code == 4
    assert 'text.mark: store="?" asked=""' in err
    assert ask(annotations, "--store", store, "--replace")[0] == 0


def test_prompts_are_stored_with_their_full_stop_and_without_a_mark(tmp_path, store):
    side = "What is the <LR> instrument of the <FL> sounding instrument?"
    rows = [
        ("00000001", side, ["left", "last"]),
        ("00000001", "Are there <Object> and <Object> sound? ", ["erhu", "pipa"]),
        ("00000001", "Who is it?", []),
    ]
    annotations = asking.music(tmp_path / "prompts", rows)
    options = ["--store", store, "--device", "cpu", "--mark", "--prompts"]
    code, out, _ = ask(annotations, *options)
    assert code == 0
    assert out.splitlines()[:2] == [
        "questions: 3, distinct texts: 3",
        "prompts: 4 distinct; 1 questions are of no template and are their own prompt",
    ]
    assert "texts: 0 already there, 7 encoded; " in out
    reader = FeatureStore(store)
    there = "There are musical instruments on the {} that are not being played."
    others = "There are sounds of instruments other than the erhu or the pipa in the video."
    prompts = [there.format("left"), there.format("last"), others, "e"]
    assert [t for t in reader.texts if t in prompts] == prompts
    words = reader.read_texts([*prompts, "Who is it"], "clip_vit_b32/word")
    for got, text in zip(words, [*prompts, "Who is it?"], strict=True):
        assert (got == asking.expected(text)).all()
    code, out, _ = ask(annotations, *options)
    assert "texts: 7 already there, 0 encoded; 0 B in " in out


def test_texts_beside_imported_frames_take_the_pretrained_weights(tmp_path, annotations):
    frames = write_dump(tmp_path / "clip_vit_b32", "clip_vit_b32", {"00000001": 3})
    assert avqa("import", "npy", "--from", frames, "--store", tmp_path / "I")[0] == 0
    code, _, err = ask(annotations, "--store", tmp_path / "I", "--device", "cpu")
    warning = "warning: clip_vit_b32/frame is imported: nobody knows whether texts have its weights"
    assert code == 5
    assert err.splitlines()[0] == warning
    assert "avqa weights fetch clip_vit_b32" in err
    code, _, err = ask(
        annotations, "--store", tmp_path / "I", "--device", "cpu", "--weights", "random:0"
    )
    assert code == 0
    assert err.splitlines()[0] == warning


def test_show_needs_no_store(annotations):
    code, out, _ = ask(annotations, "--show", "1")
    assert code == 0
    assert "2 distinct texts" in out
    assert "Where is the loudest instrument? yes" in out or "Who is it? yes" in out


def test_mistakes_are_one_line_and_a_code(tmp_path, annotations, store):
    code, _, err = ask(annotations)
    assert code == 2
    assert err == (
        "avqa: no --store; expected the store of the videos' features; give it with --store, or"
        " print what the questions are with --show 5\n"
    )
    assert ask(annotations, "--store", tmp_path / "none")[0] == 2
    code, _, err = ask(annotations, "--store", store, dataset="music")
    assert code == 2
    assert "no data set 'music'" in err
    with Lock.acquire(store, "other"):
        code, _, err = ask(annotations, "--store", store)
    assert code == 4
    assert "is in use by run_id=other" in err
    strange = asking.music(tmp_path / "strange", [("77", "Who?", [])])
    code, _, err = ask(strange, "--store", store)
    assert code == 4
    assert "none of 1 questions has its video in the store" in err
