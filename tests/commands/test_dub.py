"""MUSIC-AVQA-v2.0's questions about a video with another's sound, from training to answers."""

import json
import shutil

import numpy as np
import pytest
from helpers.questions.question_files import music_row, validation_row, write
from helpers.runs.run_folders import write_store
from typer.testing import CliRunner

from avqa.cli import app

ASKED = {
    "question_content": "Is this sound from the instrument in the video?",
    "templ_values": [],
    "type": '["Audio-Visual", "Existential"]',
    "question_id": None,
}
HEARD = "dub=honour: questions heard with the sound of another video: "


def avqa(*arguments):
    """Run a command in this process: (exit code, stdout, stderr)."""
    done = CliRunner().invoke(app, [str(argument) for argument in arguments])
    return done.exit_code, done.stdout, done.stderr


def dubbed(video, sound, **changes):
    """Both with the video's own sound and with another's."""
    own = music_row(video_id=video, **ASKED, anser="yes", **changes)
    return [own, own | {"anser": "no", "unmatch_audio": sound, "audio_instrument": "cello"}]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Videos of 2 to 5 seconds; the sound of 00000009 is asked for and not in the store."""
    made = tmp_path_factory.mktemp("made")
    write_store(made / "store", {f"0000000{n}": 2 + n % 4 for n in range(1, 7)})
    train = dubbed("00000001", "00000002") + dubbed("00000002", "00000003")
    valid = [validation_row(**ASKED | row) for row in dubbed("00000003", "00000004")]
    test = dubbed("00000005", "00000006") + dubbed("00000006", "00000001")
    for split, rows in (("train", train), ("valid", valid), ("test", test)):
        write(made / f"v2/balance_{split}.json", rows)
        write(made / f"deaf/balance_{split}.json", rows)
    write(made / "deaf/balance_test.json", [*test, *dubbed("00000004", "00000009")[1:]])
    return made


def train(folder, out, *more, annotations="v2"):
    options = ("epochs=1", "width=8", "visual=clip_vit_b32", "batches=together")
    return avqa(
        *("train-head", "late_fusion", "--store", folder / "store", "--dataset", "music-avqa-v2"),
        *("--annotations", folder / annotations, "--out", out, "--device", "cpu"),
        *(word for option in options for word in ("--set", option)),
        *more,
    )


def said(run):
    """Every test question's answer with its probability, in the order of the file."""
    rows = json.loads((run / "default/seed-0/predictions.json").read_text(encoding="utf-8"))
    return [(row["prediction"], row["probability"]) for row in rows]


def test_another_videos_sound_is_heard_in_training_evaluation_and_predict(folder, tmp_path):
    code, out, err = train(folder, tmp_path / "run")
    assert code == 0, err
    assert f"{HEARD}train 2, val 1, test 2" in err.splitlines()
    assert f"{HEARD}train 2, val 1, test 2" in out
    own, other, last, of_last = said(tmp_path / "run")
    assert own != other
    assert last != of_last
    code, out, err = avqa("evaluate", tmp_path / "run", "--out", tmp_path / "kept")
    assert code == 0, err
    assert f"{HEARD}test 2" in err.splitlines()
    assert "scored here 4 of test" in out
    assert same_probabilities(tmp_path / "run", tmp_path / "kept")
    asked = ("predict", tmp_path / "run", "--out", tmp_path / "answers.json")
    code, _, err = avqa(*asked)
    assert f"{HEARD}test 2" in err.splitlines()
    answers = json.loads((tmp_path / "answers.json").read_text(encoding="utf-8"))
    assert [*answers.values()] == [answer for answer, _ in said(tmp_path / "run")]
    shown = avqa(
        *("questions", "--dataset", "music-avqa-v2", "--annotations", folder / "v2"),
        *("--show", "0"),
    )[1]
    assert "heard with the sound of another video: 5 questions" in shown.splitlines()


def same_probabilities(run, kept):
    """Whether `evaluate` gave the questions' answers the probabilities of training's own test."""
    one, other = (np.load(folder / "default/seed-0/predictions.npz") for folder in (run, kept))
    assert [*one["keys"]] == [*other["keys"]]
    return np.allclose(one["values"], other["values"], rtol=0, atol=1e-6)


@pytest.fixture(scope="module")
def ignoring(folder, tmp_path_factory):
    run = tmp_path_factory.mktemp("ignoring") / "run"
    return run, train(folder, run, "--set", "dub=ignore")


def test_it_can_be_ignored_as_published_loaders_do(folder, ignoring, tmp_path):
    run, (code, out, err) = ignoring
    assert code == 0, err
    told = "dub=ignore: questions that name another video's sound: train 2, val 1, test 2; they are"
    assert told in err
    assert told in out
    own, other, last, of_last = said(run)
    assert (own, last) == (other, of_last)
    code, _, err = avqa("evaluate", run, "--out", tmp_path / "kept")
    assert "dub=ignore: questions that name another video's sound: test 2" in err
    assert same_probabilities(run, tmp_path / "kept")
    code, _, err = train(folder, run, "--resume")
    assert code == 2
    assert "dub (run: ignore, now: honour); expected what the run began with" in err
    code, _, err = train(folder, tmp_path / "loud", "--set", "dub=loud")
    assert code == 2
    assert "dub='loud'; expected one of honour, ignore" in err


def test_splits_by_video_keep_a_sound_with_those_that_hear_it(folder, tmp_path):
    """All six are joined by who hears whom; with their own sounds they are six."""
    code, _, err = train(folder, tmp_path / "run", "--set", "split=video")
    assert code == 2
    assert "no question left in val and test of music-avqa-v2 (train 10, val 0, test 0);" in err
    code, _, err = train(folder, tmp_path / "own", "--set", "split=video", "--set", "dub=ignore")
    assert code == 0, err
    assert "splits by video: no video is in two of them; not the data set's own splits" in err
    write(
        tmp_path / "v2/balance_train.json",
        [row for n in range(1, 7) for row in dubbed(f"0000000{n}", f"0000000{(n + 1) // 2 * 2}")],
    )
    for split in ("valid", "test"):
        write(tmp_path / f"v2/balance_{split}.json", [music_row(video_id="00000001", **ASKED)])
    code, _, err = train(
        folder, tmp_path / "pairs", "--set", "split=video", annotations=tmp_path / "v2"
    )
    assert code == 0, err
    told = "splits by video: no video, seen or heard, is in two of them; not the data set's own"
    assert told in err
    code, out, err = avqa("evaluate", tmp_path / "pairs")
    assert code == 0, err
    assert out.startswith((tmp_path / "pairs/table.txt").read_text(encoding="utf-8").rstrip())


def test_a_run_of_before_goes_on_as_it_was(folder, ignoring, tmp_path):
    """It has no such setting, and heard every video's own sound."""
    run = tmp_path / "run"
    shutil.copytree(ignoring[0], run)
    path = run / "run.json"
    about = json.loads(path.read_text(encoding="utf-8"))
    del about["settings"]["dub"], about["sha256"]
    path.write_text(json.dumps(about), encoding="utf-8")
    code, _, err = train(folder, run, "--resume")
    assert code == 0, err
    assert "late_fusion default seed 0: finished before" in err


def test_a_sound_that_the_store_has_not_is_refused_or_counted(folder, tmp_path):
    run = tmp_path / "run"
    code, _, err = train(folder, run, annotations="deaf")
    assert code == 4
    assert err.splitlines()[-1].startswith(
        "avqa: 1 questions are heard with the sound of a video that the store has not, the first"
        " is 'Is this sound from the instrument in the video' about video '00000004' with the sound"
        " of '00000009'; "
    )
    assert not run.exists()
    code, out, err = train(folder, run, "--set", "missing=skip", annotations="deaf")
    assert code == 0, err
    left = "questions left out: 1 with the sound of a video that the store has not (missing=skip)"
    assert left in err.splitlines()
    assert left in out
    code, _, err = avqa("evaluate", run)
    assert "1 of 5 questions are left out: " in err
    # Who does not hear needs no sound.
    done = avqa(
        *("train-head", "question_only", "--store", folder / "store", "--out", tmp_path / "only"),
        *("--dataset", "music-avqa-v2", "--annotations", folder / "deaf", "--device", "cpu"),
        *("--set", "epochs=1", "--set", "width=8"),
    )
    assert done[0] == 0, done[2]
    assert "another video" not in done[2]
