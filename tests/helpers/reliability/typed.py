"""Commands as typed, in processes of their own that may be killed before a change of the disk.

They are forked from one process that has imported what commands need, so that a try costs a second
and not five: this file as a program. `helpers.extraction.light.finished` types the same words anew.
"""

from __future__ import annotations

import atexit
import datetime
import functools
import importlib
import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
from helpers.extraction import light

SECONDS = 240
"""A command that takes longer hangs."""
IMPORTED_BY_COMMANDS = (
    *("avqa.cli", "avqa.pipelines.ask.answer", "avqa.pipelines.ask.explain"),
    *("avqa.pipelines.extraction.finalize", "avqa.pipelines.extraction.remove"),
    *("avqa.pipelines.extraction.run", "avqa.pipelines.extraction.stores"),
    *("avqa.pipelines.extraction.verify", "avqa.pipelines.extraction.single"),
    *("avqa.pipelines.npy.exporting", "avqa.pipelines.npy.dumps", "avqa.pipelines.npy.compare"),
    *("avqa.pipelines.questions.encode", "avqa.pipelines.synth", "avqa.extract.weights"),
    *("avqa.pipelines.train.train", "avqa.pipelines.train.grounding"),
    *("avqa.pipelines.train.evaluate", "avqa.training.fitting.fit", "lightning_fabric"),
    *("torch.utils.tensorboard", "safetensors.torch", "helpers.questions.asking"),
)


@dataclass(frozen=True)
class Done:
    """How a command ended."""

    code: int
    """Negative: the signal that killed it."""
    said: str
    """Standard output and error."""
    changes: int
    """Of files and folders below the watched one; -1: it was killed."""
    seconds: float

    @property
    def line(self) -> str:
        """The last line that was said."""
        return (self.said.splitlines() or [""])[-1]


def typed(
    words: Sequence[object],
    folder: Path,
    *,
    before_change: int | None = None,
    after_seconds: float | None = None,
    refused_with: int = 0,
    logs: Path | None = None,
    clock: float = 0.0,
    environ: Mapping[str, str] | None = None,
    stand_in: str = "",
) -> Done:
    """Run ``avqa`` with these words, to its end or to its death.

    Args:
        words: what is typed behind ``avqa``.
        folder: where changes are counted; the log lies beside it.
        before_change: kill the process group before this change, counted from 0.
        after_seconds: kill it then.
        refused_with: not killed, but refused with this errno: that change and all after it.
        logs: folder of the log, where ``folder`` lies on a disk that is full.
        clock: seconds by which this machine's clock is ahead of that of the disk.
        environ: variables beside those of `light.environment`.
        stand_in: not empty: the text tower is `asking.FakeEncoder`.
    """
    beside = (logs or folder.parent) / folder.name
    log, count = (beside.with_name(beside.name + ending) for ending in (".log", ".count"))
    for file in (log, count):
        file.unlink(missing_ok=True)
    asked = {
        "words": [str(word) for word in words],
        "folder": str(folder),
        "beside": str(beside),
        "last": before_change,
        "refused_with": refused_with,
        "clock": clock,
        "environ": dict(environ or {}),
        "stand_in": stand_in,
    }
    started = time.monotonic()
    pid, ended = _parent().start(asked)
    in_time = False
    try:
        in_time = _wait(ended, SECONDS if after_seconds is None else after_seconds)
    finally:
        if not in_time:
            os.killpg(pid, signal.SIGKILL)
        code = _parent().code()
    psutil.wait_procs(_members(pid), timeout=10)
    said = log.read_text(encoding="utf-8", errors="replace") if log.exists() else ""
    assert in_time or after_seconds is not None, f"{asked['words']} hangs; it said: {said}"
    changes = int(count.read_text(encoding="ascii")) if count.exists() else -1
    return Done(code, said, changes, time.monotonic() - started)


class _Parent:
    """The process that forks commands; it answers with a line when one is begun, and ended."""

    def __init__(self) -> None:
        threads = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
        self._process = subprocess.Popen(
            [sys.executable, __file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=light.environment() | threads,
        )
        atexit.register(self._process.kill)

    def start(self, asked: Mapping[str, Any]) -> tuple[int, int]:
        """Begin; the process group, and a file that can be read from when it has ended."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(asked).encode() + b"\n")
        self._process.stdin.flush()
        pid = self.code()
        with suppress(OSError):
            os.setpgid(pid, pid)  # whoever comes first, it or we
        return pid, self._process.stdout.fileno()

    def code(self) -> int:
        """The next number."""
        assert self._process.stdout is not None
        digits = b""
        while (byte := os.read(self._process.stdout.fileno(), 1)) != b"\n":
            assert byte, "the process that forks commands has ended"
            digits += byte
        return int(digits)


@functools.cache
def _parent() -> _Parent:
    return _Parent()


def _wait(handle: int, seconds: float) -> bool:
    return bool(select.select([handle], [], [], seconds)[0])


def _members(group: int) -> list[psutil.Process]:
    found = []
    for process in psutil.process_iter():
        try:
            if os.getpgid(process.pid) == group and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except (ProcessLookupError, psutil.NoSuchProcess):
            continue
    return found


class Changes:
    """Counts what happens to files below a folder; ends the process group before one of them.

    What is refused is refused from then on; what is removed is never refused.
    """

    def __init__(self, folder: str, last: int | None, refused_with: int) -> None:
        self._folder = folder + "/"
        self._last = last
        self._refused_with = refused_with
        self._process = os.getpid()
        self.count = 0

    def __call__(self, event: str, args: tuple[object, ...]) -> None:
        """An audit hook: sees every call of the interpreter, in every thread."""
        if event == "open":
            if not isinstance(args[2], int) or not args[2] & (os.O_WRONLY | os.O_RDWR):
                return
        elif event not in {"os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.link"}:
            return
        path = args[0]
        name = os.fsdecode(path) if isinstance(path, str | bytes | os.PathLike) else ""
        if os.getpid() != self._process or not name.startswith(self._folder):
            return
        self.count += 1
        if self._last is None or self.count <= self._last:
            return
        if self._refused_with:
            if event in {"os.remove", "os.rmdir"}:
                return
            raise OSError(self._refused_with, os.strerror(self._refused_with), name)
        os.killpg(0, signal.SIGKILL)


def _run(asked: Mapping[str, Any]) -> int:
    """In the forked process: the command, and its exit code."""
    os.setpgid(0, 0)
    beside: str = asked["beside"]
    for number in (1, 2):
        os.dup2(os.open(f"{beside}.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644), number)
    os.environ.update(asked["environ"])
    _declare_light()
    _shift_clock(asked["clock"])
    sys.argv = ["avqa", *asked["words"]]
    from helpers.questions import asking

    from avqa.cli import main

    changes = Changes(asked["folder"], asked["last"], asked["refused_with"])
    with ExitStack() as stack:
        if asked["stand_in"]:
            stack.enter_context(asking.fakes())
        sys.addaudithook(changes)
        code = 0
        try:
            main()
        except SystemExit as end:
            code = int(end.code or 0)
    sys.stdout.flush()
    sys.stderr.flush()
    Path(f"{beside}.count").write_text(str(changes.count), encoding="ascii")
    return code


def _declare_light() -> None:
    """The encoder reads what it declares from the environment, as a new process would."""
    from avqa import plugins

    plugins._entry_points.cache_clear()
    plugins._load.cache_clear()
    sys.modules.pop("light", None)


def _shift_clock(seconds: float) -> None:
    """What asks this interpreter for the time is told another one; the disk is not."""
    now = time.time

    class Shifted(datetime.datetime):
        @classmethod
        def now(cls, tz: datetime.tzinfo | None = None) -> datetime.datetime:
            return datetime.datetime.now(tz) + datetime.timedelta(seconds=seconds)

    if seconds:
        time.time = lambda: now() + seconds
        for name, module in list(sys.modules.items()):
            if name.startswith("avqa.") and hasattr(module, "datetime"):
                module.datetime = Shifted  # type: ignore[attr-defined]


def serve() -> None:
    """Fork a process for every line of standard input."""
    for name in IMPORTED_BY_COMMANDS:
        importlib.import_module(name)
    answers = os.dup(1)
    os.dup2(2, 1)
    for line in sys.stdin:
        pid = os.fork()
        if pid == 0:
            code = 70
            try:
                os.close(answers)
                code = _run(json.loads(line))
            finally:
                os._exit(code)
        os.write(answers, b"%d\n" % pid)
        status = os.waitpid(pid, 0)[1]
        os.write(answers, b"%d\n" % os.waitstatus_to_exitcode(status))


if __name__ == "__main__":
    serve()
