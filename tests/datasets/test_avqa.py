import pytest
from helpers.questions.question_files import avqa_row, write

from avqa import datasets
from avqa.errors import AnnotationWarning, DatasetError


def read_row(tmp_path, **changes):
    (question,) = datasets.read("avqa", write(tmp_path / "val_qa.json", [avqa_row(**changes)]))
    return question


def test_a_row_becomes_a_question(tmp_path):
    q = read_row(tmp_path)
    assert (q.question_id, q.video_id, q.split) == ("5", "-HG3Omg_89c_000030", "val")
    assert q.text == "What makes the sound in the video"
    assert (q.modality, q.kind) == ("Both", "Which")
    assert q.choices == ("dog", "Cat", None, "3")
    assert (q.choice, q.answer) == (1, None)


def test_missing_options_are_none(tmp_path):
    assert read_row(tmp_path, multi_choice=[" a ", ""]).choices == ("a", None, None, None)
    assert read_row(tmp_path, multi_choice=["One", 3, None, "x"]).choices == ("One", "3", None, "x")


def test_an_option_that_comes_twice_is_counted(tmp_path):
    rows = [avqa_row(multi_choice=["dog", "a", "dog ", None]), avqa_row(), avqa_row()]
    file = write(tmp_path / "val_qa.json", rows)
    with pytest.warns(AnnotationWarning) as caught:
        read = datasets.read("avqa", file)
    assert read[0].choices == ("dog", "a", "dog", None)
    assert str(caught[0].message) == (
        f"file={str(file)!r}: 1 questions have an option twice, the first is question_id='5' with"
        " ['dog', 'a', 'dog', None]; expected four different ones; they are kept: heads score both"
        " alike, and answer the first"
    )


def test_a_right_option_that_is_missing_is_no_answer(tmp_path):
    assert read_row(tmp_path, answer=2).choice is None
    assert read_row(tmp_path, answer=None).choice is None
    assert read_row(tmp_path, answer=3).choice == 3


def test_types_are_spelt_one_way(tmp_path):
    q = read_row(tmp_path, question_type="Come from ", question_relation="sound")
    assert (q.modality, q.kind) == ("Sound", "Come From")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"answer": 4}, "answer=4; expected the index of an option, 0 to 3"),
        ({"answer": -1}, "answer=-1; expected the index of an option, 0 to 3"),
        ({"answer": True}, "answer=True; expected the index"),
        ({"answer": "dog"}, "answer='dog'; expected the index"),
        ({"multi_choice": None}, "multi_choice=None; expected a list of up to 4 options"),
        ({"multi_choice": []}, "multi_choice=[]; expected a list of up to 4 options"),
        ({"multi_choice": ["a"] * 5}, "expected a list of up to 4 options"),
        ({"multi_choice": [["a"]]}, "multi_choice=['a']; expected a text"),
        ({"question_type": "Whose"}, "question_type='Whose'; expected one of Which, Come From"),
        ({"question_relation": "Hearing"}, "question_relation='Hearing'; expected one of View"),
    ],
)
def test_rows_that_cannot_be_used(tmp_path, changes, message):
    with pytest.raises(DatasetError) as caught:
        read_row(tmp_path, **changes)
    assert "val_qa.json' row=0 id=5: " in str(caught.value)
    assert message in str(caught.value)


def test_there_is_no_test_file(tmp_path):
    write(tmp_path / "val_qa.json", [avqa_row()])
    with pytest.raises(DatasetError, match="no file of split 'test'.* no such split in this data"):
        datasets.read("avqa", tmp_path, ["test"])


def test_released_counts(tmp_path):
    module = datasets.load("avqa")
    write(tmp_path / "val_qa.json", [avqa_row()])
    assert module.version(datasets.read("avqa", tmp_path)) == "unknown"
    assert module.version([]) == "unknown"
    assert module.COUNTS == {"train": 40425, "val": 16910}
    assert list(module.COLUMNS)[:2] == ["Which", "Come From"]
    assert len(module.COLUMNS["All"]) == 24
