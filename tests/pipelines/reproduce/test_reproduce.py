"""`avqa reproduce` as typed, with the real networks: tasks, a kill, a page, an archive."""

import json
import subprocess
import sys
import time

import pytest
from typer.testing import CliRunner

from avqa.cli import app
from avqa.store.checks.verify import verify
from avqa.store.reader import FeatureStore


@pytest.fixture(scope="module")
def bench(tmp_path_factory, ffmpeg):
    folder = tmp_path_factory.mktemp("bench")
    done = CliRunner().invoke(app, ["synth", str(folder), "--videos", "6", "--seconds", "2"])
    assert done.exit_code == 0, done.stderr
    return folder


def words(bench, out, *more):
    command = ["reproduce", "pstp", "--videos", str(bench / "videos"), "--out", str(out)]
    command += ["--annotations", str(bench / "annotations"), "--weights", "random:0"]
    return [*command, "--seeds", "1", "--set", "epochs=1", "--set", "width=8", *more]


def typed(*command):
    done = subprocess.run(
        [sys.executable, "-m", "avqa", *command],
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=300,
    )
    return done.returncode, done.stdout, done.stderr


def killed_when(is_time, *command):
    """Run a command and kill it as soon as it is time."""
    with subprocess.Popen(
        [sys.executable, "-m", "avqa", *command],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as process:
        end = time.monotonic() + 300
        while not is_time() and process.poll() is None and time.monotonic() < end:
            time.sleep(0.05)
        assert process.poll() is None
        process.kill()


def test_from_videos_to_a_page_by_a_task_that_is_killed(bench, tmp_path):
    out = tmp_path / "out"
    store = out / "features" / "ffmpeg-r1-nearest44k"
    part = store / "parts" / "0-of-1"
    task = words(bench, out, "--partition", "0/1")
    killed_when(lambda: any((part / "ledger").glob("0*")) or (part / "runs").exists(), *task)
    code, said, told = typed(*task, "--pack", str(tmp_path / "o.zip"))
    assert code == 0, told
    assert "plan, as it was when this began:" in told
    assert said == f"pages: {out}/papers.md and 1 of papers beside it\n"
    assert verify(FeatureStore(store).path).problems == []
    page = (out / "pstp.md").read_text(encoding="utf-8")
    assert "recipe: `epochs=1` (paper: 30)" in page
    assert "- options: width=8" in page
    assert "**The features come from random weights (random:0)" in page
    result = json.loads((out / "runs/pstp/default/seed-0/result.json").read_text(encoding="utf-8"))
    correct, total = result["scores"]["All"]
    assert total == 10
    assert f"| All | 73.52 | {100 * correct / total:.2f} | " in page
    done = CliRunner().invoke(app, ["reproduce", "--check", str(tmp_path / "o.zip")])
    assert done.exit_code == 0, done.stderr
    assert "2 pages follow from the answers; 10 test questions" in done.stdout
