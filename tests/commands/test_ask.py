"""`avqa ask` as a user types it: what it prints, and the code it exits with."""

import dataclasses
import json
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest
from helpers.json_page import problems
from helpers.media import clips
from helpers.media.damage import without_packets
from helpers.runs import run_folders
from PIL import Image
from typer.testing import CliRunner

from avqa.cli import app
from avqa.extract import weights
from avqa.extract.profiles import profile
from avqa.heads import Head
from avqa.pipelines.ask import explain
from avqa.pipelines.cluster.environment import build_recipes
from avqa.store.format.recipe_diff import recipe_hash
from avqa.telling.objects import COMMANDS
from avqa.training.fitting import curves
from avqa.training.run import RUN, Member


def avqa(*arguments, typed=None):
    """Run a command in this process: (exit code, stdout, stderr)."""
    done = CliRunner().invoke(app, [str(argument) for argument in arguments], input=typed)
    return done.exit_code, done.stdout, done.stderr


@pytest.fixture
def video():
    return clips.cached_clip("00000001.mp4", seconds=2.0, fps=8, sound_codec="aac")


def write_run(root, head, **options):
    config = run_folders.config(head, features={}, weights="none")
    config = dataclasses.replace(config, options={**config.options, **options})
    member = run_folders.write_member(root, config)
    (root / RUN).write_text(
        json.dumps({"head": head, "variants": ["default"], "seeds": 1}), encoding="utf-8"
    )
    return member


@pytest.fixture
def blind(tmp_path):
    """A head that looks at no video: nothing has to be extracted."""
    write_run(tmp_path / "blind", "question_only")
    return tmp_path / "blind"


@pytest.fixture
def hearing(tmp_path):
    """A head that needs audio by a recipe of this machine."""
    member = write_run(
        tmp_path / "hearing", "avst", modalities="aq", spatial=False, audio_width=128
    )
    settings = profile("default", features=("vggish/audio",), weights="random:0")
    (recipe,) = build_recipes(settings, weights.resolve("random:0")).values()
    entry = {"name": "vggish/audio", "recipe": recipe, "recipe_hash": recipe_hash(recipe)}
    config = json.loads((member.path / "config.json").read_text(encoding="utf-8")) | {
        "features": {"audio": entry}
    }
    (member.path / "config.json").write_text(json.dumps(config), encoding="utf-8")
    return member


def test_an_answer_is_printed(blind, video):
    code, out, err = avqa("ask", blind, video, "Is there a violin sound?", "--top", 3)
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert lines[0] == f"video      {video}"
    assert lines[1] == "question   Is there a violin sound"
    assert lines[2].startswith("answer     ")
    assert [line[:11] for line in lines[3:5]] == [" " * 11] * 2
    percents = [float(line.split()[-2]) for line in lines[2:5]]
    assert percents == sorted(percents, reverse=True)
    assert lines[5] == "looked at  the question alone"
    assert lines[6].startswith("time       ")
    assert len(lines) == 7


def test_json_has_all_answers_in_one_object(blind, video, tmp_path, monkeypatch):
    asked = "Is there a violin sound?\nWhere is it?\n"
    code, out, err = avqa("ask", blind, video, "--json", "--top", 3, typed=asked)
    assert (code, err) == (0, "")
    found = json.loads(out)
    del found["schema"]
    assert not list(problems(found, COMMANDS["avqa ask"]))
    first, second = found["answers"]
    assert (first["question"], second["question"]) == ("Is there a violin sound", "Where is it")
    lines = avqa("ask", blind, video, "Is there a violin sound?", "--top", 3)[1].splitlines()
    told = [f"{one['answer']} {100 * one['probability']:.1f} %" for one in first["answers"]]
    assert [" ".join(line[11:].split()) for line in lines[2:5]] == told
    why = tmp_path / "why"
    monkeypatch.setattr(explain, "explain", lambda answer, folder: [folder / "explanation.png"])
    code, out, _ = avqa("ask", blind, video, "Where is it?", "--explain", why, "--json")
    assert json.loads(out)["answers"][0]["explained"] == str(why / "explanation.png")


def test_json_has_what_was_answered_before_something_cannot_be_asked(blind, video):
    code, out, err = avqa("ask", blind, video, "--json", typed="Where is it?\nxyzzy\n")
    assert code == 2
    assert "1 of 2 questions cannot be asked" in err
    assert [one["question"] for one in json.loads(out)["answers"]] == ["Where is it"]
    assert avqa("ask", blind, video, "--json", typed="xyzzy\n")[:2] == (2, "")


def test_a_member_can_be_asked_as_well(blind, video):
    one = avqa("ask", blind, video, "Is there a violin sound?")[1].splitlines()
    member = blind / "default" / "seed-0"
    assert avqa("ask", member, video, "Is there a violin sound?")[1].splitlines()[:-1] == one[:-1]
    assert len(one) == 9  # five answers


def test_an_explanation_is_written(blind, video, tmp_path):
    code, out, _ = avqa("ask", blind, video, "Where is it?", "--explain", tmp_path / "why")
    assert code == 0
    assert out.splitlines()[-2:] == [
        f"explained  {tmp_path / 'why' / 'explanation.png'}",
        f"page       {tmp_path / 'why' / 'explanation.html'}",
    ]
    numbers = json.loads((tmp_path / "why" / "explanation.json").read_text(encoding="utf-8"))
    assert numbers["shown_seconds"] == [0, 1]


def test_a_head_that_hears_is_given_the_clips_own_sound(hearing, video, tmp_path, monkeypatch):
    monkeypatch.setenv("AVQA_CACHE", str(tmp_path / "cache"))
    code, out, err = avqa("ask", hearing.path, video, "Is the cello in the video always playing?")
    assert code == 0, err
    assert "vggish/audio extracted" in out + err


def test_mistakes_are_told_with_their_codes(blind, video, tmp_path):
    asked = "Is there a violin sound?"
    (tmp_path / "file").touch()
    for arguments, message in (
        ((tmp_path / "none", video, asked), "avqa: no run.json in "),
        ((blind, tmp_path / "none.mp4", asked), "avqa: no such file: video="),
        ((blind, video, "?"), "avqa: the question is empty; expected words"),
        ((blind, video, "Wer spielt"), "avqa: no word of the question is known to this head: "),
        ((blind, video, asked, "--choice", "a", "--choice", "b"), "avqa: choices=['a', 'b']; "),
        ((blind, video, asked, "--device", "tpu"), "avqa: device='tpu'; expected auto, cpu or"),
        ((blind, video, asked, "--explain", tmp_path / "file"), "avqa: explain="),
        ((blind, video, asked, "--top", "0"), "Usage: "),
    ):
        code, out, err = avqa("ask", *arguments)
        assert (code, out) == (2, ""), arguments
        assert err.startswith(message)
    (blind / "default" / "seed-0" / "model.safetensors").unlink()
    code, _, err = avqa("ask", blind, video, asked)
    assert code == 4
    assert err.startswith("avqa: no model.safetensors in ")


def test_a_video_that_cannot_be_read_is_3(hearing, tmp_path, monkeypatch):
    monkeypatch.setenv("AVQA_CACHE", str(tmp_path / "cache"))
    (tmp_path / "text.mp4").write_text("no video", encoding="utf-8")
    code, out, err = avqa("ask", hearing.path, tmp_path / "text.mp4", "Is there a violin sound?")
    assert (code, out) == (3, "")
    assert "text.mp4" in err.splitlines()[-1]


def test_another_recipe_is_4(hearing, video):
    config = json.loads((hearing.path / "config.json").read_text(encoding="utf-8"))
    config["features"]["audio"]["recipe"]["decoder"]["version"] = "0"
    (hearing.path / "config.json").write_text(json.dumps(config), encoding="utf-8")
    code, _, err = avqa("ask", hearing.path, video, "Is there a violin sound?")
    assert code == 4
    assert 'decoder.version: run="0" here=' in err


def test_weights_that_are_not_there_are_5(hearing, video, tmp_path, monkeypatch):
    monkeypatch.setenv("AVQA_CACHE", str(tmp_path / "empty"))
    config = json.loads((hearing.path / "config.json").read_text(encoding="utf-8"))
    source = {"vggish": {"source": "file", "sha256": "ab" * 32}}
    config["features"]["audio"]["recipe"]["weights"] = source
    (hearing.path / "config.json").write_text(json.dumps(config), encoding="utf-8")
    code, _, err = avqa("ask", hearing.path, video, "Is there a violin sound?")
    assert code == 5
    assert err.startswith("avqa: weights vggish are missing; expected vggish.safetensors; ")


def parts(out):
    """What is printed of each question, without the time."""
    return [block.splitlines()[:-1] for block in out.rstrip("\n").split("\n\n")]


def test_questions_of_a_file_are_answered_one_after_the_other(blind, video, tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr(
        "avqa.pipelines.ask.explain.explain",
        lambda answer, folder: drawn.append((answer.right, folder)) or [folder / "it.png"],
    )
    rows = [
        {"question": "Is there a violin sound?", "answer": "yes"},
        {"question": "Where is the flute?"},
    ]
    (tmp_path / "asked.json").write_text(json.dumps(rows), encoding="utf-8")
    text = "\n".join(row["question"] for row in rows)
    (tmp_path / "asked.txt").write_text(text, encoding="utf-8")
    why = tmp_path / "why"
    given = ("--top", 2, "--questions")
    code, out, err = avqa("ask", blind, video, *given, tmp_path / "asked.json", "--explain", why)
    assert (code, err) == (0, "")
    first, second = (block.splitlines() for block in out.rstrip("\n").split("\n\n"))
    assert first[:2] == [f"video      {video}", "question   Is there a violin sound"]
    assert first[4].startswith("right      yes, number ")
    assert second[0] == "question   Where is the flute"
    assert second[-2:] == [
        f"explained  {why / 'question-0002' / 'it.png'}",
        f"page       {why / 'question-0002' / 'explanation.html'}",
    ]
    assert drawn == [("yes", why / "question-0001"), (None, why / "question-0002")]
    one = avqa("ask", blind, video, "Where is the flute?", "--top", 2)[1]
    assert parts(one)[0][1:] == second[:-3]
    text = parts(avqa("ask", blind, video, *given, tmp_path / "asked.txt")[1])
    assert text == [[*first[:4], first[5]], second[:-3]]
    typed = "\n".join(["", rows[0]["question"], "Wer?", rows[1]["question"]])
    code, out, err = avqa("ask", blind, video, "--top", 2, typed=typed)
    assert (code, parts(out)) == (2, text)
    first, last = err.splitlines()
    assert first.startswith("avqa: no word of the question is known to this head: 'Wer'")
    assert last.startswith("avqa: 1 of 3 questions cannot be asked; expected none; the lines above")


def test_a_file_with_questions_that_cannot_be_read_is_refused_whole(blind, video, tmp_path):
    text = "Is there a violin sound?\nWer spielt?\n?\n"
    (tmp_path / "asked.txt").write_text(text, encoding="utf-8")
    code, out, err = avqa("ask", blind, video, "--questions", tmp_path / "asked.txt")
    assert (code, out) == (2, "")
    assert "asked.txt': 2 of 3 cannot be asked: line=2: no word of the question is known" in err
    assert "; line=3: the question is empty; expected words" in err


def test_mistakes_of_several_questions(blind, video, tmp_path):
    for arguments, message in (
        (("Who?", "--questions", tmp_path / "q"), "avqa: question='Who?' and questions="),
        (("--answer", "yes"), "avqa: answer='yes' without a question; expected one; "),
        (("--questions", tmp_path / "q"), "avqa: no such file: questions="),
        ((), "avqa: no question came through standard input; expected one a line; "),
    ):
        code, out, err = avqa("ask", blind, video, *arguments)
        assert (code, out) == (2, ""), arguments
        assert err.startswith(message)


@pytest.mark.skipif(os.name != "posix", reason="pseudo-terminals are POSIX")
def test_a_terminal_is_asked_for_questions(blind, video):
    """As typed at a real one: a mistake is told and the next question taken; an empty line ends."""
    import pty

    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "avqa", "ask", str(blind), str(video), "--top", "1"]
    pipe = subprocess.PIPE
    with subprocess.Popen(
        command, stdin=theirs, stdout=pipe, stderr=pipe, encoding="utf-8"
    ) as process:
        os.close(theirs)
        os.write(ours, b"Is there a violin sound?\nWer?\nWhere is the flute?\n\n")
        out, err = process.communicate(timeout=120)
    os.close(ours)
    assert process.returncode == 0, err
    assert [block[-2].split()[0] for block in parts(out)] == ["answer", "answer"]
    assert "question   Where is the flute" in out
    assert "avqa: no word of the question is known to this head: 'Wer'" in err
    assert "an empty line ends" in err


def told(heard):
    """Whether the batches since the last look had sound, None where nobody says."""
    found = {None if x is None else bool(x.any()) for x in heard}
    heard.clear()
    return found


def test_silent_clips_are_trained_on_and_asked_about(tmp_path, monkeypatch, kept_weights):
    """Every command as typed: clips, one without audio, to a run that answers about that one."""
    monkeypatch.setenv("AVQA_CACHE", str(tmp_path / "cache"))
    names = ("birds", "street", "cafe")
    (tmp_path / "clips").mkdir()
    rows = ["video,question,answer,split"]
    for name, split, codec in zip(
        names, ("train", "val", "test"), ("aac", None, "aac"), strict=True
    ):
        clip = clips.cached_clip(f"{name}.mp4", seconds=1.0, fps=4, sound_codec=codec)
        shutil.copy(clip, tmp_path / "clips")
        rows += [f"{name}.mp4,Is it {word}?,{word},{split}" for word in ("loud", "low")]
    (tmp_path / "own.csv").write_text("\n".join(rows), encoding="utf-8")
    store, run, silent = (tmp_path / name for name in ("store", "run", "clips/street.mp4"))
    features = ("--features", "vggish/audio,resnet18/map", "--weights", "random:0")
    where = ("--videos", tmp_path / "clips", "--out", store, "--scheduler", "sync")
    assert avqa("extract", *where, *features)[0] == 0
    chosen = ("width=8", "epochs=1", "stride_seconds=1", "device=cpu", "question=lstm")
    given = [part for value in chosen for part in ("--set", value)]
    given += ["--store", store, "--dataset", "custom", "--annotations", tmp_path / "own.csv"]
    code, _, err = avqa("train-head", "avst", *given, "--out", run)
    assert code == 4
    assert "or go without their audio with --set missing=masked" in err
    drawn = []
    real = curves.curves
    monkeypatch.setattr(curves, "curves", lambda *given: drawn.append(given) or real(*given))
    heard, check = [], Head.check
    monkeypatch.setattr(
        Head, "check", lambda head, x, *of: heard.append(x.audio_valid) or check(head, x, *of)
    )
    code, _, err = avqa("train-head", "avst", *given, "--out", run, "--set", "missing=masked")
    assert code == 0, err
    floor = curves.Marks(1.0, "template floor", random_weights=True)
    only = Member.load(run / "question_only" / "seed-0").result.val_accuracy
    assert {title: marks for _, title, marks in drawn} == {
        "avst default seed 0": dataclasses.replace(floor, question_only=only),
        "avst question_only seed 0": dataclasses.replace(floor, random_weights=False),
    }
    assert "1 of 3 videos have no audio: it is masked (missing=masked)" in err
    assert told(heard) == {None, True, False}  # the question-only floor reads none
    code, _, err = avqa("evaluate", run, "--split", "val")
    assert code == 0, err
    assert told(heard) == {None, False}
    code, out, err = avqa("ask", run, silent, "Is it low?", "--top", 1)
    assert code == 0, err
    assert "right      low, number " in out
    assert "note       no audio: it is masked, as in training" in out
    assert told(heard) == {False}
    assert out.endswith("; features from the store\n")
    store.rename(tmp_path / "gone")
    code, again, err = avqa("ask", run, silent, "Is it low?", "--top", 1)
    assert code == 0, err
    assert again.endswith("; vggish/audio, resnet18/map extracted\n")
    assert told(heard) == {False}
    answer = next(line for line in out.splitlines() if line.startswith("answer"))
    assert answer in again


def test_frames_that_damage_took_are_left_out_of_an_explanation(blind, tmp_path):
    """Second 2 is lost: those behind it are still what their rows were made from."""
    clip = clips.cached_clip("hole.mp4", seconds=6, fps=25, extra=("-g", "25", "-bf", "2"))
    torn = tmp_path / "torn.mp4"
    without_packets(clip, torn, (2.2, 2.6), of="video")
    out = tmp_path / "why"
    asked = ("ask", blind, torn, "Is there a violin sound", "--explain", out, "--device", "cpu")
    code, _, err = avqa(*asked)
    assert code == 0, err
    numbers = json.loads((out / "explanation.json").read_text(encoding="utf-8"))
    assert [row["pts_seconds"] for row in numbers["rows"]] == [0.48, 1.48, None, 3.48, 4.48, 5.48]
    assert 2 not in numbers["shown_seconds"]
    for second in numbers["shown_seconds"]:
        picture = Image.open(out / "frames" / f"second-{second:04d}.png")
        assert clips.read_number(np.asarray(picture.convert("RGB"))) == 25 * second + 12
