"""An encoder dropped in as one file is taken end to end; a broken one ends in one line."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from helpers.extraction import dropped
from helpers.media import clips
from helpers.questions import question_files

import avqa
from avqa.store.reader import FeatureStore

QUESTION = "Is there a violin sound?"
RUN = """
import json, sys
from avqa.cli import app
for command in json.loads(sys.argv[1]):
    print("$", *command[:2], flush=True)
    if code := app(command, standalone_mode=False):
        sys.exit(code)
"""


def laid_down(root: Path) -> Path:
    """A copy of the package with one more file, and another package that has an entry point."""
    own = Path(avqa.__file__).parent
    shutil.copytree(own, root / "avqa", ignore=shutil.ignore_patterns("__pycache__"))
    folder = root / "avqa" / "extract" / "encoders"
    (folder / "coarse.py").write_text(dropped.source(), encoding="utf-8")
    (root / "package").mkdir()
    (root / "package" / "module.py").write_text(
        dropped.source().replace('"coarse":', '"other":'), encoding="utf-8"
    )
    about = root / "package-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: package\nVersion: 1.0\n", encoding="utf-8"
    )
    (about / "entry_points.txt").write_text(
        "[avqa.encoders]\nother = package.module\n", encoding="utf-8"
    )
    return root


def test_dropped_in_encoders_are_extracted_trained_on_and_asked(tmp_path):
    """One in the package's folder gives the frames, one of another package the audio."""
    path = laid_down(tmp_path / "path")
    videos, store = tmp_path / "videos", tmp_path / "store"
    videos.mkdir()
    clip = videos / "00000001.mp4"
    shutil.copy(clips.cached_clip(clip.name, seconds=2.0, fps=8, sound_codec="aac"), clip)
    for split in ("train", "val", "test"):
        row = question_files.music_row(video_id="00000001")
        question_files.write(tmp_path / "annotations" / f"avqa-{split}.json", [row])
    asked = ("--dataset", "music-avqa", "--annotations", tmp_path / "annotations")
    chosen = ("visual=coarse", "audio=other", "epochs=1", "width=16", "device=cpu")
    features = "coarse/mean,coarse/cells,other/cells,other/loudness"
    commands = [
        ("encoders",),
        ("weights", "list"),
        (
            *("extract", "--videos", videos, "--out", store, "--features", features),
            *("--set", "coarse.colour=green", "--weights", "random:0"),
            *("--device", "cpu", "--scheduler", "sync"),
        ),
        ("status", store),
        ("verify", store, "--level", "sample", "--videos", videos),
        (
            *("train-head", "late_fusion", "--store", store, *asked, "--out", tmp_path / "run"),
            *(word for setting in chosen for word in ("--set", setting)),
        ),
        ("ask", tmp_path / "run", clip, QUESTION),
    ]
    done = subprocess.run(
        [sys.executable, "-c", RUN, json.dumps([[*map(str, words)] for words in commands])],
        env={**os.environ, "PYTHONPATH": str(path), "AVQA_CACHE": str(tmp_path)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        encoding="utf-8",
    )
    assert done.returncode == 0, done.stdout + done.stderr
    for part in (
        "coarse/cells                    15×8",
        "other/cells                     15×8",
        "  coarse.colour=red|green|blue",
        "coarse           absent  sha256 0123abcd…  MIT  https://example.org/coarse",
        "1 video: 1 extracted",
        "level=sample: 1 videos, 4 objects",
        "ours: late_fusion",
        "features from the store",  # by ask
    ):
        assert part in done.stdout
    opened = FeatureStore(store)
    assert opened.recipe("coarse/cells")["encoder"] == {
        "network": "coarse 1",
        "tap": "cells row-major",
        "colour": "green",
    }
    cells = opened.read("00000001", "coarse/cells")
    assert cells.shape == (2, 15, 8)
    assert opened.recipe("other/cells")["encoder"]["colour"] == "red"
    assert opened.read("00000001", "coarse/mean") == pytest.approx(cells.mean(1), abs=1e-3)
    config = json.loads((tmp_path / "run/default/seed-0/config.json").read_text(encoding="utf-8"))
    names = {field: entry["name"] for field, entry in config["features"].items()}
    assert names == {"audio": "other/loudness", "patch": "coarse/cells"}
    assert (config["options"]["visual_width"], config["options"]["audio_width"]) == (8, 4)
