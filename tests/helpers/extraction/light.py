"""Extraction with everything real but the networks: the encoder `light`, as a package brings one.

It is found where its folder is on the path: in a test's own process by the fixture `light`, in
others by ``PYTHONPATH``.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import psutil

from avqa import plugins

POOL, AUDIO = "light/pool", "light/audio"
FOLDER = Path(__file__).parent / "light_encoder"
TESTS = Path(__file__).resolve().parents[2]


def environment() -> dict[str, str]:
    """Of commands: they find this encoder and the readers of the tests."""
    path = [str(FOLDER), str(TESTS), str(TESTS.parent), os.environ.get("PYTHONPATH", "")]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(path), "PYTHONWARNINGS": "ignore"}


def finished(arguments: Sequence[str], **environ: str) -> tuple[int, str, str]:
    """Exit code and what a command printed; one that hangs shows where each of its threads is."""
    command = subprocess.Popen(
        arguments,
        env={**environment(), "PYTHONFAULTHANDLER": "1", **environ},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        encoding="utf-8",
    )
    try:
        out, err = command.communicate(timeout=300)
    except subprocess.TimeoutExpired:
        for process in [command, *psutil.Process(command.pid).children(recursive=True)]:
            process.send_signal(signal.SIGABRT)
        out, err = command.communicate(timeout=30)
        raise AssertionError(f"{arguments} did not end; it said:\n{out}\n{err}") from None
    return command.returncode, out, err


@contextmanager
def installed(folder: Path = FOLDER) -> Iterator[None]:
    """Find the encoders of a folder in this process and those that it starts."""
    sys.path.append(str(folder))
    _forget()
    try:
        yield
    finally:
        sys.path.remove(str(folder))
        _forget()


def _forget() -> None:
    plugins._entry_points.cache_clear()
    plugins._load.cache_clear()
