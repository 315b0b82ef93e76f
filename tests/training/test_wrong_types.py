"""A file of a run in which anything at all has another type is refused by name, on every path."""

import json
import shutil

import pytest
from helpers.media import clips
from helpers.runs import run_folders
from typer.testing import CliRunner

from avqa.cli import app
from avqa.errors import AvqaError, RunDamaged
from avqa.training.run import Run, save_about
from avqa.training.scoring import read_predictions

WRONG = [None, "\udcff", 7, True, ["x"], {"x": 1}, float("nan")]
FILES = ["run.json", "default/seed-0/config.json", "default/seed-0/result.json"]
PREDICTIONS = "default/seed-0/predictions.json"
ABOUT = {
    "head": "avst",
    "dataset": "music-avqa",
    "annotations": "/a",
    "store": "/s",
    "variants": ["default"],
    "seeds": 1,
    "same_as": {},
    "members": ["default/seed-0"],
    "notes": ["n"],
    "settings": {},
    "options": {},
}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Without digests, as one of before, or one whose files somebody has edited."""
    root = tmp_path_factory.mktemp("run")
    member = run_folders.write_member(root, run_folders.config())
    result = json.loads((member.path / "result.json").read_text(encoding="utf-8"))
    (member.path / "result.json").write_text(
        json.dumps({**result, "scores": {"All": [1, 2]}}), encoding="utf-8"
    )
    row = {
        **dict.fromkeys(("key", "question_id", "video_id", "split", "text", "answer"), "a"),
        "prediction": "yes",
        "probability": 0.5,
        "correct": True,
    }
    (root / PREDICTIONS).write_text(json.dumps([row]), encoding="utf-8")
    save_about(root, ABOUT)
    about = json.loads((root / "run.json").read_text(encoding="utf-8"))
    del about["sha256"]
    (root / "run.json").write_text(json.dumps(about), encoding="utf-8")
    return root


def places(value, at=()):
    yield at
    inner = value.items() if isinstance(value, dict) else enumerate(value[:1])
    for key, item in inner:
        yield from places(item, (*at, key)) if isinstance(item, (dict, list)) else [(*at, key)]


def put(value, at, new):
    if not at:
        return new
    inner = put(value[at[0]], at[1:], new)
    if isinstance(value, dict):
        return {**value, at[0]: inner}
    return [inner if number == at[0] else item for number, item in enumerate(value)]


def everything(root):
    """All that commands read of a run before they compute."""
    run = Run.load(root)
    for member in run.members:
        member.load_head()
        member.result.scores["All"].percent  # noqa: B018 - what the table prints
        str(member.config.counts.items())
        read_predictions(member.path / "predictions.json")


@pytest.mark.parametrize("name", [*FILES, PREDICTIONS])
def test_any_field_of_any_type(run, name):
    """Either the value serves as well, or the error says which file, field and type."""
    path = run / name
    text = path.read_text(encoding="utf-8")
    value = json.loads(text)
    everything(run)
    refused = []
    try:
        for at in places(value):
            for wrong in WRONG:
                path.write_text(json.dumps(put(value, at, wrong)), encoding="utf-8")
                try:
                    everything(run)
                except KeyError:
                    assert at == ("scores",)  # a result without the column "All"
                except AvqaError as error:
                    refused.append((at, error))
    finally:
        path.write_text(text, encoding="utf-8")
    assert len(refused) > 25
    for at, error in refused:
        assert error.exit_code in (2, 4), (at, error)
        assert "; expected " in str(error) or "; available: " in str(error), (at, error)


SPOILT = {
    "nested": b'{"a":' * 100_000,
    "no text": b'{"head": "\xff\xfe"}',
    "empty": b"",
    "a list": b"[]",
    "null": b"null",
}


@pytest.mark.parametrize("name", [*FILES, PREDICTIONS])
@pytest.mark.parametrize("spoilt", SPOILT.values(), ids=SPOILT)
def test_what_is_no_object(run, name, spoilt):
    path = run / name
    text = path.read_bytes()
    path.write_bytes(spoilt)
    try:
        if name == PREDICTIONS and spoilt == b"[]":
            assert read_predictions(path) == []
            return
        with pytest.raises(RunDamaged, match=f"{path.name}' (?:cannot be|is)"):
            everything(run)
    finally:
        path.write_bytes(text)


CASES = [
    ("run.json", "variants", 7, "variants=7; expected a list"),
    ("run.json", "seeds", "1", "seeds='1'; expected int"),
    ("default/seed-0/config.json", "seed", None, "seed=None; expected int"),
    ("default/seed-0/config.json", "counts", ["x"], "counts=['x']; expected an object"),
    ("default/seed-0/config.json", "features", {"audio": {}}, "features.audio has no 'name'"),
    ("default/seed-0/result.json", "files", [], "files=[]; expected an object"),
]


@pytest.mark.parametrize(("name", "field", "wrong", "said"), CASES)
@pytest.mark.parametrize("command", ["evaluate", "predict", "ask"])
def test_commands_say_which_field(run, tmp_path, command, name, field, wrong, said):
    more = {
        "evaluate": (),
        "predict": ("--out", str(tmp_path / "out.json")),
        "ask": (str(tmp_path / "clip.mp4"), "Is it?"),
    }
    shutil.copy(clips.cached_clip("short.mp4", seconds=1), tmp_path / "clip.mp4")
    text = (run / name).read_text(encoding="utf-8")
    (run / name).write_text(json.dumps({**json.loads(text), field: wrong}), encoding="utf-8")
    try:
        done = CliRunner().invoke(app, [command, str(run), *more[command]])
    finally:
        (run / name).write_text(text, encoding="utf-8")
    assert (done.exit_code, said in done.stderr) == (4, True), done.stderr
    assert str(run / name) in done.stderr
