"""The SLURM of these tests itself."""

import subprocess
import time


def test_a_job_runs_and_leaves_the_queue(slurm, tmp_path):
    script = f"#!/bin/sh\necho $SLURM_CPUS_PER_TASK > {tmp_path}/out\n"
    subprocess.run(
        ["sbatch", "--cpus-per-task=3", f"--output={tmp_path}/log"],
        input=script, env=slurm.env, text=True, check=True, capture_output=True,
    encoding="utf-8")  # fmt: skip
    deadline = time.monotonic() + 120
    while slurm.jobs():
        assert time.monotonic() < deadline, slurm.log()
        time.sleep(0.1)
    assert (tmp_path / "out").read_text(encoding="utf-8") == "3\n"
