"""``--json``: every command that reads prints one object, as ``docs/json.md`` has it."""

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from helpers.extraction.as_typed import avqa, extract, two_videos
from helpers.json_page import PAGE, problems, render
from helpers.media import fake_reader
from helpers.questions.question_files import SAMPLES
from helpers.runs.run_folders import write_run

from avqa.telling.found import to_json
from avqa.telling.objects import COMMANDS, SCHEMA

ROOT = Path(__file__).resolve().parents[2]
pytestmark = [
    pytest.mark.filterwarnings("ignore::avqa.store.reader.RandomWeightsWarning"),
    pytest.mark.usefixtures("light", "reused_children"),
]


def object_of(command, out):
    """What was printed, held against the object of its command."""
    found = json.loads(out)
    assert found.pop("schema") == SCHEMA
    assert not list(problems(found, COMMANDS[command]))
    return found


def told(command, *arguments, code=0):
    """A command as typed, with ``--json``: its object."""
    done = avqa(*command.removeprefix("avqa ").removesuffix(" NAME").split(), *arguments, "--json")
    assert done[0] == code, done[2]
    return object_of(command, done[1])


@pytest.fixture
def store(tmp_path):
    videos = two_videos(tmp_path / "videos")
    fake_reader.write_video(videos / "c.mp4", seconds=2, act="corrupt")
    assert extract(videos, tmp_path / "store")[0] == 3
    return tmp_path / "store"


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return write_run(tmp_path_factory.mktemp("made"))


def test_the_page_says_what_the_objects_are():
    again = "PYTHONPATH=tests:. python tests/helpers/json_page.py"
    assert PAGE.read_text(encoding="utf-8") == render(), again


def test_every_command_with_json_has_its_object():
    text = (ROOT / "docs" / "commands.md").read_text(encoding="utf-8")
    sections = [part.partition("`") for part in text.split("## `")[1:]]
    have = {name for name, _, rest in sections if "`--json`" in rest}
    named = {" ".join(word for word in name.split() if word.islower()) for name in COMMANDS}
    named = {name.partition(" --")[0] for name in named}
    assert have == {*named, "avqa info"}


def test_what_can_be_chosen():
    found = told("avqa encoders")
    names = [feature["name"] for feature in found["features"] if feature["default"]]
    assert {"clip_vit_b32/frame", "vggish/audio"} < {*names}
    assert told("avqa decoders")["decoders"][0].keys() == {"name", "default", "version", "problem"}
    weights = {one["name"]: one for one in told("avqa weights list")["weights"]}
    assert weights["clip_vit_b32"]["sha256"].startswith("40d36571")
    found = {head["name"]: head for head in told("avqa heads")["heads"]}
    assert found["avst"]["stride_seconds"] == 6
    page = told("avqa heads NAME", "pstp")
    assert page["parameters"] == found["pstp"]["parameters"]
    (question,) = (one for one in page["options"] if one["name"] == "question")
    assert (question["value"], question["choices"]) == ("clip", ["clip", "lstm", "positions"])


def test_questions_are_shown(tmp_path):
    for name, write in SAMPLES.items():
        write(tmp_path / name)
        arguments = ("--dataset", name, "--annotations", tmp_path / name)
        found = told("avqa questions --show", "2", *arguments)
        assert (found["dataset"], len(found["samples"])) == (name, 2)
        assert (found["missing_options"] is None) == (name not in ("avqa", "valor32k"))
    code, out, err = avqa("questions", *arguments, "--json")
    assert (code, out) == (2, "")
    assert err == (
        "avqa: --json without --show; expected both; add --show N, or leave --json out\n"
    )


def test_a_store_is_told(store):
    found = told("avqa status", store)
    assert found["videos"] == 3
    assert found["features"][0]["counts"]["ok"] == 2
    (failed,) = found["failed"]
    assert (failed["video_id"], failed["features"]) == ("c", ["light/pool"])
    assert found["origins"][0]["path"].endswith("videos")
    videos = {video["video_id"]: video for video in told("avqa status --videos", store)["videos"]}
    assert videos["c"]["features"] == {"light/pool": "failed"}
    assert told("avqa status --recipes", store)["features"][0]["recipe"]["weights"]
    assert told("avqa status --warnings", store)["warnings"] == []
    code, out, _ = avqa("status", store, "--videos", "--recipes", "--json")
    assert (code, out) == (2, "")


def test_damage_is_told_with_its_exit_code(store):
    assert told("avqa verify", store)["problems"] == []
    chunks = (p for p in store.glob("features.zarr/light/pool/**/*") if p.is_file())
    chunk = next(path for path in chunks if path.suffix != ".json")
    chunk.write_bytes(chunk.read_bytes()[:-1])
    found = told("avqa verify", store, code=6)
    assert found["problems"][0]["array"] == "light/pool"
    assert avqa("verify", store)[2] == avqa("verify", store, "--json")[2]


def test_differences_are_told_with_their_exit_code(tmp_path):
    rows = np.random.default_rng(0).standard_normal((4, 8)).astype(np.float32)
    np.save(tmp_path / "one.npy", rows)
    np.save(tmp_path / "two.npy", rows[::-1])
    sides = (tmp_path / "one.npy", tmp_path / "two.npy")
    assert told("avqa compare", sides[0], sides[0])["equal"]
    found = told("avqa compare", *sides, code=6)
    assert not found["equal"]
    assert found["streams"][0]["reasons"]


def test_tables_are_told(made, tmp_path):
    """Of `compare-runs`: ``pipelines/train/test_paired.py``."""
    run = made / "run"
    found = told("avqa evaluate", run)
    text = avqa("evaluate", run, "--format", "csv")[1]
    rows = csv.DictReader(text.splitlines())
    assert [row["name"] for row in found["rows"]] == [row["name"] for row in rows]
    ours = next(row for row in found["rows"] if row["kind"] == "ours")
    assert ours["cells"]["All"]["total"] == 9
    for name, answer in (("ours", "yes"), ("theirs", "no")):
        said = {str(number): answer for number in range(80, 92)}
        (tmp_path / f"{name}.json").write_text(json.dumps(said), encoding="utf-8")
    of = ("--dataset", "music-avqa", "--annotations", made / "annotations")
    scored = told("avqa score", tmp_path / "ours.json", tmp_path / "theirs.json", *of)
    assert scored["comparisons"][0]["columns"][-1]["difference"] == 0  # six of twelve each
    code, out, err = avqa("evaluate", run, "--format", "csv", "--json")
    assert (code, out) == (2, "")
    assert "--format csv with --json; expected one of them" in err


def test_numbers_that_are_none_and_numbers_of_numpy():
    found = json.loads(to_json({"a": float("nan"), "b": np.float64(0.5), "c": ("é", None)}))
    assert found == {"schema": SCHEMA, "a": None, "b": 0.5, "c": ["é", None]}
    assert to_json({"a": "é"}).isascii()


def test_a_process_of_its_own_prints_the_object_alone(store):
    command = [sys.executable, "-m", "avqa", "status", str(store), "--json"]
    done = subprocess.run(command, capture_output=True, cwd=ROOT, env={**os.environ})
    assert (done.returncode, done.stderr) == (0, b"")
    assert object_of("avqa status", done.stdout)["videos"] == 3
