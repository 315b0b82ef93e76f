"""`avqa finalize` that can be killed at any change of the disk."""

import os
import shutil
import signal

from helpers.store import crashing

from avqa.pipelines.extraction import finalize


def run_and_die(path, change, counted=None):
    """Kill this process before its change number ``change``; ``counted`` gets how many it made."""
    made = 0

    def count(*args, **kwargs):
        nonlocal made
        if made == change:
            os.kill(os.getpid(), signal.SIGKILL)
        made += 1

    crashing.guard(count)
    rmtree = shutil.rmtree
    shutil.rmtree = lambda *args, **options: (count(), rmtree(*args, **options))
    finalize.BATCH = 2
    finalize.finalize(path)
    if counted is not None:
        counted.write_text(str(made), encoding="utf-8")
