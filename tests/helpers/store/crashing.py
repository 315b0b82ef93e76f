"""A run over a fixed set of videos that can be killed at any change of the disk."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

from helpers.store.stored import CHUNK_SECONDS, EXTRA, RECIPES, SPECS, extract, failure, new_store

from avqa.store.commit import Store
from avqa.store.format.folding import segments
from avqa.store.format.records import Status, VideoRecord
from avqa.store.lock import Lock
from avqa.store.writer import ChunkWriter

LENGTHS = {"a": 3, "b": 12, "c": 0, "d": 5, "e": 7}
"""Seconds; 0 for a video that cannot be read."""
ALL = (*SPECS, EXTRA)


def run(path: Path, run_id: str, before_change: Callable[[], None] = lambda: None) -> None:
    """Extract what is still missing, two videos per commit, and close the run."""
    guard(before_change)
    with Lock.acquire(path, run_id) as lock:
        if Store.exists(path):
            store = Store.open(path, lock)
            store.recover()
        else:
            store = new_store(path, lock)
        if EXTRA.name not in store.features():
            store.add_features([EXTRA], {EXTRA.name: RECIPES[EXTRA.name]})
        rows = store.add_rows(list(LENGTHS))
        done = {int(Status.OK), int(Status.FAILED)}
        missing = [
            name
            for name, row in rows.items()
            if any(int(store.status(spec.name)[row]) not in done for spec in ALL)
        ]
        store.set_pending((rows[name], spec.name) for name in missing for spec in ALL)
        writer = ChunkWriter(path, ALL, CHUNK_SECONDS)
        for start in range(0, len(missing), 2):
            store.commit([attempt(writer, n, rows[n]) for n in missing[start : start + 2]])
        store.finish_run({"reason": "done"})


def attempt(writer: ChunkWriter, name: str, row: int) -> VideoRecord:
    if LENGTHS[name]:
        return extract(writer, name, row, LENGTHS[name], ALL)
    return failure(name, row, ALL)


def guard(before_change: Callable[[], None]) -> None:
    """Call ``before_change`` before every file that appears, changes its name or goes."""
    for name in ("replace", "rename", "unlink"):
        setattr(Path, name, guarded(getattr(Path, name), before_change))


def guarded(method: Callable[..., Any], before_change: Callable[[], None]) -> Callable[..., Any]:
    def call(self: Path, *args: Any, **kwargs: Any) -> Any:
        before_change()
        return method(self, *args, **kwargs)

    return call


def dies_before(change: int) -> Callable[[], None]:
    """For `guard`: kills this process before its change number ``change``, counted from 0."""
    left = [change]

    def count() -> None:
        if left[0] == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        left[0] -= 1

    return count


def run_and_die(path: str, run_id: str, change: int) -> None:
    """Kill this process before its change number ``change``, counted from 0."""
    run(Path(path), run_id, dies_before(change))


def run_folding_and_die(path: str, run_id: str, change: int) -> None:
    """The same, where two segments are many."""
    segments.FOLD_SEGMENTS = 2
    run_and_die(path, run_id, change)
