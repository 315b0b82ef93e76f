"""A data set of which every question has its own answers to choose from."""

import pytest
from helpers.questions import question_files
from helpers.runs import run_folders
from helpers.store import clip_texts

from avqa.errors import FeatureMissing
from avqa.pipelines.train.train import TrainOptions, train_head
from avqa.training.run import Member
from avqa.training.scoring import read_predictions

VIDEOS = {f"{n:08d}": 2 + n % 3 for n in range(1, 9)}


def test_multiple_choice_is_trained_on_options_and_tested_on_val(tmp_path):
    store = tmp_path / "store"
    run_folders.write_store(store, VIDEOS)
    rows = [
        question_files.avqa_row(id=n, video_name=video, multi_choice=["dog", "Cat", None, "3"])
        for n, video in enumerate(VIDEOS)
    ]
    question_files.write(tmp_path / "a" / "train_qa.json", rows[:6])
    question_files.write(tmp_path / "a" / "val_qa.json", rows[6:])
    asked = TrainOptions(
        head="question_only",
        store=store,
        dataset="avqa",
        annotations=tmp_path / "a",
        out=tmp_path / "out",
        assignments={"width": "8", "epochs": "1", "question": "clip", "device": "cpu"},
    )
    with pytest.raises(FeatureMissing, match="avqa questions --dataset"):
        train_head(asked)
    clip_texts.add_texts(store, ["What makes the sound in the video", "dog", "Cat", "3"])
    assert not (tmp_path / "out").exists()
    lines = []
    train_head(asked, lines.append)
    member = Member.load(tmp_path / "out" / "default" / "seed-0")
    assert (member.config.options["answer"], member.config.options["text_width"]) == ("choices", 8)
    assert list(member.config.texts) == ["clip_vit_b32/sentence"]
    assert member.config.counts["test"] == 2
    assert {row.prediction for row in read_predictions(member.path / "predictions.json")} <= {
        *("dog", "Cat", "3"),
    }
    assert "avqa has no test of its own: val of the file is the test" in lines
