"""``python -m benchmarks.gpu``: all parts of the check, one after the other, within their time.

Every part runs in a process of its own: one that fails, hangs or runs out of its time is reported
with its output, and the others go on. After each, gpu.json and benchmarks_gpu.md are written
anew: a check that is cut off leaves what it has.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks.gpu.page import good, page
from benchmarks.gpu.part import Setup
from benchmarks.gpu.parts import MINUTES, PARTS, seconds_for
from benchmarks.gpu.running import ROOT, run_part

MATERIAL = ROOT / "build" / "gpu-bundle" / "material"
OUT = ROOT / "build" / "gpu"
LISTS = ("features", "heads", "settings", "precisions", "batches", "decoders")
TINY: dict[str, Any] = {
    "precisions": ("fp32", "bf16"),
    "batches": (2, 4),
    "decoders": (1, 2),
    "loops": 1,
    "epochs": 3,
    "slot": 1.0,
}
"""Of `Setup`: shows that everything runs, in seconds and on any machine."""


def main() -> int:
    """Run what is asked for; 0 if everything is as expected, else 1."""
    asked = arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the part under way ends, too
    out = Path(asked.out)
    out.mkdir(parents=True, exist_ok=True)
    began = asked.began or time.time()
    with tempfile.TemporaryDirectory(prefix="avqa-gpu-", dir=asked.work) as work:
        setup = setup_of(asked, work)
        results: dict[str, Any] = {
            "date": f"{datetime.now(UTC):%Y-%m-%d}",
            "device": "the CPU as a stand-in: no figure is a GPU's" if setup.stand_in else "cuda",
            "asked": asked.only,
            "parts": {},
        }
        chosen = tuple(part for part in PARTS if part.name in asked.only)
        for place, part in enumerate(chosen):
            left = 60 * asked.minutes - (time.time() - began)
            seconds = seconds_for(place, left, chosen)
            print(f"{part.name}: {part.what} ({seconds:.0f} s)", flush=True)
            found = run_part(part, setup, seconds, Path(work) / f"{part.name}.json")
            results["parts"][part.name] = found
            results["seconds"] = time.time() - began
            write(results, out)
            tell(found)
    print(f"wrote {out / 'benchmarks_gpu.md'} and gpu.json in {results['seconds']:.0f} s")
    return 0 if all(map(good, results["parts"].values())) else 1


def arguments() -> argparse.Namespace:
    """Of the command line."""
    names = [part.name for part in PARTS]
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu")
    parser.add_argument("--material", default=str(MATERIAL), help="of `make gpu-bundle`")
    parser.add_argument("--out", default=os.environ.get("OUT") or str(OUT), help="else $OUT")
    parser.add_argument("--work", help="where gigabytes may lie meanwhile; default: TMPDIR's")
    parser.add_argument("--device", choices=("auto", "cuda", "stand-in"), default="auto")
    parser.add_argument("--minutes", type=float, default=MINUTES, help="for everything")
    parser.add_argument("--began", type=float, help="seconds since 1970 that count from")
    parser.add_argument("--only", nargs="+", choices=names, default=names, metavar="PART")
    parser.add_argument("--tiny", action="store_true", help="whether it runs, not how fast")
    for name in LISTS:
        parser.add_argument(f"--{name}", help="comma-separated, in place of those of `Setup`")
    return parser.parse_args()


def setup_of(asked: argparse.Namespace, work: str) -> Setup:
    """What the parts are given."""
    from avqa.machine import num_cores

    cores = num_cores()
    most = max(1, cores - 2)
    setup = Setup(
        material=str(Path(asked.material).absolute()),
        work=work,
        cores=cores,
        stand_in=asked.device == "stand-in" or (asked.device == "auto" and not has_gpu()),
        decoders=tuple(sorted({1, 2, 4, 8, most})[-4:] if most < 8 else (2, 4, 8, most)),
    )
    setup = replace(setup, **TINY) if asked.tiny else setup
    for name in LISTS:
        if text := getattr(asked, name):
            kind = int if name in ("batches", "decoders") else str
            given: dict[str, Any] = {name: tuple(map(kind, text.split(",")))}
            setup = replace(setup, **given)
    return setup


def has_gpu() -> bool:
    """Whether torch finds one; asked in another process, which then lets go of it."""
    code = "import sys, torch; sys.exit(not torch.cuda.is_available())"
    return subprocess.run([sys.executable, "-c", code]).returncode == 0


def write(results: dict[str, Any], out: Path) -> None:
    """Both files, each whole or as it was."""
    texts = {"gpu.json": json.dumps(results, indent=1), "benchmarks_gpu.md": page(results)}
    for name, text in texts.items():
        unfinished = out / f"unfinished-{name}"
        unfinished.write_text(text, encoding="utf-8")
        shutil.move(unfinished, out / name)


def tell(found: dict[str, Any]) -> None:
    """How a part went, in lines."""
    print(f"  {found['status']} after {found['seconds']} s of {found['budget']}")
    for check in found["checks"]:
        if not check["ok"]:
            print(f"  {check['what']}: {check['found']}; expected {check['expected']}")
    if found["status"] != "done":
        print("\n".join(f"  | {line}" for line in found["output"].splitlines()[-15:]))
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
