"""Make ``v0_1.tar.xz``: what version 0.1 (commit 7912594) wrote, for tests of what comes after.

Run in a checkout of that commit, with its environment:

    python make.py FOLDER

It uses the command line alone. Whole and interrupted things lie side by side:

    videos/ annotations/     four clips of 2 s, a few questions
    store/ packed/           two features and texts of all four; its packed copy
    part/ tasks/ whole/      the same extraction: two videos done, one of two array tasks, all
    run/                     a trained head; predictions.json, evaluated.txt, asked.txt beside it
    killed/ finished/        a training killed in its third epoch; its weights, resumed there
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import time
from pathlib import Path

FEATURES = ("--features", "resnet18/pool,vggish/audio", "--chunk-seconds", "2")
WEIGHTS = ("--weights", "random:0")
QUESTIONS = ("--dataset", "music-avqa", "--annotations", "annotations")
HEAD = ("mcd", "--store", "store", *QUESTIONS)
SETTINGS = ("visual=resnet18", "question=clip", "width=8", "batch_size=4", "device=cpu")
NUM_VIDEOS, NUM_QUESTIONS, EPOCHS = 4, 4, 6


def avqa(*line: str) -> str:
    """What the command prints."""
    command = [sys.executable, "-m", "avqa.cli", *line]
    return subprocess.run(
        command, check=True, text=True, stdout=subprocess.PIPE, encoding="utf-8"
    ).stdout


def train(out: str, epochs: int, *more: str) -> list[str]:
    """The line of a training."""
    chosen = [word for s in (*SETTINGS, f"epochs={epochs}") for word in ("--set", s)]
    return ["train-head", *HEAD, "--out", out, *chosen, *more]


def benchmark() -> None:
    """Clips, and the first questions of each split about them."""
    avqa("synth", "bench", "--videos", "12", "--seconds", "2")
    kept = sorted(Path("bench/videos").iterdir())[:NUM_VIDEOS]
    Path("videos").mkdir()
    for path in kept:
        shutil.copy(path, "videos")
    ids = [path.stem for path in kept]
    for path in sorted(Path("bench/annotations").rglob("*.json")):
        rows = json.loads(path.read_text(encoding="utf-8"))[:NUM_QUESTIONS]
        for number, row in enumerate(rows):
            row["video_id"] = ids[number % NUM_VIDEOS]
        target = Path("annotations") / path.relative_to("bench/annotations")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(json.dumps(rows), encoding="utf-8")


def extract(out: str, *more: str) -> None:
    """One extraction in this process."""
    line = ("extract", "--videos", "videos", "--out", out, *FEATURES, *WEIGHTS)
    avqa(*line, "--scheduler", "sync", "--device", "cpu", *more)


def kill_in_epoch(number: int) -> None:
    """Train, and kill -9 as soon as so many epochs are in ``metrics.csv``."""
    process = subprocess.Popen(
        [sys.executable, "-m", "avqa.cli", *train("killed", EPOCHS)], start_new_session=True
    )
    metrics = Path("killed/default/seed-0/metrics.csv")
    while not metrics.exists() or len(metrics.read_text(encoding="utf-8").splitlines()) <= number:
        assert process.poll() is None
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def main(folder: Path) -> None:
    """Everything, and the archive."""
    folder.mkdir(parents=True)
    os.chdir(folder)
    benchmark()
    extract("whole")
    extract("part", "--limit", "2")
    extract("tasks", "--partition", "0/2")
    shutil.copytree("whole", "store")
    avqa("questions", *QUESTIONS, "--store", "store", *WEIGHTS)
    avqa("pack", "store", "packed")
    avqa(*train("run", 3))
    Path("evaluated.txt").write_text(avqa("evaluate", "run", "--split", "test"), encoding="utf-8")
    avqa("predict", "run", "--out", "predictions.json")
    video = str(min(Path("videos").iterdir()))
    Path("asked.txt").write_text(
        avqa("ask", "run", video, "Is the flute always playing?"), encoding="utf-8"
    )
    kill_in_epoch(2)
    shutil.copytree("killed", "finished")
    avqa(*train("finished", EPOCHS, "--resume"))
    pack()


def pack() -> None:
    """The archive."""
    folders = ("videos", "annotations", "store", "packed", "part", "tasks", "whole", "run")
    files = ("evaluated.txt", "predictions.json", "asked.txt", "finished/default")
    with tarfile.open("v0_1.tar.xz", "w:xz") as archive:
        for name in (*folders, "killed", *files):
            archive.add(name, filter=needed)


def needed(entry: tarfile.TarInfo) -> tarfile.TarInfo | None:
    """Neither the 64 MB that a store keeps free, nor curves, nor checkpoints of a finished run."""
    path = Path(entry.name)
    unneeded = {".reserve", "logs", "curves.png"}
    if path.parts[0] != "killed":
        unneeded.add("checkpoints")
    return None if path.name in unneeded else entry


if __name__ == "__main__":
    main(Path(sys.argv[1]))
