"""Ctrl-C and SIGTERM: the first is noted, so that work can end well; the second aborts."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Self

from avqa.errors import Aborted


class StopSignals:
    """Notes the first signal while entered; the second one raises `Aborted` at once."""

    def __init__(self, advice: str) -> None:
        """``advice``: what to do after an abort."""
        self._advice = advice
        self._old: dict[int, object] = {}
        self.received: int | None = None

    def __enter__(self) -> Self:
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
            raise Aborted(signum, f"aborted by a second signal; {self._advice}")
        self.received = signum


class Signals(StopSignals):
    """First Ctrl-C or SIGTERM: drain. Second: abort by raising `Aborted` at once."""

    def __init__(self, on_drain: Callable[[], None]) -> None:
        """``on_drain`` is called from the loop that calls `check`, not from the handler."""
        super().__init__("resume with the same command")
        self._on_drain = on_drain
        self._told = False

    def check(self) -> bool:
        """Whether to drain; tells the executor once."""
        if self.received is not None and not self._told:
            self._told = True
            self._on_drain()
        return self.received is not None


class Ending(StopSignals):
    """While the last words are written: the first signal changes nothing, the second ends it all.

    An exception raised in the midst of them would leave them half said; a store is safe from a
    process that ends at any moment.
    """

    def __init__(self) -> None:
        """Nothing to advise: there is nothing left to stop."""
        super().__init__("")

    def _handle(self, signum: int, frame: FrameType | None) -> None:
        if self.received is not None:
            os._exit(128 + signum)
        self.received = signum


_is_command = False


def command_begins() -> None:
    """Say that this process is one command: only such a process is ended by `end_at_once`."""
    global _is_command
    _is_command = True


def end_at_once(code: int) -> None:
    """Have a signal that comes while a command ends end it at once, with ``code``.

    Nothing is left to drain then; Python's own handler would show a traceback from within it.
    """
    if not _is_command:
        return

    def ended(signum: int, frame: FrameType | None) -> None:
        os._exit(code)

    for signum in (signal.SIGINT, signal.SIGTERM):
        if signal.getsignal(signum) is not signal.SIG_IGN:  # nohup and the shell's & keep theirs
            signal.signal(signum, ended)
