"""Training runs on a tiny store: what the folder holds, resuming, and what is refused."""

import csv
import dataclasses
import io
import json
import shutil
import threading

import pytest
import torch
from helpers.questions import question_files
from helpers.runs import run_folders
from safetensors.torch import load_file

from avqa.errors import ConfigError, DatasetError, FeatureMissing, RecipeMismatch
from avqa.pipelines.train import folder, train
from avqa.pipelines.train.tables import joined_table
from avqa.pipelines.train.train import TrainOptions, train_head
from avqa.store.format.schema import FeatureSpec
from avqa.training.data import building, features
from avqa.training.data.questions import QuestionSet
from avqa.training.data.splits import read_splits
from avqa.training.fitting.fit import infer
from avqa.training.probabilities import read_probabilities
from avqa.training.run import Run, member_path
from avqa.training.scoring import predictions, read_predictions
from avqa.training.settings import resolve
from avqa.training.variants import Variant

pytestmark = pytest.mark.usefixtures("one_thread")

VIDEOS = {f"{n:08d}": 2 + n % 3 for n in range(1, 9)}
TINY = {"width": "8", "epochs": "2", "batch_size": "8", "visual": "clip_vit_b32"}
TINY |= {"stride_seconds": "1", "device": "cpu", "learning_rate": "0.01"}


def write_questions(folder, **changes_of_split):
    """Two questions a video about four, two and two videos; val and test as asked."""
    ids = list(VIDEOS)
    for split, videos in {"train": ids[:4], "val": ids[4:6], "test": ids[6:]}.items():
        rows = [
            question_files.music_row(
                video_id=video,
                question_id=number,
                templ_values=json.dumps([("violin", "cello")[number % 2]]),
                anser=("yes", "no")[number % 2],
            )
            for number, video in enumerate([*videos, *videos])
        ]
        rows += changes_of_split.get(split, [])
        question_files.write(folder / f"avqa-{split}.json", rows)
    return folder


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    run_folders.write_store(folder / "store", VIDEOS, "random:0")
    write_questions(folder / "annotations")
    return folder


def options(data, out, head="avst", **changes):
    given = {"assignments": TINY, "annotations": data / "annotations", **changes}
    return TrainOptions(head=head, store=data / "store", dataset="music-avqa", out=out, **given)


@pytest.fixture(scope="module")
def run(data, tmp_path_factory):
    """AVST with its row `q`, two seeds: six members."""
    out = tmp_path_factory.mktemp("run") / "out"
    lines = []
    tested = []

    def counted(head, questions, **keywords):
        tested.append(type(head).__module__)
        return infer(head, questions, **keywords)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(train, "infer", counted)
        table = train_head(options(data, out, ablation="q", seeds=2), lines.append)
    return out, table, lines, tested


MEMBERS = [(name, seed) for name in ("default", "q", "question_only") for seed in (0, 1)]


def weights(out):
    return {
        (name, seed): load_file(member_path(out, name, seed) / "model.safetensors")
        for name, seed in MEMBERS
    }


def assert_same_weights(first, second):
    for member, state in first.items():
        for name, value in state.items():
            assert torch.equal(value, second[member][name]), (member, name)


def test_every_member_has_its_files(run):
    out, table, _, _ = run
    for variant, seed in MEMBERS:
        path = member_path(out, variant, seed)
        assert {p.name for p in path.iterdir()} == {
            *("config.json", "environment.json", "metrics.csv", "curves.png", "model.safetensors"),
            *("predictions.json", "predictions.npz", "result.json", "logs"),
        }
    assert (out / "table.txt").read_text(encoding="utf-8") == table.text()
    assert (out / "table.md").read_text(encoding="utf-8") == table.markdown()
    assert (out / "table.csv").read_text(encoding="utf-8") == table.csv()


def test_probabilities_and_confusions_are_those_of_the_answers(run):
    out, counted = run[0], 0
    for member in Run.load(out).members:
        rows = read_predictions(member.path / "predictions.json")
        kept = read_probabilities(member.path / "predictions.npz")
        assert kept.keys.tolist() == [row.key for row in rows]
        assert [str(kept.answers[n]) for n in kept.values.argmax(1)] == [r.prediction for r in rows]
        assert kept.values.max(1).tolist() == pytest.approx([row.probability for row in rows], 1e-4)
        assert member.result.files.keys() >= {"predictions.json", "predictions.npz"}
        counted += len(rows)
    with open(out / "confusions.csv", newline="", encoding="utf-8") as file:
        assert sum(int(row["count"]) for row in csv.DictReader(file)) == counted
    assert joined_table([out]).confusions == (str(out / "confusions.csv"),)


def test_the_table_has_ours_the_ablation_and_the_floors(run):
    rows = {row["name"]: row for row in csv.DictReader(io.StringIO(run[1].csv()))}
    assert {"ours: question_only", "ours: avst", "ours: q", "paper: q"} <= rows.keys()
    assert rows["ours: avst"]["seeds"] == "0;1"
    assert rows["ours: avst"]["All_total"] == "4"
    assert rows["template floor"]["All"] != ""


def test_each_member_is_tested_once(run):
    assert run[3] == ["avqa.heads.avst"] * 4 + ["avqa.heads.question_only"] * 2


def test_the_saved_head_gives_the_saved_predictions_and_counts(run, data):
    out = run[0]
    member = next(iter(Run.load(out).of_variant("default")))
    head = member.load_head()
    questions = read_splits("music-avqa", data / "annotations").test
    ids = [question.video_id for question in questions]
    reader = features.VideoFeatures(
        train.FeatureStore(data / "store"),
        {k: v["name"] for k, v in member.config.features.items()},
    )
    test = QuestionSet(questions, ids, reader, None, head, training=False)
    again = predictions(test, infer(head, test, batch_size=3, device="cpu"))
    saved = read_predictions(member.path / "predictions.json")
    assert [(row.key, row.prediction) for row in again] == [(r.key, r.prediction) for r in saved]
    assert member.result.scores["All"].correct == sum(row.correct for row in saved)
    assert member.result.scores["All"].total == 4
    assert member.result.parameters == sum(p.numel() for p in head.parameters())


def test_the_config_tells_what_was_read(run, data):
    configs = {m.config.variant: m.config for m in Run.load(run[0]).members}
    store = train.FeatureStore(data / "store")
    config = configs["default"]
    assert {field: entry["name"] for field, entry in config.features.items()} == {
        "audio": "vggish/audio",
        "patch": "clip_vit_b32/patch",
    }
    for entry in config.features.values():
        assert entry["recipe_hash"] == store.recipe_hash(entry["name"])
        assert entry["recipe"] == store.recipe(entry["name"])
    assert (config.options["audio_width"], config.options["visual_width"]) == (4, 8)
    assert config.counts == {"train": 8, "val": 4, "test": 4}
    assert (config.weights, config.texts, config.head) == ("random:0", {}, "avst")
    assert (configs["q"].features, configs["q"].weights) == ({}, "")
    assert configs["question_only"].head == "question_only"
    environment = json.loads(
        (member_path(run[0], "q", 0) / "environment.json").read_text(encoding="utf-8")
    )
    assert environment["packages"]["torch"] == torch.__version__.partition("+")[0]


def test_devices_reach_the_fit_and_are_written_down(data, tmp_path, monkeypatch):
    def fit(*_, devices, **__):
        raise ConfigError(f"devices={devices}")

    monkeypatch.setattr(train, "fit", fit)
    with pytest.raises(ConfigError, match="^devices=2$"):
        train_head(options(data, tmp_path, devices=2))
    path = member_path(tmp_path, "default", 0) / "environment.json"
    assert json.loads(path.read_text(encoding="utf-8"))["devices"] == 2


def test_workers_above_the_cores_are_said_once(data, tmp_path, monkeypatch):
    """With torch's own warning it would be one for every loader, and an error here."""
    monkeypatch.setattr("os.sched_getaffinity", lambda pid: {0}, raising=False)
    said = []
    assignments = TINY | {"epochs": "1", "workers": "2"}
    train_head(options(data, tmp_path / "run", seeds=2, assignments=assignments), said.append)
    assert [line for line in said if "workers" in line] == [
        "workers=2; expected at most 1, as cores=1 can be used; trains all the same, maybe slower;"
        " use --set workers=1"
    ]


def test_random_weights_are_said_once_and_above_the_table(run):
    said = [line for line in run[2] if "RANDOM WEIGHTS" in line]
    assert len(said) == 1
    assert "!! random weights" in run[1].text()


def test_seeds_differ_and_do_not_depend_on_what_came_before(run, data, tmp_path):
    of = weights(run[0])
    assert not torch.equal(
        of["default", 0]["fusion.fuse.weight"], of["default", 1]["fusion.fuse.weight"]
    )
    alone = options(data, tmp_path / "alone", head="question_only")
    train_head(alone)
    state = load_file(tmp_path / "alone" / "default" / "seed-0" / "model.safetensors")
    for name, value in of["question_only", 0].items():
        assert torch.equal(value, state[name]), name


def test_an_interrupted_run_ends_as_if_it_had_not_been(run, data, tmp_path, monkeypatch):
    out, fit, calls = tmp_path / "out", train.fit, []

    def stop_in_the_third(*arguments, **keywords):
        calls.append((keywords["label"], keywords["resume"]))
        if len(calls) == 3:
            raise KeyboardInterrupt
        return fit(*arguments, **keywords)

    monkeypatch.setattr(train, "fit", stop_in_the_third)
    asked = options(data, out, ablation="q", seeds=2)
    with pytest.raises(KeyboardInterrupt):
        train_head(asked)
    assert not (out / "table.txt").exists()
    assert len(Run.load(out).members) == 2
    lines = []
    train_head(options(data, out, ablation="q", seeds=2, resume=True), lines.append)
    assert calls[3:] == [
        *(("avst q seed 0", True), ("avst q seed 1", True)),
        *(("avst question_only seed 0", True), ("avst question_only seed 1", True)),
    ]
    assert [line for line in lines if line.endswith("finished before")] == [
        "avst default seed 0: finished before",
        "avst default seed 1: finished before",
    ]
    assert_same_weights(weights(run[0]), weights(out))
    assert (out / "table.csv").read_text(encoding="utf-8") == (run[0] / "table.csv").read_text(
        encoding="utf-8"
    )


def copied(run, to):
    return shutil.copytree(run[0], to)


def test_resuming_a_finished_run_trains_nothing_and_keeps_the_table(
    run, data, tmp_path, monkeypatch
):
    out = copied(run, tmp_path / "out")
    monkeypatch.setattr(train, "fit", pytest.fail)
    (out / "table.txt").unlink()
    # The rows and seeds of before stay, though fewer are asked for.
    table = train_head(options(data, out, resume=True))
    assert table.csv() == run[1].csv()
    about = json.loads((out / "run.json").read_text(encoding="utf-8"))
    assert (about["variants"], about["seeds"]) == (["default", "q", "question_only"], 2)


def refusal(*arguments, error=ConfigError, **keywords):
    with pytest.raises(error) as caught:
        train_head(options(*arguments, **keywords))
    return str(caught.value)


def test_a_folder_in_use_is_refused(run, data, tmp_path):
    out = copied(run, tmp_path / "out")
    assert "holds a run; expected an empty folder; go on with it by --resume" in refusal(data, out)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.tex").write_text("", encoding="utf-8")
    found = refusal(data, tmp_path / "other", resume=True)
    assert "holds 'thesis.tex' and no run.json; expected an empty folder or a run" in found
    assert "is a file; expected a folder" in refusal(data, tmp_path / "other" / "thesis.tex")


def test_one_process_at_a_time_begins_and_sums_up(run, data, tmp_path, monkeypatch):
    out = copied(run, tmp_path / "out")
    monkeypatch.setattr(folder, "PATIENCE_SECONDS", 0.0)
    with folder.alone(out):
        found = refusal(data, out, resume=True)
    assert "another process has held its lock for 0 s; expected moments; end it" in found
    monkeypatch.undo()
    holds, done = threading.Event(), threading.Event()

    def other():
        with folder.alone(out):
            holds.set()
            done.wait(20)

    thread = threading.Thread(target=other)
    thread.start()
    assert holds.wait(20)
    threading.Timer(0.3, done.set).start()
    with folder.alone(out):  # waits
        assert done.is_set()
    thread.join()


def test_a_changed_setting_is_refused_by_name(run, data, tmp_path):
    out = copied(run, tmp_path / "out")
    changed = {**TINY, "epochs": "3", "dropout": "0.2"}
    found = refusal(data, out, assignments=changed, resume=True)
    assert "epochs (run: 2, now: 3), dropout (run: 0.1, now: 0.2); expected what the run" in found
    elsewhere = write_questions(
        tmp_path / "more", test=[question_files.music_row(video_id="00000008")]
    )
    found = refusal(data, out, annotations=elsewhere, resume=True)
    assert "questions (other files, answers or videos); expected" in found
    assert "head (run: avst, now: tjstg)" in refusal(data, out, head="tjstg", resume=True)
    # Where it is computed is no setting of the run.
    other_place = {**TINY, "workers": "1", "device": "auto"}
    train_head(options(data, out, assignments=other_place, resume=True))


NOTE = (
    "batches: questions about one video stay close, so that it is read once (batches=grouped);"
    " the papers shuffle"
)


def orders(out):
    return {member.config.settings.batches for member in Run.load(out).members}


def test_the_order_of_batches_is_decided_once_a_run(run, data, tmp_path, monkeypatch):
    assert orders(run[0]) == {"shuffled"}
    assert run[1].notes.count(NOTE) == 0
    out, lines = tmp_path / "out", []
    asked = options(data, out, head="late_fusion", assignments={**TINY, "epochs": "1"})
    monkeypatch.setattr(features, "free_memory", lambda: 0)
    table = train_head(asked, lines.append)
    assert orders(out) == {"grouped"}
    assert json.loads((out / "run.json").read_text("utf-8"))["settings"]["batches"] == "grouped"
    assert table.notes.count(NOTE) == 1
    assert lines.count(f"{NOTE}, as --set batches=shuffled does") == 1
    monkeypatch.undo()  # another machine goes on
    train_head(dataclasses.replace(asked, seeds=2, resume=True))
    assert orders(out) == {"grouped"}
    assert len(Run.load(out).members) == 4
    chosen = {**asked.assignments, "batches": "shuffled"}
    with pytest.raises(ConfigError, match=r"batches \(run: grouped, now: shuffled\); expected"):
        train_head(dataclasses.replace(asked, assignments=chosen, resume=True))


def test_features_of_another_recipe_are_refused(run, data, tmp_path):
    out = copied(run, tmp_path / "out")
    other = tmp_path / "store"
    run_folders.write_store(other, VIDEOS, "pretrained")
    asked = options(data, out, resume=True)
    told = r'weights.\w+.source: run="random:0" store="pretrained" \(.*vggish/audio.*\); expected'
    with pytest.raises(RecipeMismatch, match=told):
        train_head(TrainOptions(**{**vars(asked), "store": other}))


def test_what_is_left_out_is_counted(data, tmp_path):
    row = question_files.music_row
    folder = write_questions(
        tmp_path / "annotations",
        train=[row(video_id="99999999"), row(video_id="99999999", question_id=2)]
        + [row(video_id="00000001", anser="harp")],
        val=[row(video_id="00000005", anser="ten")],
        test=[
            row(video_id="00000007", anser="ten"),
            row(video_id="00000007", anser="harp"),
            row(video_id="00000007", anser=None),
            row(video_id="00000007", question_content="Does it sing", templ_values="[]"),
        ],
    )
    planned, _ = resolve("avst", TINY)
    store = train.FeatureStore(data / "store")
    found = train.gather(store, "music-avqa", folder, planned, ["audio"], tokens=True)
    assert found.counts == {"train": 8, "val": 5, "test": 7}
    assert found.notes == (
        "questions left out: 2 of 1 videos that the store has not (99999999), 2 without a"
        " right answer to train or test on",
        "val: 1 questions have an answer that no training question has: 'ten'",
        "test: 2 questions have an answer that no training question has: 'ten', 'harp'",
        "test: 1 of 7 questions have words that the head does not know and reads as padding:"
        " 'Does', 'sing'; question=clip reads every word",
    )
    assert (
        train.gather(store, "music-avqa", folder, planned, [], tokens=False).notes
        == found.notes[:3]
    )


def test_missing_features_name_the_command_or_are_skipped(data, tmp_path):
    store = tmp_path / "store"
    run_folders.write_store(store, VIDEOS, missing=["00000002", "00000007"])
    asked = options(data, tmp_path / "out")
    with pytest.raises(FeatureMissing, match="2 of 8 videos lack a needed feature.* avqa extract"):
        train_head(TrainOptions(**{**vars(asked), "store": store}))
    found = refusal(data, tmp_path / "out", assignments={"width": "8"}, error=FeatureMissing)
    assert "has no resnet18/map; expected" in found
    assert not (tmp_path / "out").exists()
    planned, _ = resolve("avst", {**TINY, "missing": "skip"})
    reader = train.FeatureStore(store)
    material = train.gather(
        reader, "music-avqa", data / "annotations", planned, ["audio"], tokens=False
    )
    assert material.counts == {"train": 6, "val": 4, "test": 2}
    assert material.notes == (
        "questions left out: 4 of videos without a needed feature (missing=skip)",
    )


def test_a_split_that_is_left_empty_is_refused(data, tmp_path):
    store = tmp_path / "store"
    run_folders.write_store(store, {v: 2 for v in list(VIDEOS)[:6]})
    asked = options(data, tmp_path / "out")
    with pytest.raises(DatasetError, match=r"no question left in test .* \(train 8, val 4, test 0"):
        train_head(TrainOptions(**{**vars(asked), "store": store}))


@pytest.mark.parametrize(("text_objects", "rows"), [(True, 101), (False, 93)])
def test_mcd_has_rows_for_the_words_of_types(data, tmp_path, text_objects, rows):
    frame = FeatureSpec("clip_vit_b32/frame", (6,), ("channel",), False)
    store = run_folders.write_store(tmp_path / "store", VIDEOS, specs=(run_folders.SPECS[0], frame))
    settings, chosen = resolve("mcd", {"width": "8"})
    fields = ["audio", "frame"]
    material = train.gather(
        store, "music-avqa", data / "annotations", settings, fields, tokens=True
    )
    variant = Variant("default", "mcd", {**chosen, "text_objects": text_objects})
    found = building.derived(variant, material, settings)
    assert found == {
        "answer": "vocabulary",
        "num_answers": 42,
        "vocabulary": rows,
        "audio_width": 4,
        "visual_width": 6,
    }


def test_a_config_file_is_read_and_a_strange_one_refused(data, tmp_path):
    file = tmp_path / "settings.toml"
    file.write_text("epochs = 3\nmodalities = 'aq'\n", encoding="utf-8")
    assert train.read_config(file) == {"epochs": 3, "modalities": "aq"}
    file.write_text("epochs: 3", encoding="utf-8")
    found = refusal(data, tmp_path / "out", config=file)
    assert "cannot be read" in found
    assert "expected TOML with one key = value a line, such as epochs = 10" in found
    assert "cannot be read: No such file" in refusal(data, tmp_path / "out", config=tmp_path / "x")
