"""``docs/own_videos.md``: its commands as typed, on real clips of the names it has."""

import json
import re
import shlex
import shutil
from pathlib import Path

import pytest
from helpers.media import clips
from typer.testing import CliRunner

from avqa.cli import app
from avqa.datasets._parts.custom_rows import read_rows

PAGE = (Path(__file__).parents[1] / "docs" / "own_videos.md").read_text(encoding="utf-8")
COMMANDS = re.findall(r"^avqa (.*)$", PAGE, re.MULTILINE)
ADDED = {
    "extract": "--weights random:0 --device cpu --scheduler sync",
    "train-head": "--set epochs=2 --set width=16 --device cpu",
    "ask": "--device cpu",
}
"""So that it takes seconds and needs no weights."""


@pytest.mark.filterwarnings("ignore::avqa.store.reader.RandomWeightsWarning")
def test_the_walk(tmp_path, monkeypatch, kept_weights, reused_children):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("AVQA_CACHE", str(tmp_path / "cache"))
    (table,) = re.findall(r"```csv\n(.*?)```", PAGE, re.DOTALL)
    Path("questions.csv").write_text(table, encoding="utf-8")
    clip = clips.cached_clip("own.mp4", seconds=2.0, fps=8, sound_codec="aac")
    Path("clips").mkdir()
    for name in {row.values["video"] for row in read_rows(Path("questions.csv"))}:
        shutil.copy(clip, Path("clips") / name)
    printed, said = {}, {}
    for command in COMMANDS:
        name = command.split()[0]
        done = CliRunner().invoke(app, shlex.split(f"{command} {ADDED.get(name, '')}"))
        assert done.exit_code == 0, (command, done.output)
        printed[name], said[name] = done.stdout, done.stderr
        print(name, done.stdout, done.stderr)
    assert list(printed) == ["questions", "extract", "train-head", "evaluate", "predict", "ask"]
    assert "train 5, val 2, test 2 videos" in printed["questions"]
    assert "vocabulary of the training questions: 6 answers, 11 words" in printed["questions"]
    (header,) = (line for line in printed["train-head"].splitlines() if line.endswith("GFLOPs"))
    assert header.split() == PAGE.partition("GFLOPs\n")[0].splitlines()[-1].split() + ["GFLOPs"]
    assert "at most 75.00 % can be right: 'rain'" in said["train-head"]
    assert set(json.loads(Path("answers.json").read_text(encoding="utf-8")).values()) <= {
        *("a car", "a machine", "birds", "no", "people", "yes")
    }
    answers = re.findall(r"^(?:answer)? +(.*?) +[0-9.]+ %$", printed["ask"], re.MULTILINE)
    assert len(answers) == 5
    assert set(answers) < {"a car", "a machine", "birds", "no", "people", "yes"}
