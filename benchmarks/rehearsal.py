"""``python -m benchmarks.rehearsal``: `avqa reproduce`, as typed, where no data set is at hand.

Clips and questions of the synthetic benchmark stand in for MUSIC-AVQA: its file names, its format,
its splits in proportion (70, 10 and 20 % of the videos), seeded random weights. The command is
killed twice, while it extracts and while it trains, and given again; then its archive is checked.
Writes docs/rehearsal.md, and the pages into docs/rehearsal/.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from avqa.units import clock
from benchmarks.__main__ import machine

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "rehearsal.md"
VIDEOS, SECONDS = 20, 4
SETTINGS = {"epochs": "1", "max_seconds": "12"}
"""What keeps it short: departures, which the pages name."""
SET = [word for name, value in SETTINGS.items() for word in ("--set", f"{name}={value}")]
SHARES = {"train": 0.7, "val": 0.1, "test": 0.2}
POLL_SECONDS = 0.2


def main() -> None:
    """Render, divide, reproduce with two kills, check, write the page."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--folder", type=Path, default=ROOT / "build" / "rehearsal")
    parser.add_argument("--heads", default="", help="some only; no page is written then")
    asked = parser.parse_args()
    bench, out = asked.folder / "bench", asked.folder / "out"
    run(["synth", str(bench), "--videos", str(VIDEOS), "--seconds", str(SECONDS)])
    annotations = divide(bench / "annotations", asked.folder / "annotations")
    shutil.rmtree(out, ignore_errors=True)
    words = ["reproduce", *filter(None, asked.heads.split(","))]
    words += ["--videos", str(bench / "videos"), "--annotations", str(annotations)]
    words += ["--out", str(out), "--weights", "random:0", *SET]
    began = time.monotonic()
    kill_when(words, lambda: any(out.glob("features/*/ledger/[0-9]*")))
    kill_when(words, lambda: any(out.glob("runs/*/default/seed-1/config.json")))
    archive = asked.folder / "out.zip"
    archive.unlink(missing_ok=True)
    run([*words, "--pack", str(archive)])
    took = time.monotonic() - began
    checked = run(["reproduce", "--check", str(archive), "--annotations", str(annotations)])
    if not asked.heads:
        publish(out, checked, took)


def run(words: Sequence[str]) -> str:
    """Run a command to its end; what it prints."""
    command = [sys.executable, "-m", "avqa", *words]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, encoding="utf-8")
    print(done.stdout, flush=True)
    return done.stdout


def kill_when(words: Sequence[str], is_time: Callable[[], bool]) -> None:
    """Run a command and kill it as soon as it is time."""
    with subprocess.Popen([sys.executable, "-m", "avqa", *words]) as process:
        while process.poll() is None and not is_time():
            time.sleep(POLL_SECONDS)
        if process.poll() is not None:
            raise SystemExit(f"ended by itself before it could be killed: {process.returncode}")
        process.kill()


def divide(source: Path, target: Path) -> Path:
    """The same questions in splits that share no video, in MUSIC-AVQA's proportion."""
    files = {split: source / f"avqa-{split}.json" for split in SHARES}
    rows = [row for file in files.values() for row in json.loads(file.read_text(encoding="utf-8"))]
    videos = sorted({row["video_id"] for row in rows})
    target.mkdir(parents=True, exist_ok=True)
    first = 0
    for split, share in SHARES.items():
        number = round(share * len(videos))
        chosen = {*videos[first : first + number]}
        first += number
        these = [row for row in rows if row["video_id"] in chosen]
        text = json.dumps(these, indent=2, ensure_ascii=False)
        (target / files[split].name).write_text(text + "\n", encoding="utf-8")
    return target


def publish(out: Path, checked: str, took: float) -> None:
    """Copy the pages and write what was done to get them."""
    folder = PAGE.with_suffix("")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    for page in sorted(out.glob("*.md")):
        shutil.copy(page, folder / page.name)
    lines = [
        "# `avqa reproduce`, rehearsed",
        "",
        "Written by `python -m benchmarks.rehearsal`; do not edit.",
        "",
        f"{VIDEOS} clips of {SECONDS} s and their questions stand in for MUSIC-AVQA, in its format,"
        " its names and its splits in proportion; the weights of the feature networks are random,"
        f" and {' and '.join(SETTINGS)} are not the papers'. What this shows is that the command"
        " goes from videos to pages, not what a head can do. It was killed (`kill -9`) while it"
        " extracted, and again while it trained, and given a third time: the pages are in"
        f" [rehearsal/](rehearsal/papers.md). All in all {clock(took)} on {machine()}.",
        "",
        "```",
        "avqa reproduce --videos VIDEOS --annotations ANNOTATIONS --out OUT --weights random:0"
        f" {' '.join(SET)} --pack out.zip",
        "avqa reproduce --check out.zip --annotations ANNOTATIONS",
        "```",
        "",
        "The second command computes every table anew from the answers in the archive, and says:",
        "",
        "```",
        *_told(checked),
        "```",
    ]
    PAGE.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _told(checked: str) -> list[str]:
    """The lines above the page, without the places of this machine."""
    first, second = checked.splitlines()[:2]
    return [f"out.zip: {first.partition(': ')[2]}", f"{second.rpartition(' ')[0]} ANNOTATIONS"]


if __name__ == "__main__":
    main()
