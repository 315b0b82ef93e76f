"""``--edition``, ``--group`` and ``--subset`` as typed: what they choose, keep and refuse."""

import hashlib
import json
import re

import pytest
from helpers.questions.question_files import music_row, write
from helpers.runs.run_folders import write_store
from typer.testing import CliRunner

import avqa as python
from avqa.cli import app
from avqa.pipelines.train.options import TrainOptions
from avqa.store.places.files import store_path

VIDEOS = {f"{n:08d}": 2 for n in range(1, 9)}
TINY = ("--set", "epochs=1", "--set", "width=8", "--set", "batch_size=4", "--device", "cpu")


def avqa(*arguments):
    """Run a command in this process: (exit code, stdout, stderr)."""
    done = CliRunner().invoke(app, [str(argument) for argument in arguments])
    return done.exit_code, done.stdout, done.stderr


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A store of eight videos, and of each data set a few questions about them."""
    made = tmp_path_factory.mktemp("made")
    write_store(made / "store", VIDEOS)
    names = [*VIDEOS]
    for edition, answer in (("balance", "yes"), ("bias", "no")):
        for split, videos in (("train", names[:4]), ("valid", names[4:6]), ("test", names[6:])):
            rows = [music_row(video_id=v, question_id=None, anser=answer) for v in videos]
            write(made / f"v2/{edition}_{split}.json", rows * (2 if edition == "bias" else 1))
    plain = {"templ_values": None, "question_content": "Is there a violin sound?"}
    rows = [
        music_row(video_id=names[n % 8], question_id=n, anser=a, **plain)
        for n, a in enumerate(["yes"] * 6 + ["no"] * 2 + ["two"])
    ]
    write(made / "r/avqa-test-headtail.json", rows)
    for name in ("r", "plain"):
        write(made / name / "avqa-train.json", [music_row(video_id=v) for v in names[:4]])
        write(made / name / "avqa-val.json", [music_row(video_id=v) for v in names[4:6]])
    twice = [names[6], names[6], names[7]]
    write(
        made / "plain/avqa-test.json",
        [music_row(video_id=v, question_id=n) for n, v in enumerate(twice)],
    )
    return made


def train(folder, dataset, annotations, out, *more):
    return avqa(
        *("train-head", "question_only", "--store", folder / "store", "--dataset", dataset),
        *("--annotations", folder / annotations, "--out", out, *TINY, *more),
    )


def show(folder, dataset, annotations, *more):
    of = ("--dataset", dataset, "--annotations", folder / annotations)
    return avqa("questions", *of, "--show", 0, *more)


def test_questions_are_shown_of_what_is_chosen(folder):
    code, out, _ = show(folder, "music-avqa-v2", "v2", "--edition", "bias")
    assert code == 0
    assert out.splitlines()[:3] == [
        "data set music-avqa-v2, edition=bias, annotation version: unknown",
        "questions: train 8 (4 videos), val 4 (2 videos), test 4 (2 videos); 1 distinct texts",
        "ids of questions: 0 occur more than once, 16 are missing; 8 rows repeat another",
    ]
    assert ", test 2 (2 videos)" in show(folder, "music-avqa-v2", "v2")[1]
    out = show(folder, "music-avqa-r", "r", "--group", "tail")[1]
    assert out.startswith("data set music-avqa-r, group=tail, ")
    assert ", test 3 (3 videos)" in out
    out = show(folder, "music-avqa", "plain", "--subset", "multi")[1]
    assert ", test 2 (1 videos)" in out


@pytest.mark.parametrize(
    ("dataset", "annotations", "typed", "message"),
    [
        (
            "music-avqa",
            "plain",
            ("--edition", "bias"),
            "edition='bias' is no choice of data set 'music-avqa'; its choices: subset (all, real,"
            " synthetic, multi); leave it out",
        ),
        (
            "avqa",
            "plain",
            ("--group", "head"),
            "group='head' is no choice of data set 'avqa'; its choices: none; leave it out",
        ),
        (
            "music-avqa-v2",
            "v2",
            ("--edition", "biased"),
            "no edition of music-avqa-v2 'biased'; did you mean 'bias'? available: balance, bias",
        ),
    ],
)
def test_what_a_data_set_does_not_leave_is_refused(
    folder, tmp_path, dataset, annotations, typed, message
):
    expected = (2, f"avqa: {message}\n")
    assert show(folder, dataset, annotations, *typed)[::2] == expected
    assert train(folder, dataset, annotations, tmp_path / "run", *typed)[::2] == expected
    store = ("--store", folder / "store", "--dataset", dataset)
    assert avqa("questions", *store, "--annotations", folder, *typed)[::2] == expected


def test_an_edition_is_kept_by_the_run_and_chosen_anew_by_evaluate(folder, tmp_path):
    run = tmp_path / "run"
    code, out, err = train(folder, "music-avqa-v2", "v2", run, "--edition", "bias")
    assert code == 0, err
    first = "questions: train 8, val 4, test 4; annotation version: unknown; edition=bias"
    assert first in err.splitlines()
    assert out.startswith("music-avqa-v2, edition=bias, test, annotation version: unknown; ")
    assert "questions: music-avqa-v2, edition=bias, annotation version unknown" in out
    about = json.loads((run / "run.json").read_text(encoding="utf-8"))
    config = json.loads((run / "default/seed-0/config.json").read_text(encoding="utf-8"))
    assert about["choices"] == config["choices"] == {"edition": "bias"}

    assert avqa("evaluate", run)[1].startswith("music-avqa-v2, edition=bias, test, ")
    code, out, err = avqa("evaluate", run, "--edition", "balance")
    assert code == 0, err
    assert out.startswith("music-avqa-v2, edition=balance, test, ")
    # Floors know the run's own training questions, whose answers are all no: never right here.
    assert re.search(r"floors, All: global 0\.00, .*; fitted on 8 training questions", out)
    assert "scored here 2 of test" in out
    code, _, err = avqa("evaluate", run, "--group", "head")
    assert code == 2
    assert err.startswith("avqa: group='head' is no choice of data set 'music-avqa-v2'; its ")
    asked = ("predict", run, "--out", tmp_path / "answers.json", "--edition")
    assert avqa(*asked, "balance")[1].startswith("2 answers of question_only")
    assert avqa(*asked, "bias")[1].startswith("4 answers of question_only")


def test_python_chooses_as_the_commands_do(folder, tmp_path):
    run, of = tmp_path / "run", ("music-avqa-v2", folder / "v2")
    settings = {"epochs": 1, "width": 8, "device": "cpu"}
    table = python.train(
        "question_only", folder / "store", *of, run, edition="bias", settings=settings
    )
    assert table.choices == "edition=bias"
    assert python.evaluate(run, edition="balance").choices == "edition=balance"
    assert [len(python.predict(run, edition=e)) for e in ("bias", "balance")] == [4, 2]
    for refused in (
        lambda: python.evaluate(run, subset="real"),
        lambda: python.predict(run, group="head"),
        lambda: python.questions(*of, folder / "store", edition="biased"),
    ):
        with pytest.raises(python.ConfigError, match="choice of data set|no edition of"):
            refused()


def test_a_run_goes_on_with_its_own_edition_alone(folder, tmp_path):
    run = tmp_path / "run"
    assert train(folder, "music-avqa-v2", "v2", run)[0] == 0
    code, _, err = train(folder, "music-avqa-v2", "v2", run, "--resume", "--edition", "bias")
    assert code == 2
    assert err == (
        f"avqa: --resume {str(run)!r}: edition (run: balance, now: bias), questions (other files,"
        " answers or videos); expected what the run began with; give the same settings, or choose"
        " another --out\n"
    )
    # As typed and by default is the same; runs of before have no such entry.
    typed = ("--resume", "--edition", "balance")
    assert train(folder, "music-avqa-v2", "v2", run, *typed)[0] == 0
    for path in (run / "run.json", run / "default/seed-0/config.json"):
        value = json.loads(path.read_text(encoding="utf-8"))
        del value["choices"]
        value.pop("sha256", None)
        path.write_text(json.dumps(value), encoding="utf-8")
    result = run / "default/seed-0/result.json"
    value = json.loads(result.read_text(encoding="utf-8"))
    for name in ("config", "files", "sha256"):
        del value[name]
    result.write_text(json.dumps(value), encoding="utf-8")
    code, _, err = train(folder, "music-avqa-v2", "v2", run, *typed)
    assert code == 0, err
    assert avqa("evaluate", run)[1].startswith("music-avqa-v2, edition=balance, test, ")


def test_head_tail_and_all_stand_side_by_side_with_the_digest_of_the_file(folder, tmp_path):
    run = tmp_path / "run"
    code, out, err = train(folder, "music-avqa-r", "r", run)
    assert code == 0, err
    file = folder / "r/avqa-test-headtail.json"
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    assert f"test file: 'avqa-test-headtail.json', sha256={digest}" in out
    table = json.loads(avqa("evaluate", run, "--json")[1])
    assert table["columns"][-3:] == ["All", "Head", "Tail"]
    (ours,) = (row["cells"] for row in table["rows"] if row["kind"] == "ours")
    assert [ours[name]["total"] for name in ("All", "Head", "Tail")] == [9, 6, 3]
    right = [ours[name]["correct"][0] for name in ("All", "Head", "Tail")]
    assert right[0] == right[1] + right[2]
    (floor,) = (row["cells"] for row in table["rows"] if row["name"] == "template floor")
    # All training answers are yes, and so are those of the head.
    assert [floor[name]["percent"] for name in ("Head", "Tail")] == [100, 0]
    tail = avqa("evaluate", run, "--group", "tail", "--format", "csv")[1]
    assert ",Head" not in tail
    assert ",Tail" not in tail
    assert ",music-avqa-r,unknown,test,group=tail," in tail
    code, _, err = avqa("table", run, "--format", "csv")
    assert code == 0, err


def test_tasks_elsewhere_are_given_what_was_chosen(folder):
    options = TrainOptions(
        head="avst",
        store=store_path(folder / "store"),
        dataset="music-avqa-v2",
        annotations=folder / "v2",
        out=folder / "run",
        choices={"edition": "bias"},
    )
    words = options.words()
    assert words[words.index("--edition") + 1] == "bias"
