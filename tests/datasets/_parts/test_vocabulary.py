import hashlib

import pytest
from helpers.questions.question_files import REAL, make_question, needs_real

from avqa import datasets
from avqa.datasets._parts.vocabulary import (
    ANSWER_ID,
    ANSWERS,
    INSTRUMENTS,
    TYPE_WORDS,
    WORD_ID,
    WORDS,
    encode_answer,
    encode_words,
    is_known,
    num_words,
)
from avqa.errors import DatasetError


def test_the_published_number_of_rows():
    assert len(WORDS) == len(set(WORDS)) == 93
    assert WORDS[0] == "<pad>"
    assert list(WORDS[1:]) == sorted(WORDS[1:])
    assert WORD_ID["<pad>"] == WORD_ID["<unk>"] == 0
    assert {"Is", "is", "Are", "are"} <= set(WORDS)


def test_ids_are_fixed():
    """A checkpoint's rows: these numbers may never change."""
    assert [WORDS[i] for i in (1, 6, 7, 50, 92)] == ["Are", "Which", "a", "louder", "xylophone"]
    assert [ANSWERS[i] for i in (0, 20, 41)] == ["accordion", "nine", "zero"]
    assert digest((*WORDS, *TYPE_WORDS)) == "7d9c644968f88bd7"
    assert digest(ANSWERS) == "43e8555afe896361"


def digest(names):
    return hashlib.sha256("\n".join(names).encode()).hexdigest()[:16]


def test_the_42_answers():
    assert len(ANSWERS) == len(set(ANSWERS)) == 42
    assert list(ANSWERS) == sorted(ANSWERS)
    assert len(INSTRUMENTS) == 22
    assert list(INSTRUMENTS) == sorted(INSTRUMENTS)
    rest = set(ANSWERS) - set(INSTRUMENTS)
    assert {"yes", "no", "zero", "ten", "more than ten", "simultaneously", "outdoor"} <= rest
    assert len(rest) == 20


def test_words_are_padded_and_cut():
    ids = encode_words(("Is", "is", "there"))
    assert ids == [WORD_ID["Is"], WORD_ID["is"], WORD_ID["there"]] + [0] * 11
    assert encode_words(("is",) * 20) == [WORD_ID["is"]] * 14
    assert encode_words(("is",), length=2) == [WORD_ID["is"], 0]
    assert encode_words(("is", "violin"), length=None) == [WORD_ID["is"], WORD_ID["violin"]]
    assert encode_words((), length=3) == [0, 0, 0]


def test_an_unknown_word_reads_as_padding():
    assert encode_words(("is", "theremin", "violin"), 4) == [
        *(WORD_ID["is"], 0, WORD_ID["violin"], 0)
    ]
    assert not is_known("theremin")
    assert not is_known("<pad>")
    assert is_known("violin")


def test_type_words_have_rows_of_their_own_on_request():
    assert (num_words(), num_words(type_words=True)) == (93, 101)
    assert encode_words(TYPE_WORDS, 8, type_words=True) == list(range(93, 101))
    assert encode_words(TYPE_WORDS, 8) == [0] * 8
    assert not is_known("Counting")


def test_an_answer_outside_the_vocabulary_is_named():
    assert encode_answer(make_question(answer="zero")) == ANSWER_ID["zero"] == 41
    with pytest.raises(DatasetError) as caught:
        encode_answer(make_question(answer="theremin", question_id="7", video_id="v1"))
    assert str(caught.value) == (
        "answer='theremin' of question_id='7' video_id='v1' split='train'; expected one of the 42"
        " answers such as 'yes', 'two' or 'violin'; correct the row, or leave it out of training"
    )
    with pytest.raises(DatasetError, match="^no answer of question_id='1'"):
        encode_answer(make_question(answer=None))


@needs_real
def test_real_files_use_every_word_and_no_other():
    questions = datasets.read("music-avqa", REAL)
    questions += datasets.read("music-avqa", REAL / "avqa-train_synthetic_original.json")
    assert {word for q in questions for word in q.words} == set(WORDS[1:])
    assert {q.answer for q in questions} == set(ANSWERS) - {"ten"}
    assert all(0 not in encode_words(q.words, length=None) for q in questions)
