"""What a model says as one of the answers: the stated rules, one by one."""

import pytest
from helpers.questions.question_files import REAL, make_question, needs_real
from hypothesis import given
from hypothesis import strategies as st

from avqa import datasets
from avqa.datasets._parts.vocabulary import ANSWERS
from avqa.pipelines.score.mapping import Answers

POSSIBLE = Answers(ANSWERS)


def asked(text, **changes):
    return make_question(text=text, words=tuple(text.split(" ")), **changes)


MANY = asked("How many violins are in the entire video")
IS = asked("Is the cello louder than the flute")
WHICH = asked("Which is the musical instrument that sounds first")


@pytest.mark.parametrize(
    ("said", "question", "answer"),
    [
        ("two", MANY, "two"),
        ("Two.", MANY, "two"),
        ("2", MANY, "two"),
        ("0", MANY, "zero"),
        ("12", MANY, "more than ten"),
        ("There are two violins in the video.", MANY, "two"),
        ("More than ten!", MANY, "more than ten"),
        ("one or two", MANY, None),
        ("-1", MANY, None),
        ("yes", IS, "yes"),
        ("Yes, the cello is louder.", IS, "yes"),
        ("The answer is no.", IS, "no"),
        ("5", IS, None),  # a place in a list, perhaps: no answer to this
        ("maybe", IS, None),
        ("", IS, None),
        ("The Acoustic Guitar", WHICH, "acoustic_guitar"),
        ("acoustic_guitar", WHICH, "acoustic_guitar"),
        ("It is played on two violins", WHICH, "violin"),
        ("the violin, then the cello", WHICH, None),
        ("ukulele\n", WHICH, "ukulele"),
        ("The sound is on the left side", asked("Where is the loudest instrument"), "left"),
    ],
)
def test_the_rules_in_their_order(said, question, answer):
    assert POSSIBLE.of(said, question) == answer


@pytest.mark.parametrize(
    ("said", "question", "answer"),
    [
        ("3", MANY, "3"),
        ("three", MANY, "3"),
        ("There are three dogs", MANY, "3"),
        ("7", asked("Which number is on the shirt"), "7"),
        ("12", MANY, None),
    ],
)
def test_a_data_set_may_write_its_numbers_as_digits(said, question, answer):
    assert Answers(["3", "7", "red"]).of(said, question) == answer


OPTIONS = asked("What makes the sound", choices=("a dog", "Cat", None, "3"), choice=0)


@pytest.mark.parametrize(
    ("said", "answer"),
    [
        ("dog", "a dog"),
        ("CAT", "Cat"),
        ("B", "Cat"),
        ("(b) the cat", "Cat"),
        ("B. something else", "Cat"),
        ("0", "a dog"),
        ("3", "3"),  # an option's text comes first
        ("C", None),  # an option that is missing
        ("E", None),
        ("It is a dog, I think", "a dog"),
        ("a dog and a cat", None),
    ],
)
def test_options_by_text_letter_or_number(said, answer):
    assert POSSIBLE.of(said, OPTIONS) == answer


@given(st.sampled_from(ANSWERS), st.sampled_from(["{}", "{}.", " {} ", "The {}!"]))
def test_every_answer_is_found_however_it_is_written(answer, form):
    for said in (answer, answer.upper(), answer.replace("_", " ")):
        assert POSSIBLE.of(form.format(said), IS) == answer


@needs_real
def test_every_right_answer_of_the_real_files_stands_for_itself():
    for question in datasets.read("music-avqa", REAL, ["val"]):
        assert POSSIBLE.of(f"{question.answer}", question) == question.answer
        sentence = f"I think that it is {str(question.answer).replace('_', ' ')}."
        assert POSSIBLE.of(sentence, question) == question.answer, question
