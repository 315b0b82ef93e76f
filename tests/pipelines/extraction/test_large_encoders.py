"""Narrow twins of the large encoders, and models by name, as typed: one run, one decoding."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import open_clip
import pytest
from helpers.extraction import as_typed, small, tokeniser_files
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


def here(*arguments: object, code: int = 0) -> tuple[str, str]:
    """The same in this process, for the sake of time; its decoder process finds them, too."""
    with small.installed(), pytest.MonkeyPatch.context() as patched:
        patched.setenv("PYTHONPATH", small.environment()["PYTHONPATH"])
        found, out, err = as_typed.avqa(*arguments)
    assert found == code, out + err
    return out, err


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
    again, _ = here("extract", "--out", store, "--videos", videos)  # as the store has it
    assert "0 extracted, 1 already there" in again
    here("verify", store, "--level", "crc")


@pytest.mark.filterwarnings("ignore:store .* random weights")
def test_a_packed_copy_and_a_dataset_have_them(store: Path, tmp_path: Path) -> None:
    here("pack", store, tmp_path / "packed")
    packed, plain = avqa.open_store(tmp_path / "packed"), avqa.open_store(store)
    for feature in SHAPES:
        rows = plain.read("00000001", feature)
        assert (packed.read("00000001", feature) == rows).all(), feature
    held = plain.to_xarray(["small_vit/tome14_source", "open_clip/ViT-S-32-alt/none/frame"])
    values = held["small_vit/tome14_source"].values
    assert (values == plain.read("00000001", "small_vit/tome14_source")).all()


def test_the_plan_counts_what_they_cost(videos: Path, tmp_path: Path) -> None:
    features = "small_swin/map,small_vit/tome14_source,small_ast/class"
    out, _ = here(
        *("extract", "--videos", videos, "--out", tmp_path / "S", "--features", features),
        *("--weights", "random:0", "--device", "cpu", "--chunk-seconds", 2, "--plan"),
    )
    assert "networks" in out
    for name in features.split(","):
        assert name in out
    assert not (tmp_path / "S").exists()


@pytest.mark.filterwarnings("ignore:store .* random weights")
def test_texts_of_another_tower_join_a_store(store: Path, tmp_path: Path) -> None:
    row = question_files.music_row(video_id="00000001")
    for split in ("train", "val", "test"):
        question_files.write(tmp_path / f"avqa-{split}.json", [row])
    asked = ("questions", "--dataset", "music-avqa", "--annotations", tmp_path, "--store", store)
    taps = "small_clip/sentence,small_clip/word_state"
    out, _ = here(*asked, "--features", taps)  # weights as the frames' of this tower
    assert "1 encoded" in out
    other = "open_clip/ViT-S-32-alt/none/sentence"
    here(*asked, "--features", f"{BY_NAME}/sentence")
    opened = avqa.open_store(store)
    assert set(opened.text_features) == {*taps.split(","), other}
    _, refused = here(*asked, "--features", "small_clip/word", "--mark", code=4)
    assert "text.mark" in refused
    _, unknown = here(*asked, "--features", "small_clip/words", code=2)
    assert "did you mean" in unknown
    here("verify", store)


@pytest.mark.filterwarnings("ignore:store .* random weights")
def test_texts_by_a_hubs_tokeniser(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a model as SigLIP's, which open_clip is told of."""
    pytest.importorskip("tokenizers", reason="tokenizers is not installed")
    text = {"context_length": 9, "vocab_size": tokeniser_files.SIZE, "width": 16, "heads": 2}
    text |= {"layers": 1, "no_causal_mask": True, "pool_type": "last", "proj_bias": True}
    config = {
        "embed_dim": 24,
        "vision_cfg": {"image_size": 32, "layers": 1, "width": 64, "patch_size": 16},
        "text_cfg": text | {"hf_tokenizer_name": "some/words"},
    }
    monkeypatch.setitem(open_clip.factory._MODEL_CONFIGS, "few-words", config)
    monkeypatch.setenv("AVQA_CACHE", str(tmp_path / "cache"))
    for split in ("train", "val", "test"):
        question_files.write(
            tmp_path / f"avqa-{split}.json", [question_files.music_row(video_id="00000001")]
        )
    asked = ("questions", "--dataset", "music-avqa", "--annotations", tmp_path, "--store", store)
    asked = (*asked, "--features", "open_clip:few-words/sentence", "--weights", "random:0")
    place = tmp_path / "cache/tokenizers/some/words"
    _, refused = here(*asked, code=5)
    assert f"no tokenizer.json and no tokenizer_config.json in {place}; expected both" in refused
    tokeniser_files.write(place)
    out, _ = here(*asked)
    assert "1 encoded" in out
    opened = avqa.open_store(store)
    feature = "open_clip/few-words/none/sentence"
    assert opened.recipe(feature)["text"]["tokeniser"].startswith("some/words, clean=whitespace")
    again, _ = here(*asked)
    assert "1 already there, 0 encoded" in again
    _, unknown = here(*asked[:-3], "open_clip:few-words/word", code=2)
    assert "no feature of texts 'open_clip/few-words/none/word'" in unknown


@pytest.mark.filterwarnings("ignore:store .* random weights")
def test_a_store_in_openais_half_precision(videos: Path, tmp_path: Path) -> None:
    for split in ("train", "val", "test"):
        question_files.write(
            tmp_path / f"avqa-{split}.json", [question_files.music_row(video_id="00000001")]
        )
    made = ("--weights", "random:0", "--device", "cpu")
    asked = ("extract", "--videos", videos, "--out", tmp_path / "S", "--features")
    half = ("--precision", "openai-fp16")
    _, refused = here(*asked, "small_clip/frame,small_swin/pool", *made, *half, code=2)
    assert "precision='openai-fp16' with small_swin; expected encoders that have it:" in refused
    here(*asked, "small_clip/frame", *made, *half)
    texts = ("questions", "--dataset", "music-avqa", "--annotations", tmp_path, "--store")
    here(*texts, tmp_path / "S", "--features", "small_clip/sentence", *half, "--dtype", "float32")
    opened = avqa.open_store(tmp_path / "S")
    for feature in ("small_clip/frame", "small_clip/sentence"):
        assert opened.recipe(feature)["compute"]["precision"] == "openai-fp16"


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
    place = ("--videos", videos, "--out", tmp_path / "S")
    code, _, err = as_typed.avqa("extract", *place, "--features", feature)
    assert code in (2, 5)
    assert told in err
    assert len(err.strip().splitlines()) == 1
