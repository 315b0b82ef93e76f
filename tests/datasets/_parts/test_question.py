import hashlib
import json

from helpers.questions.question_files import make_question
from hypothesis import given
from hypothesis import strategies as st

from avqa.datasets._parts.question import Keys, normalise, num_repeated, text_key


def test_normal_form_keeps_case_and_underscores():
    given_text = "  Is the acoustic_guitar  louder than the\tPipa？ "
    assert normalise(given_text) == "Is the acoustic_guitar louder than the Pipa"


def test_only_marks_at_the_end_go():
    assert normalise("What? No. Why ??") == "What? No. Why"


@given(st.text())
def test_normal_form_is_its_own_normal_form(text):
    normal = normalise(text)
    assert normalise(normal) == normal
    assert normalise(normal + " ? ") == normal
    assert "  " not in normal


def test_a_text_key_is_the_hash_of_the_normal_form():
    expected = hashlib.sha256(b"Is there a violin sound").hexdigest()
    assert text_key("Is there a violin sound") == expected
    assert text_key(" Is there a  violin sound? ") == expected
    assert text_key("is there a violin sound") != expected


def test_a_key_can_be_computed_elsewhere():
    keys = Keys("music-avqa", "test")
    first = keys.make("35", "00000100", "How many")
    packed = json.dumps(["music-avqa", "test", "35", "00000100", "How many", 0])
    assert first == hashlib.sha256(packed.encode()).hexdigest()


def test_every_part_enters_the_key():
    rows = [
        (("a", "train"), ("1", "v", "t")),
        (("b", "train"), ("1", "v", "t")),
        (("a", "test"), ("1", "v", "t")),
        (("a", "train"), (None, "v", "t")),
        (("a", "train"), ("1", "w", "t")),
        (("a", "train"), ("1", "v", "u")),
        (("a", "train"), ("1v", "", "t")),
    ]
    assert len({Keys(*file).make(*row) for file, row in rows}) == len(rows)


def test_like_rows_get_keys_by_their_number():
    keys = Keys("a", "train")
    found = [keys.make(None, "v", "t") for _ in range(3)]
    assert len(set(found)) == 3
    # Another row between them changes nothing.
    others = Keys("a", "train")
    mixed = [others.make(*row) for row in ((None, "v", "t"), ("9", "x", "y"), (None, "v", "t"))]
    assert [mixed[0], mixed[2]] == found[:2]


def test_repeated_ids_are_counted_per_split():
    ids = [("train", "1"), ("train", "1"), ("train", "2"), ("test", "2"), ("test", None)]
    ids += [("test", None)]
    assert num_repeated(make_question(split=s, question_id=i) for s, i in ids) == 1
