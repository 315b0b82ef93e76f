"""How long commands take to start, as typed, with weights in the cache; and what they load.

The weights are random ones, converted to files beforehand as `avqa weights import` writes them.
"""

from __future__ import annotations

import json
import os
import shutil
import statistics
import subprocess
import sys
from pathlib import Path

import imageio_ffmpeg
from safetensors.torch import save_file

from avqa.extract import encoders, weights
from avqa.extract.weights_files import _record
from benchmarks.typed import Typed, typed

ENTRANCES = {
    "extract": "avqa.commands.extract, avqa.pipelines.extraction.run, torch",
    "nothing to do": "avqa.commands.extract, avqa.pipelines.extraction.run",
    "ask": "avqa.commands.ask, avqa.pipelines.ask.asking",
    "train-head": "avqa.commands.train, avqa.pipelines.train.train, avqa.training.fitting.loop",
}
"""Start → modules that the command's own process imports for it."""
MOST_PACKAGES = 5
FIRST_BATCH = "epoch 1/1 done"
"""What `avqa train-head` says behind the only batch of an epoch, trained, validated and kept."""


def cached_weights(cache: Path) -> None:
    """Put the weights ``random:0`` of the default features into a cache, if they are not there."""
    source = weights.resolve("random:0")
    for name in weights.default_weights():
        path = cache / f"{name}.safetensors"
        if path.with_suffix(".json").exists():
            continue
        cache.mkdir(parents=True, exist_ok=True)
        state = weights.load_state(name, source)  # each of these is named as its encoder
        wanted = encoders.load(name).WEIGHTS[name].random().keys()
        save_file({key: state[key].contiguous() for key in wanted}, path)
        path.with_suffix(".json").write_text(json.dumps(_record(path)), encoding="utf-8")


def short_clip(path: Path) -> Path:
    """Two seconds of 1280×720 with audio."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists():
        command = [imageio_ffmpeg.get_ffmpeg_exe(), "-nostdin", "-v", "error", "-y"]
        command += ["-f", "lavfi", "-i", "testsrc2=s=1280x720:r=30:d=2"]
        command += ["-f", "lavfi", "-i", "sine=frequency=440:duration=2:sample_rate=44100"]
        subprocess.run([*command, "-pix_fmt", "yuv420p", str(path)], check=True)
    return path


def starts(work: Path, rounds: int) -> dict[str, dict[str, object]]:
    """Start → its `Typed` of the median wall time, and ``imports``: package → seconds."""
    cache, out = work / "cache", work / "starts"
    cached_weights(cache)
    clip = short_clip(work / "short" / "00000001.mp4")
    found: dict[str, list[Typed]] = {}
    _round(clip, cache, out, {})  # compiles, and compares batches, as a first run does once
    for _ in range(rounds):
        _round(clip, cache, out, found)
    shutil.rmtree(out)
    table: dict[str, dict[str, object]] = {}
    for name, runs in found.items():
        middle = sorted(runs, key=lambda run: run.wall)[len(runs) // 2]
        table[name] = {**vars(middle), "imports": imports(name.partition(",")[0])}
    return table


def _round(clip: Path, cache: Path, out: Path, found: dict[str, list[Typed]]) -> None:
    shutil.rmtree(out, ignore_errors=True)
    store, run, annotations = out / "store", out / "run", _annotations(out / "annotations")
    environ = {"AVQA_CACHE": str(cache)}
    extract = ("extract", "--videos", clip.parent, "--out", store, "--device", "cpu")
    on = ("--dataset", "music-avqa", "--annotations", annotations, "--store", store)
    ask = ("ask", run, out / "other" / clip.name, "Is there a violin sound?", "--device", "cpu")

    def take(name: str, *words: str | Path, sign: str = "") -> None:
        found.setdefault(name, []).append(typed(*words, environ=environ, sign=sign))

    take("extract", *extract)
    take("nothing to do", *extract)
    typed("questions", *on, "--device", "cpu", environ=environ)
    train = ("train-head", "avst", *on, "--out", run, "--set", "epochs=1")
    take("train-head", *train, sign=FIRST_BATCH)
    # Another file than the store has, else nothing would have to be made of it.
    short_clip(out / "other" / clip.name).write_bytes(clip.read_bytes() + b"\0")
    shutil.rmtree(cache / "asked", ignore_errors=True)
    take("ask, nothing kept", *ask)
    take("ask, features kept", *ask)


def _annotations(folder: Path) -> Path:
    folder.mkdir(parents=True)
    for split in ("train", "val", "test"):
        row = {
            "video_id": "00000001",
            "question_id": 0,
            "type": json.dumps(["Audio", "Counting"]),
            "question_content": "Is there a <Object> sound?",
            "templ_values": json.dumps(["violin"]),
            "anser": "yes",
        }
        path = folder / f"avqa-{split}.json"
        path.write_text(json.dumps([row, {**row, "question_id": 1}]), encoding="utf-8")
    return folder


def imports(name: str) -> dict[str, float]:
    """Package → seconds that its modules take, alone, of what a start imports; the slowest."""
    command = [sys.executable, "-X", "importtime", "-c", f"import {ENTRANCES[name]}"]
    runs = []
    for _ in range(3):
        done = subprocess.run(
            command, check=True, capture_output=True, text=True, encoding="utf-8", env=os.environ
        )
        runs.append(by_package(done.stderr))
    middle = {package: statistics.median(run[package] for run in runs) for package in runs[0]}
    return dict(sorted(middle.items(), key=lambda item: -item[1])[:MOST_PACKAGES])


def by_package(text: str) -> dict[str, float]:
    """Package → seconds, of what ``-X importtime`` prints."""
    found: dict[str, float] = {}
    for line in text.splitlines():
        parts = line.removeprefix("import time:").split("|")
        if line.startswith("import time:") and parts[0].strip().isdecimal():
            package = parts[2].strip().partition(".")[0]
            found[package] = found.get(package, 0.0) + int(parts[0]) / 1e6
    return found
