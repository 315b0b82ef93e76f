"""Ctrl-C and SIGTERM while training: stop between two batches."""

from __future__ import annotations

import signal
import threading
from types import FrameType, TracebackType

from avqa.errors import Aborted, Stopped


class StopSignals:
    """Notes the first signal for `check`; the second one stops at once."""

    def __init__(self) -> None:
        self.received: int | None = None
        self._old: dict[int, object] = {}

    def __enter__(self) -> StopSignals:
        """Install the handlers; elsewhere than in the main thread Python allows none."""
        if threading.current_thread() is threading.main_thread():
            for signum in (signal.SIGINT, signal.SIGTERM):
                self._old[signum] = signal.signal(signum, self._handle)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Put the old handlers back."""
        for signum, old in self._old.items():
            signal.signal(signum, old)  # type: ignore[arg-type]

    def _handle(self, signum: int, frame: FrameType | None) -> None:
        if self.received is not None:
            raise Aborted(signum, "aborted by a second signal; go on with --resume")
        self.received = signum

    def check(self, label: str, finished: int, epochs: int) -> None:
        """End the run if a signal came.

        Args:
            label: names what is trained.
            finished: epochs whose checkpoint is written.
            epochs: epochs in all.

        Raises:
            Stopped: a signal came.
        """
        if self.received is not None:
            name = signal.Signals(self.received).name
            raise Stopped(
                self.received,
                f"{label}: stopped by {name} with {finished} of {epochs} epochs finished and kept;"
                " go on with the same command and --resume",
            )
