"""Commands of avqa as they are typed, from within a part."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from benchmarks.gpu.part import Run

_THREADS = ThreadPoolExecutor()


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


class Begun:
    """A command under way; a thread takes what it says, so that it never waits for a reader."""

    def __init__(self, words: Sequence[str], environ: Mapping[str, str]) -> None:
        """Starts it."""
        print("$ avqa", shlex.join(words), flush=True)
        self._since = time.monotonic()
        self.process = subprocess.Popen(
            command(*words),
            env={**os.environ, **environ},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            encoding="utf-8",
        )
        self._done = _THREADS.submit(self._wait)

    def _wait(self) -> Done:
        out, err = self.process.communicate()
        return Done(self.process.returncode, out, err, time.monotonic() - self._since)

    def end(self) -> Done:
        """Wait for it and show what it said; the part's own time ends one that hangs."""
        done = self._done.result()
        said = f"exit code {done.code} after {done.seconds:.1f} s"
        print(done.out, done.err, said, sep="", flush=True)
        return done


def begin(*words: object, **environ: str) -> Begun:
    """Start a command."""
    return Begun([str(word) for word in words], environ)


def avqa(*words: object, **environ: str) -> Done:
    """Run a command to its end."""
    return begin(*words, **environ).end()


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
