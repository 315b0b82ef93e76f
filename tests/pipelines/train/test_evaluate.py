"""Answers of saved weights over a store: as computed apart, and refused where they would lie."""

import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.questions.question_files import music_row, write
from helpers.runs.run_folders import SECONDS, rows_of, write_run, write_store
from helpers.store.stores import store_bytes

from avqa import datasets
from avqa.datasets._parts.vocabulary import ANSWERS, MUSIC_AVQA
from avqa.errors import ConfigError, DatasetError, FeatureMissing, RecipeMismatch, UnknownName
from avqa.heads import HeadInput
from avqa.pipelines.train import evaluate as evaluating
from avqa.pipelines.train.evaluate import EvaluateOptions, evaluate, predict
from avqa.store.places.files import write_json
from avqa.store.reader import FeatureStore
from avqa.training.data.conditions import Swapped
from avqa.training.probabilities import read_probabilities
from avqa.training.run import Member, Run

IDS = {"00000001": "00000001", "00000002": "00000002", "00000003": "part/00000003"}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return write_run(tmp_path_factory.mktemp("made"))


@pytest.fixture
def run(made):
    return made / "run"


def options(run, **changes):
    return EvaluateOptions(run=run, **changes)


def by_hand(member, store, questions, change=lambda inputs, of: inputs):
    """Probabilities of one question at a time, put together by hand."""
    head, reader = member.load_head(), FeatureStore(store)

    def rows(video):
        return {
            field: torch.from_numpy(reader.read(IDS[video], name)[::2]).float()[None]
            for field, name in (("audio", "vggish/audio"), ("patch", "clip_vit_b32/patch"))
        }

    found = []
    for question in questions:
        fields = rows(question.video_id)
        inputs = HeadInput(
            valid=torch.ones(fields["audio"].shape[:2], dtype=torch.bool),
            tokens=torch.tensor([MUSIC_AVQA.encode_words(question.words)]),
            **fields,
        )
        with torch.no_grad():
            found.append(head(change(inputs, rows)).logits.softmax(-1)[0])
    return torch.stack(found)


def expected_answers(member, store, questions):
    """Answers of one question at a time, put together by hand."""
    answers = [ANSWERS[int(p.argmax())] for p in by_hand(member, store, questions)]
    assert len(set(answers)) >= 3
    return answers


def test_answers_are_those_of_the_saved_weights(run, made):
    before = store_bytes(made / "store"), sorted(run.rglob("*"))
    said = []
    table = evaluate(options(run), said.append).table
    assert (store_bytes(made / "store"), sorted(run.rglob("*"))) == before
    test = datasets.read("music-avqa", made / "annotations", ["test"])
    there = [q for q in test if q.video_id in IDS]
    right = []
    for member in Run.load(run).of_variant("default"):
        answers = expected_answers(member, made / "store", there)
        right.append(sum(a == q.answer for a, q in zip(answers, there, strict=True)))
    ours = {row.name: row for row in table.rows}["ours: avst"].cells
    assert ours["All"].correct == ours["A-Count"].correct == tuple(right)
    assert ours["All"].total == len(there) == 9
    assert "ours: question_only" in [row.name for row in table.rows]
    assert said == [
        "3 of 12 questions are left out: their videos are not in the store, or lack a feature",
        "default/seed-0: answering 9 questions of test",
        "default/seed-1: answering 9 questions of test",
        "question_only/seed-0: answering 9 questions of test",
    ]
    (cost,) = [line for line in table.notes if line.startswith("cost of ours")]
    assert "about 4 rows of 49 patches" in cost  # seconds 0, 2, 4, 6 of the longest video


def without_audio(inputs, rows):
    return dataclasses.replace(inputs, audio_valid=torch.zeros_like(inputs.valid))


def without_patches(inputs, rows):
    return dataclasses.replace(inputs, patch=torch.zeros_like(inputs.patch))


@pytest.mark.parametrize(
    ("stream", "change"), [("audio", without_audio), ("patches", without_patches)]
)
def test_what_a_head_answers_without_a_stream(run, made, stream, change):
    found = evaluate(options(run, without=[stream]), print)
    test = datasets.read("music-avqa", made / "annotations", ["test"])
    there = [q for q in test if q.video_id in IDS]
    right = []
    for member in Run.load(run).of_variant("default"):
        answers = [ANSWERS[int(p.argmax())] for p in by_hand(member, made / "store", there, change)]
        right.append(sum(a == q.answer for a, q in zip(answers, there, strict=True)))
    rows = {row.name: row for row in found.table.rows}
    changed = rows[f"ours: avst, without {stream}"]
    assert changed.cells["All"].correct == tuple(right)
    assert changed.has_intervals
    assert f"ours: question_only, without {stream}" not in rows  # it reads none
    (beside,) = found.comparisons
    assert beside.names == ("avst, as it is", f"avst, without {stream}")
    everything = beside.columns[-1]
    assert everything.first == pytest.approx(rows["ours: avst"].cells["All"].mean)
    assert everything.second == pytest.approx(changed.cells["All"].mean)
    plain = evaluate(options(run), print)
    kept = [row for row in found.table.rows if row.kind != "condition"]
    assert str(kept) == str([*plain.table.rows])  # what is evaluated anyway stays what it is


def test_another_videos_audio_is_given_to_all_questions_of_a_video(run, made):
    partners = Swapped(("audio",), 3).partners(IDS.values())
    there = [
        q for q in datasets.read("music-avqa", made / "annotations", ["test"]) if q.video_id in IDS
    ]
    names = {stored: asked for asked, stored in IDS.items()}
    member = Member.load(run / "default/seed-0")
    expected = []
    for question in there:

        def swapped(inputs, rows, of=names[partners[IDS[question.video_id]]]):
            theirs = rows(of)["audio"]
            place = torch.arange(inputs.audio.shape[1]) % theirs.shape[1]
            return dataclasses.replace(inputs, audio=theirs[:, place])

        (found,) = by_hand(member, made / "store", [question], swapped)
        expected.append(ANSWERS[int(found.argmax())] == question.answer)
    told = evaluate(options(member.path, swap=["audio"], seed=3), print)
    row = next(row for row in told.table.rows if row.kind == "condition")
    assert row.cells["All"].correct == (sum(expected),)


def test_all_probabilities_are_kept_and_told(run, made, tmp_path):
    found = evaluate(options(run, out=tmp_path / "kept"), print)
    test = datasets.read("music-avqa", made / "annotations", ["test"])
    there = [q for q in test if q.video_id in IDS]
    for member in Run.load(run).of_variant("default"):
        kept = read_probabilities(
            tmp_path / "kept" / member.path.relative_to(run) / "predictions.npz"
        )
        assert kept.keys.tolist() == [q.key for q in there]
        assert kept.answers.tolist() == list(ANSWERS)
        expected = by_hand(member, made / "store", there).numpy()
        assert np.allclose(kept.values, expected, atol=1e-5)
        assert [kept.answers[place] for place in kept.right] == [q.answer for q in there]
    one = found.confidence[0]
    assert one.name == "avst"
    assert 100 * np.mean(one.accuracy) == pytest.approx(
        next(r for r in found.table.rows if r.name == "ours: avst").cells["All"].mean
    )
    text = (tmp_path / "kept/confusions.csv").read_text(encoding="utf-8")
    counts = [line.rpartition(",")[2] for line in text.splitlines()[1:]]
    assert sum(map(int, counts)) == 3 * len(there)
    assert found.table.confusions == (str(tmp_path / "kept/confusions.csv"),)


def test_conditions_that_change_nothing_are_refused(run, tmp_path):
    only = "no head of run .* reads frames; expected some of audio, patches, which they read"
    with pytest.raises(ConfigError, match=only):
        evaluate(options(run, without=["frames"]), print)
    with pytest.raises(ConfigError, match="expected some of no video"):
        evaluate(options(run / "question_only/seed-0", missing_rate=0.5), print)
    with pytest.raises(ConfigError, match="is a run; expected a folder for what is evaluated"):
        evaluate(options(run, out=run), print)


def test_audio_that_is_missing_everywhere_is_not_there(run):
    rows = {
        name: str(evaluate(options(run, **of), print).table.rows[-1].cells)
        for name, of in {
            "all": {"missing_rate": 1.0},
            "none": {"missing_rate": 0.0},
            "without": {"without": ["audio"]},
        }.items()
    }
    assert rows["all"] == rows["without"]
    plain = {row.name: row for row in evaluate(options(run), print).table.rows}
    assert rows["none"] == str(plain["ours: avst"].cells)


def test_predictions_are_written_by_question_id(run, made, tmp_path):
    out = tmp_path / "answers.json"
    out.write_text("of before", encoding="utf-8")
    report = predict(options(run / "default/seed-1"), out, print)
    found = json.loads(out.read_text(encoding="utf-8"))
    test = datasets.read("music-avqa", made / "annotations", ["test"])
    there = [q for q in test if q.video_id in IDS]
    member = Member.load(run / "default/seed-1")
    answers = expected_answers(member, made / "store", there)
    assert list(found.items()) == list(zip([q.question_id for q in there], answers, strict=True))
    assert report.lines() == [
        f"9 answers of avst, default, seed 1: '{out}'",
        "3 of 12 questions have no answer: their videos are not in the store, or lack a feature",
    ]
    assert [path.name for path in tmp_path.iterdir()] == ["answers.json"]
    first = predict(options(run), out, print)
    assert first.lines()[0] == f"9 answers of avst, default, seed 0: '{out}'"


def test_ids_that_name_no_single_question_give_way_to_keys(run, tmp_path):
    asked = [
        music_row(question_id=n, video_id="00000001", anser=None, templ_values=f'["{word}"]')
        for n, word in ((5, "violin"), (None, "cello"), (5, "piano"), (6, "drum"))
    ]
    file = write(tmp_path / "new.json", asked)
    out = tmp_path / "out.json"
    report = predict(options(run, annotations=file), out, print)
    keys = [q.key for q in datasets.read("music-avqa", file, ["test"])]
    assert list(json.loads(out.read_text(encoding="utf-8"))) == [*keys[:3], "6"]
    assert report.lines()[1:] == [
        "3 questions have an id that is missing or occurs twice: their keys, as in"
        " predictions.json, stand for it"
    ]
    with pytest.raises(DatasetError) as error:
        evaluate(options(run, annotations=file), print)
    assert str(error.value) == (
        "none of 4 questions of split='test' has a right answer; expected at least one to score;"
        " give others with --annotations, or use `avqa predict`"
    )


def test_floors_of_one_file_are_fitted_on_the_runs_own_questions(run, tmp_path):
    file = write(tmp_path / "avqa-test.json", rows_of("test"))
    table = evaluate(options(run / "default/seed-0", annotations=file), print).table
    floor = {row.name: row for row in table.rows}["template floor"]
    # Of 12 training questions 6 are answered yes, the first of them first.
    assert (floor.cells["All"].correct, floor.cells["All"].total) == ((6,), 9)
    assert table.version == "unknown"


def test_val_is_scored_with_a_warning(run):
    table = evaluate(options(run / "default/seed-0", split="val"), print).table
    assert (table.split, len(table.warnings)) == ("val", 1)


def test_a_store_of_another_recipe_is_refused(run, tmp_path):
    other = write_store(tmp_path / "other", SECONDS, made="random:3")
    for work in (evaluate, lambda o, say: predict(o, tmp_path / "out.json", say)):
        with pytest.raises(RecipeMismatch) as error:
            work(options(run, store=other.path), print)
        assert error.value.exit_code == 4
        assert str(error.value) == (
            f"store '{other.path}': another recipe: weights.w.source:"
            ' run="pretrained" store="random:3" (vggish/audio, clip_vit_b32/patch); expected the'
            " same; give the store of the run with --store, or train on this one"
        )
    assert not (tmp_path / "out.json").exists()


def test_only_the_features_that_are_read_must_agree(run, tmp_path):
    other = write_store(tmp_path / "other", SECONDS, made="random:3")
    table = evaluate(options(run / "question_only/seed-0", store=other.path), print).table
    assert table.rows[-1].name == "ours: question_only"


def test_a_store_without_a_feature_is_refused(run, made, tmp_path):
    member = run / "default/seed-0"
    copied = shutil.copytree(member, tmp_path / "alone")
    value = json.loads((copied / "config.json").read_text(encoding="utf-8"))
    value["features"]["patch"]["name"] = "resnet18/map"
    write_json(copied / "config.json", value)
    with pytest.raises(FeatureMissing) as error:
        evaluate(options(copied), print)
    assert str(error.value) == (
        f"store '{made / 'store'}' has no resnet18/map; expected what the run was trained on:"
        " vggish/audio, resnet18/map; add with `avqa extract`, or give another --store"
    )
    value["features"]["patch"]["name"] = "clip_vit_b32/patch"
    value["texts"] = {"near/sentence": value["features"]["audio"]}
    write_json(copied / "config.json", value)
    with pytest.raises(FeatureMissing) as error:
        evaluate(options(copied), print)
    assert str(error.value).endswith(
        f"add with `avqa questions --dataset NAME --annotations PATH --store {made / 'store'}"
        " --features near/sentence`, or give another --store"
    )


def test_videos_that_failed_are_an_error_or_left_out_as_in_training(run, tmp_path):
    store = write_store(tmp_path / "partly", SECONDS, missing=["00000002"])
    with pytest.raises(FeatureMissing, match="1 of 3 videos lack a needed feature"):
        evaluate(options(run, store=store.path), print)
    copied = shutil.copytree(run / "default/seed-0", tmp_path / "alone")
    value = json.loads((copied / "config.json").read_text(encoding="utf-8"))
    value["settings"]["missing"] = "skip"
    write_json(copied / "config.json", value)
    said = []
    table = evaluate(options(copied, store=store.path), said.append).table
    assert table.rows[-1].cells["All"].total == 6
    assert said[0].startswith("6 of 12 questions are left out: ")


@pytest.mark.parametrize(
    ("changes", "kind", "message"),
    [
        ({"split": "tset"}, UnknownName, "no split 'tset'; did you mean 'test'? available: "),
        ({"annotations": "gone"}, DatasetError, "annotations='gone' does not exist; expected a"),
        ({"run": "gone"}, ConfigError, "no run.json in "),
    ],
)
def test_what_is_not_there(run, changes, kind, message):
    paths = {name: Path(v) if name != "split" else v for name, v in changes.items()}
    with pytest.raises(kind) as error:
        evaluate(dataclasses.replace(options(run), **paths), print)
    assert str(error.value).startswith(message)
    assert error.value.exit_code == 2


def test_a_split_without_a_question(run, tmp_path):
    folder = tmp_path / "json"
    write(folder / "avqa-test.json", rows_of("test"))
    with pytest.raises(DatasetError) as error:
        evaluate(options(run, annotations=folder, split="train"), print)
    assert str(error.value) == (
        f"annotations='{folder}' have no question in split='train'; expected at least one; ask for"
        " another --split, or check --annotations"
    )


@pytest.mark.parametrize(
    ("name", "what"), [("", "is a folder"), ("no/a.json", "lies in a folder that does not exist")]
)
def test_an_out_that_cannot_be_written_is_refused_first(run, tmp_path, name, what):
    with pytest.raises(ConfigError) as error:
        predict(options(run), tmp_path / name, print)
    assert str(error.value) == (
        f"out='{tmp_path / name}' {what}; expected a file to write; change --out"
    )


def test_workers_of_the_machine_that_trained_are_no_more_than_cores_here(
    run, tmp_path, monkeypatch
):
    copy = tmp_path / "run"
    shutil.copytree(run, copy)
    for file in copy.rglob("config.json"):
        config = json.loads(file.read_text(encoding="utf-8"))
        config["settings"]["workers"] = 64
        file.write_text(json.dumps(config), encoding="utf-8")
    given = []
    monkeypatch.setattr(evaluating, "num_cores", lambda: 3)
    monkeypatch.setattr(evaluating, "infer", lambda *_, workers, **__: given.append(workers) or [])
    predict(options(copy), tmp_path / "answers.json", print)
    assert given == [3]
