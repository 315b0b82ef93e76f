import pytest
from helpers.questions.question_files import make_question

from avqa.datasets._parts.matching import match_rows
from avqa.errors import AnnotationWarning, DatasetError, StoreError


def about(*videos):
    return [make_question(video_id=video, question_id=str(i)) for i, video in enumerate(videos)]


def test_by_whole_id_else_by_last_part():
    questions = about("b", "c", "x/d", "e", "c")
    found = match_rows(questions, ["a", "b", "train/b", "train/c", "x/d", "y/d"])
    assert found.rows == (1, 3, 4, None, 3)
    assert (found.num_full_id, found.num_last_part) == (2, 2)
    assert found.unmatched == (questions[3],)


def test_an_ambiguous_last_part_names_both_rows():
    with pytest.raises(DatasetError) as caught:
        match_rows(about("d"), ["x/d", "a", "y/d"])
    assert str(caught.value) == (
        "video_id='d' of question_id='0' fits two rows of the store, 'x/d' and 'y/d'; expected"
        " one; extract with ids that differ in their last part, or give whole ids in the questions"
    )


def test_ambiguity_that_no_question_meets_is_none():
    assert match_rows(about("a"), ["x/d", "a", "y/d"]).rows == (1,)


def test_a_folder_in_the_question_is_part_of_its_id():
    with pytest.raises(StoreError):
        match_rows(about("x/d"), ["d", "y/d"])


def test_all_unmatched_is_refused():
    with pytest.raises(StoreError) as caught:
        match_rows(about("00000093", "00000094"), ["clip-1", "clip-2"])
    assert caught.value.exit_code == 4
    assert str(caught.value) == (
        "none of 2 questions has its video in the store: the first asks about"
        " video_id='00000093', the store of 2 videos begins with video_id='clip-1'; expected ids"
        " that are equal, or equal in their last part; check --store and --annotations"
    )
    with pytest.raises(StoreError, match="the store of 0 videos begins with no video"):
        match_rows(about("a"), [])


def test_no_questions_match_nothing():
    found = match_rows([], ["a"])
    assert (found.rows, found.unmatched, found.num_full_id) == ((), (), 0)


def test_an_id_whose_zeros_are_lost_is_that_of_the_store():
    questions = about("93", "7", "x", "00000008", "12")
    with pytest.warns(AnnotationWarning) as told:
        found = match_rows(questions, ["00000093", "train/00000007", "x", "8", "12", "0012"])
    assert found.rows == (0, 1, 2, 3, 4)
    assert (found.num_full_id, found.num_last_part, found.num_zeros) == (2, 0, 3)
    assert [str(warning.message) for warning in told] == [
        "3 of 5 questions have a video_id that the store has with other leading zeros, the first"
        " '93' for '00000093'; expected equal ids; keep the zeros with dtype=str where pandas reads"
        " the questions"
    ]
    with pytest.raises(DatasetError, match="'93' of question_id='0' fits two rows of the store"):
        match_rows(about("93"), ["0093", "00000093"])
    with pytest.raises(StoreError):
        match_rows(about("\N{SUPERSCRIPT TWO}", "-1"), ["2", "1"])


def test_a_clip_is_found_by_the_id_before_its_seconds():
    clips = ["-uGHAvfqs2I_30.000_40.000", "part/_xdY_I_2rY_130.000_140.000", "a_1_2", "b_1.0_2.0"]
    found = match_rows(about("_xdY_I_2rY", "-uGHAvfqs2I", "-uGHAvfqs2I_30.000_40.000", "a"), clips)
    assert found.rows == (1, 0, 0, None)
    assert (found.num_full_id, found.num_last_part, found.num_clips) == (1, 0, 2)
    # An id of its own comes first; that of two clips is refused.
    assert match_rows(about("x"), ["x_0.000_9.000", "x"]).rows == (1,)
    with pytest.raises(DatasetError, match="fits two rows of the store, 'x_0.000_9.000' and 'x_9"):
        match_rows(about("x"), ["x_0.000_9.000", "x_9.000_18.000"])
