"""Every head on the shape of AVQA, by the command: clips of 10 s, four options, its own types."""

import csv

import pytest
import torch
from helpers.questions import question_files
from helpers.runs import run_folders
from helpers.store.clip_texts import add_texts
from typer.testing import CliRunner

from avqa import heads
from avqa.cli import app
from avqa.store.format.schema import FeatureSpec
from avqa.training.data import questions
from avqa.training.run import Member, Run

VIDEOS = {f"clip{n}_000030": 10 for n in range(8)}
SPECS = (*run_folders.SPECS, FeatureSpec("clip_vit_b32/frame", (8,), ("channel",), False))
SPECS += (
    FeatureSpec("ast/class", (4,), ("channel",), False),
    FeatureSpec("ast/band", (2, 4), ("frequency", "channel"), False),
)
QUESTIONS = ("What makes the sound in the video?", "Why does the dog bark?")
KINDS = ("Which", "Why")
OPTIONS = ["dog", "Cat", None, "3"]
TINY = ("width=8", "epochs=1", "batch_size=4", "visual=clip_vit_b32", "device=cpu")
TINY += ("patch=visual", "text=clip_vit_b32")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("avqa")
    run_folders.write_store(folder / "store", VIDEOS, specs=SPECS)
    asked, options = [q.rstrip("?") for q in QUESTIONS], list(filter(None, OPTIONS))
    together = [f"{question} {option}" for question in asked for option in options]
    add_texts(folder / "store", [*asked, *options, *together])
    rows = [
        question_files.avqa_row(
            id=n,
            video_name=video,
            question_text=QUESTIONS[n % 2],
            question_type=KINDS[n % 2],
            multi_choice=OPTIONS,
        )
        for n, video in enumerate(VIDEOS)
    ]
    question_files.write(folder / "a" / "train_qa.json", rows[:6])
    question_files.write(folder / "a" / "val_qa.json", rows[6:])
    return folder


def train(data, out, head, *more):
    words = ["train-head", head, "--store", data / "store", "--dataset", "avqa"]
    words += ["--annotations", data / "a", "--out", out]
    words += [word for value in (*TINY, *more) for word in ("--set", value)]
    done = CliRunner().invoke(app, list(map(str, words)))
    assert done.exit_code == 0, done.stderr
    return done.stderr


OTHERWISE = {
    "pstp": {"num_segments": 5, "top_k_segments": 3, "top_k_patches": 2},
    "mcd": {"num_frames": 10},
    **dict.fromkeys(("avst", "tjstg", "sasr"), {"stride_seconds": 1}),
}


@pytest.mark.parametrize("name", heads.names())
def test_every_head_trains_with_its_values_for_clips(name, data, tmp_path):
    said = train(data, tmp_path / "out", name)
    member = Member.load(tmp_path / "out" / "default" / "seed-0")
    assert member.finished
    given = {**vars(member.config.settings), **member.config.options}
    otherwise = OTHERWISE.get(name, {})
    assert {key: given[key] for key in otherwise} == otherwise
    assert dict(getattr(heads.load(name).PAPER.datasets.get("avqa"), "values", {})) == otherwise
    line = f"{name} on avqa: {', '.join(f'{key}={v}' for key, v in otherwise.items())} ("
    assert (line in said) == bool(otherwise)
    notes = Run.load(tmp_path / "out").about["notes"]
    assert any(note.startswith(line) for note in notes) == bool(otherwise)
    with (tmp_path / "out" / "table.csv").open(encoding="utf-8") as file:
        rows = {row["name"]: row for row in csv.DictReader(file)}
    assert rows[f"ours: {name}"]["All_total"] == "2"


def test_what_the_user_sets_stands_over_it(data, tmp_path):
    said = train(data, tmp_path / "out", "pstp", "top_k_segments=2", "question=lstm")
    options = Member.load(tmp_path / "out" / "default" / "seed-0").config.options
    assert [options[k] for k in OTHERWISE["pstp"]] == [5, 2, 2]
    assert "pstp on avqa: num_segments=5, top_k_patches=2 (the paper's, for clips of 10 s)" in said


def test_mcd_reads_types_and_options_and_is_told_that_there_are_no_keywords(
    data, tmp_path, monkeypatch
):
    read = []
    made = questions._texts

    def kept(*arguments):
        read.append(made(*arguments))
        return read[-1]

    monkeypatch.setattr(questions, "_texts", kept)
    said = train(data, tmp_path / "out", "mcd")
    config = Member.load(tmp_path / "out" / "default" / "seed-0").config
    rows = (*config.words.words, *config.words.types)
    assert config.options["vocabulary"] == len(rows)

    def texts(field):
        tokens = torch.cat([found[field].values for found in read if "type_tokens" in found])
        return {" ".join(rows[token] for token in row if token) for row in tokens.tolist()}

    assert texts("type_tokens") == {"Both Which", "Both Why"}
    assert texts("choice_tokens") == {"dog cat 3"}
    assert texts("tokens") == {"what makes the sound in the video", "why does the dog bark"}
    assert texts("keyword_tokens") == {""}
    assert (
        "keyword_tokens: no question of train, val, test has slot values, its keywords: heads that"
        " read them are given padding there"
    ) in said
    assert "type_tokens: " not in said
