"""`avqa finalize`, and a task before it, that can be killed at any change of the disk."""

import os
import shutil
import signal
from contextlib import contextmanager

from helpers.extraction import stub_extraction
from helpers.store import crashing

from avqa.pipelines.extraction import array_job, driver, finalize

SHARDED = {"LEAST_VIDEOS": 6, "LEAST_BLOCK": 2, "BLOCKS_PER_TASK": 2}
"""Of `array_job`: two tasks of 8 videos write shards of 2."""


@contextmanager
def dying(change, counted=None):
    """Kill this process before its change number ``change``; ``counted`` gets how many it made.

    Yields what counts a change, for those that nothing else sees.
    """
    made = 0

    def count(*args, **kwargs):
        nonlocal made
        if made == change:
            os.kill(os.getpid(), signal.SIGKILL)
        made += 1

    crashing.guard(count)
    yield count
    if counted is not None:
        counted.write_text(str(made), encoding="utf-8")


def run_and_die(path, change, counted=None):
    """Finalize and be killed; see `dying`."""
    rmtree = shutil.rmtree
    with dying(change, counted) as count:
        shutil.rmtree = lambda *args, **options: (count(), rmtree(*args, **options))
        finalize.BATCH = 2
        finalize.finalize(path)


def task_and_die(videos, path, part, change, counted=None):
    """A task of an array job that writes shards, a commit per video; see `dying`."""
    for module, name, stub in stub_extraction.REPLACED:
        setattr(module, name, stub)
    for name, value in SHARDED.items():
        setattr(array_job, name, value)
    driver.CHECKPOINT_RECORDS = 1
    with dying(change, counted):
        stub_extraction.extract(videos, path, part=part)
