"""What `avqa reproduce` refuses and says before it works; who does what; nothing is computed."""

import json

import pytest
from helpers.questions.question_files import music_row, write
from helpers.runs.reproduced import write_annotations
from typer.testing import CliRunner

from avqa.cli import app
from avqa.pipelines.extraction.array_job import Partition
from avqa.pipelines.reproduce.asked import (
    ReproduceOptions,
    chosen,
    joined,
    with_figures,
    write_asked,
)
from avqa.pipelines.reproduce.collection import collect
from avqa.pipelines.reproduce.features import extractions
from avqa.pipelines.reproduce.plan import Part, plan_lines
from avqa.pipelines.reproduce.training import trainings
from avqa.pipelines.reproduce.work import _turned


@pytest.fixture
def here(tmp_path):
    """``annotations`` about eleven videos, and ``videos`` whose files nobody can decode."""
    write_annotations(tmp_path / "annotations")
    for name in [*range(3), *range(50, 52), *range(100, 106)]:
        add_video(tmp_path, f"{name:08d}")
    return tmp_path


def add_video(folder, name):
    path = folder / "videos" / f"{name}.mp4"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"")


def typed(here, *words):
    command = ["reproduce", *map(str, words), "--videos", str(here / "videos")]
    command += ["--annotations", str(here / "annotations"), "--out", str(here / "out")]
    done = CliRunner().invoke(app, command)
    return done.exit_code, done.stdout + done.stderr


def options(here, **changes):
    values = {"videos": here / "videos", "annotations": here / "annotations", "out": here / "out"}
    return ReproduceOptions(**{**values, "weights": "random:0", "device": "cpu", **changes})


def begin(asked, names, digest):
    """As a command begins in a folder."""
    found = joined(asked, names, digest)
    write_asked(asked.out, found)
    return found


def test_absent_videos_are_told_with_the_questions_that_they_cost(here):
    for name in ("00000001", "00000100", "00000101"):
        (here / "videos" / f"{name}.mp4").unlink()
    add_video(here, "stranger")
    code, said = typed(here, "avst", "--weights", "random:0")
    assert code == 2
    lack = (
        "3 of 11 videos are missing (00000001, 00000100, 00000101), which costs 4 of 12 train"
        " questions, 8 of 24 test questions"
    )
    assert said.splitlines() == [
        "questions: train 12, val 8, test 24; annotation version: unknown",
        "videos: 8 of 11 that are asked about",
        "left out: 1 videos that nobody asks about",
        f"missing: {lack}",
        f"avqa: {lack}; expected all; add them to {str(here / 'videos')!r}, or go on without them"
        " with --accept-missing, which the pages tell",
    ]


def test_weights_that_are_missing_are_all_named(here, monkeypatch):
    monkeypatch.setenv("AVQA_CACHE", str(here / "cache"))
    (here / "videos/00000001.mp4").unlink()
    code, said = typed(here, "avst", "pstp")
    assert code == 5
    missing = [line for line in said.splitlines() if line.startswith("missing: ")]
    assert [line.split()[2] for line in missing] == ["vggish", "resnet18", "clip_vit_b32", "of"]
    assert said.splitlines()[-1].startswith("avqa: 3 files of weights are missing, the first: ")
    assert not (here / "out/features").exists()


def test_files_whose_ids_fit_no_question_or_two(here):
    for path in (here / "videos").iterdir():
        path.rename(path.with_stem(f"clip{path.stem}"))
    code, said = typed(here, "avst", "--weights", "random:0")
    assert code == 2
    assert "none of 44 questions has its video in the folder: the first asks about" in said
    assert "check --videos and --annotations" in said
    add_video(here / "videos/a", "00000000")
    (here / "videos/a/videos/00000000.mp4").rename(here / "videos/a/00000000.mp4")
    add_video(here / "videos/b", "00000000")
    code, said = typed(here, "avst", "--weights", "random:0")
    assert code == 2
    assert "fits two rows of the folder, 'a/00000000' and 'b/videos/00000000'; expected one" in said


def test_annotations_of_two_versions_are_refused(here, monkeypatch):
    from avqa.datasets import music_avqa

    counts = {
        "updated": {"train": {12}, "val": {8}, "test": {1}},
        "original": {"train": {1}, "val": {1}, "test": {24}},
    }
    monkeypatch.setattr(music_avqa, "COUNTS", counts)
    rows = json.loads((here / "annotations/avqa-test.json").read_text(encoding="utf-8"))
    rows[1]["question_id"] = rows[0]["question_id"]
    write(here / "annotations/avqa-test.json", rows)
    code, said = typed(here, "avst", "--weights", "random:0")
    assert code == 2
    assert (
        "are of several versions: train updated, val updated, test original; expected one" in said
    )


def test_a_split_without_questions_is_refused(here):
    write(here / "annotations/avqa-val.json", [])
    code, said = typed(here, "avst", "--weights", "random:0")
    assert code == 2
    assert said.count("\n") == 1


def test_another_command_of_the_same_folder_says_what_differs(here):
    begin(options(here), ("avst",), "ab" * 32)
    other = options(here, weights="random:1", assignments={"epochs": "2"}, seeds=5)
    with pytest.raises(Exception, match="another command") as caught:
        begin(other, ("mcd",), "cd" * 32)
    assert str(caught.value) == (
        f"--out {str(here / 'out')!r} is of another command: questions: {'ab' * 6} there,"
        f" {'cd' * 6} now; weights: random:0 there, random:1 now; settings: nothing there, epochs=2"
        " now; expected the same but for heads, --seeds, --ablations and --accept-missing; give"
        " another --out"
    )


def test_heads_seeds_and_ablations_may_be_added_and_stay(here):
    begin(options(here, seeds=3), ("avst",), "ab" * 32)
    begin(options(here, seeds=1, ablations=True), ("mcd", "avst"), "ab" * 32)
    found = begin(options(here, seeds=2), ("mcd",), "ab" * 32)
    assert (found["heads"], found["seeds"], found["ablations"]) == (["avst", "mcd"], 3, True)
    found = begin(options(here, accept_missing=True), ("mcd",), "ab" * 32)
    assert found["accept_missing"]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("{", "cannot be used: "),
        ('{"format": 9}', "has format=9; expected 1 at most"),
        ('{"format": 1, "heads": "avst"}', "heads='avst'; expected a list"),
        ('{"format": 1}', "it has no ablations, accept_missing, dataset"),
        ("[]", "cannot be used: "),
    ],
)
def test_a_damaged_file_of_what_was_asked_is_one_line(here, content, said):
    begin(options(here), ("avst",), "ab" * 32)
    (here / "out/reproduce.json").write_text(content, encoding="utf-8")
    code, text = typed(here, "avst", "--weights", "random:0")
    assert (code in (2, 4), said in text) == (True, True), text
    assert "Traceback" not in text


def test_a_folder_of_something_else_is_left_alone(here):
    (here / "out").mkdir()
    (here / "out/thesis.tex").write_text("x", encoding="utf-8")
    code, said = typed(here, "avst", "--weights", "random:0")
    assert (code, "is not empty and holds no reproduce.json" in said) == (2, True)
    assert [path.name for path in (here / "out").iterdir()] == ["thesis.tex"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["question_only"], "no paper with figures on music-avqa 'question_only'"),
        (["pstpp"], "did you mean 'pstp'?"),
        (["--dataset", "custom"], "no paper of avqa's heads reports figures on it"),
        (["--set", "seed=3"], "--set seed=3; expected a setting or option of the heads; use"),
        (["--set", "split=video"], "papers are of the data set's own splits; train others with"),
        (["--set", "device=cpu"], "use --device"),
        (["avst", "--set", "epoch=3"], "did you mean 'epochs'?"),
        (["--scheduler", "dask"], "no scheduler 'dask'"),
        (["--partition", "2/2"], "partition='2/2'; expected I/N with 0 <= I < N"),
    ],
)
def test_names_and_settings_that_are_none(here, words, said):
    code, text = typed(here, *words, "--weights", "random:0")
    assert code == 2
    assert said in text
    assert text.splitlines()[-1].startswith("avqa: ")


def test_a_file_on_the_way_is_no_folder(here):
    (here / "file").write_text("x", encoding="utf-8")
    words = ["--videos", str(here / "videos"), "--annotations", str(here / "annotations")]
    for out in ("file", "file/deeper/out"):
        done = CliRunner().invoke(app, ["reproduce", "avst", *words, "--out", str(here / out)])
        assert done.exit_code == 2
        assert "/file' is a file; expected a folder; give another --out" in done.stderr


def test_an_address_is_no_folder(here):
    words = ["--videos", str(here / "videos"), "--annotations", str(here / "annotations")]
    done = CliRunner().invoke(app, ["reproduce", *words, "--out", "s3://bucket/x"])
    assert done.exit_code == 2
    assert "is an address; expected a folder of this machine" in done.stderr


def test_a_plan_alone_does_not_stand_in_the_way(here):
    """Nor does any file of a command that was killed early."""
    (here / "out/features").mkdir(parents=True)
    (here / "out/plan.json").write_text("{}", encoding="utf-8")
    assert begin(options(here), ("avst",), "ab" * 32)["heads"] == ["avst"]
    (here / "out/reproduce.json").unlink()
    assert begin(options(here), ("avst",), "ab" * 32)["heads"] == ["avst"]


def test_a_video_is_needed_for_its_sound_alone(here):
    """MUSIC-AVQA-v2.0 asks of some videos with another's sound."""
    sounds = (("00000001", "00000105"), ("00000002", "00000999"))
    rows = [music_row(video_id=v, question_id=None, unmatch_audio=s) for v, s in sounds]
    for split in ("train", "valid", "test"):
        write(here / f"v2/balance_{split}.json", rows)
    found = collect(options(here, annotations=here / "v2", dataset="music-avqa-v2"))
    assert found.ids == ("00000001", "00000002", "00000105")
    assert found.absent == ("00000999",)
    assert found.lack() == (
        "1 of 4 videos are missing (00000999), which costs 1 of 2 train questions, 1 of 2 val"
        " questions, 1 of 2 test questions"
    )


def test_types_and_videos_of_questions_are_in_their_digest(here):
    before = collect(options(here)).digest
    rows = json.loads((here / "annotations/avqa-test.json").read_text(encoding="utf-8"))
    rows[0]["type"] = '["Visual", "Location"]'
    write(here / "annotations/avqa-test.json", rows)
    assert collect(options(here)).digest != before


def test_what_is_not_given_is_named(here):
    done = CliRunner().invoke(app, ["reproduce", "avst", "--videos", "x"])
    assert done.exit_code == 2
    assert done.stderr == "avqa: no --annotations; expected its question files; give it\n"


def test_papers_are_those_with_figures_on_the_data_set(here):
    old = ("avaf", "avst", "mcd", "pstp", "sasr", "tjstg")
    new = ("cuespace", "qa_tiger", "tspm")
    assert with_figures("music-avqa") == tuple(sorted(old + new))
    assert set(with_figures("avqa")) == {"mcd", "pstp", "sasr"}
    assert with_figures("music-avqa-r") == with_figures("music-avqa")
    assert chosen(options(here, heads=("mcd", "avst", "mcd"))) == ("mcd", "avst")


def test_heads_of_one_grid_share_a_store_and_each_has_its_profiles(here):
    asked = options(here)
    every = [t for name in chosen(asked) for t in trainings(name, asked)]
    found = {e.name: e for e in extractions(asked, every)}
    grids = {name: {t.name for t in one.trainings} for name, one in found.items()}
    assert grids == {
        "music-avqa-nearest44k": {"avaf", "avst", "mcd", "sasr", "tjstg"},
        "ffmpeg-r1-nearest44k": {"pstp", "qa_tiger"},
        "ffmpeg-r1-nearest44k-tspm": {"tspm"},  # its encoder crops otherwise than QA-TIGER's
        "ffmpeg-fps1-soxr-hq": {"cuespace"},
    }
    shared, pstp = found["music-avqa-nearest44k"], found["ffmpeg-r1-nearest44k"]
    assert set(pstp.settings.features) == {
        *("clip_vit_b32/frame", "clip_vit_b32/patch", "vggish/audio"),
        *("clip_vit_l14_336/frame", "vit_l16_384/tome14"),
    }
    assert len({str(one.store(here)) for one in found.values()}) == len(found) == 4
    assert (pstp.settings.frame_at, shared.settings.frame_at) == ("ffmpeg-r1", "music-avqa")
    assert shared.settings.weights == "random:0"


def test_clips_of_ten_seconds_are_not_looped(here):
    asked = options(here, dataset="avqa")
    (store, *more) = extractions(asked, trainings("mcd", asked))
    assert (store.settings.frame_at, store.settings.chunk_seconds, more) == ("mid", 10, [])


def test_rows_of_other_features_are_runs_of_their_own(here):
    asked = options(here, ablations=True)
    runs = [*trainings("mcd", asked)]
    assert [(t.name, t.ablation, t.assignments) for t in runs] == [
        ("mcd", "all", {"missing": "skip"}),
        ("mcd-resnet18", "resnet18", {"missing": "skip", "visual": "resnet18"}),
    ]
    assert "resnet18" in runs[0].plan().left_out
    (store,) = extractions(asked, runs)
    assert {"clip_vit_b32/frame", "resnet18/pool"} <= set(store.settings.features)


def test_accepting_what_is_missing_leaves_its_questions_out(here):
    """Whether it was accepted is no setting of a run, so that it may be accepted later."""
    for accepted in (True, False):
        (run,) = trainings("avst", options(here, accept_missing=accepted))
        assert run.plan().settings.missing == "skip"
    (run,) = trainings("avst", options(here, assignments={"missing": "masked"}))
    assert run.plan().settings.missing == "masked"


def test_tasks_begin_with_another_share_of_every_run():
    shares = [
        [*_turned(Partition(i, 4), run).share(range(6))] for run in range(4) for i in range(4)
    ]
    assert sorted(n for share in shares[4:8] for n in share) == [*range(6)]
    assert shares[0] == [0, 4]
    assert shares[4] == [1, 5]
    assert _turned(None, 3) is None


def test_the_plan_adds_up():
    parts = [Part("store", "3 videos", 60, 2e9), Part("avst", "6 trainings", 3600)]
    assert plan_lines(parts, 10**10) == [
        "plan, by the speeds of this machine:",
        "  store: 3 videos: about 1:00, at most 2.0 GB",
        "  avst: 6 trainings: about 1:00:00",
        "  all: about 1:01:00, at most 2.0 GB (10.0 GB free)",
    ]


def test_a_row_of_many_questions(here):
    """Questions about one video in two splits count each where it stands."""
    write(here / "annotations/avqa-val.json", [music_row(video_id="00000000", question_id=5)])
    (here / "videos/00000000.mp4").unlink()
    code, said = typed(here, "avst", "--weights", "random:0")
    assert code == 2
    assert "which costs 4 of 12 train questions, 1 of 1 val questions" in said
    assert not (here / "out").exists()


def test_every_step_is_told_whose_locks_to_take_and_which_share_to_do(here):
    asked = options(here, steal_lock=True, partition=Partition(1, 3), seeds=2)
    (run,) = trainings("pstp", asked)
    (store,) = extractions(asked, [run])
    extracting = store.options(asked, ["b", "a"])
    training = run.options(asked, store.store(asked.out))
    for step in (extracting, training):
        assert (step.steal_lock, step.partition, step.slurm) == (True, Partition(1, 3), None)
    assert (extracting.ids, training.seeds, training.resume) == (("b", "a"), 2, False)
    assert training.out == here / "out/runs/pstp"
    assert training.assignments == {"missing": "skip", "device": "cpu"}
