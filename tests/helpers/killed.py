"""Processes that a test lets run to their end or to their death.

They are forked from one process that has imported what they need: a start costs milliseconds.
"""

from __future__ import annotations

import functools
import multiprocessing
import os
from collections.abc import Callable
from multiprocessing import forkserver
from multiprocessing.context import ForkServerContext, ForkServerProcess
from pathlib import Path
from typing import Any

import pytest

TESTS = Path(__file__).resolve().parents[1]
PRELOADED = (
    "helpers.extraction.dying_finalize",
    "helpers.questions.asking",
    "helpers.runs.training",
    "helpers.store.avqa_files",
    "helpers.store.packkill",
)


@functools.cache
def _context() -> ForkServerContext:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([*PRELOADED])
    with pytest.MonkeyPatch.context() as patch:  # it does not get our sys.path
        patch.setenv("PYTHONPATH", os.pathsep.join([str(TESTS), str(TESTS.parent)]))
        forkserver.ensure_running()
    return context


def start(target: Callable[..., None], *args: Any) -> ForkServerProcess:
    """Run a function of a module in a process of its own."""
    child = _context().Process(target=target, args=args)
    child.start()
    return child


def exit_code(target: Callable[..., None], *args: Any) -> int | None:
    """Of a process that runs this function; negative: the signal that killed it."""
    child = start(target, *args)
    child.join()
    return child.exitcode
