"""The v2.0 authors' files and tables of pandas as `--annotations` of every command, as typed."""

import json

import pytest
from helpers.questions.question_files import music_row, validation_row, write
from helpers.runs import run_folders
from typer.testing import CliRunner

from avqa.cli import app

VIDEOS = {"00000001": 2, "00000002": 3, "00000003": 2}
LOST = "note: 2 of 2 questions have a video_id that the store has with other leading zeros, the"


def avqa(*arguments):
    """Run a command in this process: (exit code, stdout, stderr)."""
    done = CliRunner().invoke(app, [str(argument) for argument in arguments])
    return done.exit_code, done.stdout, done.stderr


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """``store``, ``v2`` with the authors' validation file, and a ``run`` trained on them."""
    folder = tmp_path_factory.mktemp("v2")
    run_folders.write_store(folder / "store", VIDEOS)
    valid = [validation_row(video_id="00000002", question_id=None), validation_row()]
    valid[1]["video_id"] = "00000003"
    write(folder / "v2/balance_valid.json", valid)
    write(folder / "v2/train_balance.json", [music_row(video_id=video) for video in VIDEOS])
    write(folder / "v2/test_balance.json", [music_row(video_id="00000003", question_id=None)])
    where = ("--store", folder / "store", "--annotations", folder / "v2")
    sets = ("--set", "epochs=1", "--set", "batch_size=4", "--device", "cpu", "--set", "width=8")
    asked = ("train-head", "question_only", "--dataset", "music-avqa-v2", *where, *sets)
    code, _, said = avqa(*asked, "--out", folder / "run")
    assert code == 0, said
    (folder / "said").write_text(said, encoding="utf-8")
    return folder


def test_training_leaves_validation_rows_out_and_says_so(made):
    said = (made / "said").read_text(encoding="utf-8")
    note = "2 of 3 rows are validation rows of 'balance_valid.json' and left out of training; 0"
    assert said.count(note) == 1
    told = "questions: train 1, val 2, test 1; annotation version: unknown; edition=balance\n"
    assert told in said


def test_the_validation_file_is_evaluated_answered_and_shown(made, tmp_path):
    file = made / "v2/balance_valid.json"
    code, table, said = avqa("evaluate", made / "run", "--annotations", file, "--split", "val")
    assert code == 0, said
    assert "answering 2 questions of val" in said
    out = tmp_path / "answers.json"
    for annotations in (file, made / "v2"):
        given = ("--annotations", annotations, "--split", "val", "--out", out)
        code, _, said = avqa("predict", made / "run", *given)
        assert code == 0, said
        answers = json.loads(out.read_text(encoding="utf-8"))
        assert "7" in answers
        assert len(answers) == 2
    shown = ("questions", "--dataset", "music-avqa-v2", "--annotations", file, "--show", "0")
    code, text, said = avqa(*shown)
    assert (code, said) == (0, "")
    assert "questions: val 2 (2 videos)" in text
    assert "ids of questions: 0 occur more than once, 1 are missing" in text


def test_zeros_lost_from_texts_are_those_of_the_store(made, tmp_path):
    rows = [validation_row(video_id=video) for video in ("2", "3")]
    file = write(tmp_path / "validation.jsonl", rows)
    code, _, said = avqa("evaluate", made / "run", "--annotations", file, "--split", "val")
    assert code == 0, said
    assert said.count(LOST) == 1
    assert "answering 2 questions of val" in said


def test_a_split_and_a_field_that_differ_are_one_line(made, tmp_path):
    file = write(tmp_path / "test.json", [music_row(split="valid")])
    given = ("--annotations", file, "--split", "test")
    for command in (("evaluate",), ("predict", "--out", tmp_path / "o.json")):
        code, _, said = avqa(command[0], made / "run", *given, *command[1:])
        assert code == 2
        assert said.startswith(f"avqa: file={str(file)!r} row=0 question_id=1: split='valid' in a")
        assert len(said.splitlines()) == 1
