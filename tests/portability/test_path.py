"""The scripts of `make portability` say what went wrong, and keep the table of what went well."""

import subprocess
import sys
from pathlib import Path

import pytest

from portability import __main__ as command
from portability import path, surroundings
from portability.surroundings import Absent

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def avqa(tmp_path):
    """A program in place of avqa: it prints all that is asked for and does one step wrong."""

    def write(wrong, how):
        leaves = {name for step in path.STEPS for name in step.leaves} - {path.CLIP}
        script = tmp_path / "avqa"
        script.write_text(
            f"#!{sys.executable}\nimport sys, pathlib\n"
            f"if sys.argv[1] == {wrong!r}:\n    {how}\n"
            f"for name in {sorted(leaves | {path.CLIP})}:\n"
            "    pathlib.Path(name).parent.mkdir(parents=True, exist_ok=True)\n"
            "    pathlib.Path(name).touch()\n"
            f"print({' '.join(step.prints for step in path.STEPS)!r})\n",
            encoding="utf-8",
        )
        script.chmod(0o755)
        return script

    return write


def go(avqa, tmp_path):
    done = subprocess.run(
        [sys.executable, ROOT / "portability" / "path.py", tmp_path / "out", "--avqa", str(avqa)],
        capture_output=True,
        text=True,
        encoding="utf-8",
    )
    return done.returncode, done.stdout, done.stderr


def test_every_step_is_taken(avqa, tmp_path):
    code, out, err = go(avqa("", "pass"), tmp_path)
    assert (code, err) == (0, "")
    words = [line.partition("avqa ")[2] for line in out.splitlines()]
    assert words == [step.words for step in path.STEPS]


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ("sys.exit('the disk is full')", "exit code 1; expected 0, '' in its output, and packed\n"),
        ("sys.exit()", "exit code 0; expected 0, '' in its output, and packed\n"),
    ],
)
def test_a_step_that_fails_or_leaves_nothing_is_told_with_its_words(avqa, tmp_path, how, said):
    if how == "sys.exit()":
        how = "pathlib.Path('packed').unlink(); sys.exit()"
    code, _, err = go(avqa("pack", how), tmp_path)
    assert code == 1
    assert err.startswith(f"avqa pack store packed\n{said}")
    assert ("the disk is full" in err) == ("full" in how)


def test_a_step_must_print_what_it_promises(avqa, tmp_path):
    code, _, err = go(avqa("status", "sys.exit()"), tmp_path)
    assert code == 1
    assert "avqa status store\nexit code 0; expected 0, '10        0       0" in err


def test_the_table_keeps_the_results_of_the_others(tmp_path, monkeypatch):
    page = tmp_path / "install.md"
    page.write_text(f"before\n{command.BEGIN}{command.END}after\n", encoding="utf-8")
    command.write(page, "one-core", "passed 2030-01-02: 5 s")
    command.write(page, "lowest", "FAILED 2030-01-03")
    command.write(page, "lowest", "passed 2030-01-04: 6 s | 7 s")
    text = page.read_text(encoding="utf-8")
    assert text.startswith("before\n")
    assert text.endswith("after\n")
    assert "| `one-core` | ... on one core | passed 2030-01-02: 5 s |" in text
    assert "that pyproject.toml allows | passed 2030-01-04: 6 s | 7 s |" in text
    assert text.count("not run |") == len(surroundings.ALL) - 2


def test_what_cannot_be_made_here_is_not_called_a_failure(monkeypatch):
    def absent(folder):
        raise Absent("there is no Python 3.99")

    monkeypatch.setitem(surroundings.ALL, "wheel", ("", absent))
    assert command.run("wheel") == ("not run: there is no Python 3.99", "")
    with pytest.raises(Absent, match=r"^there is no Python 3\.99$"):
        surroundings.find_python("3.99")


def test_a_command_that_fails_is_a_failure_with_its_words(monkeypatch):
    def fails(folder):
        surroundings.call(sys.executable, "-c", "print('so far'); raise SystemExit('no more')")

    monkeypatch.setitem(surroundings.ALL, "wheel", ("", fails))
    result, said = command.run("wheel")
    assert result.startswith("FAILED 2")
    assert said.endswith("exit code 1\nso far\nno more\n")


@pytest.mark.parametrize("module", ["portability", "portability.walks"])
def test_a_name_that_is_none_is_refused(module):
    done = subprocess.run(
        [sys.executable, "-m", module, "wheel", "whel"],
        cwd=ROOT, capture_output=True, text=True, encoding="utf-8",
    )  # fmt: skip
    assert done.returncode == 2
    assert done.stderr.startswith("ONLY=whel; expected of ")
    assert done.stderr.endswith("; correct it\n")
