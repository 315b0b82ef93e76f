"""Commands of avqa as they are typed, from within a part."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import time
from dataclasses import dataclass

from benchmarks.gpu.part import Run


@dataclass(frozen=True)
class Done:
    """A command that ended."""

    code: int
    out: str
    err: str
    seconds: float

    def last(self) -> str:
        """Its last line; an error's is one line."""
        return ((self.err + self.out).strip().splitlines() or ["no word"])[-1]


def command(*words: object) -> list[str]:
    """``avqa WORDS`` in this Python."""
    return [sys.executable, "-m", "avqa", *map(str, words)]


def begin(*words: object, **environ: str) -> subprocess.Popen[str]:
    """Start a command, whose output is kept."""
    print("$ avqa", shlex.join(map(str, words)), flush=True)
    return subprocess.Popen(
        command(*words),
        env=os.environ | environ,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        encoding="utf-8",
    )


def end(process: subprocess.Popen[str], since: float) -> Done:
    """Wait for a command and show what it said; the part's own time ends one that hangs."""
    out, err = process.communicate()
    done = Done(process.returncode, out, err, time.monotonic() - since)
    print(out, err, f"exit code {done.code} after {done.seconds:.1f} s", sep="", flush=True)
    return done


def avqa(*words: object, **environ: str) -> Done:
    """Run a command to its end."""
    since = time.monotonic()
    return end(begin(*words, **environ), since)


def must(run: Run, what: str, *words: object) -> Done:
    """Run a command that the rest of the part needs.

    Raises:
        RuntimeError: it failed.
    """
    done = avqa(*words)
    run.check(what, f"exit code {done.code}", "exit code 0", done.code == 0)
    if done.code:
        raise RuntimeError(f"{what}: {done.last()}")
    return done
