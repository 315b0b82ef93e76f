"""Files of questions against the text tower: as typed, with a tower that texts alone decide."""

import json

import numpy as np
import pytest
from helpers.questions import asking
from helpers.questions.question_files import make_question, music_row, write
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from avqa import datasets
from avqa.cli import app
from avqa.datasets._parts.prompts import prompt_of
from avqa.datasets._parts.question import normalise
from avqa.pipelines.npy.compared import readings
from avqa.pipelines.npy.compared.readings import broken
from avqa.pipelines.npy.layouts import QUESTIONS, QuestionFolder

SIDE = "What is the <LR> instrument of the <FL> sounding instrument?"
SOUND = "Are there <Object> and <Object> sound? "
ROWS = [
    music_row(question_id=1, question_content=SIDE, templ_values='["left", "first"]'),
    music_row(question_id=2, question_content=SOUND, templ_values='["erhu", "pipa"]'),
    music_row(question_id=3, question_content=SOUND, templ_values='["tuba", "pipa"]'),
    music_row(question_id=5),
    music_row(question_id=4, question_content="Is there a voiceover?", templ_values="[]"),
]


def vector(text):
    """What `Tower` makes of it."""
    return asking.expected(text).astype("float32")[0]


class Tower(asking.FakeEncoder):
    def encode(self, tokens, eot):
        return {"sentence": np.stack([self.words(row)[0] for row in tokens])}


@pytest.fixture
def asked(tmp_path, monkeypatch):
    """A store of a video, and annotations."""
    monkeypatch.setattr(readings, "TextEncoder", Tower)
    monkeypatch.setattr(readings.weights, "load_state", lambda *more: {})
    store = asking.video_store(tmp_path / "s", ids=("00000007",))
    return store, write(tmp_path / "avqa-test.json", ROWS)


def compare(asked, folder, *more, code):
    store, annotations = asked
    words = ("compare", store, folder, "--dataset", "music-avqa", "--annotations", annotations)
    done = CliRunner().invoke(app, [str(word) for word in (*words, *more)])
    assert done.exit_code == code, done.output
    return done


def save(folder, text_of, annotations):
    folder.mkdir()
    for question in datasets.read("music-avqa", annotations):
        values = vector(text_of(question))[None]
        np.save(folder / f"{question.question_id}.npy", values)
    return folder


@pytest.mark.parametrize(
    ("text_of", "convention"),
    [
        (lambda q: q.text + "?", "the question with its mark, as TSPM"),
        (lambda q: q.text, "the question without a mark, as PSTP-Net, QA-TIGER and CueSpace"),
        (lambda q: broken(q) + "?", "slots filled with the characters of their list, as TSPM's"),
    ],
)
def test_the_reading_of_questions_is_named(tmp_path, asked, text_of, convention):
    done = compare(asked, save(tmp_path / "clip_qst", text_of, asked[1]), code=0)
    lines = done.stdout.splitlines()
    assert lines[0] == "clip_vit_b32/sentence of clip_qst: 4 questions in both"
    assert lines[-3].startswith(f"  likely convention of theirs: {convention}")
    assert sum(": fits 4 of 4 files best, cosine median=1.000000" in line for line in lines) == 1
    assert done.stderr == (
        "RANDOM WEIGHTS: the texts' features come from random:0 and mean nothing\n"
    )


def test_files_of_two_readings_and_numbers_of_none_are_different(tmp_path, asked):
    mixed = save(tmp_path / "clip_qst", lambda q: q.text + "?" * (q.question_id != "2"), asked[1])
    done = compare(asked, mixed, "--json", code=6)
    (stream,) = json.loads(done.stdout)["streams"]
    assert "1 files are of another reading than most" in stream["reasons"]
    assert stream["convention"] == "the question with its mark, as TSPM"
    for path in mixed.iterdir():
        np.save(path, np.random.default_rng(3).standard_normal((1, 512)).astype("float32"))
    (stream,) = json.loads(compare(asked, mixed, "--json", code=6).stdout)["streams"]
    assert stream["convention"].startswith("none known")


def test_the_mark_of_the_stores_own_questions_is_told(tmp_path, asked):
    store, annotations = asked
    arguments = ("--dataset", "music-avqa", "--annotations", annotations, "--device", "cpu")
    with asking.fakes():
        words = ("questions", "--store", store, *arguments)
        assert CliRunner().invoke(app, [str(word) for word in words]).exit_code == 0
    done = compare(asked, save(tmp_path / "clip_qst", lambda q: q.text + "?", annotations), code=6)
    assert "the store's questions have mark='', theirs mark='?'" in done.stdout.splitlines()[-1]


@pytest.mark.parametrize("released", [False, True])
def test_the_reading_of_prompts_is_named(tmp_path, asked, released, monkeypatch):
    """Of prompts alone most are the same in both readings."""
    known = QuestionFolder("qaPrompt", "clip_vit_b32/sentence", prompt=True)
    monkeypatch.setitem(QUESTIONS, "qaPrompt", known)
    folder = save(
        tmp_path / "qaPrompt", lambda q: normalise(prompt_of(q, released=released)), asked[1]
    )
    done = compare(asked, folder, code=0)
    name = "as TSPM's released code makes it" if released else "as it is meant"
    assert f"  likely convention of theirs: the prompt {name}" in done.stdout.splitlines()


def test_what_files_of_questions_need_is_said(tmp_path, asked):
    store, annotations = asked
    folder = save(tmp_path / "clip_qst", lambda q: q.text, annotations)
    done = CliRunner().invoke(app, ["compare", str(store), str(folder)])
    assert done.exit_code == 2
    assert done.stderr == (
        "avqa: clip_qst: not compared; files of questions need a store as OURS, --dataset and"
        " --annotations; expected all three; give them\n"
    )
    np.save(folder / "1.npy", np.zeros((1, 7), "float32"))
    assert "1.npy': shape=(1, 7) rank=2; expected [T,512]" in compare(asked, folder, code=2).stderr


@given(slots=st.lists(st.sampled_from(["left", "erhu", "acoustic_guitar"]), max_size=4))
def test_a_broken_slot_is_a_character_of_the_list(slots):
    template = " ".join(["Is", *["<Object>"] * len(slots)]) + "?"
    question = make_question(template=template, slots=tuple(slots))
    characters = ["[", '"', *(slots[0][:2] if slots else "")][: len(slots)]
    assert broken(question) == " ".join(["Is", *characters])
