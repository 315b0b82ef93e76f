"""`avqa questions` end to end: what is encoded, matched, refused, resumed."""

import csv
import json
import os
import shutil
import signal

import numpy as np
import pytest
from helpers.extraction import networks
from helpers.killed import exit_code
from helpers.questions import asking
from helpers.store.stores import store_bytes
from helpers.store.written import copied
from typer.testing import CliRunner

from avqa.cli import app
from avqa.datasets._parts.question import text_key
from avqa.errors import (
    ConfigError,
    PartialFailure,
    RecipeMismatch,
    Stopped,
    StorageFailure,
    StoreError,
    StoreLocked,
    StoreNotFound,
)
from avqa.extract.text import TextEncoder, TextSettings, tokenise
from avqa.pipelines.questions import encode
from avqa.pipelines.questions.encode import QuestionOptions, encode_questions, text_settings
from avqa.store.checks.verify import verify
from avqa.store.format.runs import Runs
from avqa.store.lock import Lock
from avqa.store.reader import FeatureStore

SENTENCE, WORD = "clip_vit_b32/sentence", "clip_vit_b32/word"
ROWS = [
    ("00000001", "Is the <Object> playing?", ["cello"]),
    ("00000002", "How many instruments are there\N{FULLWIDTH QUESTION MARK}", []),
    ("00000001", "Is the <Object> playing?", ["acoustic_guitar"]),
    ("00000099", "Is the <Object> playing?", ["cello"]),
    ("00000098", "Who is it? ", []),
]


@pytest.fixture
def store(tmp_path):
    return asking.video_store(tmp_path / "S")


@pytest.fixture
def annotations(tmp_path):
    return asking.music(tmp_path / "json", ROWS)


@pytest.fixture
def fakes():
    with asking.fakes() as encoder:
        yield encoder


def ask(store, annotations, dataset="music-avqa", say=lambda line: None, **options):
    return encode_questions(QuestionOptions(dataset, annotations, store, **options), say)


def test_each_distinct_text_is_encoded_once(store, annotations, fakes):
    report = ask(store, annotations)
    assert (report.questions, report.texts, report.options) == (5, 4, 0)
    assert (report.already, report.encoded, report.failed) == (0, 4, 0)
    assert fakes.sizes == [4]
    held = FeatureStore(store)
    assert held.texts == (
        "Is the cello playing",
        "How many instruments are there",
        "Is the acoustic_guitar playing",
        "Who is it",
    )
    for text in held.texts:
        words = held.read_text(text_key(text), WORD)
        np.testing.assert_array_equal(words, asking.expected(text))
        np.testing.assert_array_equal(held.read_text(text, SENTENCE), words[len(text)])
        assert held.eot(text) == len(text)
    assert verify(store).problems == []


def test_the_report_counts_matches_and_lists_what_is_unmatched(store, annotations, fakes):
    report = ask(store, annotations)
    lines = report.lines()
    assert lines[0] == "questions: 5, distinct texts: 4"
    assert lines[1] == (
        "videos: 2 questions matched by full id, 1 by last part of the id, 2 unmatched"
    )
    path = report.unmatched_path
    assert lines[2] == f"not in the store: 2 videos: 00000099, 00000098; see {path}"
    assert lines[3].startswith("texts: 0 already there, 4 encoded; 20.4 MB in ")
    assert lines[3].endswith("; done")
    with path.open(newline="", encoding="utf-8") as file:
        assert list(csv.reader(file)) == [
            ["video_id", "split", "question_id", "text"],
            ["00000099", "test", "3", "Is the cello playing"],
            ["00000098", "test", "4", "Who is it"],
        ]


def test_a_second_run_encodes_nothing_and_builds_no_network(store, annotations, fakes, monkeypatch):
    ask(store, annotations)
    before = store_bytes(store)
    monkeypatch.setattr(encode, "TextEncoder", None)
    report = ask(store, annotations)
    assert (report.already, report.encoded, report.n_bytes) == (4, 0, 0)
    assert store_bytes(store) == before


def test_other_questions_are_added_to_those_there(tmp_path, store, annotations, fakes):
    ask(store, annotations)
    more = asking.music(tmp_path / "more", [*ROWS[:2], ("00000001", "Where is it?", [])])
    report = ask(store, more)
    assert (report.already, report.encoded) == (2, 1)
    assert len(FeatureStore(store).texts) == 5
    assert fakes.sizes == [4, 1]


def test_options_of_multiple_choice_are_texts_without_a_mark(tmp_path, store, fakes):
    row = {
        "id": 1,
        "video_name": "00000001",
        "video_id": 5,
        "question_text": "What makes the sound?",
        "multi_choice": [" dog", "a cat ", None, "Where"],
        "answer": 1,
        "question_relation": "Both",
        "question_type": "Which",
    }
    other = row | {"id": 2, "question_text": "Where?", "multi_choice": ["dog", "x", "y", "One"]}
    (tmp_path / "val_qa.json").write_text(json.dumps([row, other]), encoding="utf-8")
    report = ask(store, tmp_path, "avqa", settings=TextSettings(mark="?"))
    assert (report.texts, report.options) == (2, 5)
    assert report.lines()[0] == "questions: 2, distinct texts: 2, 5 of options"
    held = FeatureStore(store)
    assert held.texts == (
        "What makes the sound?", "Where?", "dog", "a cat", "x", "y", "One",
    )  # fmt: skip
    np.testing.assert_array_equal(held.read_text("Where", WORD), asking.expected("Where?"))
    np.testing.assert_array_equal(held.read_text("a cat", WORD), asking.expected("a cat"))
    more = ask(store, tmp_path, "avqa", settings=TextSettings(mark="?"), with_options=True)
    assert (more.already, more.encoded) == (7, 7)
    assert more.lines()[1] == "questions with each option behind: 7 distinct texts"
    assert FeatureStore(store).texts[7:] == (
        *("What makes the sound dog", "What makes the sound a cat", "What makes the sound Where"),
        *("Where dog", "Where x", "Where y", "Where One"),
    )


def test_batches_are_full_but_for_the_last_of_a_chunk(tmp_path, store, fakes):
    said = []
    report = ask(store, asking.many(tmp_path / "many", 300), say=said.append)
    assert report.encoded == 300
    assert sorted(fakes.sizes) == [12] + [16] * 18
    assert said == ["RANDOM WEIGHTS: the texts' features come from random:0 and mean nothing"]


def test_numbers_are_the_towers_own(store, annotations):
    # As typed, with nothing in place of the network: the tests of the command have a stand-in.
    typed = ["questions", "--dataset", "music-avqa", "--annotations", annotations, "--store", store]
    done = CliRunner().invoke(
        app, list(map(str, [*typed, "--dtype", "float32", "--device", "cpu"]))
    )
    assert done.exit_code == 0, done.stderr
    text = "Is the acoustic_guitar playing"
    tower = TextEncoder(TextSettings(), networks.state("clip_vit_b32"))
    alone = tower.encode(*tokenise([text]))
    held = FeatureStore(store)
    assert held.recipe(WORD)["weights"] == {"clip_vit_b32": {"source": "random:0"}}
    np.testing.assert_array_equal(held.read_text(text, WORD), alone["word"][0])
    np.testing.assert_array_equal(held.read_text(text, SENTENCE), alone["sentence"][0])
    assert held.eot(text) == tokenise([text])[1][0]


def test_questions_without_any_video_write_nothing(tmp_path, annotations, fakes):
    empty = asking.video_store(tmp_path / "empty", ids=())
    strange = asking.video_store(tmp_path / "strange", ids=("x", "y"))
    for store, told in ((empty, "the store of 0 videos"), (strange, "begins with video_id='x'")):
        before = sorted(store.rglob("*"))
        with pytest.raises(StoreError, match=f"none of 5 questions has its video.*{told}") as error:
            ask(store, annotations)
        assert error.value.exit_code == 4
        assert sorted(store.rglob("*")) == before
    with pytest.raises(StoreNotFound, match="make one with: avqa extract"):
        ask(tmp_path / "none", annotations)
    assert not (tmp_path / "none").exists()


def test_a_locked_store_is_refused(store, annotations, fakes):
    with Lock.acquire(store, "other"), pytest.raises(StoreLocked, match="run_id=other"):
        ask(store, annotations)
    assert FeatureStore(store).text_features == ()


def test_another_recipe_is_refused_until_replaced(store, annotations, fakes):
    ask(store, annotations)
    before = store_bytes(store)
    marked = TextSettings(mark="?")
    with pytest.raises(
        RecipeMismatch,
        match=r'text.mark: store="" asked="\?".*; set --mark as the store has it, or .*--replace',
    ):
        ask(store, annotations, settings=marked)
    with pytest.raises(RecipeMismatch, match="; set --precision, --dtype as the store has it"):
        ask(store, annotations, settings=TextSettings(precision="bf16", dtype="float32"))
    assert store_bytes(store) == before
    report = ask(store, annotations, settings=marked, replace=True)
    assert (report.already, report.encoded) == (0, 4)
    held = FeatureStore(store)
    assert "Who is it?" in held.texts
    np.testing.assert_array_equal(held.read_text("Who is it", WORD), asking.expected("Who is it?"))


def test_weights_are_those_of_the_stores_pictures(tmp_path, annotations, fakes):
    store = asking.video_store(tmp_path / "S", weights={"source": "random:7"})
    ask(store, annotations)
    assert FeatureStore(store).recipe(WORD)["weights"]["clip_vit_b32"] == {"source": "random:7"}


def test_other_weights_than_the_pictures_only_on_request(tmp_path, annotations, fakes, monkeypatch):
    monkeypatch.setenv("AVQA_CACHE", str(tmp_path / "cache"))
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache/clip_vit_b32.safetensors").write_bytes(b"some tensors")
    store = asking.video_store(tmp_path / "S", weights={"source": "file", "sha256": "ab" * 32})
    told = "texts would have weights sha256=[0-9a-f]{12}, the store's CLIP frames have sha256=abab"
    with pytest.raises(RecipeMismatch, match=f"{told}.*give the folder of the latter"):
        ask(store, annotations)
    assert FeatureStore(store).text_features == ()
    said = []
    ask(store, annotations, weights="pretrained", say=said.append)
    assert len(said) == 1
    assert said[0].startswith("warning: texts would have weights sha256=")
    assert said[0].endswith(": frames and texts cannot be compared")


def test_values_that_do_not_fit_fail_their_texts(store, annotations, fakes, monkeypatch):
    ordinary = fakes.words
    monkeypatch.setattr(
        fakes, "words", staticmethod(lambda t: ordinary(t) * (1e6 if t[0] == ord("W") else 1))
    )
    report = ask(store, annotations)
    assert (report.encoded, report.failed) == (4, 1)
    assert "4 encoded, 1 failed" in report.lines()[-1]
    with pytest.raises(
        PartialFailure, match="1 texts have a value .*--replace and --dtype float32"
    ):
        report.raise_if_failed()
    assert ask(store, annotations).failed == 1
    assert ask(store, annotations, replace=True, settings=TextSettings(dtype="float32")).failed == 0


def test_too_small_a_disk_is_refused_at_once(store, annotations, fakes, monkeypatch):
    usage = shutil.disk_usage(store)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=100_000))
    with pytest.raises(StorageFailure, match=r"100.0 kB free; expected 319.5 kB for 4 texts"):
        ask(store, annotations)
    assert fakes.sizes == []


def test_a_signal_keeps_what_is_encoded_and_the_next_run_goes_on(tmp_path, store, fakes):
    annotations = asking.many(tmp_path / "many", 300)
    whole = copied(store, tmp_path / "whole")
    ask(whole, annotations)

    def stop():
        if len(fakes.sizes) == 19 + 5:
            os.kill(os.getpid(), signal.SIGTERM)

    fakes.on_forward = staticmethod(stop)
    said = []
    try:
        with pytest.raises(
            Stopped, match=r"stopped by SIGTERM: \d+ texts encoded, \d+ left"
        ) as end:
            ask(store, annotations, say=said.append)
    finally:
        fakes.on_forward = staticmethod(lambda: None)
    assert end.value.exit_code == 143
    assert "draining; once more to abort" in said
    left = int(str(end.value).split(" encoded, ")[1].split()[0])
    assert 0 < left <= 300
    assert str(end.value) == Runs(store / "runs").all()[-1]["summary"]["reason"]
    assert verify(store).problems == []
    assert ask(store, annotations).encoded == left
    assert store_bytes(store) == store_bytes(whole)


def test_killed_at_any_moment_it_resumes_to_the_same_bytes(tmp_path, store):
    annotations = asking.many(tmp_path / "many", 300)
    whole = copied(store, tmp_path / "whole")
    assert exit_code(asking.run, whole, annotations) == 0
    counts = set()
    # Making the arrays, adding the texts, between the chunks and their statuses.
    for change in (15, 31, 41, 43, 47):
        path = copied(store, tmp_path / str(change))
        assert exit_code(asking.run, path, annotations, change) == -signal.SIGKILL, (
            f"change {change}"
        )
        held = FeatureStore(path)
        ok = 0
        for text in held.texts:
            try:
                words = held.read_text(text, WORD)
            except StoreError:  # pending
                continue
            ok += 1
            if ok % 50 == 1:
                np.testing.assert_array_equal(words, asking.expected(text))
        counts.add((len(held.texts), ok))
        assert exit_code(asking.run, path, annotations) == 0
        assert store_bytes(path) == store_bytes(whole), f"after change {change}"
        assert not list(path.rglob("*.partial"))
        assert Runs(path / "runs").all()[-2]["state"] == "interrupted"
    assert counts == {(0, 0), (300, 0), (300, 256)}


@pytest.mark.parametrize(
    ("choice", "told"),
    [
        ({"precision": "fp8"}, "precision='fp8'; expected one of fp32, bf16, fp16"),
        ({"dtype": "int8"}, "dtype='int8'; expected one of float16, float32"),
        ({"device": "tpu"}, "device='tpu'; expected auto, cpu or cuda"),
    ],
)
def test_unknown_choices_are_refused(choice, told):
    usual = {"mark": False, "precision": "fp32", "dtype": "float16", "device": "cpu"}
    with pytest.raises(ConfigError, match=told):
        text_settings(**(usual | choice))
    assert text_settings(**usual) == TextSettings()
    assert text_settings(**(usual | {"mark": True})).mark == "?"
