"""``examples/notebook.ipynb``: every cell runs, on clips drawn on the spot; what they show."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from helpers.notebook_run import cells_of

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOK = ROOT / "examples" / "notebook.ipynb"


@pytest.fixture(scope="module")
def shown(tmp_path_factory):
    """Type of a cell's value → what is shown of it, by a process of its own."""
    folder = tmp_path_factory.mktemp("notebook")
    command = [sys.executable, "-W", "ignore::UserWarning"]
    done = subprocess.run(
        [*command, "-m", "helpers.notebook_run", str(NOTEBOOK)],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'tests'}"},
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=400,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    *printed, last = done.stdout.splitlines()
    found = json.loads(last)
    assert "no video '00000099' in store" in printed[-1]
    assert not set("\r\x1b━") & set(done.stderr)  # a bar is drawn on terminals alone
    assert len(found) == len(cells_of(NOTEBOOK))
    return [cell for cell in found if cell is not None]


def test_what_the_cells_show(shown):
    assert [cell["type"] for cell in shown] == [
        *("RunReport", "FeatureStore", "Video", "tuple", "Dataset", "DataArray", "tuple"),
        *("ResultTable", "Answer", "PngImageFile"),
    ]
    report, store, video, rows, data, _, batch, table, answer, picture = shown
    assert "6 videos: 6 extracted, 0 already there; 12 rows" in report["text"]
    assert re.search(r"vggish/audio +\[T, 128\] float16 +6 ok +recipe", store["text"])
    assert "RANDOM WEIGHTS made resnet18/pool, vggish/audio: for tests only" in store["html"]
    assert "2 s; resnet18/pool [2, 512], vggish/audio [2, 128]>" in video["text"]
    assert rows["text"] == "((2, 128), array([0.5, 1.5]))"
    assert "vggish_channel: 128" in data["text"]
    assert batch["text"] == "(torch.Size([4, 2, 128]), torch.float32, torch.Size([4, 2]))"
    assert ">ours: mcd" in table["html"]
    assert answer["text"].startswith("RANDOM WEIGHTS: ")
    assert ">Is the flute always playing</strong>" in answer["html"]
    assert len(re.findall(r"\d\.\d %</td>", answer["html"])) == 5
    assert picture["picture"] > 20_000


def test_nothing_of_a_run_is_kept_in_it():
    """Outputs would be of somebody's machine, and change with every run."""
    book = json.loads(NOTEBOOK.read_text(encoding="utf-8"))
    assert book["nbformat"] == 4
    code = [cell for cell in book["cells"] if cell["cell_type"] == "code"]
    assert len(code) == 12
    assert all(cell["outputs"] == [] and cell["execution_count"] is None for cell in code)
    assert NOTEBOOK.stat().st_size < 10_000
