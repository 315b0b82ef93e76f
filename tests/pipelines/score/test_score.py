"""`avqa score` as typed: every form of file, what is missing or strange, two files together."""

import csv
import io
import json
import re

import numpy as np
import pytest
from helpers.questions.question_files import REAL, avqa_row, music_row, needs_real
from typer.testing import CliRunner

from avqa.cli import app
from avqa.pipelines.score import files
from avqa.pipelines.score.files import TSPM_ANSWERS, read_answers
from avqa.training.table.intervals import interval

COUNT = {"question_content": "How many <Object> are in the entire video?"}
COUNT |= {"type": '["Visual", "Counting"]'}
ANSWERS = ["yes", "no", "two", "yes", "more than ten", "no", "yes", "two"]


@pytest.fixture
def annotations(tmp_path):
    """Eight questions about four videos, and as many to train on."""
    folder = tmp_path / "annotations"
    folder.mkdir()
    for split in ("train", "val", "test"):
        rows = [
            music_row(
                question_id=100 + number,
                video_id=f"{number // 2:08d}",
                anser=answer,
                **(COUNT if answer in ("two", "more than ten") else {}),
            )
            for number, answer in enumerate(ANSWERS)
        ]
        (folder / f"avqa-{split}.json").write_text(json.dumps(rows), encoding="utf-8")
    return folder


def typed(*words):
    done = CliRunner().invoke(app, ["score", *map(str, words), "--dataset", "music-avqa"])
    return done.exit_code, done.stdout, done.stderr


def scored(annotations, *given, **more):
    options = [word for name, value in more.items() for word in (f"--{name}", value)]
    code, out, err = typed(*given, "--annotations", annotations, *options)
    assert (code, err) == (0, ""), err
    return out


def refused(annotations, *given):
    code, out, err = typed(*given, "--annotations", annotations)
    assert (code, out) == (2, ""), out
    return err


GIVEN = {str(100 + number): answer for number, answer in enumerate(ANSWERS)} | {"103": "no"}
"""One of eight is wrong."""
_NUMBERED = [*enumerate(GIVEN.items())]
ROWS = [{"question_id": int(name), "prediction": answer} for name, answer in GIVEN.items()]
FORMS = {
    "answers.json": json.dumps(GIVEN),
    "list.json": json.dumps(ROWS),
    "within.json": json.dumps({"model": "m", "predictions": ROWS}),
    "marked.json": "\ufeff" + json.dumps(ROWS),
    "lines.jsonl": "\n".join(map(json.dumps, ROWS)) + "\n",
    "table.csv": "id,answer\n" + "\n".join(f"{n},{a}" for n, a in GIVEN.items()),
    "semicolons.csv": "qid;output\n" + "\n".join(f"{n};{a}" for n, a in GIVEN.items()),
    "table.tsv": "id\tanswer\n" + "\n".join(f"{n}\t{a}" for n, a in GIVEN.items()),
    "tabs.csv": "id\tanswer\n" + "\n".join(f"{n}\t{a}" for n, a in GIVEN.items()),
    "answers.txt": "qid,prediction\n" + "\n".join(f"{n},{a}" for n, a in GIVEN.items()),
    "pandas.csv": ",id,answer\n" + "\n".join(f"{k},{n},{a}" for k, (n, a) in _NUMBERED),
    "floats.csv": "id,answer\n" + "\n".join(f"{n}.0,{a}" for n, a in GIVEN.items()),
    "lmms_eval.jsonl": "\n".join(
        json.dumps({"doc_id": k, "doc": {"question_id": n}, "target": "", "filtered_resps": [a]})
        for k, (n, a) in _NUMBERED
    ),
    "theirs.result": "\n".join(
        f"{name} \t True \t 0 \t {TSPM_ANSWERS.index(answer)}" for name, answer in GIVEN.items()
    ),
}


@pytest.mark.parametrize("name", FORMS)
def test_every_form_of_file_gives_the_same_table(annotations, tmp_path, name):
    file = tmp_path / name
    file.write_text(FORMS[name], encoding="utf-8")
    rows = csv.DictReader(io.StringIO(scored(annotations, file, format="csv")))
    (found,) = [row for row in rows if row["name"] == name]
    assert (found["All"], found["All_correct"], found["All_total"]) == ("87.5", "7", "8")
    assert found["V-Count"] == "100.0"
    right = np.array([[True, True, True, False, True, True, True, True]])
    between = interval(right, ["0", "0", "1", "1", "2", "2", "3", "3"])
    assert float(found["All_low"]) == pytest.approx(between.low, abs=1e-3)
    assert float(found["All_high"]) == pytest.approx(between.high, abs=1e-3)


def test_our_own_predictions_count_by_key_and_not_by_the_right_answer_beside_them(tmp_path):
    row = {"key": "a" * 64, "question_id": None, "answer": "yes", "prediction": "no"}
    file = tmp_path / "predictions.json"
    file.write_text(json.dumps([row]), encoding="utf-8")
    assert read_answers(file).rows == (("a" * 64, "no"),)


@pytest.mark.parametrize("name", ["pred", "llm_response", "generated_answer", "model_output"])
def test_the_right_answer_beside_a_models_is_not_taken_for_it(annotations, tmp_path, name):
    rows = [
        {"question_id": n, "response_id": "m", "output_scores": [1], "answer": right, name: given}
        for (n, given), right in zip(GIVEN.items(), ANSWERS, strict=True)
    ]
    file = tmp_path / "both.json"
    file.write_text(json.dumps(rows), encoding="utf-8")
    out = scored(annotations, file)
    assert f"(1) JSON, 8 answers in '{name}'" in out
    assert re.search(r"both.json \(1\) .* 87.50", out)


def test_names_of_answers_that_change_in_a_file_are_all_told(annotations, tmp_path):
    rows = [{"id": 100, "text": "yes"}, {"id": 101, "output": "no", "text": "a sentence"}]
    file = tmp_path / "two.json"
    file.write_text(json.dumps(rows), encoding="utf-8")
    assert "JSON, 2 answers in 'text', 'output'" in scored(annotations, file)


def test_what_is_missing_repeated_foreign_or_unclear_is_listed_and_counts_as_wrong(
    annotations, tmp_path
):
    rows = [*ROWS[2:], ROWS[2], {"question_id": 999, "prediction": "yes"}]
    rows += [{"question_id": 107, "prediction": "cello"}]  # beside "two"
    rows[1] = {"question_id": 103, "prediction": "I cannot tell"}
    file = tmp_path / "some.json"
    file.write_text(json.dumps(rows), encoding="utf-8")
    out = " ".join(scored(annotations, file).split())
    for line in (
        "JSON, 9 answers",
        "1 ids are of no question: 999",
        "1 ids occur twice with one answer: 102",
        "1 ids have several answers and count as none: 107",
        "1 answers stand for none of the data set's and count as none: 'I cannot tell'",
        "4 questions have no answer and count as wrong: 100, 101, 103, 107",
    ):
        assert line in out
    assert re.search(r"some.json \(\d\) .* 50.00", out)


def test_two_files_are_compared_on_what_both_answered(annotations, tmp_path):
    whole, part = tmp_path / "whole.json", tmp_path / "part.json"
    whole.write_text(json.dumps(GIVEN), encoding="utf-8")
    part.write_text(json.dumps({name: "yes" for name in [*GIVEN][:6]}), encoding="utf-8")
    out = scored(annotations, whole, part)
    assert "6 questions about 3 videos that both answered; only A: 2, only B: 0" in out
    assert re.search(r"All +6 +83.33 +33.33 +\+50.00", out)


def test_files_of_one_name_are_told_apart_by_their_folders(annotations, tmp_path):
    alike = [tmp_path / name / "answers.json" for name in ("a", "b")]
    for file in alike:
        file.parent.mkdir()
        file.write_text(json.dumps(GIVEN), encoding="utf-8")
    out = scored(annotations, *alike)
    assert f"A: {alike[0]}" in out
    assert f"B: {alike[1]}" in out
    assert re.search(f"^{alike[1]}", out, re.MULTILINE)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b'{"100": "na\xefve"}', "is not UTF-8 (byte 0xef at 11)"),
        (b"", "holds nothing"),
        (b"[]", "holds nothing"),
        (b"7", "holds int"),
        (b"yes\nno\n", "is neither JSON nor JSON Lines: Expecting value"),
        (b'{"question_id": 1, "prediction": "a"}\n{"question_id"', " line=2 is not JSON"),
        (b'[{"question_id": 1}]', " row=0 has no answer (any of prediction, "),
        (b'[{"prediction": "a"}]', " row=0 has no id (any of question_id, "),
        (b"[[1, 2]]", " row=0 is a list"),
        (b'{"100": {"a": 1}}', " id='100' has an answer that is a dict"),
        (b"5 \t True \t 0 \t 0\n6 \t True \t 0 \t 42\n", " line=2 is '6 \\t True \\t 0 \\t 42'"),
        (b'{"1": "yes"}', "none of 1 ids (1) is of a question of music-avqa (such as "),
    ],
)
def test_files_that_cannot_be_scored_are_refused_in_one_line(annotations, tmp_path, content, told):
    file = tmp_path / "answers.json"
    file.write_bytes(content)
    err = refused(annotations, file)
    assert told in err
    assert err.count("\n") == 1
    assert f"predictions={str(file)!r}" in err


def test_a_file_that_is_not_there_is_named(annotations, tmp_path):
    assert "cannot be read: no such file or directory" in refused(annotations, tmp_path / "no.json")


def test_a_file_larger_than_any_answers_is_not_read(annotations, tmp_path):
    file = tmp_path / "large.json"
    with file.open("wb") as large:
        large.truncate(2**28 + 1)
    err = refused(annotations, file)
    assert "has 268,435,457 bytes; expected 268,435,456 at most, an answer a question; keep" in err


@pytest.mark.parametrize(("name", "what"), [("table.csv", "lines"), ("list.json", "answers")])
def test_more_answers_than_any_test_has_questions_are_refused(
    annotations, tmp_path, monkeypatch, name, what
):
    file = tmp_path / name
    file.write_text(FORMS[name], encoding="utf-8")
    monkeypatch.setattr(files, "MOST_ROWS", len(ROWS))
    scored(annotations, file)
    monkeypatch.setattr(files, "MOST_ROWS", len(ROWS) - 1)
    assert f"has 8 {what}; expected 7 at most, an answer a question" in refused(annotations, file)


@needs_real
def test_the_number_of_answers_tells_which_annotation_they_are_of(tmp_path):
    rows = json.loads((REAL / "avqa-test.json").read_text(encoding="utf-8"))
    right = {str(row["question_id"]): row["anser"] for row in rows}
    file = tmp_path / "right.json"
    file.write_text(json.dumps(right), encoding="utf-8")
    out = " ".join(scored(REAL, file).split())
    assert "it answers the updated annotation" in out
    assert re.search(r"right.json \(1\) .* 100.00", out)
    file.write_text(json.dumps(right | {f"x{n}": "yes" for n in range(56)}), encoding="utf-8")
    out = " ".join(scored(REAL, file).split())
    assert (
        "it answers the original annotation by its number of answers; these questions are the"
        in out
    )


def test_options_are_scored_by_letter(tmp_path):
    folder = tmp_path / "annotations"
    folder.mkdir()
    rows = [avqa_row(id=number, video_name=f"v{number}_000000") for number in range(4)]
    for split in ("train", "val"):
        (folder / f"{split}_qa.json").write_text(json.dumps(rows), encoding="utf-8")
    file = tmp_path / "letters.csv"
    file.write_text("id,answer\n0,B\n1,cat\n2,A\n3,C\n", encoding="utf-8")
    words = ["score", str(file), "--dataset", "avqa", "--annotations", str(folder)]
    done = CliRunner().invoke(app, words)
    assert (done.exit_code, done.stderr) == (0, "")
    out = " ".join(done.stdout.split())
    assert "position floor" in out
    assert re.search(r"letters.csv \(1\) .* 50.00", out)
    assert "1 answers stand for none of the data set's and count as none: 'C'" in out


def test_a_table_without_a_row_is_refused_as_answers_are(annotations, tmp_path):
    file = tmp_path / "empty.csv"
    file.write_text("id,answer\n", encoding="utf-8")
    assert f"predictions={str(file)!r} holds nothing; expected answers" in refused(
        annotations, file
    )
