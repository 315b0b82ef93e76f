"""Questions of files: a text, lists, tables; and what is refused by its place."""

import json
from pathlib import Path

import pytest

from avqa.errors import ConfigError
from avqa.pipelines.ask.asked_file import read_questions
from avqa.pipelines.ask.question import Typed

VIDEO = Path("clips/band.mp4")


def read(tmp_path, name, text, said=lambda line: None):
    (tmp_path / name).write_text(text, encoding="utf-8")
    return read_questions(tmp_path / name, VIDEO, said)


def test_a_text_has_one_question_a_line(tmp_path):
    assert read(tmp_path, "q.txt", "\ufeffWho sings?\r\n\n Where is it \n") == [
        Typed("Who sings?", place="line=1"),
        Typed("Where is it", place="line=3"),
    ]


def test_json_is_a_list_of_texts_or_of_rows(tmp_path):
    assert read(tmp_path, "q.json", '["Who?", " ", "Where?"]') == [
        Typed("Who?", place="row=0"),
        Typed("Where?", place="row=2"),
    ]
    rows = [{"question": "Who?", "options": ["a", 2], "answer": 2}, {"question": "Where?"}]
    assert read(tmp_path, "q.json", json.dumps(rows)) == [
        Typed("Who?", ("a", "2"), "2", "row=0"),
        Typed("Where?", place="row=1"),
    ]


def test_rows_of_other_videos_are_left_out(tmp_path):
    said = []
    table = "Question,options,answer,video\nWho?,a|b,b,x/band.mp4\nWhere?,,,band\nNo?,,,bands\n"
    assert read(tmp_path, "q.csv", table, said.append) == [
        Typed("Who?", ("a", "b"), "b", "line=2"),
        Typed("Where?", place="line=3"),
    ]
    assert said == ["2 of 3 questions are about band.mp4; others are left out"]


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("q.txt", " \n", "q.txt' hold no question; expected one a line, or one a row; fill it"),
        ("q.csv", "question,video\nWho?,other\n", "none of 1 is about video='band.mp4'; expected"),
        ("q.csv", "text\nWho?\n", "q.csv' line=2: question=None; expected a text; the columns"),
        ("q.json", '[{"question": 3}]', "q.json' row=0: question=3; expected a text"),
        ("q.json", '[{"question": "W", "options": 3}]', "row=0: options=3; expected a list, or"),
    ],
)
def test_what_cannot_be_asked_is_named(tmp_path, name, text, message):
    with pytest.raises(ConfigError) as refused:
        read(tmp_path, name, text)
    assert message in str(refused.value)


def test_no_file(tmp_path):
    with pytest.raises(ConfigError, match=r"no such file: questions='.*none'; expected a text"):
        read_questions(tmp_path / "none", VIDEO, lambda line: None)
    (tmp_path / "latin").write_bytes(b"Wo sind die T\xf6ne\n")
    with pytest.raises(ConfigError, match=r"latin' cannot be read: .*; expected UTF-8 text"):
        read_questions(tmp_path / "latin", VIDEO, lambda line: None)
