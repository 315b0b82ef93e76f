"""`avqa evaluate` and `avqa predict` as a user types them: what they print, and exit codes."""

import csv
import json
import shutil

import pytest
from helpers.questions.question_files import music_row, write
from helpers.runs.run_folders import SECONDS, write_run, write_store
from typer.testing import CliRunner

from avqa.cli import app


def avqa(*arguments):
    """Run a command in this process: (exit code, stdout, stderr)."""
    done = CliRunner().invoke(app, [str(argument) for argument in arguments])
    return done.exit_code, done.stdout, done.stderr


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return write_run(tmp_path_factory.mktemp("made"))


def test_the_table_alone_is_on_stdout(made):
    member = made / "run/question_only/seed-0"
    code, text, err = avqa("evaluate", member)
    assert code == 0
    assert text.startswith("music-avqa, test, annotation version: unknown; accuracy in percent")
    assert "\nours: question_only" in text
    assert err.splitlines()[-1] == "question_only/seed-0: answering 9 questions of test"
    code, table, _ = avqa("evaluate", member, "--format", "csv")
    rows = {row["name"]: row for row in csv.DictReader(table.splitlines())}
    assert rows["ours: question_only"]["All_total"] == "9"
    code, table, _ = avqa("evaluate", member, "--format", "markdown", "--split", "val")
    assert "**val chose the checkpoint: " in table
    assert "| ours: question_only" in table


def test_heads_without_what_they_read(made, tmp_path):
    typed = ("--without", "audio", "--swap", "audio,patches", "--missing-rate", 0.5, "--seed", 1)
    code, text, err = avqa("evaluate", made / "run", *typed, "--out", tmp_path / "kept")
    assert code == 0, err
    for name in ("without audio", "other audio and patches", "audio missing at 0.5"):
        assert f"\nours: avst, {name} " in text
        assert f"\nA: avst, as it is\nB: avst, {name}\n" in text
        assert f"default/seed-1: answering 9 questions of test, {name}\n" in err
    assert "which answer is given in place of which: " in text
    assert f"all probabilities: '{tmp_path / 'kept/default/seed-0/predictions.npz'}'" in text
    code, again, _ = avqa("evaluate", made / "run", "--format", "csv")
    code, table, _ = avqa("evaluate", made / "run", *typed, "--format", "csv")
    lines = table.splitlines()
    assert lines[: len(again.splitlines())] == again.splitlines()
    more = csv.DictReader([lines[0], *lines[len(again.splitlines()) :]])
    assert [row["kind"] for row in more] == ["condition"] * 3
    code, out, err = avqa("evaluate", made / "run", "--without", "sound")
    assert (code, out) == (2, "")
    assert err.startswith("avqa: no stream of --without 'sound'; ")


def test_how_sure_heads_are_stands_below_the_table(made):
    text = avqa("evaluate", made / "run")[1]
    below = text.partition("accuracy  confidence")[2].splitlines()
    assert [line.split()[0] for line in below[1:3]] == ["avst", "question_only"]
    found = json.loads(avqa("evaluate", made / "run", "--json")[1])["confidence"]
    assert f"{found[0]['ece']:.4f} ± {found[0]['ece_sd']:.4f}" in below[1]


def test_wordings_of_a_question_are_answered_alike_or_not(made, tmp_path):
    root = tmp_path / "made"
    shutil.copytree(made, root)
    rows = [
        music_row(video_id=video, question_id=n, question_content=text, templ_values=None)
        for n, video in enumerate(("00000001", "00000002"))
        for text in ("Is there a violin sound?", "Is the violin always playing?")
    ]
    write(root / "annotations/avqa-test-headtail.json", [*rows, music_row(question_id=9)])
    for path in root.rglob("config.json"):
        config = json.loads(path.read_text(encoding="utf-8"))
        config |= {"dataset": "music-avqa-r", "annotations": str(root / "annotations")}
        path.write_text(json.dumps(config), encoding="utf-8")
    code, text, err = avqa("evaluate", root / "run")
    assert code == 0, err
    lines = [line for line in text.splitlines() if ": consistent " in line]
    assert [line.partition(":")[0] for line in lines] == ["avst", "question_only"]
    assert all(line.endswith(", of 2 questions in 4 wordings") for line in lines)
    found = json.loads(avqa("evaluate", root / "run", "--json")[1])["consistency"]
    # The question-only network cannot tell one video from another: both alike, or none.
    assert found[1]["consistent_percent"] in (0, 100)
    assert f"consistent {found[0]['consistent_percent']:.2f} %" in lines[0]


def test_answers_go_to_a_file(made, tmp_path):
    out = tmp_path / "answers.json"
    code, text, _ = avqa("predict", made / "run", "--split", "val", "--out", out)
    assert code == 0
    assert text.splitlines()[0] == f"9 answers of avst, default, seed 0: '{out}'"
    assert list(json.loads(out.read_text(encoding="utf-8"))) == [
        str(n) for n in range(40, 52) if n % 4 != 3
    ]


def test_what_cannot_be_is_one_line_and_a_code(made, tmp_path):
    other = write_store(tmp_path / "other", SECONDS, made="random:1").path
    asked = {
        ("evaluate", made / "run", "--format", "txt"): (2, "avqa: no format 'txt';"),
        ("evaluate", made / "run", "--split", "dev"): (2, "avqa: no split 'dev';"),
        ("evaluate", tmp_path): (2, "avqa: no run.json in "),
        ("evaluate", made / "run", "--store", tmp_path / "no"): (2, "avqa: "),
        ("evaluate", made / "run", "--store", other): (
            4,
            f"avqa: store '{other}': another recipe: ",
        ),
        ("predict", made / "run", "--out", tmp_path): (2, f"avqa: out='{tmp_path}' is a folder;"),
    }
    for arguments, (expected, start) in asked.items():
        code, out, err = avqa(*arguments)
        assert (code, out) == (expected, "")
        assert err.startswith(start)
        assert len(err.splitlines()) == 1
