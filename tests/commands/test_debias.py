"""`avqa train-head HEAD --debias mccd` as typed: what is trained, kept, told and refused."""

import csv
import json

import pytest
import torch
from helpers.questions import question_files
from helpers.runs import run_folders
from helpers.store import clip_texts
from safetensors.torch import load_file
from typer.testing import CliRunner

from avqa.cli import app

pytestmark = pytest.mark.usefixtures("one_thread")

VIDEOS = {f"{n:08d}": 2 + n % 3 for n in range(1, 9)}
SMALL = {"width": 8, "epochs": 2, "batch_size": 8, "visual": "clip_vit_b32", "stride_seconds": 1}
SMALL |= {"learning_rate": 0.1, "missing": "masked"}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Eight videos, the first one silent; two questions of MUSIC-AVQA about each, one of AVQA."""
    folder, ids = tmp_path_factory.mktemp("data"), list(VIDEOS)
    run_folders.write_store(folder / "store", VIDEOS, silent=ids[:1])
    clip_texts.add_texts(folder / "store", ["What makes the sound in the video", "dog", "Cat", "3"])
    splits = {"train": ids[:4], "val": ids[4:6], "test": ids[6:]}
    for split, videos in splits.items():
        rows = [
            question_files.music_row(
                video_id=video,
                question_id=number,
                templ_values=json.dumps([("violin", "cello")[number % 2]]),
                anser=("yes", "no")[number % 2],
            )
            for number, video in enumerate([*videos, *videos])
        ]
        question_files.write(folder / "music-avqa" / f"avqa-{split}.json", rows)
    rows = [
        question_files.avqa_row(id=n, video_name=video, multi_choice=["dog", "Cat", None, "3"])
        for n, video in enumerate(VIDEOS)
    ]
    question_files.write(folder / "avqa" / "train_qa.json", rows[:6])
    question_files.write(folder / "avqa" / "val_qa.json", rows[6:])
    return folder


def avqa(*words):
    done = CliRunner().invoke(app, [str(word) for word in words])
    return done.exit_code, done.stdout, done.stderr


def train_head(data, out, head, *more, dataset="music-avqa"):
    sets = (word for name, value in SMALL.items() for word in ("--set", f"{name}={value}"))
    given = ("--store", data / "store", "--annotations", data / dataset, "--dataset", dataset)
    return avqa("train-head", head, *given, "--device", "cpu", "--out", out, *sets, *more)


def rows(out):
    path = out / "default" / "seed-0" / "metrics.csv"
    with path.open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def weights(out):
    return load_file(out / "default" / "seed-0" / "model.safetensors")


def test_a_head_is_trained_beside_learners_that_are_left_behind(data, tmp_path):
    code, _, said = train_head(data, tmp_path / "plain", "late_fusion")
    assert code == 0, said
    out = tmp_path / "run"
    code, printed, said = train_head(
        data, out, "late_fusion", "--debias", "mccd", "--set", "bias_ce=1"
    )
    assert code == 0, said
    # 3 × (2 × (8 × 8 + 8) + 8 × 42 + 42) weights.
    label = "late_fusion default seed 0: "
    assert f"{label}bias learners of q, a, v: 1,566 parameters, in training alone\n" in said
    (epoch,) = (line for line in said.splitlines() if line.startswith(f"{label}epoch 2/2 done"))
    last = rows(out)[-1]
    alone = ", ".join(f"{k} {float(last[f'train_bias_accuracy_{k}']):.2%}" for k in "qav")
    assert f" | bias learners {alone} | " in epoch
    assert "question_only seed 0: bias learners" not in said  # the floor stays what it is
    report = tmp_path / "report.html"
    code, _, told = avqa("report", out, "--out", report)
    assert code == 0, told
    accuracy = f"{100 * float(last['train_bias_accuracy_v']):.4g}"
    assert f"seed 0, the frames alone, epoch 2: {accuracy} %" in report.read_text(encoding="utf-8")
    assert (
        "debias=mccd: bias learners of q, a, v beside the head in training alone, distance=l2,"
        " bias_ce=1 (ours)"
    ) in " ".join(printed.split())

    told = {"distance_loss", "cycle_loss", "fusion_norm"}
    told |= {f"{w}_{k}" for w in ("distance", "bias_accuracy", "bias_norm") for k in "qav"}
    assert {f"train_{name}" for name in told} == last.keys() - rows(tmp_path / "plain")[0].keys()
    assert all(float(row[f"train_{name}"]) >= 0 for row in rows(out) for name in told)

    found, plain = weights(out), weights(tmp_path / "plain")
    assert found.keys() == plain.keys()
    assert not torch.equal(found["fuse.weight"], plain["fuse.weight"])
    assert not (out / "default" / "seed-0" / "checkpoints").exists()
    code, again, said = avqa("evaluate", out)
    assert code == 0, said
    ours = "ours: late_fusion"
    assert [line for line in again.splitlines() if ours in line] == [
        line for line in printed.splitlines() if ours in line
    ]

    code, _, said = train_head(
        data, out, "late_fusion", "--resume", "--debias", "mccd", "--set", "bias_detach=true"
    )
    assert code == 2
    assert "bias_ce (run: 1.0, now: 0.0), bias_detach (run: False, now: True)" in said


def test_rows_without_an_input_have_no_learner_of_it(data, tmp_path):
    code, _, said = train_head(
        data, tmp_path / "run", "avst", "--debias", "mccd", "--ablation", "a+q", "--set", "epochs=1"
    )
    assert code == 0, said
    assert "avst default seed 0: bias learners of q, a, v: 1,566 parameters" in said
    assert "avst a+q seed 0: bias learners of q, a: 1,044 parameters" in said


def test_options_of_a_multiple_choice_are_scored_by_the_learners_too(data, tmp_path):
    more = ("--debias", "mccd", "--set", "bias_ce=1", "--set", "question=clip", "--set", "epochs=1")
    out = tmp_path / "run"
    code, printed, said = train_head(data, out, "late_fusion", *more, dataset="avqa")
    assert code == 0, said
    # 3 × (2 × (8 × 8 + 8) + 8 × 8 + 8) weights: the last layer is one of texts.
    assert "bias learners of q, a, v: 648 parameters" in said
    assert all(float(rows(out)[0][f"train_bias_norm_{kind}"]) > 0 for kind in "qav")


@pytest.mark.parametrize(
    ("head", "more", "message"),
    [
        (
            "late_fusion",
            ("--set", "bias_ce=1", "--set", "distance=kl"),
            "avqa: settings of late_fusion: distance=kl, bias_ce=1.0 without bias learners;"
            " expected debias=mccd beside it; add --debias mccd, or leave it out\n",
        ),
        (
            "late_fusion",
            ("--debias", "mcd"),
            "avqa: settings of late_fusion: debias='mcd'; expected one of none, mccd\n",
        ),
        (
            "late_fusion",
            ("--debias", "mccd", "--set", "bias=vqa", "--set", "bias_ce=-1"),
            "avqa: settings of late_fusion: bias='vqa'; expected one of qav, qa, qv, av, q, a, v;"
            " bias_ce=-1.0; expected 0 or more\n",
        ),
        (
            "question_only",
            ("--debias", "mccd"),
            "avqa: --debias mccd of head question_only: a (the audio): no layer is named; v (the"
            " frames): no layer is named; expected Head.PROJECTIONS to name the layer of each of q,"
            " a, v; name it there (see ",
        ),
    ],
)
def test_what_cannot_be_is_one_line_and_leaves_no_folder(data, tmp_path, head, more, message):
    code, printed, said = train_head(data, tmp_path / "run", head, *more)
    assert (code, printed, said.count("\n")) == (2, "", 1)
    assert said.startswith(message)
    assert not (tmp_path / "run").exists()
    if head == "question_only":
        assert said.endswith("docs/plugins.md), or use --set bias=q\n")


def test_a_head_of_the_question_alone_has_one_learner(data, tmp_path):
    more = ("--debias", "mccd", "--set", "bias=q", "--set", "epochs=1")
    code, _, said = train_head(data, tmp_path / "run", "question_only", *more)
    assert code == 0, said
    assert "question_only default seed 0: bias learners of q: 522 parameters" in said


def test_grounding_is_not_debiased(data, tmp_path):
    given = ("--store", data / "store", "--annotations", data / "music-avqa")
    given += ("--dataset", "music-avqa", "--out", tmp_path / "g.safetensors")
    code, _, said = avqa("pretrain-grounding", *given, "--set", "debias=mccd")
    assert (code, said) == (
        2,
        "avqa: debias=mccd; expected none: grounding answers no question; leave it for `avqa"
        " train-head`\n",
    )
