"""`avqa synth`: what it writes, prints, resumes and refuses."""

import ast
import json
import re

import pytest
from typer.testing import CliRunner

from avqa import datasets
from avqa.cli import app
from avqa.datasets._parts.floors import floors
from avqa.datasets._synth.score import check_settings
from avqa.errors import ConfigError
from avqa.pipelines.synth import _refuse_foreign, synthesise

SETTINGS = check_settings(3, 2, "4", 1)


def synth(*arguments):
    done = CliRunner().invoke(app, ["synth", *(str(argument) for argument in arguments)])
    return done.exit_code, done.stdout, done.stderr


def contents(folder):
    return {
        str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()
    }


@pytest.fixture(scope="module")
def made(tmp_path_factory, ffmpeg):
    out = tmp_path_factory.mktemp("synth") / "benchmark"
    options = ("--videos", 3, "--seconds", 2, "--instruments", 4, "--seed", 1)
    return out, synth(out, *options), contents(out)


def test_it_writes_clips_questions_and_truth(made):
    out, (code, printed, _), files = made
    assert code == 0
    assert sorted(files) == [
        *(f"annotations/avqa-{split}.json" for split in ("test", "train", "val")),
        "truth.json",
        *(f"videos/0000000{number}.mp4" for number in (1, 2, 3)),
    ]
    lines = printed.splitlines()
    assert lines[0].startswith("3 videos: 3 rendered, 0 already there, in 0:")
    assert re.fullmatch(
        r"questions: train \d+, val \d+, test \d+; read .*annotations as data set music-avqa",
        lines[1],
    )
    assert re.fullmatch(
        r"floors on test, fitted on train: global [\d.]+ %, type [\d.]+ %, template [\d.]+ %,"
        r" slots [\d.]+ %",
        lines[2],
    )
    assert lines[3:] == [
        f"next: avqa extract --videos {out}/videos --out {out}/features --weights random:0"
        " --chunk-seconds 2"
    ]
    known = json.loads(files["truth.json"])
    assert known["settings"] == {
        "version": 1,
        "videos": 3,
        "seconds": 2,
        "instruments": ["violin", "piano", "trumpet", "drum"],
        "seed": 1,
        "questions": 10,
        "both_orders": False,
    }
    assert set(known["videos"]) == {"00000001", "00000002", "00000003"}


def test_the_question_files_are_read_as_music_avqa(made):
    out, _, files = made
    questions = datasets.read("music-avqa", out / "annotations")
    rows = [
        row
        for split in ("train", "val", "test")
        for row in json.loads(files[f"annotations/avqa-{split}.json"])
    ]
    assert [(q.video_id, q.template, q.slots, q.answer) for q in questions] == [
        (
            r["video_id"],
            r["question_content"],
            tuple(ast.literal_eval(r["templ_values"])),
            r["anser"],
        )
        for r in rows
    ]
    assert {q.split for q in questions} == {"train", "val", "test"}
    assert len(datasets.read("music-avqa", out / "annotations", subset="real")) == len(rows)


def test_a_second_run_renders_only_what_is_missing(made):
    out, _, files = made
    (out / "videos" / "00000002.mp4").unlink()
    kept = (out / "videos" / "00000001.mp4").stat().st_mtime_ns
    report = synthesise(out, SETTINGS)
    assert (report.rendered, report.found) == (1, 2)
    assert (out / "videos" / "00000001.mp4").stat().st_mtime_ns == kept
    assert contents(out) == files


@pytest.mark.usefixtures("ffmpeg")
def test_the_number_of_processes_changes_no_byte(tmp_path):
    settings = check_settings(4, 2, "4", 1)  # enough clips for a pool
    for processes in (1, 2):
        synthesise(tmp_path / str(processes), settings, processes=processes)
    assert len(contents(tmp_path / "1")) == 8
    assert contents(tmp_path / "1") == contents(tmp_path / "2")


def test_another_benchmarks_folder_is_refused(made):
    out, _, files = made
    code, _, said = synth(out, "--videos", 3, "--seconds", 2, "--instruments", 5, "--seed", 2)
    assert code == 2
    assert said == (
        f"avqa: folder '{out}' holds another benchmark: instruments=violin,piano,trumpet,drum,"
        " seed=1; expected instruments=violin,piano,trumpet,drum,accordion, seed=2; give its"
        " settings to finish it, or another OUT\n"
    )
    assert contents(out) == files


def test_a_folder_of_before_had_ten_questions_a_video(made, tmp_path):
    """Its truth does not say so."""
    known = json.loads(made[2]["truth.json"])
    del known["settings"]["questions"], known["settings"]["both_orders"]
    (tmp_path / "truth.json").write_text(json.dumps(known), encoding="utf-8")
    _refuse_foreign(tmp_path, SETTINGS)
    with pytest.raises(ConfigError, match="questions=10, both_orders=False; expected questions=9"):
        _refuse_foreign(tmp_path, check_settings(3, 2, "4", 1, 9, both_orders=True))


def test_questions_and_both_orders_as_typed(tmp_path, monkeypatch):
    monkeypatch.setattr("avqa.pipelines.synth.render", lambda *arguments: None)
    monkeypatch.setattr("avqa.pipelines.synth.num_cores", lambda: 1)
    code, printed, said = synth(tmp_path, "--videos", 5, "--questions", 20, "--both-orders")
    assert code == 0, said
    train = json.loads((tmp_path / "annotations/avqa-train.json").read_text(encoding="utf-8"))
    comparisons = [row for row in train if "Comparative" in row["type"]]
    assert len(comparisons) % 2 == 0
    assert 54 <= len(train) - len(comparisons) / 2 <= 60


@pytest.mark.parametrize("name", ["notes.txt", "truth.json"])
def test_a_folder_of_something_else_is_refused(tmp_path, name):
    (tmp_path / name).write_text("[]", encoding="utf-8")
    code, _, said = synth(tmp_path)
    assert code == 2
    assert "is not empty and has no truth.json of a benchmark; expected a new folder" in said
    assert [p.name for p in tmp_path.iterdir()] == [name]


def test_what_a_kill_left_of_the_first_file_is_no_other_folder(tmp_path):
    (tmp_path / "unfinished-truth.json").write_text("{", encoding="utf-8")
    _refuse_foreign(tmp_path, SETTINGS)
    (tmp_path / "mine").touch()
    with pytest.raises(ConfigError, match="is not empty and has no truth.json of a benchmark"):
        _refuse_foreign(tmp_path, SETTINGS)


def test_a_file_is_refused(tmp_path):
    (tmp_path / "out").write_text("", encoding="utf-8")
    assert synth(tmp_path / "out")[::2] == (
        2,
        f"avqa: '{tmp_path / 'out'}' is a file; expected a folder; give another OUT\n",
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--videos", 2), "avqa: videos=2; expected 3 to"),
        (("--seconds", 1), "avqa: seconds=1; expected 2 to 300; check --seconds"),
        (("--instruments", 40), "avqa: instruments=40; expected 4 to 22 instruments"),
        (("--instruments", "piano,tuba,flute,kazoo"), "avqa: no instrument 'kazoo'; available:"),
        (("--questions", 100), "avqa: questions=100; expected 1 to 60 a video; check --questions"),
        (("--seed", -1), "avqa: seed=-1; expected 0 to 2^63 - 1"),
    ],
)
def test_bad_values_are_one_line_and_write_nothing(tmp_path, arguments, message):
    code, _, said = synth(tmp_path / "out", *arguments)
    assert code == 2
    assert said.startswith(message)
    assert said.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_floors_stay_low(tmp_path, monkeypatch):
    monkeypatch.setattr("avqa.pipelines.synth.render", lambda *arguments: None)
    report = synthesise(tmp_path / "out", check_settings(200, 10, "8", 0), processes=1)
    assert report.questions == {"train": 1200, "val": 400, "test": 400}
    read = datasets.read("music-avqa", tmp_path / "out" / "annotations")
    of_split = {s: [q for q in read if q.split == s] for s in ("train", "val", "test")}
    for fit in ("train", "val", "test"):  # even the oracle is below
        template = floors(of_split[fit], of_split["test"])["template"]["All"]
        assert template.total == 400
        assert template.percent < 50
        if fit == "train":
            assert report.floors["template"] == template.percent
    assert list(report.floors) == ["global", "type", "template", "slots"]


@pytest.mark.parametrize("cut", [0, 5, 100, -7])
def test_a_cut_clip_is_made_again(made, cut):
    out, _, files = made
    clip = out / "videos" / "00000002.mp4"
    clip.write_bytes(clip.read_bytes()[:cut])
    assert synthesise(out, SETTINGS).rendered == 1
    assert contents(out) == files
