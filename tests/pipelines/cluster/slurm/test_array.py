"""examples/slurm/array.sbatch on a real SLURM: a task that is cancelled is submitted again."""

import os
import sys
import time
from pathlib import Path

from helpers.extraction import stub_extraction as stub
from helpers.media import fake_reader
from helpers.store.stores import store_bytes

ROOT = Path(__file__).resolve().parents[4]
SCRIPT = ROOT / "examples" / "slurm" / "array.sbatch"


def wait(ready, what, seconds=90):
    deadline = time.monotonic() + seconds
    while not (answer := ready()):
        assert time.monotonic() < deadline, f"waited in vain: {what()}"
        time.sleep(0.1)
    return answer


def test_a_cancelled_element_is_submitted_again(slurm, tmp_path, monkeypatch):
    videos, store, logs = tmp_path / "videos", tmp_path / "S", tmp_path / "logs"
    for seed in range(5):
        fake_reader.write_video(videos / f"v{seed}.mp4", seconds=1 + seed, seed=seed)
    fake_reader.write_video(videos / "bad.mp4", act="corrupt")
    program = tmp_path / "bin" / "avqa"
    for folder in (logs, program.parent):
        folder.mkdir()
    program.write_text(f'#!/bin/sh\nexec {sys.executable} {stub.__file__} "$@"\n', encoding="utf-8")
    program.chmod(0o755)
    monkeypatch.setitem(slurm.env, "PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setitem(slurm.env, "PYTHONPATH", f"{ROOT}/tests{os.pathsep}{ROOT}")
    monkeypatch.setitem(slurm.env, "PYTHONWARNINGS", "ignore")
    monkeypatch.setitem(slurm.env, "PARTS", "3")
    common = ("--parsable", "--gres=none", "--cpus-per-task=1", f"--chdir={logs}")
    extract = stub.arguments(videos, store)[5:]  # without the command, --videos and --out

    def submit(array):
        options = (*common, f"--array={array}", "--output=task-%a.log")
        words = (*options, str(SCRIPT), str(videos), str(store), *extract)
        return slurm.tell("sbatch", *words).strip()

    def finalize(after, log):
        options = (*common, f"--dependency=afterany:{after}", f"--output={log}")
        assert slurm.tell("sbatch", *options, "--wrap", f"avqa finalize {store}")
        wait(lambda: not slurm.jobs(), lambda: f"{slurm.jobs()} {slurm.log()}")
        return (logs / log).read_text(encoding="utf-8")

    monkeypatch.setitem(slurm.env, "STUB_PAUSE", "1")
    job = submit("0-2")
    chunks = "parts/1-of-3/features.zarr/*/*/c.*.*"
    wait(lambda: list(store.glob(chunks)), lambda: f"{slurm.jobs()} {slurm.log()}")
    slurm.tell("scancel", f"{job}_1")
    refused = finalize(job, "refused.log")
    assert refused.startswith(f"avqa: store '{store}': 1 tasks are not finished: 1/3 (")
    assert (
        " of 2 videos left); expected all to be; run tasks 1 of `avqa extract --partition` again"
        in refused
    )
    assert "1 of 2 videos failed" in (logs / "task-0.log").read_text(encoding="utf-8")
    monkeypatch.setitem(slurm.env, "STUB_PAUSE", "0")
    assert "6 videos: 5 from 3 parts, 0 already there, 1 failed; 15" in finalize(
        submit("1"), "finalized.log"
    )
    stub.install(monkeypatch)
    stub.extract(videos, tmp_path / "whole")
    assert store_bytes(store) == store_bytes(tmp_path / "whole")
