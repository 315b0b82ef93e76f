"""The lengths of videos still to do, learnt beside the run: for the time left and for bundles."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

from avqa.errors import AvqaError
from avqa.extract.decoder.process import DecoderProcess
from avqa.extract.media.types import Limits
from avqa.extract.settings import Settings
from avqa.pipelines.engine.files import in_bucket
from avqa.pipelines.engine.job import VideoJob

MAX_PROBED = 50
DELAY_SECONDS = 3.0
"""A run that is over by then has no use for it."""


class LengthProbe:
    """Learns the lengths of some of the videos to do, in a thread and a child of its own.

    Only of some, spread over all of them: a probe reads a whole file, and the mean serves the
    others.
    """

    def __init__(self, jobs: Sequence[VideoJob], settings: Settings, limits: Limits) -> None:
        """Nothing starts before `start`."""
        self._jobs = jobs[:: max(1, len(jobs) // MAX_PROBED)][:MAX_PROBED]
        self._settings = settings
        self._limits = limits
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self, learn: Callable[[int, float], None]) -> None:
        """Probe in the background; ``learn(row, seconds)`` is called for each success."""
        self._thread = threading.Thread(target=self._probe, args=(learn,), daemon=True)
        self._thread.start()

    def _probe(self, learn: Callable[[int, float], None]) -> None:
        if self._ended.wait(DELAY_SECONDS):
            return
        decoder = DecoderProcess(self._settings.decoder)
        try:
            for job in self._jobs:
                if in_bucket(job.path):  # it would be copied twice
                    continue
                if self._ended.is_set():
                    return
                try:
                    header = decoder.probe(job.path, self._settings, self._limits)
                except AvqaError:
                    continue  # its own task will say why
                learn(job.row, header.duration)
        finally:
            decoder.close()

    def stop(self) -> None:
        """End the thread and its child."""
        self._ended.set()
        if self._thread is not None:
            self._thread.join(timeout=5)
