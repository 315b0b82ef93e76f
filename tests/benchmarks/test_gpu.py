"""The check of a GPU: its parts in their time, what it says, and all of it as typed, on a stand-in.

`tests/benchmarks/test_gpu_bundle.py` has what it carries to a machine without network.
"""

import json
import subprocess
import sys
from dataclasses import replace

import av
import pytest
import torch
from helpers.ended import wait_until_gone
from helpers.extraction import light as light_encoder
from helpers.media.clips import cached_clip

from benchmarks.gpu import asking, compiled, material, page, parts, rows, running, whole
from benchmarks.gpu.part import Setup
from benchmarks.gpu.parts import PARTS, Part

ROOT = running.ROOT


@pytest.fixture
def setup(tmp_path):
    return Setup(material=str(tmp_path / "material"), work=str(tmp_path), cores=2)


def part(name):
    return Part(name, 10, "What it is", package="helpers.gpu")


@pytest.fixture
def found_by_parts(monkeypatch):
    """Parts of the tests are found by processes, too."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT / "tests"))


def test_parts_share_what_is_left():
    three = (Part("a", 10, ""), Part("b", 20, ""), Part("c", 10, ""))
    assert [parts.seconds_for(k, 80, three) for k in range(3)] == [20, 160 / 3, 80]
    assert parts.seconds_for(1, -3, three) == 0
    assert sum(part.seconds for part in PARTS) == 60 * parts.MINUTES


def test_a_part_that_fails_leaves_what_it_found_and_its_words(setup, tmp_path, found_by_parts):
    found = running.run_part(part("fails"), setup, 60, tmp_path / "fails.json")
    assert found["status"] == "failed (exit code 1)"
    assert found["tables"] == {"Figures": [{"what": "rows", "value": 7}]}
    assert [check["ok"] for check in found["checks"]] == [True]
    assert found["output"].splitlines()[-1] == "ValueError: the GPU is on fire"
    assert not page.good(found)


def test_a_part_out_of_time_is_ended_with_all_that_it_started(setup, tmp_path, found_by_parts):
    for seconds in (4, 8, 16, 32, 64):  # how long Python takes to start is not what is tested
        found = running.run_part(part("hangs"), setup, seconds, tmp_path / "hangs.json")
        assert found["status"] == f"out of time ({seconds} s)"
        if found["tables"]:
            break
    [row] = found["tables"]["Figures"]
    assert wait_until_gone(row["value"])


def test_a_part_without_time_is_not_begun(setup, tmp_path, found_by_parts):
    found = running.run_part(part("fails"), setup, 1, tmp_path / "fails.json")
    assert (found["status"], found["checks"], found["output"]) == ("not begun", [], "")


def test_a_setup_travels():
    setup = Setup(material="m", work="w", cores=3, batches=(1, 2), stand_in=True)
    assert Setup.read(setup.text()) == setup


RESULTS = {
    "date": "2026-11-30",
    "device": "cuda",
    "seconds": 99.6,
    "asked": ["rows", "whole", "networks"],
    "parts": {
        "rows": {
            "status": "done",
            "seconds": 3.5,
            "budget": 70,
            "checks": [
                {"what": "a", "found": "1|2", "expected": "1", "ok": False},
                {"what": "b", "found": "1", "expected": "1", "ok": True},
            ],
            "tables": {},
            "notes": ["Nothing else."],
            "output": "much\n",
        },
        "whole": {
            "status": "out of time (130 s)",
            "seconds": 130.0,
            "budget": 130,
            "checks": [],
            "tables": {
                whole.TABLE: [
                    {"height": "360p", "precision": "bf16", "decoders": 14, "rate": 856.0},
                    {"height": "360p", "precision": "bf16", "decoders": 2, "rate": 90.0},
                ]
            },
            "notes": [],
            "output": "the last word\n",
        },
    },
}


def test_the_page_says_what_ended_how_and_what_differs():
    text = page.page(RESULTS)
    assert "| rows | done | **1 of 2** | 3.5 of 70 |" in text
    assert "| whole | **out of time (130 s)** | 0 of 0 | 130.0 of 130 |" in text
    assert "| networks | not reached | | |" in text
    assert "| memory | not asked for | | |" in text
    assert "| a | 1\\|2 | 1 | **differs** |" in text
    assert "| b | 1 | 1 | as expected |" in text
    assert "**out of time (130 s)**; its last words:\n\n```\nthe last word\n```" in text
    assert "much" not in text
    assert "Nothing else." in text


def test_the_page_has_the_anchors_beside_the_most_decoders():
    lines = page.page(RESULTS).splitlines()
    assert "Cosmos-Embed1: 428 seconds of video per second on one H100." in "".join(lines)
    assert "150 hours in 20 minutes: 450." in "".join(lines)
    assert "| 360p | bf16 | 14 | 856 | 2.00 | 11 |" in lines
    assert not any(line.startswith("| 360p | bf16 | 2 | 90 | 0") for line in lines)


def test_rows_are_compared_row_by_row():
    expected = torch.tensor([[3.0, 4.0], [0.0, 0.0], [1.0, 0.0]])
    same = rows.difference(expected, expected)
    assert (same.cosine, same.largest, same.share) == (1.0, 0.0, 0.0)
    turned = rows.difference(torch.tensor([[4.0, 3.0], [0.0, 0.0], [1.0, 0.0]]), expected)
    assert turned.cosine == pytest.approx(24 / 25)
    assert (turned.largest, turned.share) == (1.0, 0.25)
    lost = rows.difference(torch.tensor([[3.0, 4.0], [0.0, 0.1], [1.0, 0.0]]), expected)
    assert lost.cosine == 0


class Leaning:
    """A network whose rows depend on the one before, and on their place."""

    def __init__(self, by_place=0.0, by_other=0.0):
        self.by_place, self.by_other = by_place, by_other

    def forward(self, name, batch, taps):
        place = torch.arange(len(batch))[:, None]
        return {"tap": batch + self.by_place * place + self.by_other * batch.roll(1, 0)}


@pytest.mark.parametrize(
    ("network", "differing"),
    [
        (Leaning(), set()),
        (Leaning(by_other=1.0), {"a row alone", "at another place among others"}),
        (Leaning(by_place=1.0), {"a row alone", "at another place among others"}),
    ],
)
def test_company_and_place_are_told(network, differing):
    given = 1 + torch.rand((8, 3), generator=torch.Generator().manual_seed(0))
    found = rows.forward(network, "x", given, ("tap",), 8)["tap"]
    again = rows.company(network, "x", given, ("tap",), 8)
    apart = {what for what, out in again.items() if not out["tap"].equal(found[: len(out["tap"])])}
    assert apart == differing


def test_what_limits_is_what_is_busy():
    stages = {"decode": 12.0, "prepare": 4.0, "encode": 3.0, "write": 2.0}
    shares = whole.shares_of(stages, wall=10.0, decoders=2, encoder_threads=1)
    assert shares == {"decoding": 0.8, "networks": 0.3, "writing": 0.1}
    assert whole.limit(shares) == "decoding"
    assert whole.limit({"decoding": 0.5, "networks": 0.6}) == "none"


def test_answers_are_read_from_what_ask_says():
    said = (
        "answer     two    50.0 %\n           seven   7.5 %\nlooked at  frames 45 %, audio 55 %\n"
    )
    assert asking.answers(said) == {"two": 50.0, "seven": 7.5}


def test_a_clip_is_repeated_packet_by_packet(tmp_path):
    clip = cached_clip("plain.mp4", seconds=1.0, sound_codec="aac")
    once = decoded(clip)
    material.repeat(clip, tmp_path / "thrice.mp4", 3)
    thrice = decoded(tmp_path / "thrice.mp4")
    assert len(thrice) == 3 * len(once)
    assert thrice == sorted(thrice)
    length = material.seconds_of(clip) + material.GAP
    assert thrice[len(once)] - thrice[0] == pytest.approx(length, abs=0.05)


def decoded(path):
    """Seconds of all frames."""
    with av.open(str(path)) as clip:
        return [frame.time for frame in clip.decode(video=0)]


def test_without_clips_the_command_that_makes_them_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="make gpu-bundle"):
        material.heights(tmp_path)


def test_the_check_as_typed_on_a_stand_in(tmp_path, ffmpeg):
    """A part that fails for want of clips, and two that need none on what looks like a GPU."""
    command = [
        *(sys.executable, "-m", "benchmarks.gpu", "--device", "stand-in", "--tiny"),
        *(
            "--features",
            f"{light_encoder.POOL},{light_encoder.AUDIO}",
            "--only",
            "rows",
            "together",
            "compiled",
        ),
        *("--heads", "late_fusion", "--minutes", "30"),
        *("--material", str(tmp_path / "none"), "--out", str(tmp_path / "out")),
    ]
    done = subprocess.run(
        command,
        env=light_encoder.environment(),
        cwd=ROOT,
        capture_output=True,
        text=True,
        encoding="utf-8",
    )
    assert done.returncode == 1, done.stdout + done.stderr
    found = json.loads((tmp_path / "out" / "gpu.json").read_text(encoding="utf-8"))
    assert found["device"].startswith("the CPU as a stand-in")
    compared = found["parts"]["rows"]
    assert (compared["status"], page.good(compared)) == ("done", True), compared
    # Batches are those of a GPU: all rows go into one.
    assert {row["rows"] for row in compared["tables"]["Against fp32 on the CPU"]} == {rows.ROWS}
    assert len(compared["checks"]) == 2 * 2 * (1 + 3)
    assert found["parts"]["together"]["status"] == "failed (exit code 1)"
    assert "make gpu-bundle" in found["parts"]["together"]["output"]
    stepped = found["parts"]["compiled"]
    assert (stepped["status"], page.good(stepped)) == ("done", True), stepped
    [row] = stepped["tables"][compiled.TABLE]
    assert (row["head"], row["batch"]) == ("late_fusion", 2)
    assert row["graphs"] > 1  # before its LSTM and behind it
    assert all(float(row[name]) > 0 for name in ("plain, ms", "compiling, s", "compiled, ms"))
    assert [check["what"] for check in stepped["checks"]] == [
        "late_fusion: logits of the compiled head"
    ]
    text = (tmp_path / "out" / "benchmarks_gpu.md").read_text(encoding="utf-8")
    assert text == page.page(found)


FULL = """
import torch
from avqa.machine import num_gpus
from benchmarks.gpu import device

assert num_gpus() == 1
print(device.describe()["GPU"], device.used())
with device.full():
    print(device.used() // 2**20, device.peak() // 2**20)
    try:
        torch.zeros(3).to("cuda")
    except torch.OutOfMemoryError as error:
        print(type(error).__name__)
print(device.used(), torch.zeros(3).to("cuda").sum().item())
"""


def test_a_full_gpu_has_room_again_afterwards(setup):
    done = subprocess.run(
        [sys.executable, "-c", FULL],
        env=running.environment(replace(setup, stand_in=True)),
        capture_output=True,
        text=True,
        encoding="utf-8",
    )
    assert done.stdout.splitlines() == [
        "a stand-in, 0 GiB, 1 multiprocessors 0",
        "64 64",
        "OutOfMemoryError",
        "0 0.0",
    ], done.stderr


@pytest.mark.soak
def test_all_parts_on_a_stand_in(tmp_path, ffmpeg, monkeypatch):
    """Minutes: what `make gpu-check` does on a GPU, with an encoder that costs nothing."""
    monkeypatch.setattr(material, "ENSEMBLES", 8)
    material.make(tmp_path / "material", 2)
    chosen = "visual=light,audio=light,width=8,workers=0"
    command = [
        *(sys.executable, "-m", "benchmarks.gpu", "--device", "stand-in", "--tiny"),
        *("--features", f"{light_encoder.POOL},{light_encoder.AUDIO}", "--minutes", "30"),
        *("--heads", "mcd", "--settings", chosen, "--material", str(tmp_path / "material")),
        *("--out", str(tmp_path / "out")),
    ]
    done = subprocess.run(command, env=light_encoder.environment(), cwd=ROOT)
    text = (tmp_path / "out" / "benchmarks_gpu.md").read_text(encoding="utf-8")
    assert done.returncode == 0, text
