"""One part in a process of its own: what it found, also when it fails, hangs or is cut off."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks.gpu.part import Setup
from benchmarks.gpu.parts import Part

ROOT = Path(__file__).resolve().parents[2]
STAND_IN = Path(__file__).resolve().parent / "standin"
SHOWN = 3000
"""Characters of a part's output that are kept, from its end."""
SPARE = 2.0
"""Seconds before its end from which a part is told that its time is up."""


def run_part(part: Part, setup: Setup, seconds: float, file: Path) -> dict[str, Any]:
    """Run a part for so many seconds at most, and end everything that it started.

    Args:
        part: which one.
        setup: what it is given.
        seconds: after which it is ended.
        file: where it keeps what it finds; its output stands beside it.
    """
    file.unlink(missing_ok=True)
    log = file.with_suffix(".log")
    words = (part.module, setup.text(), str(file), str(seconds - SPARE))
    start = time.monotonic()
    status = "not begun"
    if seconds > SPARE:
        with log.open("wb") as out:
            process = subprocess.Popen(
                [sys.executable, "-m", "benchmarks.gpu.part", *words],
                cwd=ROOT,
                env=environment(setup),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            try:
                code = process.wait(seconds)
                status = "done" if code == 0 else f"failed (exit code {code})"
            except subprocess.TimeoutExpired:
                status = f"out of time ({seconds:.0f} s)"
            finally:
                end_all(process)
    found: dict[str, Any] = {"checks": [], "tables": {}, "notes": []}
    with contextlib.suppress(OSError, ValueError):  # it never got so far
        found = json.loads(file.read_text(encoding="utf-8"))
    said = log.read_bytes().decode(errors="replace") if log.exists() else ""
    took = {"seconds": round(time.monotonic() - start, 1), "budget": round(seconds, 1)}
    return {"name": part.name, "status": status, **took, **found, "output": said[-SHOWN:]}


def environment(setup: Setup) -> dict[str, str]:
    """Of a part: this checkout is what it runs, and nothing is kept outside of its folder."""
    paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    if setup.stand_in:
        paths.insert(0, str(STAND_IN))
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(paths),
        "PYTHONUNBUFFERED": "1",
        "AVQA_CACHE": str(Path(setup.work) / "cache"),
    }


def end_all(process: subprocess.Popen[bytes]) -> None:
    """End a part and what is left of its processes."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
