"""`avqa ask` as a user types it: what it prints, and the code it exits with."""

import dataclasses
import json

import pytest
from helpers.media import clips
from helpers.runs import run_folders
from typer.testing import CliRunner

from avqa.cli import app
from avqa.extract import weights
from avqa.extract.profiles import profile
from avqa.pipelines.cluster.environment import build_recipes
from avqa.store.format.recipe_diff import recipe_hash
from avqa.training.run import RUN


def avqa(*arguments):
    """Run a command in this process: (exit code, stdout, stderr)."""
    done = CliRunner().invoke(app, [str(argument) for argument in arguments])
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


def test_a_member_can_be_asked_as_well(blind, video):
    one = avqa("ask", blind, video, "Is there a violin sound?")[1].splitlines()
    member = blind / "default" / "seed-0"
    assert avqa("ask", member, video, "Is there a violin sound?")[1].splitlines()[:-1] == one[:-1]
    assert len(one) == 9  # five answers


def test_an_explanation_is_written(blind, video, tmp_path):
    code, out, _ = avqa("ask", blind, video, "Where is it?", "--explain", tmp_path / "why")
    assert code == 0
    assert out.splitlines()[-1] == f"explained  {tmp_path / 'why' / 'explanation.png'}"
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
