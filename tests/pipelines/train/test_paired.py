"""`avqa compare-runs` as typed, on runs whose answers are written by hand."""

import json
import re
import shutil

import pytest
from helpers.json_page import problems
from helpers.runs.run_folders import write_run
from typer.testing import CliRunner

from avqa import datasets
from avqa.cli import app
from avqa.telling.objects import Comparison
from avqa.training.run import PREDICTIONS
from avqa.training.scoring import Prediction, write_predictions

A = {"default/seed-0": "yyyyyyyyyyyy", "default/seed-1": "yyyyyyyyyyyn"}
B = {"default/seed-0": "ynynynynynyn"}


def compare(*arguments):
    done = CliRunner().invoke(app, ["compare-runs", *map(str, arguments)])
    return done.exit_code, done.stdout, done.stderr


def answered(folder, answers, changed=()):
    """Write predictions: ``y`` where a question is answered right."""
    questions = datasets.read("music-avqa", folder.parent / "annotations", ["test"])
    for member, right in answers.items():
        rows = [
            Prediction(
                key=q.key,
                question_id=q.question_id,
                video_id=q.video_id,
                split="test",
                text=q.text,
                answer="other" if number in changed else q.answer,
                prediction=str(q.answer) if mark == "y" else "?",
                probability=0.5,
                correct=mark == "y",
            )
            for number, (q, mark) in enumerate(zip(questions, right, strict=False))
        ]
        write_predictions(folder / member / PREDICTIONS, rows)


@pytest.fixture
def runs(tmp_path):
    first = write_run(tmp_path) / "run"
    second = tmp_path / "other"
    shutil.copytree(first, second)
    answered(first, A)
    answered(second, B)
    shutil.rmtree(second / "default/seed-1")
    return first, second


def test_json_has_the_same_figures(runs):
    code, out, _ = compare(*runs, "--json")
    found = json.loads(out)
    del found["schema"]
    assert (code, list(problems(found, Comparison))) == (0, [])
    lines = compare(*runs)[1].splitlines()
    for column in found["columns"]:
        line = next(line for line in lines if line.startswith(column["name"] + " "))
        assert f"{column['a_percent']:.2f}" in line
        assert f"{column['difference']:+.2f}" in line
    assert found["columns"][-1]["mcnemar"] is None  # two seeds
    assert (found["only_a"], found["only_b"]) == tuple(
        int(n) for n in re.search(r"only A: (\d+), only B: (\d+)", "\n".join(lines)).groups()
    )


def test_two_runs_side_by_side(runs):
    code, told, said = compare(*runs)
    assert code == 0, said
    lines = told.splitlines()
    assert lines[0] == f"A: {runs[0]}: avst, default, 2 seeds"
    assert lines[1] == f"B: {runs[1]}: avst, default, 1 seed"
    assert lines[2] == "12 questions about 4 videos that both answered; only A: 0, only B: 0"
    header = ["questions", "A", "B", "A", "-", "B", "95", "%", "interval", "p", "McNemar", "least"]
    assert lines[4].split() == header
    everything = lines[-3].split()
    assert everything[:5] == ["All", "12", "95.83", "50.00", "+45.83"]


def test_single_seeds_have_mcnemars_test(runs):
    code, told, said = compare(runs[0] / "default/seed-0", runs[1] / "default/seed-0")
    assert code == 0, said
    assert told.splitlines()[-3].split()[-2] == "0.031"  # six gained, none lost: 2 / 2^6


def test_questions_of_one_run_alone_or_of_another_version_do_not_count(runs):
    answered(runs[1], {"default/seed-0": "ynynynynyn"}, changed={0, 1})
    code, told, said = compare(*runs)
    assert code == 0, said
    assert "8 questions about 4 videos that both answered; only A: 2, only B: 0" in told
    assert (
        "2 questions have another right answer in B and are left out: the annotations are of two"
        " versions" in told
    )


def test_runs_of_other_questions_are_refused(runs):
    predictions = runs[1] / "default/seed-0" / PREDICTIONS
    questions = datasets.read("music-avqa", runs[0].parent / "annotations", ["val"])
    rows = [
        Prediction(q.key, q.question_id, q.video_id, "val", q.text, q.answer, "?", 0.5, False)
        for q in questions
    ]
    write_predictions(predictions, rows)
    code, told, said = compare(*runs)
    assert (code, told) == (2, "")
    assert said.splitlines()[-1] == (
        f"avqa: runs {str(runs[0])!r} and {str(runs[1])!r}: of 12 and 12 questions with a right"
        " answer none is the same; expected answers to the same test questions; compare runs of"
        " one data set"
    )
    predictions.unlink()
    assert compare(*runs)[0] == 4
