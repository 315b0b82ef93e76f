"""FortisAVQA and Valor32k-AVQA as typed, from questions to answers, on tiny stores."""

import hashlib
import json

from helpers.questions import asking
from helpers.questions.question_files import fortis_row, music_row, valor_row, write
from helpers.runs.run_folders import write_store
from typer.testing import CliRunner

from avqa.cli import app

TINY = ("--set", "epochs=1", "--set", "width=8", "--device", "cpu")


def avqa(*arguments):
    """Run a command in this process: (exit code, stdout, stderr)."""
    done = CliRunner().invoke(app, [str(argument) for argument in arguments])
    return done.exit_code, done.stdout, done.stderr


def digest_of(file):
    return hashlib.sha256(file.read_bytes()).hexdigest()


def test_fortisavqa(tmp_path):
    names = [f"{n:08d}" for n in range(1, 6)]
    write_store(tmp_path / "store", dict.fromkeys(names, 2))
    folder = tmp_path / "json"
    write(folder / "avqa-train.json", [music_row(video_id=v) for v in names[:2]])
    write(folder / "avqa-val.json", [music_row(video_id=names[2])])
    rows = [
        fortis_row(video_id=names[3 + n % 2], question_id=n, split=("tail", "head")[n > 2])
        for n in range(5)
    ]
    file = write(folder / "FortisAVQA-test.json", rows)
    of = ("--dataset", "fortisavqa", "--annotations", folder)
    code, out, _ = avqa("questions", *of, "--show", 1, "--group", "tail")
    assert code == 0
    assert ", test 3 (2 videos)" in out
    run = tmp_path / "run"
    code, out, err = avqa(
        *("train-head", "question_only", "--store", tmp_path / "store", "--out", run, *of, *TINY),
    )
    assert code == 0, err
    assert f"test file: 'FortisAVQA-test.json', sha256={digest_of(file)}" in out
    code, out, err = avqa("evaluate", run, "--json")
    assert code == 0, err
    table = json.loads(out)
    (ours,) = (row["cells"] for row in table["rows"] if row["kind"] == "ours")
    assert {name: ours[name]["total"] for name in ("All", "Head", "Tail")} == {
        "All": 5,
        "Head": 2,
        "Tail": 3,
    }
    answers = tmp_path / "answers.json"
    code, out, _ = avqa("predict", run, "--group", "head", "--out", answers)
    assert out.startswith("2 answers of question_only")
    # Another file of the test is told by its own digest.
    write(folder / "FortisAVQA-test.json", rows[1:])
    told = [line for line in avqa("evaluate", run)[1].splitlines() if "test file: " in line]
    assert told == [f"test file: 'FortisAVQA-test.json', sha256={digest_of(file)}"]
    # Answers of any model stand side by side, too.
    table = json.loads(avqa("score", answers, *of, "--json")[1])
    assert table["columns"][-3:] == ["All", "Head", "Tail"]
    assert f"test file: 'FortisAVQA-test.json', sha256={digest_of(file)}" in table["notes"]


def test_valor32k_with_clips_that_are_named_by_their_seconds(tmp_path):
    videos = ["-uGHAvfqs2I", "Sv9fcuRfk2o", "_xdYMgoI2rY", "XzWs0UMTYB0"]
    clips = {f"{video}_{30 * n}.000_{30 * n + 10}.000": 2 for n, video in enumerate(videos)}
    write_store(tmp_path / "store", clips, made="random:0", specs=(asking.FRAME,))
    folder = tmp_path / "json"
    for split, asked in (("train", videos[:2]), ("val", videos[2:3]), ("test", videos[3:])):
        rows = [valor_row(video_id=v, id=n, correct_answer_idx=3) for n, v in enumerate(asked * 2)]
        file = write(folder / f"combined_dataset_{split}_flattened.json", rows)
    of = ("--dataset", "valor32k", "--annotations", folder)
    with asking.fakes():
        code, out, err = avqa(
            *("questions", *of, "--store", tmp_path / "store", "--device", "cpu"),
            *("--weights", "random:0"),
        )
    assert code == 0, err
    assert out.splitlines()[:2] == [
        "questions: 8, distinct texts: 1, 4 of options",
        "videos: 0 questions matched by full id, 0 by last part of the id, 8 by the id of a clip,"
        " 0 unmatched",
    ]
    run = tmp_path / "run"
    code, out, err = avqa(
        *("train-head", "question_only", "--store", tmp_path / "store", "--out", run, *of, *TINY),
        *("--set", "question=clip"),
    )
    assert code == 0, err
    assert f"test file: '{file.name}', sha256={digest_of(file)}" in out
    assert "floors, All: position 100.00, option 100.00, longest 100.00, guessing 25.00; " in out
    for name in ("position floor", "option floor", "longest-option floor"):
        assert f"\n{name} " in out
    code, out, err = avqa("evaluate", run)
    assert code == 0, err
    assert "scored here 2 of test" in out
    answers = tmp_path / "answers.json"
    assert avqa("predict", run, "--out", answers)[0] == 0
    given = json.loads(answers.read_text(encoding="utf-8"))
    assert given.keys() == {"0", "1"}
    assert {*given.values()} <= {*valor_row()["options"]}
    # Three options are refused wherever the file is read.
    write(file, [*rows, valor_row(options=["a", "b", "c"])])
    code, _, err = avqa("evaluate", run)
    assert code == 2
    assert err.count("\n") == 1
    assert err.startswith(f"avqa: file={str(file)!r} row=2 id=7: options=['a', 'b', 'c'] (3 of ")
    assert avqa("questions", *of, "--show", 0)[0] == 2
