"""docs/benchmarks.md from figures: what is met, what is missed, what was not measured."""

import sys

import pytest

from benchmarks import report
from benchmarks.report_typed import further_clip
from benchmarks.starts import by_package
from benchmarks.typed import run

IMPORTS = """\
import time: self [us] | cumulative | imported package
import time:    200000 |     200000 |   torch._C
import time:    100000 |     300000 | torch
import time:     50000 |      50000 | zarr.core
noise
"""


def typed(wall, **more):
    return {
        "wall": wall, "user": 1.0, "system": 0.5, "faults": 1000, "peak": 1e9,
        "processes": {"command": (3.0, 0.5), "decoder": (1.0, 0.25)}, "sign": None, **more,
    }  # fmt: skip


@pytest.fixture
def figures():
    start = typed(4.0, imports={"torch": 2.0})
    names = ("CLIP", "ResNet-18 vector", "ResNet-18 map", "VGGish")
    networks = dict.fromkeys(names, (0.05, 16))
    return {
        "machine": "m", "date": "2026-01-01", "num_clips": 3, "clip_seconds": 60, "num_cores": 2,
        "bf16": False, "decoding": {"planned": 2.0, "key": 0.2, "decord": 4.0},
        "networks": {"float32": networks}, "startup": 0.2, "evenness": [1.0, 1.0, 0.0],
        "starts": dict.fromkeys(
            ("extract", "nothing to do", "ask, features kept", "ask, nothing kept", "train-head"),
            start,
        ),
        "real": {
            "VP9 360p": {"avqa": 5.0, "chain": 20.0, "planned": 1.0, "key": 0.2, "decord": 1.0}
        },
        "steady": {"cpu fp32": [[20.0, {"encode": 9.0}]], "cpu chain": [{"frames and WAV": 63.0}]},
        "typed": [{"fp32": {"one": typed(12.0), "all": typed(26.0)}}],
    }  # fmt: skip


def test_a_further_clip_leaves_the_start_out(figures):
    assert further_clip(figures, "fp32") == 7


def test_missed_targets_are_marked(figures):
    lines = report.page(figures).splitlines()
    what = "usual chain ÷ avqa as typed, per further clip, fp32"
    assert f"| {what} | 3.00 | at least 2.7 | met |" in lines
    what = "`avqa extract` with nothing to do, seconds"
    assert f"| {what} | 4.00 | at most 0.8 | **missed** |" in lines
    what = "planned decoding ÷ decord, real file, VP9 360p"
    assert f"| {what} | 1.00 | at most 0.95 | **missed** |" in lines
    assert "| extract | 4.00 | 1.00 | 0.50 | 1,000 | torch 2.00 |" in lines
    assert "| fp32 | 12.0 | 7.0 | command | 3.0 | 0.5 | 1,000 |" in lines
    assert "| VP9 360p | 5.0 | 20.0 | 4.00 | 1.00 | 0.20 | 1.00 |" in lines
    what = "`--frame-at key` ÷ planned decoding, rendered clips"
    assert f"| {what} | 0.10 | about 0.1 | met |" in lines


def test_without_real_files_the_page_says_so(figures):
    assert "Not measured: there is no `../shared/media`." in report.page({**figures, "real": {}})


def test_the_ratios_beside_other_programs_stand_on_the_page(figures):
    lines = report.page(figures).splitlines()
    rows = [line for line in report.BESIDE.read_text("utf-8").splitlines() if line[:2] == "| "]
    assert len(rows) > 1
    assert [line for line in lines if line in rows] == rows


def test_training_counts_to_its_first_batch(figures):
    figures["starts"]["train-head"] = typed(7.0, sign=4.5, imports={"torch": 2.0})
    lines = report.page(figures).splitlines()
    assert "| `avqa train-head` to its first batch, seconds | 4.50 | at most 5 | met |" in lines
    assert "| train-head | 7.00 | 1.00 | 0.50 | 1,000 | torch 2.00 |" in lines


def test_when_a_command_says_something_is_noted():
    code = "print('begun'); print('over')"
    found = run([sys.executable, "-c", code], sign="begun")
    assert 0 < found.sign <= found.wall
    assert run([sys.executable, "-c", code]).sign is None
    with pytest.raises(RuntimeError, match="over"):
        run([sys.executable, "-c", code], sign="never said")


def test_imports_are_summed_by_package():
    found = by_package(IMPORTS)
    assert found == pytest.approx({"torch": 0.3, "zarr": 0.05})


def test_a_command_and_its_children_are_told_apart():
    child = "import time; t = time.process_time()\nwhile time.process_time() - t < 0.5: pass"
    # The words are those by which a decoder's process is known.
    words = f"[sys.executable, '-c', {child!r}, 'decoder.child']"
    parent = f"import subprocess, sys; subprocess.run({words})"
    found = run([sys.executable, "-c", parent])
    assert found.user + found.system >= 0.5
    assert found.processes.keys() == {"command", "decoder"}
    with pytest.raises(RuntimeError, match=r"(?s)exited with 1: .*ZeroDivisionError"):
        run([sys.executable, "-c", "1/0"])
