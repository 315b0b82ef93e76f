"""QA-TIGER, TSPM and CueSpace as typed: features of several encoders, merged tokens, bands."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from helpers.extraction import as_typed, small
from helpers.heads import cue_release, tiger_release
from helpers.questions import question_files
from helpers.runs import asked_runs

from avqa.datasets._parts.vocabulary import ANSWERS
from avqa.heads import qa_tiger
from avqa.store.reader import FeatureStore
from avqa.training.run import Run

FEATURES = "small_clip/frame,small_vit/tome14,small_vit/tome14_source,small_ast/class"
OF_CUESPACE = "small_clip/frame@tome,small_clip/tome14,small_clip/tome14_source,small_ast/band"
ENCODERS = {"visual": "small_clip", "patch": "small_vit", "text": "small_clip"}
SETTINGS = {**ENCODERS, "audio": "small_ast", "width": "16", "epochs": "1", "device": "cpu"}
CUESPACE = {"visual": "small_clip/frame@tome", "patch": "small_clip/tome14", "missing": "masked"}
ASKED = "Where is the loudest instrument?"


def typed(*arguments: object, code: int = 0) -> str:
    with small.installed(), pytest.MonkeyPatch.context() as patched:
        patched.setenv("PYTHONPATH", small.environment()["PYTHONPATH"])
        found, out, err = as_typed.avqa(*arguments)
    assert found == code, out + err
    return out + err


def train(folder: Path, out: Path, code: int = 0, head: str = "qa_tiger", **settings: str) -> str:
    chosen = [
        word
        for name, value in (SETTINGS | settings).items()
        for word in ("--set", f"{name}={value}")
    ]
    return typed(
        *("train-head", head, "--store", folder / "store", "--dataset", "music-avqa"),
        *("--annotations", folder / "annotations", "--out", out, *chosen),
        code=code,
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store of one clip, the questions' texts by the command that the refusal names, a run."""
    folder = tmp_path_factory.mktemp("tiger")
    (folder / "videos").mkdir()
    (folder / "videos" / f"{asked_runs.VIDEO}.mp4").symlink_to(asked_runs.clip())
    typed(
        *("extract", "--videos", folder / "videos", "--out", folder / "store"),
        *("--features", f"{FEATURES},{OF_CUESPACE}", "--weights", "random:0", "--device", "cpu"),
        *("--scheduler", "sync", "--follow-links"),
    )
    annotations = asked_runs.annotation(folder / "annotations")
    refused = train(folder, folder / "run", code=4)
    command = re.search(r"add with: avqa (questions .*)", refused)
    assert command is not None, refused
    told = command[1].replace("NAME", "music-avqa").replace("PATH", str(annotations))
    assert told.endswith("--features small_clip/sentence,small_clip/word_state")
    typed(*shlex.split(told), "--device", "cpu")
    train(folder, folder / "run")
    return folder


def test_a_run_says_what_it_read_and_is_evaluated_so(folder: Path) -> None:
    (member, _) = Run.load(folder / "run").members
    config = member.config
    assert {field: entry["name"] for field, entry in config.features.items()} == {
        "audio": "small_ast/class",
        "frame": "small_clip/frame",
        "patch": "small_vit/tome14",
    }
    assert list(config.texts) == ["small_clip/sentence", "small_clip/word_state"]
    assert config.features["patch"]["patches"] == 19
    widths = {name: size for name, size in config.options.items() if name.endswith("_width")}
    assert widths == {
        "audio_width": 48,
        "visual_width": 32,
        "patch_width": 64,
        "text_width": 32,
        "word_width": 48,
    }
    table = (folder / "run" / "table.txt").read_text(encoding="utf-8")
    assert "QA-TIGER" in table
    # Of the same answers as in training, whatever it prints besides.
    assert typed("evaluate", folder / "run").startswith(table.rstrip())


def explained(
    folder: Path, video: Path, out: Path, asked: str = ASKED, run: str = "run"
) -> dict[str, object]:
    typed("ask", folder / run, video, asked, "--explain", out, "--device", "cpu")
    told: dict[str, object] = json.loads((out / "explanation.json").read_text(encoding="utf-8"))
    return told


def test_tokens_are_drawn_where_their_patches_were(folder: Path, tmp_path: Path) -> None:
    of_store = explained(folder, asked_runs.clip(), tmp_path / "stored")
    source = FeatureStore(folder / "store").read(asked_runs.VIDEO, "small_vit/tome14_source")
    assert of_store["patch_grid"]["patches"] == 36
    for second, row in enumerate(of_store["rows"]):
        patches = np.array(row["patches"])
        assert patches.sum() == pytest.approx(1)
        for token in np.unique(source[second]):  # those of one token weigh the same
            assert np.ptp(patches[source[second] == token]) < 1e-12
        assert len(np.unique(patches.round(12))) > 2
    other = asked_runs.clip(seconds=2.0)
    made = explained(folder, other, tmp_path / "made", "Who plays the tuba?")
    assert made["patch_grid"]["patches"] == 36
    assert all(sum(row["patches"]) == pytest.approx(1) for row in made["rows"])


def test_without_the_source_nothing_is_drawn(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("avqa.pipelines.ask.stored.source_of", lambda feature: "small_vit/none")
    told = explained(folder, asked_runs.clip(), tmp_path / "plain")
    assert told["patch_grid"] is None
    assert len(told["rows"][0]["patches"]) == 19


@pytest.mark.parametrize(
    ("name", "release", "settings"),
    [("qa_tiger", tiger_release, SETTINGS), ("cuespace", cue_release, SETTINGS | CUESPACE)],
)
def test_an_imported_run_answers_as_the_one_whose_weights_it_took(
    name: str, release: ModuleType, settings: dict[str, str], folder: Path, tmp_path: Path
) -> None:
    trained = folder / "run"
    if name != "qa_tiger":
        trained = tmp_path / "trained"
        train(folder, trained, head=name, **settings)
    file, order = tmp_path / "published.pth", qa_tiger.PAPER.released.answers["music-avqa"]
    head = Run.load(trained).of_variant("default")[0].load_head()
    torch.save(release.exported(head, ANSWERS, order), file)
    chosen = {option: value for option, value in settings.items() if option != "epochs"}
    chosen |= {"mask_words": "true"}  # as it was trained here, and not as released
    typed(
        *("import", "run", file, "--head", name, "--store", folder / "store"),
        *("--dataset", "music-avqa", "--annotations", folder / "annotations"),
        *("--out", tmp_path / "run"),
        *(word for option, value in chosen.items() for word in ("--set", f"{option}={value}")),
    )
    asked = (asked_runs.clip(), ASKED, "--device", "cpu", "--json")
    read = json.JSONDecoder().raw_decode  # a warning follows
    ours, theirs = (
        read(typed("ask", run, *asked))[0]["answers"][0]["answers"]
        for run in (trained, tmp_path / "run")
    )
    assert len(ours) > 2
    assert [one["answer"] for one in ours] == [one["answer"] for one in theirs]
    assert [one["probability"] for one in ours] == pytest.approx(
        [one["probability"] for one in theirs]
    )


def test_prompts_are_read_where_the_store_has_them(folder: Path) -> None:
    refused = train(folder, folder / "tspm", code=4, head="tspm")
    command = re.search(r"add with: avqa (questions --prompts .*)", refused)
    assert command is not None, refused
    told = command[1].replace("NAME", "music-avqa").replace("STORE", str(folder / "store"))
    told = told.replace("PATH", str(folder / "annotations"))
    typed(*shlex.split(told), "--device", "cpu")
    train(folder, folder / "tspm", head="tspm")
    (member, _) = Run.load(folder / "tspm").members
    assert list(member.config.texts) == ["small_clip/sentence"]
    of_head = typed("ask", folder / "tspm", asked_runs.clip(), "Is there a tuba sound?")
    assert "prompt: There are sounds of instruments other than the tuba in the video." in of_head
    # Of another form than the training questions the question is its own prompt.
    other = typed("ask", folder / "tspm", asked_runs.clip(), "Who plays?", "--device", "cpu")
    assert "prompt: Who plays" in other


def test_cuespace_reads_bands_beside_the_class_and_goes_without_both(
    folder: Path, tmp_path: Path
) -> None:
    without = {name: value for name, value in CUESPACE.items() if name != "missing"}
    refused = train(folder, folder / "never", 2, "cuespace", **without, audio="vggish")
    assert (
        "audio=vggish has no features for bands; expected an encoder with a tap of shape (F, D) of"
        " audio; see `avqa encoders`"
    ) in refused
    train(folder, folder / "cuespace", head="cuespace", **CUESPACE)
    (member, _) = Run.load(folder / "cuespace").members
    assert {field: entry["name"] for field, entry in member.config.features.items()} == {
        "audio": "small_ast/class",
        "frame": "small_clip/frame@tome",
        "patch": "small_clip/tome14",
        "bands": "small_ast/band",
    }
    assert member.config.options["band_width"] == 48
    table = (folder / "cuespace" / "table.txt").read_text(encoding="utf-8")
    assert "CueSpace" in table
    assert "79.22" in table
    assert typed("evaluate", folder / "cuespace").startswith(table.rstrip())
    typed("evaluate", folder / "cuespace", "--without", "audio")
    told = explained(folder, asked_runs.clip(), tmp_path / "told", run="cuespace")
    assert told["patch_grid"]["patches"] == 64
    assert all(sum(row["patches"]) == pytest.approx(1) for row in told["rows"])
    silent = asked_runs.clip(seconds=2.0, sound_codec=None)
    of_silent = explained(folder, silent, tmp_path / "silent", "Who plays the tuba?", "cuespace")
    assert len(of_silent["rows"]) == 2
    assert [row["sound"] for row in of_silent["rows"]] == [0, 0]


def test_cuespace_chooses_among_options_of_the_question_s_text(
    folder: Path, tmp_path: Path
) -> None:
    """Both forms, as typed: trained, evaluated, asked; texts by the command of the refusal."""
    options = ["a tuba", "a cello", "nothing", "rain"]
    asked = {"video_id": asked_runs.VIDEO, "options": options}
    for split in ("train", "val", "test"):
        rows = [question_files.valor_row(id=n, correct_answer_idx=n, **asked) for n in range(2)]
        question_files.write(tmp_path / "valor" / f"combined_dataset_{split}_flattened.json", rows)
    chosen = SETTINGS | CUESPACE
    for form in ("shared", "per_option"):
        of = (
            "--store",
            folder / "store",
            "--dataset",
            "valor32k",
            "--annotations",
            tmp_path / "valor",
        )
        of = (
            *of,
            *(f"--set={name}={value}" for name, value in (chosen | {"options": form}).items()),
        )
        run = tmp_path / form
        if form == "shared":
            plain = (
                "--dataset",
                "valor32k",
                "--annotations",
                tmp_path / "valor",
                "--device",
                "cpu",
            )
            made = "small_clip/sentence,small_clip/word_state"
            typed("questions", *plain, "--store", folder / "store", "--features", made)
            refused = typed("train-head", "cuespace", *of, "--out", run, code=4)
            command = re.search(r"add with: avqa (questions --with-options .*)", refused)
            assert command is not None, refused
            told = command[1].replace("NAME", "valor32k").replace("PATH", str(tmp_path / "valor"))
            assert "questions with each option behind: 4 distinct" in typed(*shlex.split(told))
        typed("train-head", "cuespace", *of, "--out", run)
        (member, _) = Run.load(run).members
        assert (member.config.options["answer"], member.config.options["options"]) == (
            "choices",
            form,
        )
        table = (run / "table.txt").read_text(encoding="utf-8")
        assert typed("evaluate", run).startswith(table.rstrip())
        question = ("Who plays?", "--choice", "a tuba", "--choice", "a whale", "--device", "cpu")
        typed("ask", run, asked_runs.clip(), *question, "--explain", tmp_path / f"told-{form}")
        file = tmp_path / f"told-{form}" / "explanation.json"
        explanation = json.loads(file.read_text(encoding="utf-8"))
        words = [word["word"] for word in explanation["words"]]
        assert words[:3] == ["who", "plays", "<end_of_text>" if form == "shared" else "a"]
        assert sum(word["weight"] for word in explanation["words"]) == pytest.approx(1, abs=1e-5)
