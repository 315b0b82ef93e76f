"""Runs on own questions: the vocabulary they are trained, tested and evaluated with."""

import dataclasses
import json
import shutil

import pytest
import torch
from helpers.media import clips
from helpers.questions import question_files
from helpers.runs import run_folders

from avqa import heads
from avqa.errors import ConfigError, DatasetError
from avqa.pipelines.ask.answer import AskOptions, ask
from avqa.pipelines.train.evaluate import EvaluateOptions, answers, evaluate
from avqa.pipelines.train.train import TrainOptions, train_head
from avqa.store.format.schema import FeatureSpec
from avqa.store.reader import FeatureStore
from avqa.training.data import building
from avqa.training.data.material import gather
from avqa.training.run import Member, Run
from avqa.training.scoring import read_predictions
from avqa.training.settings import TrainSettings, resolve

pytestmark = pytest.mark.usefixtures("one_thread")

VIDEOS = {
    **{name: 2 + n % 3 for n, name in enumerate(("birds", "street", "cafe", "garden", "washing"))},
    "choir": 2,
    "baby": 3,
    "kitchen": 2,
    "rain": 4,
}
"""Five of train, two of val, two of test, by their hashes."""
SPECS = (*run_folders.SPECS, FeatureSpec("clip_vit_b32/frame", (8,), ("channel",), False))
SPECS += (
    FeatureSpec("ast/class", (4,), ("channel",), False),
    FeatureSpec("ast/band", (2, 4), ("frequency", "channel"), False),
)
TINY = {"width": "8", "epochs": "2", "batch_size": "8", "visual": "clip_vit_b32"}
TINY |= {"patch": "visual", "text": "clip_vit_b32"}
TINY |= {"stride_seconds": "1", "device": "cpu", "learning_rate": "0.01", "question": "lstm"}


def rows(kinds=True):
    """Two questions a video; "a stove" and "no rain" are answers of val and test alone."""
    loud = ["Birds", "a car", "people", "birds", "a  CAR", "people", "a stove", "Birds", "no rain"]
    found = []
    for (video, answer), n in zip(zip(VIDEOS, loud, strict=True), range(len(loud)), strict=True):
        found.append({"video": f"{video}.mp4", "question": "What is loud?", "answer": answer})
        where = "Is it outdoors, by a lake?" if video == "rain" else "Is it outdoors?"
        found.append({"video": video, "question": where, "answer": ("Yes", "no")[n % 2]})
    for number, row in enumerate(found):
        row |= {"question_id": f"q{number}"}
        row |= {"type": ("what", "yes or no")[number % 2]} if kinds else {}
    return found


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    run_folders.write_store(folder / "store", VIDEOS, specs=SPECS)
    question_files.write(folder / "own.json", rows())
    question_files.write(folder / "untyped.json", rows(kinds=False))
    return folder


def train(data, out, head="question_only", file="own.json", **settings):
    lines = []
    asked = TrainOptions(
        head=head,
        store=data / "store",
        dataset="custom",
        annotations=data / file,
        out=out,
        assignments=TINY | settings,
    )
    return train_head(asked, lines.append), lines


@pytest.fixture(scope="module")
def run(data, tmp_path_factory):
    out = tmp_path_factory.mktemp("run") / "out"
    return out, *train(data, out)


ANSWERS = ["a car", "birds", "no", "people", "yes"]


def test_the_vocabulary_is_kept_in_the_run(run):
    config = json.loads((run[0] / "default/seed-0/config.json").read_text(encoding="utf-8"))
    assert config["vocabulary"] == {
        "answers": ANSWERS,
        "words": ["<pad>", "<unk>", "is", "it", "loud", "outdoors", "what"],
        "types": ["what", "yes or no"],
        "max_words": 14,
    }
    assert (config["options"]["num_answers"], config["options"]["vocabulary"]) == (5, 7)
    head = Run.load(run[0]).members[0].load_head()
    assert head.question.embedding.weight.shape == (7, 8)
    assert head.answer.layer.weight.shape == (5, 8)


def test_what_lies_outside_is_counted_and_told_before_training(run):
    assert run[2][:6] == [
        "questions: train 10, val 4, test 4; annotation version: "
        + Run.load(run[0]).members[0].config.annotation_version,
        "splits: by video, since the file tells none: train / val / test are 70% / 10% / 20% of the"
        " hashes of the ids, and one video at least: train 5, val 2, test 2 videos",
        "answers: 5, those of the training questions",
        "words: 5, those of the training questions; the first 14 of a question are read",
        "val: 1 of 4 questions have an answer outside the vocabulary, which counts as wrong, so"
        " that at most 75.00 % can be right: 'a stove'",
        "test: 1 of 4 questions have an answer outside the vocabulary, which counts as wrong, so"
        " that at most 75.00 % can be right: 'no rain'",
    ]
    assert run[2][6] == (
        "test: 1 of 4 questions have words that the head does not know and reads as <unk>:"
        " 'by', 'a', 'lake'; question=clip reads every word"
    )


def test_the_table_has_the_types_the_floors_and_no_papers_rows(run):
    table = run[1]
    assert table.columns == ("what", "yes or no", "All")
    assert [row.name for row in table.rows] == ["template floor", "ours: question_only"]
    assert all(row.cells["All"].total == 4 for row in table.rows)
    # "What is loud": birds is the first of the most frequent answers; "Is it outdoors": yes.
    assert [table.rows[0].cells[name].correct for name in table.columns] == [(1,), (1,), (2,)]
    assert (
        "vocabulary: 5 answers, built from the training questions; 1 of the 4 questions scored here"
        " have another, so that at most 75.00 % can be right"
    ) in table.notes


def test_answers_outside_are_wrong_and_never_dropped(run):
    member = Run.load(run[0]).members[0]
    found = {row.question_id: row for row in read_predictions(member.path / "predictions.json")}
    assert set(found) == {"q14", "q15", "q16", "q17"}
    assert {row.prediction for row in found.values()} <= set(ANSWERS)
    assert (found["q16"].answer, found["q16"].correct) == ("no rain", False)
    val = {
        row.name: row
        for row in evaluate(EvaluateOptions(run=run[0], split="val"), print).table.rows
    }
    right = val["ours: question_only"].cells["All"].correct[0]
    assert member.result.val_accuracy == pytest.approx(right / 4)


def test_evaluate_and_predict_answer_from_the_runs_vocabulary(run, data, tmp_path):
    again = evaluate(EvaluateOptions(run=run[0]), lambda line: None).table
    assert again.csv() == run[1].csv()
    other = [{"video": "cafe", "question": "What is loud?", "answer": "a train"}]
    other.append({"video": "cafe", "question": "Who shouts?", "answer": "People"})
    file = question_files.write(tmp_path / "test.json", other)
    table = evaluate(EvaluateOptions(run=run[0], annotations=file), lambda line: None).table
    assert "1 of the 2 questions scored here have another, so that at most 50.00 %" in str(
        table.notes
    )
    for row in other:
        del row["answer"]
    new = question_files.write(tmp_path / "new" / "test.json", other)
    found = answers(EvaluateOptions(run=run[0], annotations=new), lambda line: None)
    assert (found.answered, set(found.answers.values()) <= set(ANSWERS)) == (2, True)


def test_a_whole_file_is_divided_as_in_training(run, data, tmp_path):
    more = [*rows(), {"video": "rain", "question": "Is it cold?", "answer": "yes"}]
    more.append({"video": "cafe", "question": "Is it cold?", "answer": "yes"})
    for row in more:
        row.pop("question_id", None)
    file = question_files.write(tmp_path / "more.json", more)
    options = EvaluateOptions(run=run[0], annotations=file)
    assert answers(options, lambda line: None).asked == 5


@pytest.mark.parametrize("head", [name for name in heads.names() if name != "question_only"])
def test_every_head_trains_on_own_questions(data, tmp_path, head):
    own = heads.load(head).Options.__dataclass_fields__
    small = {"top_k_segments": "1", "num_segments": "2", "top_m_patches": "1", "num_frames": "2"}
    small |= {"q_pool": "eot"}
    settings = {name: value for name, value in small.items() if name in own} | {"epochs": "1"}
    table, _ = train(data, tmp_path / "run", head, **settings)
    member = Member.load(tmp_path / "run" / "default" / "seed-0")
    assert member.config.words.answers == tuple(ANSWERS)
    ours = next(row for row in table.rows if row.name == f"ours: {head}")
    assert (ours.cells["All"].total, ours.cells["All"].correct[0] <= 3) == (4, True)
    assert {row.kind for row in table.rows} == {"floor", "question-only", "ours"}


def test_types_are_optional_also_for_the_head_that_reads_them(data, tmp_path):
    few = {"epochs": "1", "num_frames": "2"}
    table, _ = train(data, tmp_path / "run", "mcd", "untyped.json", **few)
    assert table.columns == ("All",)
    config = Member.load(tmp_path / "run" / "default" / "seed-0").config
    assert (config.words.types, config.options["vocabulary"]) == ((), 7)


def test_rare_answers_are_left_out_or_taught_as_other(data, tmp_path):
    told = "answers: 2, those of the training questions; 5 questions with 3 rarer ones ({}) are {}"
    rare = "'birds', 'no', 'people'"
    _, lines = train(data, tmp_path / "skip", max_answers="2", epochs="1")
    assert told.format(rare, "left out in training") in lines
    assert Member.load(tmp_path / "skip/default/seed-0").config.counts["train"] == 5
    _, lines = train(data, tmp_path / "other", max_answers="2", epochs="1", rare_answers="other")
    assert told.format(rare, "answered as <other> in training") in lines
    member = Member.load(tmp_path / "other/default/seed-0")
    assert member.config.counts["train"] == 10
    assert member.config.words.answers == ("a car", "yes", "<other>")
    assert member.load_head().answer.layer.weight.shape == (3, 8)
    for row in read_predictions(member.path / "predictions.json"):
        assert row.correct == (row.prediction == row.answer)


def test_words_that_come_seldom_are_unknown(data, tmp_path):
    _, lines = train(data, tmp_path / "run", min_word_count="10", epochs="1")
    assert "words: 1, those of the training questions; the first 14 of a question are read" in lines
    config = Member.load(tmp_path / "run/default/seed-0").config
    assert config.vocabulary["words"] == ["<pad>", "<unk>", "is"]


def test_the_same_settings_and_vocabulary_go_on(run, data):
    with pytest.raises(ConfigError, match=r"max_answers \(run: 1000, now: 3\); expected what"):
        resumed(run, data, max_answers="3")
    assert "question_only default seed 0: finished before" in resumed(run, data)


def resumed(run, data, **settings):
    lines = []
    asked = TrainOptions(
        head="question_only",
        store=data / "store",
        dataset="custom",
        annotations=data / "own.json",
        out=run[0],
        assignments=TINY | settings,
        resume=True,
    )
    train_head(asked, lines.append)
    return lines


def test_a_run_of_another_vocabulary_is_not_gone_on_with(run, data, tmp_path):
    """As version 0.1 had one for all data sets."""
    shutil.copytree(run[0], tmp_path / "run")
    member = Member.load(tmp_path / "run" / "default" / "seed-0")
    run_folders.forget_digests(member)
    dataclasses.replace(
        member, config=dataclasses.replace(member.config, vocabulary={})
    ).save_config()
    with pytest.raises(
        ConfigError, match="vocabulary .run: 42 answers, 93 words, now: 5 answers, 7"
    ):
        resumed([tmp_path / "run"], data)


@pytest.mark.parametrize(
    ("settings", "changes", "error", "message"),
    [
        ({"min_answer_count": "4"}, {}, ConfigError,
         "min_answer_count=4 leaves no answer, since the most frequent one has 3 training"),
        ({}, {"answer": None}, DatasetError,
         "none of 18 questions of custom has a right answer; expected answers to train on"),
        ({"max_answers": "0"}, {}, ConfigError, "max_answers=0; expected 1 or more"),
        ({"rare_answers": "drop"}, {}, ConfigError, "rare_answers='drop'; expected one of skip"),
        ({"max_answers": "7", "question": "clip"}, {"options": ["x", "y"], "answer": "y"},
         ConfigError, "max_answers=7 with multiple choice; expected no such setting"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_told_before_a_folder_is_made(
    data, tmp_path, settings, changes, error, message
):
    new = [{**row, **changes} for row in rows()]
    if changes.get("answer", "") is None:
        for row in new:
            del row["answer"]
    file = question_files.write(tmp_path / "own.json", new)
    with pytest.raises(error) as caught:
        train(data, tmp_path / "run", file=file, **settings)
    assert message in str(caught.value)
    assert not (tmp_path / "run").exists()


def test_validation_that_no_head_can_answer_is_refused(data, tmp_path):
    new = rows()
    for row in new[10:14]:
        row["answer"] = "a stove"
    file = question_files.write(tmp_path / "own.json", new)
    with pytest.raises(DatasetError) as caught:
        train(data, tmp_path / "run", file=file)
    assert str(caught.value) == (
        "none of 4 validation questions has an answer of the vocabulary, the 5 answers of training;"
        " expected at least one, to choose the epoch by; they have 'a stove': add questions, or"
        " name the split of each row in the column split"
    )


def test_a_head_of_a_fixed_number_of_answers_is_refused_by_name():
    chosen, _ = resolve("late_fusion")
    head = heads.build("late_fusion", width=8, num_answers=5)
    building.check_answers(head, chosen)
    head.answer.layer = torch.nn.Linear(8, 42)
    with pytest.raises(ConfigError) as caught:
        building.check_answers(head, chosen)
    assert str(caught.value) == (
        "head late_fusion gives 42 answers whatever num_answers is; expected num_answers=5, those"
        " of the training questions; build its last layer with avqa.heads.AnswerLayer, or choose"
        " another head"
    )


def test_ask_answers_from_the_runs_words(run):
    video = clips.cached_clip("rain.mp4", seconds=2.0, fps=8, sound_codec="aac")
    answer = ask(AskOptions(run[0], video, "IS it loud by night?"))
    assert sorted(name for name, _ in answer.answers) == ANSWERS
    assert sum(p for _, p in answer.answers) == pytest.approx(1)
    assert answer.notes == ("unknown words, read as <unk>: 'by', 'night'",)
    with pytest.raises(ConfigError, match="no word of the question is known to .* of its 5 words;"):
        ask(AskOptions(run[0], video, "Who shouts?"))


def test_words_of_multiple_choice_are_those_of_training(data, tmp_path):
    """AVQA's as well: its words were MUSIC-AVQA's in version 0.1, so that most were padding."""
    new = [{**row, "options": ["a", "b"], "answer": "ab"[n % 2]} for n, row in enumerate(rows())]
    file = question_files.write(tmp_path / "own.json", new)
    chosen = TrainSettings(**{**resolve("mcd")[0].__dict__, "visual": "clip_vit_b32"})
    store = FeatureStore(data / "store")
    material = gather(store, "custom", file, chosen, [], tokens=True)
    assert material.vocabulary.answers == ()
    assert material.vocabulary.words[2:] == ("a", "b", "is", "it", "loud", "outdoors", "what")
    assert not any("answers:" in note or "outside" in note for note in material.notes)
    avqa = [question_files.avqa_row(id=n, video_name=video) for n, video in enumerate(VIDEOS)]
    question_files.write(tmp_path / "a" / "train_qa.json", avqa[:6])
    question_files.write(tmp_path / "a" / "val_qa.json", avqa[6:])
    found = gather(store, "avqa", tmp_path / "a", chosen, [], tokens=True).vocabulary
    assert found.words[2:] == ("3", "cat", "dog", "in", "makes", "sound", "the", "video", "what")
    assert found.types == ("Both", "Which")


def test_a_fixed_vocabulary_takes_no_settings(tmp_path):
    run_folders.write_three_videos(tmp_path)
    asked = TrainOptions(
        head="question_only",
        store=tmp_path / "store",
        dataset="music-avqa",
        annotations=tmp_path / "annotations",
        out=tmp_path / "run",
        assignments=TINY | {"max_answers": "10", "min_word_count": "2"},
    )
    with pytest.raises(ConfigError) as caught:
        train_head(asked)
    assert str(caught.value) == (
        "max_answers=10, min_word_count=2 with data set 'music-avqa'; expected no such setting:"
        " its 42 answers and 92 words are fixed; leave it out"
    )
