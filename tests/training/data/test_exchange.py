"""Comparisons the other way round: which, and what becomes of them."""

from collections import Counter

import pytest
from helpers.questions.question_files import REAL, make_question, needs_real

from avqa import datasets
from avqa.datasets._parts.fields import fill
from avqa.errors import ConfigError
from avqa.training.data.exchange import exchange_note, has_two_sides, with_exchanged
from avqa.training.settings import resolve


def comparison(template, *slots, answer="yes", **changes):
    text = fill(template, slots)
    kind = {"modality": "Audio", "kind": "Comparative"}
    words = tuple(text.split(" "))
    return make_question(
        template=template, slots=slots, text=text, words=words, answer=answer, **kind, **changes
    )


LOUDER = "Is the <Object> louder than the <Object>?"
BOTH = "Is the <Object> on the <LR> louder than the <Object> on the <LR>?"


def test_the_sides_and_the_answer_are_exchanged_and_the_key_is_another():
    asked = comparison(BOTH, "cello", "left", "flute", "right")
    first, other = with_exchanged([asked], "yes")
    assert first is asked
    assert other.text == "Is the flute on the right louder than the cello on the left"
    assert other.words == tuple(other.text.split(" "))
    assert other.slots == ("flute", "right", "cello", "left")
    assert (other.answer, other.video_id, other.split) == ("no", asked.video_id, asked.split)
    assert len(other.key) == 64
    assert other.key != asked.key


@pytest.mark.parametrize(
    ("exchange", "answers"), [("none", []), ("yes", ["no"]), ("both", ["no", "yes"])]
)
def test_answers_decide_which_are_exchanged(exchange, answers):
    asked = [
        comparison(LOUDER, "cello", "flute", answer="yes"),
        comparison(LOUDER, "cello", "flute", answer="no"),
        comparison(LOUDER, "cello", "flute", answer=None),
    ]
    found = with_exchanged(asked, exchange)
    assert found[:3] == asked
    assert [q.answer for q in found[3:]] == answers


@pytest.mark.parametrize(
    "question",
    [
        comparison(LOUDER, "cello", "cello"),
        comparison("Is the <Object> in the video always playing?", "cello"),
        comparison("Is the first sound coming from the <LR> instrument?", "left"),
        comparison("Are there more than two <Object> sounds?", "cello"),
        comparison("Is the <Object> louder than the one on the <LR>?", "cello", "left"),
    ],
    ids=lambda question: question.text,
)
def test_what_has_no_two_sides_stays_alone(question):
    assert with_exchanged([question], "both") == [question]


@needs_real
def test_of_the_real_templates_the_comparisons_alone_have_two_sides():
    questions = datasets.read("music-avqa", REAL, ["val"])
    kinds = Counter(q.kind for q in questions if has_two_sides(q))
    assert kinds.keys() == {"Comparative"}
    comparisons = [q for q in questions if q.kind == "Comparative" and " than " in q.text]
    assert kinds["Comparative"] == sum(len(set(q.slots)) > 1 for q in comparisons)


def test_the_run_says_how_many():
    asked = [comparison(LOUDER, "cello", "flute"), comparison(LOUDER, "a", "b", answer="no")]
    assert exchange_note(asked, "none") == []
    assert exchange_note(asked, "yes") == [
        "1 comparisons answered with yes are asked the other way round, too, in training"
        " (exchange=yes)"
    ]
    assert exchange_note(asked, "both")[0].startswith("2 comparisons are asked")


def test_with_texts_of_files_nothing_can_be_asked_the_other_way_round():
    with pytest.raises(ConfigError, match=r"exchange=yes with question=clip, whose texts are"):
        resolve("pstp", {"exchange": "yes"})
    assert resolve("bilinear", {"exchange": "both"})[0].exchange == "both"
