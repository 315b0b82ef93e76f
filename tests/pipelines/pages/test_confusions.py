"""What a head takes for what: counts, not pictures."""

from types import SimpleNamespace

import pytest
from helpers.questions.question_files import make_question

from avqa.datasets._parts.taxonomy import COLUMNS
from avqa.pipelines.pages import confusions
from avqa.pipelines.pages.confusions import LEAST_QUESTIONS, OTHERS, matrices, templates


def said(*words):
    return [SimpleNamespace(prediction=word) for word in words]


def test_counts_are_of_all_seeds_and_shares_of_the_row():
    counting = {"modality": "Visual", "kind": "Counting"}
    answered = [
        (make_question(answer="two", **counting), said("two", "one")),
        (make_question(answer="two", **counting), said("two", "two")),
        (make_question(answer="one", **counting), said("one", "one")),
        (make_question(answer="yes"), said("no", "no")),
    ]
    audio, visual = matrices(answered, COLUMNS)  # in the order of the table
    assert (audio.name, audio.questions, audio.answers, audio.percent) == (
        *("A-Count", 1, ("yes", "no")),
        0,
    )
    assert [[c.number for c in row] for row in audio.rows] == [[0, 1 * 2]]
    assert (visual.name, visual.answers) == ("V-Count", ("two", "one"))
    assert [[c.number for c in row] for row in visual.rows] == [[3, 1], [0, 2]]
    assert [c.share for c in visual.rows[0]] == [0.75, 0.25]
    assert visual.percent == pytest.approx(500 / 6)


def test_rare_answers_are_counted_together(monkeypatch):
    monkeypatch.setattr(confusions, "MOST_ANSWERS", 2)
    answers = ["a", "a", "a", "b", "b", "c", "d"]
    answered = [(make_question(answer=word), said("a")) for word in answers]
    (matrix,) = matrices(answered, COLUMNS)
    assert matrix.answers == ("a", "b", OTHERS)
    assert [[c.number for c in row] for row in matrix.rows] == [[3, 0, 0], [2, 0, 0], [2, 0, 0]]


def test_options_have_no_matrix():
    question = make_question(answer=None, choices=("a", "b"), choice=0)
    assert list(matrices([(question, said("a"))], COLUMNS)) == []


def test_templates_stand_beside_their_own_floor():
    fit = [make_question(answer=word) for word in ("no", "yes", "yes")]
    known = [
        (make_question(answer=answer), said(prediction))
        for answer, prediction in zip(
            ["yes", "yes", "no", "no", "no"], ["yes", "no", "no", "no", "yes"], strict=True
        )
    ]
    other = [(make_question(template="Who?", answer="yes"), said("yes"))] * LEAST_QUESTIONS
    rare = [(make_question(template="Why?", answer="yes"), said("no"))] * (LEAST_QUESTIONS - 1)
    low, high = templates([*other, *known, *rare], fit, COLUMNS)[::-1]
    assert (high.text, high.floor, high.guess) == ("Who?", 100, "yes")  # falls back on the type
    assert (low.text, low.type, low.questions, low.percent) == ("Is it?", "A-Count", 5, 60)
    assert (low.floor, low.guess) == (40, "yes")
    assert low.mistakes == (("yes", "no", 1), ("no", "yes", 1))
    assert templates(known, [], COLUMNS)[0].floor is None
