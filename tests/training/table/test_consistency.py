"""Whether a head answers the wordings of one question alike."""

import pytest
from helpers.questions.question_files import make_question
from helpers.runs.run_folders import answered

from avqa.datasets import music_avqa_r
from avqa.training.table.consistency import Consistency, consistency_lines, wordings


def asked(key, of, text, video="v"):
    return make_question(key=key, question_id=of, text=text, split="test", video_id=video)


QUESTIONS = [
    *(asked(f"a{n}", "1", f"Wording {n}") for n in range(4)),
    *(asked(f"b{n}", "2", f"Another {n}", video="w") for n in range(2)),
    asked("alone", "3", "Only one"),
    asked("nameless", None, "No id"),
]


def given(said):
    """Key → answer, of questions whose right answer is yes."""
    rows = [answered(q, said[q.key] == "yes") for q in QUESTIONS]
    return [row.__class__(**{**_fields(row), "prediction": said[row.key]}) for row in rows]


def _fields(row):
    return {name: getattr(row, name) for name in row.__dataclass_fields__}


def answers(first, second):
    said = {f"a{n}": answer for n, answer in enumerate(first)}
    said |= {f"b{n}": answer for n, answer in enumerate(second)}
    return given({**said, "alone": "no", "nameless": "no"})


def test_wordings_of_a_question_share_its_id_and_its_video():
    groups = wordings(QUESTIONS, music_avqa_r.original)
    assert [[q.key for q in these] for these in groups.values()] == [
        ["a0", "a1", "a2", "a3"],
        ["b0", "b1"],
    ]
    train = make_question(question_id="1", split="train")
    assert music_avqa_r.original(train) is None
    twice = [asked("x", "9", "Same"), asked("y", "9", "Same")]
    assert wordings(twice, music_avqa_r.original) == {}


def test_shares_of_all_right_and_of_alike():
    groups = wordings(QUESTIONS, music_avqa_r.original)
    seeds = [
        answers(["yes"] * 4, ["yes", "no"]),
        answers(["two", "two", "two", "yes"], ["no", "no"]),
    ]
    found = Consistency.of("pstp", groups, seeds)
    assert found.consistent == (0.5, 0.0)
    assert found.agreeing == ((1 + 0.5) / 2, (0.75 + 1) / 2)
    assert (found.questions, found.wordings) == (2, 6)
    assert found.interval is not None
    data = found.data()
    assert data["consistent_percent"] == 25
    assert data["agreeing_percent"] == pytest.approx(81.25)
    assert consistency_lines([found])[0] == (
        f"pstp: consistent 25.00 % ({found.interval}), agreeing 81.25 %, of 2 questions in 6"
        " wordings"
    )


def test_a_question_counts_only_where_every_wording_was_answered():
    groups = wordings(QUESTIONS, music_avqa_r.original)
    rows = [row for row in answers(["yes"] * 4, ["no", "no"]) if row.key != "a2"]
    found = Consistency.of("pstp", groups, [rows])
    assert (found.questions, found.consistent) == (1, (0.0,))
