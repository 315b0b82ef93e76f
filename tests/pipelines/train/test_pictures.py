"""Curves of a run: the floor from the start, question-only as soon as that is trained."""

import dataclasses

import pytest
from helpers.questions.question_files import make_question
from helpers.runs import run_folders

from avqa.pipelines.train import pictures
from avqa.training.data.splits import SplitQuestions
from avqa.training.fitting.curves import Marks
from avqa.training.fitting.history import write_metrics
from avqa.training.run import Run


def asked(answers, **changes):
    rows = (make_question(answer=answer, **changes) for answer in answers)
    return tuple(dataclasses.replace(row, key=str(n)) for n, row in enumerate(rows))


def test_the_floor_is_that_of_validation():
    questions = SplitQuestions(asked(["yes", "yes", "no"]), asked(["yes", "no", "no"]), (), "u")
    assert pictures.known_marks(questions) == Marks(pytest.approx(1 / 3), "template floor")
    same = {"choices": ("longer", "b"), "answer": None}
    train = tuple(dataclasses.replace(q, choice=1, **same) for q in asked(["", "", ""]))
    val = tuple(dataclasses.replace(q, choice=min(n, 1), **same) for n, q in enumerate(train))
    questions = SplitQuestions(train, val, (), "u")
    assert pictures.known_marks(questions) == Marks(pytest.approx(2 / 3), "position floor")
    assert pictures.known_marks(SplitQuestions((), asked([None]), (), "u")) == Marks()


def test_curves_are_drawn_again_with_question_only(tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr(pictures, "draw_curves", lambda *arguments: drawn.append(arguments))
    member = run_folders.write_member(tmp_path, run_folders.config(weights="random:0"))
    history = [{"epoch": 1, "val_accuracy": 0.5}]
    write_metrics(member.path / "metrics.csv", history)
    about = {"variants": ["default", "question_only"], "seeds": 1}
    run_folders.write_json(tmp_path / "run.json", about)
    pictures.draw_again(Run.load(tmp_path), Marks(0.25))
    assert drawn == []
    only = run_folders.config("question_only", variant="question_only")
    only = run_folders.write_member(tmp_path, only)
    write_metrics(only.path / "metrics.csv", history)
    pictures.draw_again(Run.load(tmp_path), Marks(0.25))
    value = only.result.val_accuracy
    marks = Marks(0.25, question_only=value, random_weights=True)
    assert drawn == [(member.path / "curves.png", history, "avst default seed 0", marks)]
