import hashlib

import pytest
from helpers.questions.question_files import REAL, make_question, needs_real

from avqa import datasets
from avqa.datasets._parts.vocabulary import (
    ANSWERS,
    INSTRUMENTS,
    MISSING,
    MUSIC_AVQA,
    OTHER,
    OUTSIDE,
    TYPE_WORDS,
    WORDS,
    Vocabulary,
    build_vocabulary,
)
from avqa.errors import DatasetError


def test_the_published_number_of_rows():
    assert len(WORDS) == len(set(WORDS)) == 93
    assert WORDS[0] == "<pad>"
    assert list(WORDS[1:]) == sorted(WORDS[1:])
    assert MUSIC_AVQA.encode_words(["<pad>", "<unk>"], None) == [0, 0]
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
    ids = MUSIC_AVQA.encode_words(("Is", "is", "there"))
    assert ids == [WORDS.index("Is"), WORDS.index("is"), WORDS.index("there")] + [0] * 11
    assert MUSIC_AVQA.encode_words(("is",) * 20) == [WORDS.index("is")] * 14
    assert MUSIC_AVQA.encode_words(("is",), length=2) == [WORDS.index("is"), 0]
    assert MUSIC_AVQA.encode_words(("is", "violin"), length=None) == [
        WORDS.index("is"),
        WORDS.index("violin"),
    ]
    assert MUSIC_AVQA.encode_words((), length=3) == [0, 0, 0]


def test_an_unknown_word_reads_as_padding():
    assert MUSIC_AVQA.encode_words(("is", "theremin", "violin"), 4) == [
        *(WORDS.index("is"), 0, WORDS.index("violin"), 0)
    ]
    assert not MUSIC_AVQA.is_known("theremin")
    assert not MUSIC_AVQA.is_known("<pad>")
    assert MUSIC_AVQA.is_known("violin")


def test_type_words_have_rows_of_their_own_on_request():
    assert (MUSIC_AVQA.num_words(), MUSIC_AVQA.num_words(type_words=True)) == (93, 101)
    assert MUSIC_AVQA.encode_words(TYPE_WORDS, 8, type_words=True) == list(range(93, 101))
    assert MUSIC_AVQA.encode_words(TYPE_WORDS, 8) == [0] * 8
    assert not MUSIC_AVQA.is_known("Counting")


def test_an_answer_outside_the_vocabulary_is_named():
    assert MUSIC_AVQA.encode_answer(make_question(answer="zero")) == ANSWERS.index("zero") == 41
    with pytest.raises(DatasetError) as caught:
        MUSIC_AVQA.encode_answer(make_question(answer="theremin", question_id="7", video_id="v1"))
    assert str(caught.value) == (
        "answer='theremin' of question_id='7' video_id='v1' split='train'; expected one of the 42"
        " answers such as 'yes', 'two' or 'violin'; correct the row, or leave it out of training"
    )
    with pytest.raises(DatasetError, match="^no answer of question_id='1'"):
        MUSIC_AVQA.encode_answer(make_question(answer=None))


@needs_real
def test_real_files_use_every_word_and_no_other():
    questions = datasets.read("music-avqa", REAL)
    questions += datasets.read("music-avqa", REAL / "avqa-train_synthetic_original.json")
    assert {word for q in questions for word in q.words} == set(WORDS[1:])
    assert {q.answer for q in questions} == set(ANSWERS) - {"ten"}
    assert all(0 not in MUSIC_AVQA.encode_words(q.words, length=None) for q in questions)


def asked(text, answer="yes", **changes):
    return make_question(text=text, words=tuple(text.split()), answer=answer, **changes)


OWN = [
    asked("What is it, a dog", "dog", modality="", kind="object"),
    asked("what Is THAT", "cat", modality="", kind="object"),
    asked("Who barks (loudly)", "dog", modality="", kind=""),
    asked("How many", "a cat", modality="", kind="count"),
]


def test_a_built_vocabulary_is_that_of_its_questions():
    built = build_vocabulary(OWN, max_answers=10)
    assert built.answers == ("a cat", "cat", "dog")
    assert built.words == (
        *("<pad>", "<unk>", "a", "barks", "dog", "how", "is", "it", "loudly", "many"),
        *("that", "what", "who"),
    )
    assert built.types == ("count", "object")
    assert (built.num_words(), built.num_words(type_words=True)) == (13, 15)
    assert built.built
    assert not MUSIC_AVQA.built


def test_an_unknown_word_of_a_built_vocabulary_is_no_padding():
    built = build_vocabulary(OWN, max_answers=10)
    ids = built.encode_words(("WHAT,", "meows", "<pad>", "?"), 6)
    assert ids == [built.words.index("what"), 1, 1, 1, 0, 0]
    assert not any(map(built.is_known, ("meows", "<pad>", "<unk>", "?", "object")))
    assert built.is_known("(Dog!)")


def test_types_of_a_built_vocabulary_are_apart_from_its_words():
    built = build_vocabulary([asked("count it", kind="count", modality="")], max_answers=1)
    assert built.encode_words(("count",), 1, type_words=True) == [2]
    assert built.encode_types(("", "count"), 3, type_words=True) == [0, 4, 0]
    assert built.encode_types(("", "size"), 2, type_words=True) == [0, 1]
    assert built.encode_types(("", "count"), 2) == [0, 1]
    assert MUSIC_AVQA.encode_types(("Audio", "Counting"), 2, type_words=True) == [93, 97]


@pytest.mark.parametrize(
    ("options", "answers", "targets"),
    [
        ({"max_answers": 2}, ("a cat", "dog"), [1, OUTSIDE, 1, 0]),
        ({"max_answers": 9, "min_answer_count": 2}, ("dog",), [0, OUTSIDE, 0, OUTSIDE]),
        ({"max_answers": 1, "other": True}, ("dog", OTHER), [0, OUTSIDE, 0, OUTSIDE]),
        ({"max_answers": 3, "other": True}, ("a cat", "cat", "dog"), [2, 1, 2, 0]),
    ],
)
def test_rare_answers(options, answers, targets):
    built = build_vocabulary(OWN, **options)
    assert built.answers == answers
    assert [built.target(q.answer) for q in OWN] == targets
    assert [built.teaches(q.answer) for q in OWN] == [t >= 0 or OTHER in answers for t in targets]
    taught = [built.encode_answer(q) for q in OWN if built.teaches(q.answer)]
    if OTHER in answers:
        assert taught == [0, 1, 0, 1]
    assert built.target(None) == MISSING
    assert not built.has(OTHER)


def test_words_that_come_seldom_and_questions_that_are_long():
    assert build_vocabulary(OWN, max_answers=9, min_word_count=2).words[2:] == ("is", "what")
    for words, length in ((3, 14), (20, 20), (50, 32)):
        long = build_vocabulary([asked("word " * words)], max_answers=1)
        assert long.max_words == length
    choices = build_vocabulary([asked("Who", None, choices=("A Dog", None))], max_answers=1)
    assert (choices.answers, choices.words[2:]) == ((), ("a", "dog", "who"))


def test_a_vocabulary_is_kept_as_json():
    built = build_vocabulary(OWN, max_answers=2, other=True)
    assert Vocabulary.from_json(built.to_json()) == built
    assert built.to_json()["answers"] == ["a cat", "dog", OTHER]
    assert MUSIC_AVQA.to_json() == {}
    assert Vocabulary.from_json({}) is MUSIC_AVQA
    for broken in ({"answers": "yes"}, {"words": ["a", "b"]}, {"max_words": 0}, {"types": [1]}):
        with pytest.raises(ValueError, match="^vocabulary: "):
            Vocabulary.from_json(built.to_json() | broken)
