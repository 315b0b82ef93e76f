"""Question files that went through pandas, spreadsheets and their like: the same questions."""

import json
import warnings

import pytest
from helpers.questions.question_files import REAL, avqa_row, music_row, needs_real, write
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from avqa import datasets
from avqa.cli import app
from avqa.errors import AnnotationWarning, DatasetError

VIDEOS = ("00000028", "00012345", "12345678", "00000000")
ROWS = [
    music_row(video_id=VIDEOS[0], question_id=7),
    music_row(video_id=VIDEOS[1], question_id=None, anser="two"),
    music_row(video_id=VIDEOS[2], question_id=12, anser=None),
    music_row(
        video_id=VIDEOS[3],
        question_id=13,
        type='["Audio-Visual", "Counting"]',
        question_content="How many sounding <Object> in the video？",
        anser="more than ten",
    ),
    music_row(video_id="va00000001", question_id=14, question_content="Is it?", templ_values="[]"),
    music_row(video_id=VIDEOS[0], question_id=15, question_content="Is it?", templ_values=None),
]
LISTS = ("type", "templ_values")


def read(file, name="music-avqa", splits=None):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", AnnotationWarning)
        return datasets.read(name, file, splits)


def told(file, name="music-avqa"):
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        questions = datasets.read(name, file)
    return questions, [str(warning.message) for warning in found]


def refusal(file, name="music-avqa"):
    with pytest.raises(DatasetError) as caught:
        read(file, name)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    return read(write(tmp_path_factory.mktemp("original") / "avqa-val.json", ROWS))


def as_number(draw, video):
    forms = [lambda n: n, float, lambda n: f"{n}.0"]
    return draw(st.sampled_from(forms))(int(video)) if video.isdecimal() else video


def as_list(draw, text):
    items = json.loads(text)
    forms = (text, items, repr(items), repr(tuple(items)), json.dumps(text))
    return draw(st.sampled_from(forms))


@st.composite
def tables(draw):
    """The rows as a table might leave them, in a format of files that it might write."""
    missing = st.sampled_from((None, float("nan"), "nan", "None", "<NA>", "NaT", "null"))
    keys = list(dict.fromkeys(key for row in ROWS for key in row))
    rows = []
    for number, row in enumerate(ROWS):
        changed = {"Unnamed: 0": number}
        for key in keys:
            value = row.get(key)
            if key == "video_id":
                value = as_number(draw, value)
            elif value is not None and key in LISTS:
                value = as_list(draw, value)
            elif value is not None and key == "question_id":
                value = draw(st.sampled_from((value, float(value), f"{value}.0", str(value))))
            elif value is None:
                value = draw(missing)
            changed[key] = value
        rows.append(changed)
    if draw(st.booleans()):
        rows = [
            {**row, "split": draw(st.sampled_from(("valid", "Validation", "dev")))} for row in rows
        ]
    text = json.dumps(
        rows, indent=draw(st.sampled_from((None, 2))), ensure_ascii=draw(st.booleans())
    )
    if draw(st.booleans()):
        text = "\n".join(json.dumps(row, ensure_ascii=False) for row in rows) + "\n\n"
    if draw(st.booleans()):
        text = text.replace("\n", "\r\n")
    return draw(st.sampled_from((b"", b"\xef\xbb\xbf"))) + text.encode()


@settings(max_examples=60, deadline=None)
@given(table=tables())
def test_what_tables_do_gives_the_same_questions(tmp_path_factory, original, table):
    file = tmp_path_factory.getbasetemp() / "avqa-valid.json"
    file.write_bytes(table)
    assert read(file) == original


def test_what_is_restored_is_said_once_with_counts(tmp_path):
    rows = [music_row(video_id=v, question_id=i) for i, v in enumerate((28, 28.0, "7.0", 12345678))]
    file = write(tmp_path / "avqa-val.json", [*rows, music_row(anser=2.0), music_row(anser="3.0")])
    questions, lines = told(file)
    assert [q.video_id for q in questions[:4]] == ["00000028", "00000028", "00000007", "12345678"]
    assert [q.answer for q in questions[4:]] == ["2", "3"]
    assert lines == [
        f"file={str(file)!r}: 3 rows have a number for video_id, such as 28, whose leading zeros"
        " are restored: '00000028'; expected texts; keep the zeros with dtype=str where pandas"
        " reads the file",
        f"file={str(file)!r}: 2 rows have a number for anser, such as 2.0, read as '2'; expected"
        " words such as 'two', the only ones that heads answer; correct them",
    ]


def test_an_answer_is_found_under_either_name(tmp_path):
    rows = [music_row(answer="no", anser=None), {**music_row(), "answer": None}]
    assert [q.answer for q in read(write(tmp_path / "avqa-val.json", rows))] == ["no", "yes"]


def test_avqa_takes_numbers_and_lists_as_tables_write_them(tmp_path):
    plain = avqa_row(multi_choice=["dog", "3", None, "None"], answer=1)
    other = {"id": 5.0, "answer": "1.0", "multi_choice": ["dog", 3.0, float("nan"), "None"]}
    texts = [{"multi_choice": "['dog', '3', None, 'None']"}, {"answer": "1", "id": "5.0"}]
    texts += [{"multi_choice": '["dog", "3", NaN, "None"]'}]
    original = read(write(tmp_path / "o/val_qa.json", [plain]), "avqa")
    assert original[0].choices == ("dog", "3", None, "None")
    for changes in (other, *texts):
        rows = write(tmp_path / "val_qa.json", [{**plain, **changes}])
        assert read(rows, "avqa") == original
    for changes in ({"answer": "4"}, {"answer": 1.5}, {"answer": "1.5"}, {"answer": "01"}):
        rows = write(tmp_path / "val_qa.json", [{**plain, **changes}])
        assert f"answer={changes['answer']!r}; expected the index" in refusal(rows, "avqa")
    rows = write(tmp_path / "val_qa.json", [{**plain, "video_name": 93}])
    assert "video_name=93; expected a text" in refusal(rows, "avqa")


@pytest.mark.parametrize("word", ["valid", "validation", "dev", "VAL"])
def test_other_names_of_validation(tmp_path, word):
    file = write(tmp_path / f"avqa-{word}.json", ROWS)
    assert {q.split for q in read(file)} == {"val"}
    assert word == "VAL" or {q.split for q in read(tmp_path)} == {"val"}


@pytest.mark.parametrize("ending", [".csv", ".json.gz", ".csv.gz"])
def test_a_file_with_another_ending_is_not_passed_over(tmp_path, ending):
    write(tmp_path / "avqa-train.json", ROWS)
    content = b"video_id,type\n1,2\n" if ending == ".csv" else b"\x1f\x8b\x08"
    (tmp_path / f"avqa-val{ending}").write_bytes(content)
    assert refusal(tmp_path).startswith(f"file={str(tmp_path / f'avqa-val{ending}')!r} is ")
    assert len(read(tmp_path, splits=["train"])) == len(ROWS)
    write(tmp_path / "avqa-val.json", ROWS)
    assert len(read(tmp_path)) == 2 * len(ROWS)


def test_one_file_of_all_splits_is_divided_by_its_field(tmp_path):
    names = ("train", "valid", "test", "train")
    rows = [music_row(question_id=i, split=name) for i, name in enumerate(names)]
    file = write(tmp_path / "questions.jsonl", rows)
    assert [(q.split, q.question_id) for q in read(file)] == [
        ("train", "0"),
        ("train", "3"),
        ("val", "1"),
        ("test", "2"),
    ]
    assert [q.question_id for q in read(file, splits=["val"])] == ["1"]
    v2 = read(file, "music-avqa-v2")
    assert [q.split for q in v2] == ["train", "train", "val", "test"]
    with pytest.raises(DatasetError, match="holds split 'train', not val; expected the file"):
        read(write(tmp_path / "few.json", rows[:1]), splits=["val"])
    write(file, [*rows, music_row(split="other")])
    assert "row=4: split='other'; expected one of train, val, test, valid" in refusal(file)
    write(file, [music_row(split="head")])
    assert "does not say its split" in refusal(file)
    file.write_text("video_id,type\n1,2\n", encoding="utf-8")
    assert "is CSV, not JSON" in refusal(file)


def test_a_key_after_a_byte_order_mark_and_one_line_of_json_lines(tmp_path, original):
    row = {f"\ufeff{key}" if key == "video_id" else key: ROWS[0][key] for key in ROWS[0]}
    assert read(write(tmp_path / "avqa-val.json", row)) == original[:1]
    text = json.dumps(
        music_row(question_content="a\u2028b?", templ_values=None), ensure_ascii=False
    )
    (tmp_path / "avqa-val.json").write_text(f"{text}\n{text}\n", encoding="utf-8")
    assert [q.text for q in read(tmp_path)] == ["a b", "a b"]


ODD = [
    *(
        None,
        True,
        1,
        -1,
        0.5,
        2.0,
        float("inf"),
        2**70,
        "",
        " ",
        "nan",
        "1e+05",
        "[]",
        "{}",
        "\ud800",
    ),
    *([], {}, [None], [[]], {"0": None}, ["a", 1], "[" * 300, "('a',", "\x00", '"' * 3, "x" * 400),
]


@pytest.mark.parametrize("name", ["music-avqa", "music-avqa-r", "music-avqa-v2", "avqa"])
def test_no_value_is_an_internal_error(tmp_path, name):
    row = avqa_row() if name == "avqa" else music_row(answer=None, split="val")
    file = tmp_path / "avqa-val.json"
    refused = []
    for key in row:
        for value in [*ODD, json.loads("[" * 900 + "]" * 900)]:
            file.write_text(json.dumps([{**row, key: value}]), encoding="utf-8")
            try:
                read(file, name)
            except DatasetError as error:
                refused.append(str(error))
    start = f"file={str(file)!r} row=0 {'id' if name == 'avqa' else 'question_id'}="
    assert len(refused) > 100
    assert all(message.startswith(start) for message in refused)
    assert max(map(len, refused)) < 1000 + len(str(file))


ORIENTS = ("columns", "index", "split", "table")


@pytest.mark.parametrize("orient", ORIENTS)
def test_the_advice_for_other_tables_of_pandas_gives_the_same(tmp_path, original, orient):
    pandas = pytest.importorskip("pandas")
    file, out = tmp_path / "avqa-val.json", tmp_path / "out-val.json"
    pandas.DataFrame(ROWS).to_json(file, orient=orient)
    message = refusal(file)
    assert f"orient={orient!r}" in message
    advice = message[message.index("read_json(") : message.index(", or check")]
    eval(f"pandas.{advice}", {"pandas": pandas, "FILE": file, "OUT": out})
    assert read(out) == original


@pytest.mark.parametrize("lines", [False, True])
def test_round_trips_through_pandas_itself(tmp_path, original, lines):
    pandas = pytest.importorskip("pandas")
    table, out = tmp_path / "avqa-val.csv", tmp_path / "valid.json"
    pandas.DataFrame(ROWS).to_csv(table, encoding="utf-8-sig")
    message = refusal(tmp_path)
    assert "is CSV, not JSON" in message
    advice = message[message.index("read_csv(") : message.index(", where")]
    eval(f"pandas.{advice}", {"pandas": pandas, "FILE": table, "OUT": out})
    assert read(out) == original
    real = [row for row in ROWS if row["video_id"].isdecimal()]
    pandas.DataFrame(real).to_csv(table)
    pandas.read_csv(table).to_json(out, orient="records", lines=lines)
    questions, said = told(out)
    assert questions == [q for q in original if q.video_id.isdecimal()]
    assert len(said) == 1


@needs_real
def test_the_real_file_as_pandas_leaves_it(tmp_path):
    rows = json.loads((REAL / "avqa-val.json").read_text(encoding="utf-8"))
    for row in rows:
        row["question_id"] = float(row["question_id"])
        row["type"] = repr(json.loads(row["type"]))
        row["templ_values"] = json.loads(row["templ_values"])
        row["question_deleted"] = None
        if row["video_id"].isdecimal():
            row["video_id"] = float(row["video_id"])
    questions, said = told(write(tmp_path / "avqa_valid.json", rows))
    assert questions == read(REAL / "avqa-val.json")
    assert said[0].split(": ")[1].startswith("3681 rows have a number for video_id")


@pytest.mark.filterwarnings("error")
def test_the_command_says_what_it_restored(tmp_path):
    file = write(tmp_path / "valid.json", [music_row(video_id=28), music_row(video_id=29)])
    asked = ["questions", "--dataset", "music-avqa", "--annotations", str(file), "--show", "1"]
    done = CliRunner().invoke(app, asked)
    assert done.exit_code == 0
    assert "questions: val 2 (2 videos)" in done.stdout
    assert done.stderr.startswith(f"note: file={str(file)!r}: 2 rows have a number for video_id")
    assert len(done.stderr.splitlines()) == 1
    write(file, [music_row(anser=True)])
    done = CliRunner().invoke(app, asked)
    assert done.exit_code == 2
    assert done.stderr.startswith(f"avqa: file={str(file)!r} row=0 question_id=1: anser=True; ")
