"""AVQA's own feature files to a trained head, by the commands alone."""

import json

import numpy as np
import pytest
from helpers.questions import question_files
from helpers.store import avqa_files as files
from helpers.store.clip_texts import add_texts
from typer.testing import CliRunner

from avqa.cli import app
from avqa.store.reader import FeatureStore
from avqa.training.run import Member

QUESTIONS = ("What makes the sound in the video?", "Why does the dog bark?")
OPTIONS = ["dog", "Cat", None, "3"]
VIDEOS = {f"-clip{n}_000030": 341 + n for n in range(8)}
TINY = ("width=16", "epochs=1", "batch_size=4", "device=cpu")
ENCODERS = ("visual=resnext101", "audio=panns_cnn14")


def run(*words, code=0):
    done = CliRunner().invoke(app, list(map(str, words)))
    assert done.exit_code == code, done.output
    return done


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """A folder with the authors' files, of which the sound of one video is zeros, and a store."""
    folder = tmp_path_factory.mktemp("avqa")
    numbers = np.array(list(VIDEOS.values()))
    for seed, name in enumerate(files.SHAPES):
        order = np.random.default_rng(seed).permutation(len(numbers))
        values = files.rows_of(name, len(numbers))
        if name == "vlaudio_features":
            values[3] = 0
        files.write(folder / "feats" / f"{name}.h5", name, numbers[order], values[order])
    rows = [
        question_files.avqa_row(
            id=n,
            video_name=video,
            video_id=number,
            question_text=QUESTIONS[n % 2],
            question_type=("Which", "Why")[n % 2],
            multi_choice=OPTIONS,
        )
        for n, (video, number) in enumerate(VIDEOS.items())
    ]
    question_files.write(folder / "a" / "train_qa.json", rows[:6])
    question_files.write(folder / "a" / "val_qa.json", rows[6:])
    done = run(
        *("import", "hdf5", "--from", folder / "feats", "--store", folder / "S"),
        *("--annotations", folder / "a"),
    )
    assert done.stderr == ""
    assert done.stdout.splitlines() == [
        "resnet_features: 8 videos: 8 imported, 0 already there; 64 rows",
        "resnext_features: 8 videos: 8 imported, 0 already there; 64 rows",
        "vlaudio_features: 8 videos: 7 imported, 0 already there, 1 missing (rows of zeros);"
        " 7 rows",
    ]
    add_texts(folder / "S", [*(q.rstrip("?") for q in QUESTIONS), "dog", "Cat", "3"])
    return folder


def train(data, out, *chosen, head="mcd", code=0):
    words = ["train-head", head, "--store", data / "S", "--dataset", "avqa", "--out", out]
    words += ["--annotations", data / "a"]
    return run(*words, *(w for value in (*TINY, *chosen) for w in ("--set", value)), code=code)


@pytest.fixture(scope="module")
def trained(data, tmp_path_factory):
    out = tmp_path_factory.mktemp("run") / "out"
    said = train(data, out, *ENCODERS, "missing=skip").stderr
    assert "questions left out: 1 of videos without a needed feature (missing=skip)" in said
    return out


def test_the_head_has_the_widths_of_what_was_imported(trained):
    config = Member.load(trained / "default" / "seed-0").config
    names = {field: entry["name"] for field, entry in config.features.items()}
    assert names == {"audio": "panns_cnn14/clip", "frame": "resnext101/pool"}
    assert [config.options[f"{of}_width"] for of in ("audio", "visual")] == [2048, 2048]
    table = (trained / "table.txt").read_text(encoding="utf-8")
    assert "visual=resnext101 (paper: clip_vit_b32), audio=panns_cnn14 (paper: vggish)" in (
        " ".join(table.split())
    )
    assert "one question about 8 rows of 1 patches" in " ".join(table.split())


def test_it_is_evaluated_and_answers(trained, data, tmp_path):
    rows = json.loads((trained / "default/seed-0/predictions.json").read_text(encoding="utf-8"))
    assert "All" in run("evaluate", trained, "--format", "csv").stdout
    run("predict", trained, "--out", tmp_path / "answers.json")
    answers = json.loads((tmp_path / "answers.json").read_text(encoding="utf-8"))
    assert sorted(answers) == ["6", "7"]
    assert len(rows) >= 1
    run("pack", data / "S", tmp_path / "packed")
    assert "All" in run("evaluate", trained, "--store", tmp_path / "packed").stdout


def test_a_new_video_is_refused_in_one_line(trained, tmp_path):
    video = tmp_path / "new.mp4"
    video.write_bytes(b"whatever it is")
    done = run("ask", trained, video, "What is it?", "--choice", "a", "--choice", "b", code=4)
    (line,) = done.stderr.splitlines()
    assert line.endswith(
        "panns_cnn14/clip was imported, so how it was made is not known, and avqa has no network"
        " that makes it; expected features of `avqa extract`: a new video has none; ask about"
        " videos of the run's store with `avqa predict`, or train on a store of `avqa extract`"
    )


def test_the_store_is_checked_compared_and_shown(data, tmp_path):
    assert "no problem" in run("verify", data / "S").stdout
    shown = run("status", data / "S", "--recipes").stdout
    assert 'imported.span="video"' in shown
    assert "verdict: equal: 3 streams" in run("compare", data / "S", data / "S").stdout
    words = ("export", "npy", "--store", data / "S", "--layout", "pstp", "--out", tmp_path)
    done = run(*words, code=4)
    assert "has no vggish/audio, which folder 'vggish' of layout=pstp holds" in done.stderr


@pytest.mark.parametrize(
    ("chosen", "head", "code", "told"),
    [
        (ENCODERS, "mcd", 4, "1 of 8 videos lack a needed feature, the first is '-clip3_000030'"),
        (("visual=resnext",), "mcd", 2, "visual='resnext'; expected one of ast, clip_vit_b32"),
        (("visual=resnext101",), "mcd", 4, "choose with --set visual and audio from what was imp"),
        (("visual=resnet101", "missing=skip", ENCODERS[1]), "avaf", 2, "no features for patch; e"),
    ],
)
def test_what_cannot_be_read_is_told(data, tmp_path, chosen, head, code, told):
    done = train(data, tmp_path / "out", *chosen, head=head, code=code)
    assert told in done.stderr.splitlines()[-1]
    assert not (tmp_path / "out").exists()


def test_appearance_and_zeros_train_too(data, tmp_path):
    said = train(data, tmp_path / "out", "visual=resnet101", ENCODERS[1], "missing=zeros").stderr
    assert "1 of 8 videos have no audio: zeros stand for it (missing=zeros)" in said
    assert FeatureStore(data / "S").length("-clip3_000030") == 8


def test_a_store_without_the_features_says_how_they_come(trained, data, tmp_path):
    source = data / "feats" / "resnet_features.h5"
    run("import", "hdf5", "--from", source, "--store", tmp_path / "T")
    done = run("evaluate", trained, "--store", tmp_path / "T", code=4)
    assert "has no panns_cnn14/clip, resnext101/pool" in done.stderr
    assert "add with `avqa import hdf5`" in done.stderr
