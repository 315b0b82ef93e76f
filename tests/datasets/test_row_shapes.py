"""Rows of MUSIC-AVQA-v2.0 in every shape in which its files hold them."""

from collections import Counter
from dataclasses import replace

import pytest
from helpers.questions.question_files import music_row, validation_row, write
from hypothesis import given, settings
from hypothesis import strategies as st

from avqa import datasets
from avqa.datasets._parts.question import num_alike
from avqa.pipelines.questions.show import show_lines

GONE = object()
SPARE = ("audio_instrument", "video_instrument", "person")
DUB = {"unmatch_audio": "00000099", "audio_instrument": "cello", "video_instrument": "flute"}


def spellings(*values):
    return st.sampled_from(values)


@settings(max_examples=60, deadline=None)
@given(
    number=spellings(7, 7.0, "7", "7.0"),
    unnumbered=spellings(GONE, None, float("nan"), "", "nan"),
    has_id=st.booleans(),
    slots=spellings('["violin"]', ["violin"], "['violin']", '"[\\"violin\\"]"'),
    no_slots=spellings(GONE, None, "[]", []),
    has_slots=st.booleans(),
    deleted=spellings(GONE, None, 0, 0.0, "0"),
    spare=st.lists(spellings(GONE, None, "True", "cello"), min_size=3, max_size=3),
    sound=spellings("00000099", 99, 99.0, "99.0"),
    no_sound=spellings(GONE, None, "", "nan"),
    has_sound=st.booleans(),
)
@pytest.mark.filterwarnings("ignore::avqa.errors.AnnotationWarning")
def test_a_row_is_one_question_however_it_is_written(
    tmp_path_factory,
    number,
    unnumbered,
    has_id,
    slots,
    no_slots,
    has_slots,
    deleted,
    spare,
    sound,
    no_sound,
    has_sound,
):
    """Keys that are absent or null, ids as floats, lists as lists or as text."""
    row = music_row(question_content=f"Is there a {'<Object>' if has_slots else 'cello'} sound?")
    row |= {
        "question_id": number if has_id else unnumbered,
        "templ_values": slots if has_slots else no_slots,
        "question_deleted": deleted,
        "unmatch_audio": sound if has_sound else no_sound,
        **dict(zip(SPARE, spare, strict=True)),
    }
    row = {key: value for key, value in row.items() if value is not GONE}
    folder = tmp_path_factory.mktemp("row")
    (q,) = datasets.read("music-avqa-v2", write(folder / "test_balance.json", [row]))
    assert q.question_id == ("7" if has_id else None)
    assert q.slots == (("violin",) if has_slots else ())
    assert q.text == f"Is there a {'violin' if has_slots else 'cello'} sound"
    assert q.sound_id == ("00000099" if has_sound else None)
    plain = music_row(
        question_content=row["question_content"],
        templ_values='["violin"]' if has_slots else "[]",
        question_id=7 if has_id else None,
    )
    (same,) = datasets.read("music-avqa-v2", write(folder / "a/test_balance.json", [plain]))
    assert replace(q, sound_id=None) == same


EDITIONS = {
    # features-2025.md 9.1: rows of the test files by their key sets, and of the validation file:
    # all, without an id, with another video's sound, repeating another.
    "balance": ((9095, 1180, 170 + 142, 226, 6), (5346, 826, 101), 14, 1724),
    "bias": ((8519, 469, 72 + 28, 29, 2), (4499, 259, 20), 2, 600),
}


def as_the_authors_write(edition):
    """A test and a validation file of the same kinds of row, as many of each."""
    (whole, no_id, bare, dubs, people), (valid, null, heard), twice, _ = EDITIONS[edition]
    test = [music_row(video_id=f"{n:08d}", question_id=n) for n in range(whole)]
    test += [music_row(video_id=f"n{n:08d}", question_id=None) for n in range(no_id - twice)]
    test += [
        music_row(video_id=f"b{n:08d}", question_id=None, question_deleted=None)
        for n in range(bare)
    ]
    sound = {"question_content": "Is this sound from the instrument in the video?"}
    sound |= {"templ_values": [], "anser": "no", "question_id": None, "question_deleted": None}
    test += [music_row(video_id=f"{n:08d}", **sound, **DUB) for n in range(dubs)]
    test += [
        music_row(video_id=f"p{n:08d}", question_id=None, person="True") for n in range(people)
    ]
    test += test[whole : whole + twice]
    held = [validation_row(video_id=f"{n:08d}", question_id=float(n)) for n in range(valid - null)]
    held += [
        validation_row(video_id=f"v{n:08d}", question_id=None, question_deleted=None)
        for n in range(null - heard)
    ]
    held += [validation_row(**{**sound, **DUB, "video_id": f"{n:08d}"}) for n in range(heard)]
    return test, held


@pytest.mark.parametrize("edition", EDITIONS)
def test_files_of_the_authors_kinds_of_row(tmp_path, edition):
    test, held = as_the_authors_write(edition)
    write(tmp_path / f"test_{edition}.json", test)
    write(tmp_path / f"{edition}_valid.json", held)
    questions = datasets.read("music-avqa-v2", tmp_path, edition=edition)
    (_, (valid, null, heard), twice, no_id) = EDITIONS[edition]
    assert datasets.load("music-avqa-v2").version(questions) == edition
    missing = Counter(q.split for q in questions if q.question_id is None)
    assert missing == {"test": no_id, "val": null}
    assert Counter(q.split for q in questions if q.sound_id) == {
        "test": EDITIONS[edition][0][3],
        "val": heard,
    }
    assert num_alike(questions) == twice
    assert len({q.key for q in questions}) == len(questions)
    lines = show_lines("music-avqa-v2", tmp_path, 0, edition=edition)
    assert lines[2] == (
        f"ids of questions: 0 occur more than once, {null + no_id} are missing; {twice} rows"
        " repeat another"
    )
    dubs = EDITIONS[edition][0][3] + heard
    assert lines[3] == f"heard with the sound of another video: {dubs} questions"
