"""The flip rate: which pairs count, what a head's answers make of them, and its column."""

from dataclasses import replace

import numpy as np
import pytest
from helpers.questions.question_files import make_question
from helpers.runs.run_folders import answered, config, run_of, write_member

from avqa.training.scoring import write_predictions
from avqa.training.table.flips import FLIP, Flips, score_of
from avqa.training.table.intervals import interval
from avqa.training.table.table import result_table

LOUDER = "Is the <Object> louder than the <Object>?"


def comparison(video, slots, answer, template=LOUDER):
    return make_question(
        key=f"{video}{template}{slots}",
        video_id=video,
        split="test",
        template=template,
        slots=slots,
        answer=answer,
        kind="Comparative",
    )


def pair(video):
    return [
        comparison(video, ("flute", "cello"), "yes"),
        comparison(video, ("cello", "flute"), "no"),
    ]


@pytest.mark.parametrize(
    "others",
    [
        [comparison("a", ("flute", "cello"), "yes"), comparison("b", ("cello", "flute"), "no")],
        [comparison("a", ("flute", "cello"), "no"), comparison("a", ("cello", "flute"), "no")],
        [comparison("a", ("flute", "cello"), "yes"), comparison("a", ("flute", "tuba"), "no")],
        [comparison("a", ("flute", "flute"), "yes"), comparison("a", ("flute", "flute"), "no")],
        [
            comparison("a", ("x", "y"), answer, "Are there <Object> and <Object> sound?")
            for answer in ("yes", "no")
        ],
    ],
    ids=["other video", "both no", "other slots", "same slots", "no comparison"],
)
def test_what_is_no_pair(others):
    assert len(Flips(others)) == 0
    assert len(Flips([*others, *pair("c")])) == 1


def told(questions, right):
    """What a head says that answers question number n right if ``right(n)``."""
    other = {"yes": "no", "no": "yes"}
    return [
        replace(
            answered(question, right(n)),
            prediction=question.answer if right(n) else other[question.answer],
        )
        for n, question in enumerate(questions)
    ]


def test_a_head_turns_its_answer_or_not():
    questions = [*pair("a"), *pair("b"), *pair("c")]
    rows = told(questions, lambda n: n not in (1, 2, 3))  # alike, wrong both ways, right
    assert Flips(questions).turned(rows).tolist() == [False, True, True]
    assert score_of(Flips(questions).turned(rows)) == (2, 3)


def test_the_column_of_a_run(tmp_path):
    questions = [*pair("a"), *pair("b"), *pair("c"), make_question(key="z", split="test")]
    members = []
    for seed, right in enumerate([lambda n: n % 2 == 0, lambda n: n != 1]):
        member = write_member(tmp_path, config(seed=seed), questions)
        write_predictions(member.path / "predictions.json", told(questions, right))
        members.append(member)
    table = result_table(run_of(members, {}), [], questions)
    assert table.columns[-1] == FLIP
    [ours] = [row for row in table.rows if row.kind == "ours"]
    cell = ours.cells[FLIP]
    assert (cell.correct, cell.total) == ((0, 2), 3)
    assert cell.mean == pytest.approx(100 / 3)
    turned = np.array([[False, False, False], [False, True, True]])
    expected = interval(turned, ["a", "b", "c"])
    assert (cell.low, cell.high) == (expected.low, expected.high)
    assert f"{FLIP}: of 3 comparisons asked both ways round, those that are" in table.text()
    assert f"{FLIP}_low" in table.csv()
    narrow = table.text(width=80).splitlines()
    assert any(line.split()[-2:] == ["All", FLIP] for line in narrow)


def test_no_column_without_a_pair(tmp_path):
    questions = [make_question(key=str(n), split="test") for n in range(3)]
    members = [write_member(tmp_path, config(seed=0), questions)]
    table = result_table(run_of(members, {}), [], questions)
    assert FLIP not in table.columns
    assert FLIP not in table.text()
