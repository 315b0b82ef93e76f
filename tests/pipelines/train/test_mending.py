"""A run's files that are damaged, gone or another's: found by all commands, some are made again."""

import errno
import json
import re
import shutil
from pathlib import Path

import pytest
from helpers.media import clips
from helpers.runs import run_folders
from typer.testing import CliRunner

from avqa.cli import app
from avqa.training.run import PROBABILITIES, Member

FIRST, SECOND = "default/seed-0", "default/seed-1"
MODEL, ANSWERS, CONFIG, RESULT = (
    *("model.safetensors", "predictions.json"),
    *("config.json", "result.json"),
)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """A store of three videos, a question about each, one per split, and a run of two seeds.

    It kept its checkpoints.
    """
    folder = tmp_path_factory.mktemp("data")
    run_folders.write_three_videos(folder)
    shutil.copy(clips.cached_clip("short.mp4", seconds=1), folder / "clip.mp4")
    code, said = train(folder, folder / "run", "--keep-checkpoints")
    assert code == 0, said
    return folder


@pytest.fixture
def out(data, tmp_path):
    shutil.copytree(data / "run", tmp_path / "run")
    return tmp_path / "run"


def typed(*words):
    done = CliRunner().invoke(app, [*map(str, words)])
    return done.exit_code, done.stderr


def train(data, out, *more):
    return typed(
        *("train-head", "question_only", "--store", data / "store", "--dataset", "music-avqa"),
        *("--annotations", data / "annotations", "--out", out, "--device", "cpu", "--seeds", 2),
        *("--set", "epochs=2", "--set", "width=8", *more),
    )


def others(data, out, member=""):
    """What the commands that use a run say of it, by command."""
    return {
        "evaluate": typed("evaluate", out / member),
        "predict": typed("predict", out / member, "--out", out.parent / "answers.json"),
        "ask": typed("ask", out / member, data / "clip.mp4", "Is there a violin sound?"),
    }


def flip(path, place=-5):
    """One bit of a byte counted from the end."""
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)


def edit(path, **changes):
    value = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps(value | changes), encoding="utf-8")


def edit_options(path):
    options = json.loads(path.read_text(encoding="utf-8"))["options"]
    edit(path, options=options | {"dropout": 0.7})


def flip_digit(path, field):
    """Another last digit of a number in a JSON file: one bit."""
    text = path.read_text(encoding="utf-8")
    place = re.search(rf'"{field}": [0-9]+', text).end() - 1
    path.write_text(text[:place] + chr(ord(text[place]) ^ 1) + text[place + 1 :], encoding="utf-8")


def swap(out, name):
    one, other = out / FIRST / name, out / SECOND / name
    kept = one.read_bytes()
    shutil.copy(other, one)
    other.write_bytes(kept)


def swap_all(out, *names):
    for name in names:
        swap(out, name)


def swap_folders(out):
    (out / FIRST).rename(out / "kept")
    (out / SECOND).rename(out / FIRST)
    (out / "kept").rename(out / SECOND)


def cut(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def first(name, how, *more):
    return lambda out: how(out / FIRST / name, *more)


def told(folder):
    """What a member's files hold, and its result but for how long it took."""
    result = json.loads((folder / RESULT).read_text(encoding="utf-8"))
    result = {key: result[key] for key in result.keys() - {"seconds", "waiting", "sha256"}}
    names = (MODEL, ANSWERS, PROBABILITIES, CONFIG)
    return result, *((folder / name).read_bytes() for name in names)


HEALED = {
    "weights, a bit": (first(MODEL, flip), "is not the file that training wrote: sha256="),
    "weights, cut": (first(MODEL, cut), "is not the file that training wrote: sha256="),
    "weights, gone": (first(MODEL, Path.unlink), f"no {MODEL} in "),
    "weights, swapped": (lambda out: swap(out, MODEL), f"{MODEL}' is not the file that training"),
    "weights and results, swapped": (
        lambda out: swap_all(out, MODEL, RESULT),
        f"{CONFIG}' is not the file that training wrote",
    ),
    "result, a digit": (
        lambda out: flip_digit(out / FIRST / RESULT, "parameters"),
        f"{RESULT}' cannot be used: its content is not that of its sha256",
    ),
    "result, another type": (
        lambda out: edit(out / FIRST / RESULT, scores=[1]),
        f"{RESULT}' cannot be used: its content is not",
    ),
    "result, cut": (first(RESULT, cut), f"{RESULT}' cannot be used: "),
    "config, head": (
        lambda out: edit(out / FIRST / CONFIG, head="late_fusion"),
        f"{CONFIG}' is not the file that training wrote: sha256=",
    ),
    "config, options": (
        first(CONFIG, edit_options),
        f"{CONFIG}' is not the file that training wrote: sha256=",
    ),
    "config, seed": (
        lambda out: edit(out / FIRST / CONFIG, seed=1),
        f"{CONFIG}' is of variant='default', seed=1; expected 'default/seed-1' to hold it",
    ),
    "config, cut": (first(CONFIG, cut), f"{CONFIG}' cannot be used: "),
    "config, gone": (first(CONFIG, Path.unlink), f"no {CONFIG} in "),
}


@pytest.mark.parametrize("name", HEALED)
def test_what_can_be_made_again_is_refused_and_then_made_again(data, out, name):
    damage, message = HEALED[name]
    before = {folder: told(out / folder) for folder in (FIRST, SECOND)}
    damage(out)
    for command, (code, said) in others(data, out).items():
        assert (code, said.count("\n")) == (4, 1 if command == "ask" else said.count("\n")), said
        assert message in said.splitlines()[-1], command
        assert said.startswith("avqa: ") or command == "evaluate"
    if "swapped" in name and "results" in name:
        # The results vouch for each other's config: nothing tells which file is right.
        assert train(data, out, "--resume")[0] == 4
        return
    code, said = train(data, out, "--resume", "--keep-checkpoints")
    assert code == 0, said
    assert {folder: told(out / folder) for folder in (FIRST, SECOND)} == before
    assert {code for code, _ in others(data, out).values()} == {0}


@pytest.mark.parametrize(
    ("name", "how"),
    [(ANSWERS, flip), (ANSWERS, cut), (ANSWERS, Path.unlink), (PROBABILITIES, Path.unlink)],
)
def test_answers_are_given_again_by_the_weights(data, out, name, how):
    before = told(out / FIRST)
    how(out / FIRST / name)
    shutil.rmtree(out / FIRST / "checkpoints")  # they play no role
    code, said = train(data, out, "--resume")
    assert code == 0, said
    assert name in said
    assert "; made again\n" in said
    result, *files = told(out / FIRST)
    assert files == [*before[1:]]
    assert result["scores"] == before[0]["scores"]


def test_another_seeds_checkpoint_is_refused_also_where_it_is_not_needed(data, out):
    best = next((out / FIRST / "checkpoints").glob("best-*.ckpt"))
    theirs = next((out / SECOND / "checkpoints").glob("best-*.ckpt"))
    shutil.copy(theirs, best)
    code, said = train(data, out, "--resume")
    assert code == 4
    assert f"{str(best)!r} is not the file that training wrote: sha256=" in said.splitlines()[-1]
    assert "restore it, or remove it: a finished member does without" in said.splitlines()[-1]
    best.unlink()  # as advised
    code, said = train(data, out, "--resume")
    assert code == 0, said


def test_checkpoints_of_finished_members_go_unless_they_are_kept(data, out):
    bare = out.parent / "bare"
    code, said = train(data, bare)
    assert code == 0, said
    for folder in (FIRST, SECOND):
        kept, without = told(out / folder), told(bare / folder)
        assert kept[1:] == without[1:]
        assert [*without[0]["files"]] == [MODEL, ANSWERS, PROBABILITIES]
        assert len(kept[0]["files"]) == 5
        assert not (bare / folder / "checkpoints").exists()
    # A process that was killed after it wrote the result leaves some.
    shutil.copytree(out / FIRST / "checkpoints", bare / FIRST / "checkpoints")
    code, said = train(data, bare, "--resume")
    assert (code, said.count("finished before")) == (0, 2), said
    assert not (bare / FIRST / "checkpoints").exists()
    assert train(data, out, "--resume")[0] == 0
    assert len([*out.glob("*/*/checkpoints/*.ckpt")]) == 4


LOST = {
    "weights, a bit": lambda out: flip(out / FIRST / MODEL),
    "weights, gone": lambda out: (out / FIRST / MODEL).unlink(),
    "result, cut": lambda out: cut(out / FIRST / RESULT),
}


@pytest.mark.parametrize("damage", LOST.values(), ids=LOST)
def test_what_cannot_be_mended_without_checkpoints_is_trained_anew(data, out, damage):
    before = told(out / FIRST)[1:]
    shutil.rmtree(out / FIRST / "checkpoints")
    damage(out)
    code, said = train(data, out, "--resume")
    assert code == 0, said
    assert "; trained anew, since nothing is left to make it from\n" in said
    assert "question_only default seed 0: 1 questions to train on in 1 batches" in said
    assert "question_only default seed 1: finished before" in said
    assert told(out / FIRST)[1:] == before


def test_what_cannot_be_read_now_is_not_trained_anew(data, out, monkeypatch):
    def refuse(path):
        raise OSError(errno.EIO, "Input/output error")

    shutil.rmtree(out / FIRST / "checkpoints")
    kept = told(out / FIRST)
    with monkeypatch.context() as patch:
        patch.setattr("avqa.training.digests.of_file", refuse)
        code, said = train(data, out, "--resume")
    assert code == 5, said
    assert told(out / FIRST) == kept


def test_exchanged_folders_are_refused(data, out):
    swap_folders(out)
    message = "seed=1; expected 'default/seed-1' to hold it; give the folders back their names"
    for code, said in others(data, out).values():
        assert code == 4
        assert message in said
    code, said = train(data, out, "--resume")
    assert code == 4
    assert "seed=1" in said.splitlines()[-1]
    swap_folders(out)
    assert {code for code, _ in others(data, out).values()} == {0}


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda file: edit(file, head="pstp"), "run.json' cannot be used: its content is not that"),
        (lambda file: edit(file, seeds=1), "run.json' cannot be used: its content is not that"),
        (lambda file: flip_digit(file, "seeds"), "run.json' cannot be used: its content is not"),
        (cut, "run.json' cannot be used: "),
        (Path.unlink, "no run.json in "),
    ],
)
def test_what_a_run_was_asked_for_is_not_edited(data, out, damage, message):
    damage(out / "run.json")
    for code, said in [*others(data, out).values(), train(data, out, "--resume")]:
        assert code == 4, said
        assert message in said
    if not (out / "run.json").exists():
        assert {code for code, _ in others(data, out, FIRST).values()} == {0}  # as advised


def test_runs_of_before_have_no_digests_and_go_on(data, out):
    for folder in (FIRST, SECOND):
        run_folders.forget_digests(Member.load(out / folder))
    about = json.loads((out / "run.json").read_text(encoding="utf-8"))
    del about["sha256"]
    (out / "run.json").write_text(json.dumps(about), encoding="utf-8")
    assert {code for code, _ in others(data, out).values()} == {0}
    code, said = train(data, out, "--resume")
    assert code == 0
    assert said.count("finished before") == 2
    weights = (out / FIRST / MODEL).read_bytes()
    (out / FIRST / MODEL).unlink()
    code, said = train(data, out, "--resume")
    assert code == 0, said
    assert (out / FIRST / MODEL).read_bytes() == weights


def test_another_store_is_given_by_option_and_not_by_an_edit(data, out):
    shutil.copytree(data / "store", out.parent / "moved")
    code, said = typed("evaluate", out, "--store", out.parent / "moved")
    assert code == 0, said
    edit(out / FIRST / CONFIG, store=str(out.parent / "moved"))
    code, said = typed("evaluate", out)
    assert code == 4
    assert f"{CONFIG}' is not the file that training wrote" in said


def test_a_member_that_is_gone_is_not_passed_over(data, out):
    shutil.rmtree(out / FIRST)
    for code, said in others(data, out).values():
        assert code == 0
        assert (
            f"run {str(out)!r}: 1 of 2 members are not finished: default/seed-0; expected" in said
        )
    assert train(data, out, "--resume")[0] == 0
    assert {"not finished" in said for _, said in others(data, out).values()} == {False}
