"""A run with a code of time, standardised rows, a product, as typed: evaluated as trained."""

import json

import numpy as np
from helpers.runs import run_folders
from safetensors import safe_open
from typer.testing import CliRunner

from avqa import datasets
from avqa.cli import app
from avqa.store.reader import FeatureStore

MOMENTS = ("mean", "deviation")


def typed(*words):
    done = CliRunner().invoke(app, [*map(str, words)])
    assert done.exit_code == 0, done.stderr
    return done.stdout


def test_a_run_keeps_its_code_and_is_evaluated_with_it(tmp_path):
    run_folders.write_three_videos(tmp_path)
    asked = [
        *("--store", tmp_path / "store", "--dataset", "music-avqa"),
        *("--annotations", tmp_path / "annotations"),
    ]
    settings = ["--set", "visual=clip_vit_b32", "--set", "stride_seconds=1"]
    out = tmp_path / "run"
    table = typed(
        *("train-head", "avst", *asked, "--out", out, "--device", "cpu", *settings),
        *("--set", "epochs=1", "--set", "width=8", "--set", "time_code=product"),
    )
    config = json.loads((out / "default/seed-0/config.json").read_text(encoding="utf-8"))
    options = config["options"]
    assert options["time_code"] == "product"
    assert (options["audio_width"], options["visual_width"]) == (2 * 4, 2 * 8)
    with safe_open(out / "default/seed-0/model.safetensors", "pt") as weights:
        assert weights.get_tensor("audio.0.weight").shape == (8, 8)
    assert typed("evaluate", out).startswith(table)
    assert "time_code=product" in table


def test_a_run_keeps_its_product_and_how_its_rows_are_standardised(tmp_path):
    run_folders.write_three_videos(tmp_path)
    asked = [
        *("--store", tmp_path / "store", "--dataset", "music-avqa"),
        *("--annotations", tmp_path / "annotations"),
    ]
    out = tmp_path / "run"
    table = typed(
        *("train-head", "late_fusion", *asked, "--out", out, "--device", "cpu"),
        *("--set", "epochs=1", "--set", "width=8", "--set", "standardise=true"),
        *("--set", "fusion=product"),
    )
    with safe_open(out / "default/seed-0/model.safetensors", "pt") as weights:
        kept = {name: weights.get_tensor(f"standard.audio_{name}") for name in MOMENTS}
        assert weights.get_tensor("product.out.weight").shape == (8, 16)
    store = FeatureStore(tmp_path / "store")
    videos = {q.video_id for q in datasets.read("music-avqa", tmp_path / "annotations", ("train",))}
    rows = np.concatenate([store.read(video, "vggish/audio") for video in videos]).astype("f8")
    np.testing.assert_allclose(kept["mean"], rows.mean(0), rtol=1e-5)
    np.testing.assert_allclose(kept["deviation"], rows.std(0), rtol=1e-5)
    assert typed("evaluate", out).startswith(table)
    assert "standardise=True" in table or "standardise=true" in table
