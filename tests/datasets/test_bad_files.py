"""Files and rows that cannot be used: one clear line each."""

import gzip

import pytest
from helpers.questions.question_files import music_row, write

from avqa import datasets
from avqa.errors import DatasetError


def refusal(path, splits=None):
    with pytest.raises(DatasetError) as caught:
        datasets.read("music-avqa", path, splits)
    message = str(caught.value)
    assert "\n" not in message
    assert caught.value.exit_code == 2
    return message


def test_no_such_path(tmp_path):
    path = tmp_path / "nowhere"
    assert refusal(path) == (
        f"annotations={str(path)!r} does not exist; expected a folder of question files or one of"
        " them; check --annotations"
    )


def test_a_folder_without_question_files(tmp_path):
    message = refusal(tmp_path)
    assert message.startswith(f"no question file in annotations={str(tmp_path)!r}; expected")
    assert "avqa-train.json or music_avqa_train.json or avqa-val.json" in message
    assert message.endswith("put them there, or give one file with --annotations")


def test_a_split_that_is_not_there(tmp_path):
    write(tmp_path / "avqa-val.json", [music_row()])
    assert refusal(tmp_path, ["train"]) == (
        f"no file of split 'train' in annotations={str(tmp_path)!r}; expected avqa-train.json or"
        " music_avqa_train.json; put it there, or give the file itself with --annotations"
    )


def test_a_file_of_another_split(tmp_path):
    file = write(tmp_path / "avqa-val.json", [music_row()])
    assert refusal(file, ["test"]) == (
        f"file={str(file)!r} holds split 'val', not test; expected the file of the split asked"
        " for; ask for its split, or give another file"
    )


def test_a_file_that_does_not_say_its_split(tmp_path):
    file = write(tmp_path / "trainer.json", [music_row()])
    assert refusal(file) == (
        f"file={str(file)!r} does not say its split; expected train, val or test in its name;"
        " rename it, or ask for one split"
    )
    assert datasets.read("music-avqa", file, ["val"])[0].split == "val"


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"", "is not JSON: Expecting value"),
        (b"[{", "is not JSON: "),
        (b'[{"a": "\xe9"}]', "is not UTF-8: byte 0xe9 at 8; expected a list of questions in JSON"),
        ("[]".encode("utf-16"), "is UTF-16; expected a list of questions in JSON; convert it with"),
        (b"[\0{\0", "is UTF-16; "),
        (b"\0" * 8, "holds zero bytes alone; "),
        (
            gzip.compress(b"[]", mtime=0),
            "is gzip, not JSON; expected a list of questions in JSON; unpack",
        ),
        (b"PAR1\x15", "is Parquet, not JSON; "),
        (b"version https://git-lfs.github.com/spec/v1\n", "is a Git LFS pointer, not JSON; "),
        (b"<!DOCTYPE html>", "is a web page or XML, not JSON; "),
        (b"[{'video_id': '1'}]", "is a Python literal, not JSON; "),
        (b"\xef\xbb\xbf,video_id,type\r\n0,1,x\r\n", "is CSV, not JSON: it begins with ',video_id"),
        (b"video_id;type\n1;x\n", "is CSV, not JSON: it begins with 'video_id;type'; expected a"),
        (b'{"a": 1}\n{"a": 2\n', "line=2 is not JSON: "),
        (b'{"data": [[1]], "columns": ["a"], "index": [0]}', "holds an object of objects, as"),
        (
            b'{"0": {"video_id": "1"}}',
            "holds an object of objects, as pandas writes it with orient='i",
        ),
        (b'{"a": {"0": 1}, "b": {"0": 2}}', "holds an object of objects, as pandas writes it with"),
        (b'{"a": ["1", "2"], "b": [3, 4]}', "holds an object of lists; "),
        (b'{"v": 1, "questions": [{"a": 1}]}', "holds an object whose 'questions' is a list; "),
        (b"[null]", "row=0 is null; expected an object"),
        (b"[{}, true]", "row=1 is true or false; expected an object"),
        (b"null", "holds null; "),
        (b"1e999", "holds a number; "),
        (b"[" * 100_000, "is not JSON: "),
        (b"{}", "holds an empty object; expected a list of questions"),
        (b"[]", "holds an empty list; expected a list of questions"),
        (b'"text"', "holds a text; expected a list of questions"),
        (b"[1]", "row=0 is a number; expected an object with video_id and a question"),
        (b'[["video_id", "a"]]', "row=0 is a list; expected an object"),
    ],
)
def test_contents_that_are_no_questions(tmp_path, content, what):
    file = tmp_path / "avqa-val.json"
    file.write_bytes(content)
    message = refusal(file)
    assert message.startswith(f"file={str(file)!r} {what}")
    assert message.endswith("check --annotations")


def test_a_file_that_cannot_be_opened(tmp_path, monkeypatch):
    file = write(tmp_path / "avqa-val.json", [music_row()])

    def refuse(*_, **__):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(type(file), "read_bytes", refuse)
    assert refusal(file) == (
        f"file={str(file)!r} cannot be read: permission denied; expected a JSON file of questions;"
        " check --annotations"
    )


def test_a_byte_order_mark_is_read_over(tmp_path):
    file = write(tmp_path / "avqa-val.json", [music_row()])
    file.write_bytes(b"\xef\xbb\xbf" + file.read_bytes())
    assert len(datasets.read("music-avqa", file)) == 1


BAD_ROWS = [
    (
        {"type": '["Audio", "Temporal"]'},
        "type=['Audio', 'Temporal']; expected one of the nine pairs such as"
        " ['Audio', 'Counting']; correct or remove the row",
    ),
    ({"type": '["Audio"]'}, "type=['Audio']; expected one of the nine pairs"),
    ({"type": "Audio"}, "type='Audio'; expected a list of texts"),
    ({"type": None}, "type=None; expected a list of texts"),
    (
        {"templ_values": "[]"},
        "text='Is there a <Object> sound?' has 1 slots and templ_values=[] has 0; expected one"
        " value per slot; correct the row",
    ),
    ({"templ_values": None}, "has 1 slots and templ_values=[] has 0"),
    (
        {"templ_values": '["violin", "left"]'},
        "has 1 slots and templ_values=['violin', 'left'] has 2; expected one value per slot",
    ),
    (
        {"templ_values": "[1]"},
        "templ_values='[1]'; expected a list of texts such as '[\"left\"]'; correct the row",
    ),
    ({"templ_values": "[open('x')]"}, "templ_values=\"[open('x')]\"; expected a list of texts"),
    ({"templ_values": 3}, "templ_values='3'; expected a list of texts"),
    ({"question_content": None}, "question_content=None; expected a text; correct or remove"),
    ({"question_content": "  "}, "question_content='  '; expected a text"),
    ({"question_content": 7}, "question_content=7; expected a text"),
    ({"question_content": "?", "templ_values": "[]"}, "text='?'; expected words"),
    ({"question_content": "a \ud800?"}, "question_content='a \\ud800?'; expected valid text"),
    ({"question_id": 1.5}, "question_id=1.5; expected a whole number or a text"),
    ({"question_id": True}, "question_id=True; expected a whole number or a text"),
    ({"anser": 2.5}, "anser=2.5; expected a text such as 'yes', 'two' or 'violin'; correct or"),
    ({"anser": True}, "anser=True; expected a text such as 'yes', 'two' or 'violin'"),
    ({"answer": "no"}, "anser='yes' and answer='no'; expected one of them; correct or remove"),
    ({"question_id": 2.0**53}, "question_id=9007199254740992.0; expected a whole number"),
    ({"question_id": "1.5e+06"}, "question_id='1.5e+06' may lack digits; expected all of them"),
    ({"question_content": "nan"}, "question_content='nan' stands for a missing value; expected a"),
    ({"question_content": "How？".encode().decode("cp1252")}, "read in another encoding than it"),
    ({"type": {"0": "Audio"}}, "type=\"{'0': 'Audio'}\"; expected a list of texts"),
    ({"type": "['Audio' 'Counting']"}, "type=['AudioCounting']; expected one of the nine pairs"),
    ({"templ_values": "x" * 5000}, f"templ_values='{'x' * 299}…; expected a list of texts"),
    ({"split": "test"}, "split='test' in a file of split 'val'; expected val; move the row, or"),
    ({"anser": ""}, "anser=''; expected a text"),
    ({"video_id": None}, "video_id=None; expected a text"),
    ({"video_id": "NaN"}, "video_id='NaN' stands for a missing value; expected a text; correct or"),
    ({"video_id": 123456789}, "video_id=123456789; expected a text, or a number of at most 8"),
    ({"video_id": 9.5}, "video_id=9.5; expected a text, or a number of at most 8 digits"),
    ({"video_id": float("inf")}, "video_id=inf; expected a text, or a number of at most 8"),
    ({"video_id": False}, "video_id=False; expected a text, or a number of at most 8 digits"),
    ({"video_id": -3}, "video_id=-3; expected a text, or a number of at most 8 digits"),
]


@pytest.mark.parametrize(("changes", "message"), BAD_ROWS)
def test_a_row_that_cannot_be_used(tmp_path, changes, message):
    row = music_row(**changes)
    file = write(tmp_path / "avqa-val.json", [music_row(), row])
    found = refusal(file)
    begin = f"file={str(file)!r} row=1 question_id={row.get('question_id')!r}: "
    assert found.startswith(begin)
    assert message in found


@pytest.mark.parametrize(
    "video_id",
    ["../x", "a/../../x", "..", "/etc/passwd", "C:\\x", "..\\x", "\\x", "a\0b", "a\nb", "x" * 300],
)
def test_a_video_id_that_could_leave_the_folder(tmp_path, video_id):
    file = write(tmp_path / "avqa-val.json", [music_row(video_id=video_id)])
    message = refusal(file)
    assert f"({len(video_id)} characters); expected a name or a relative path of at most 255" in (
        message
    )
    assert len(message) < 400 + len(str(file))


@pytest.mark.parametrize("video_id", ["a/b.c", "x" * 255, "-HG3_#02_flip", "a..b", "señal"])
def test_other_video_ids_are_taken(tmp_path, video_id):
    file = write(tmp_path / "avqa-val.json", [music_row(video_id=video_id)])
    assert datasets.read("music-avqa", file)[0].video_id == video_id
