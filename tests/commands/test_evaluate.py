"""`avqa evaluate` and `avqa predict` as a user types them: what they print, and exit codes."""

import csv
import json

import pytest
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
