"""`avqa train-head --set workers=1`, as typed, where processes can share next to nothing."""

import json
import os
import shlex
import shutil
import subprocess
import sys

import pytest
import torch
from helpers.questions import question_files
from helpers.runs import run_folders

from avqa.pipelines.train.train import TrainOptions, train_head
from avqa.training.fitting.fit import too_many_workers
from avqa.training.run import member_path
from avqa.training.scoring import read_predictions
from avqa.training.settings import resolve

VIDEOS = {f"{n:08d}": 2 + n % 3 for n in range(1, 7)}
TINY = {"width": "8", "epochs": "1", "batch_size": "4", "visual": "clip_vit_b32"}
TINY |= {"stride_seconds": "1", "device": "cpu"}


def write_data(folder):
    run_folders.write_store(folder / "store", VIDEOS, "random:0")
    for place, split in enumerate(("train", "val", "test")):
        rows = [
            question_files.music_row(
                video_id=video, question_id=n, templ_values=json.dumps(["violin"]), anser=answer
            )
            for video in list(VIDEOS)[2 * place : 2 * place + 2]
            for n, answer in enumerate(("yes", "no"))
        ]
        question_files.write(folder / "annotations" / f"avqa-{split}.json", rows)


@pytest.mark.skipif(
    os.geteuid() != 0 or shutil.which("unshare") is None, reason="needs root and unshare"
)
def test_workers_on_a_machine_that_shares_little(tmp_path):
    """1 MB of /dev/shm, and a folder for temporary files whose name is too long for a socket."""
    write_data(tmp_path)
    store, annotations, out = (tmp_path / n for n in ("store", "annotations", "out"))
    words = ["--store", store, "--annotations", annotations, "--dataset", "music-avqa"]
    words += [*("--out", out), *("--set", "workers=1")]
    words += [word for item in TINY.items() for word in ("--set", "=".join(item))]
    command = shlex.join(map(str, [sys.executable, "-m", "avqa", "train-head", "avst", *words]))
    long = tmp_path / ("x" * 90)
    long.mkdir()
    path = os.pathsep.join(p for p in sys.path if p)
    given = {"PYTHONPATH": path, "TMPDIR": str(long), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        ["unshare", "-m", "sh", "-c", f"mount -t tmpfs -o size=1m tmpfs /dev/shm && {command}"],
        env=os.environ | given,
        capture_output=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr.decode()[-2000:]
    assert "Traceback" not in done.stderr.decode()

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    alone = tmp_path / "alone"
    options = {"assignments": TINY, "annotations": annotations, "dataset": "music-avqa"}
    try:
        train_head(TrainOptions(head="avst", store=store, out=alone, **options), lambda line: None)
    finally:
        torch.set_num_threads(before)
    found = [
        read_predictions(member_path(o, "default", 0) / "predictions.json") for o in (out, alone)
    ]
    assert found[0] == found[1]


@pytest.mark.parametrize(
    ("workers", "devices", "line"),
    [
        (8, 1, None),
        (9, 1, "workers=9; expected at most 8, as cores=8"),
        (2, 4, None),
        (3, 4, "workers=3 in each of devices=4; expected at most 2, as cores=8"),
    ],
)
def test_workers_count_in_every_device(monkeypatch, workers, devices, line):
    monkeypatch.setattr("avqa.training.fitting.fit.num_cores", lambda: 8)
    settings, _ = resolve("avst", {"workers": str(workers)})
    said = too_many_workers(settings, devices)
    assert said is None if line is None else said.startswith(line + " can be used; ")
