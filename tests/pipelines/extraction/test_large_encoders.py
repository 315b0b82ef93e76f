"""Narrow twins of the large encoders, and models by name, as typed: one run, one decoding."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from helpers.extraction import small
from helpers.media import clips
from helpers.questions import question_files

import avqa

BY_NAME = "open_clip:ViT-S-32-alt"
SHAPES = {
    "small_clip/frame": (32,),
    "small_clip/class": (64,),
    "small_clip/token": (64, 64),
    "small_clip/tome14": (41, 64),
    "small_clip/tome14_source": (64,),
    "small_clip/frame@tome": (32,),
    "small_vit/tome14": (19, 64),
    "small_vit/tome14_source": (36,),
    "small_swin/map": (2, 2, 128),
    "small_ast/band10": (12, 48),
    "r2plus1d_18/pool": (512,),
    "open_clip/ViT-S-32-alt/none/frame": (256,),
}


def typed(*arguments: object, code: int = 0) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [sys.executable, "-m", "avqa", *map(str, arguments)],
        env=small.environment(),
        capture_output=True,
        text=True,
        check=False,
        encoding="utf-8",
    )
    assert done.returncode == code, done.stdout + done.stderr
    return done


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("videos")
    made = clips.cached_clip("00000001.mp4", seconds=2.0, fps=8, sound_codec="aac")
    shutil.copy(made, folder / "00000001.mp4")
    return folder


@pytest.fixture(scope="module")
def store(videos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("stores") / "S"
    asked = [BY_NAME if name.startswith("open_clip") else name for name in SHAPES]
    done = typed(
        *("extract", "--videos", videos, "--out", path, "--features", ",".join(asked)),
        *("--weights", "random:0", "--device", "cpu", "--chunk-seconds", 2),
    )
    assert "1 video: 1 extracted" in done.stdout
    return path


@pytest.mark.filterwarnings("ignore:store .* random weights")
def test_one_run_stores_them_all(store: Path, videos: Path) -> None:
    opened = avqa.open_store(store)
    for feature, shape in SHAPES.items():
        rows = opened.read("00000001", feature)
        assert rows.shape == (2, *shape)
        assert rows.dtype == ("uint8" if feature.endswith("source") else "float16")
        assert (rows[0] != rows[1]).any(), feature
    source = opened.read("00000001", "small_vit/tome14_source")
    assert (source.min(), source.max()) == (1, 18)  # none goes into the class token
    assert opened.recipe("small_vit/tome14_source")["storage"] == {"dtype": "uint8"}
    again = typed("extract", "--out", store, "--videos", videos)  # as the store has it
    assert "0 extracted, 1 already there" in again.stdout
    checked = typed("verify", store, "--level", "crc")
    assert "problems" not in checked.stdout


@pytest.mark.filterwarnings("ignore:store .* random weights")
def test_a_packed_copy_and_a_dataset_have_them(store: Path, tmp_path: Path) -> None:
    typed("pack", store, tmp_path / "packed")
    packed, plain = avqa.open_store(tmp_path / "packed"), avqa.open_store(store)
    for feature in SHAPES:
        rows = plain.read("00000001", feature)
        assert (packed.read("00000001", feature) == rows).all(), feature
    held = plain.to_xarray(["small_vit/tome14_source", "open_clip/ViT-S-32-alt/none/frame"])
    values = held["small_vit/tome14_source"].values
    assert (values == plain.read("00000001", "small_vit/tome14_source")).all()


def test_the_plan_counts_what_they_cost(videos: Path, tmp_path: Path) -> None:
    features = "small_swin/map,small_vit/tome14_source,small_ast/class"
    done = typed(
        *("extract", "--videos", videos, "--out", tmp_path / "S", "--features", features),
        *("--weights", "random:0", "--device", "cpu", "--chunk-seconds", 2, "--plan"),
    )
    assert "networks" in done.stdout
    for name in features.split(","):
        assert name in done.stdout
    assert not (tmp_path / "S").exists()


@pytest.mark.filterwarnings("ignore:store .* random weights")
def test_texts_of_another_tower_join_a_store(store: Path, tmp_path: Path) -> None:
    row = question_files.music_row(video_id="00000001")
    for split in ("train", "val", "test"):
        question_files.write(tmp_path / f"avqa-{split}.json", [row])
    asked = ("questions", "--dataset", "music-avqa", "--annotations", tmp_path, "--store", store)
    taps = "small_clip/sentence,small_clip/word_state"
    done = typed(*asked, "--features", taps)  # weights as the frames' of this tower
    assert "1 encoded" in done.stdout
    other = "open_clip/ViT-S-32-alt/none/sentence"
    typed(*asked, "--features", f"{BY_NAME}/sentence")
    opened = avqa.open_store(store)
    assert set(opened.text_features) == {*taps.split(","), other}
    text = json.loads((tmp_path / "avqa-val.json").read_text(encoding="utf-8"))
    assert len(text) == 1
    refused = typed(*asked, "--features", "small_clip/word", "--mark", code=4)
    assert "text.mark" in refused.stderr
    unknown = typed(*asked, "--features", "small_clip/words", code=2)
    assert "did you mean" in unknown.stderr
    assert "problems" not in typed("verify", store).stdout


@pytest.mark.parametrize(
    ("feature", "told"),
    [
        ("open_clip:ViT-B-23:openai", "no model of open_clip 'ViT-B-23'; did you mean"),
        ("open_clip:ViT-B-32:opnai", "no tag of open_clip:ViT-B-32 'opnai'; did you mean"),
        ("open_clip:RN50", "open_clip:RN50 has 3 tags; expected one"),
        ("vit_l16_384/tome41", "no feature 'vit_l16_384/tome41'; did you mean"),
    ],
)
def test_what_there_is_not_is_one_line(
    videos: Path, tmp_path: Path, feature: str, told: str
) -> None:
    from helpers.extraction.as_typed import avqa as run

    code, _, err = run(
        "extract", "--videos", videos, "--out", tmp_path / "S", "--features", feature
    )
    assert code in (2, 5)
    assert told in err
    assert len(err.strip().splitlines()) == 1
