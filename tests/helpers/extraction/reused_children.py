"""Real decoder processes that outlive their engine: the next one of the test process takes them.

A start costs a second or more of imports. One that was interrupted, or may still be at work, is
ended as ever; starts and ends themselves are tested by `tests/extract/decoder` and by commands.
"""

from __future__ import annotations

import atexit
import os
import threading
from collections import defaultdict
from dataclasses import dataclass
from typing import Any

from avqa.extract.decoder import process, spawn


@dataclass
class _Rested:
    child: spawn.Child
    hello: dict[str, Any]


_idle: dict[tuple[str, str, str], list[_Rested]] = defaultdict(list)


@atexit.register
def _end_all() -> None:
    for idle in _idle.values():
        for rested in idle:
            rested.child.close()


class Lease:
    """In place of `avqa.extract.decoder.spawn.Child`: one at rest, or a new one."""

    def __init__(self, reader: str) -> None:
        # Whoever finds other modules, or means other files by a relative path, needs another one.
        self._kind = (reader, spawn._environment()["PYTHONPATH"], os.getcwd())
        self._lock = threading.Lock()
        self._over = False
        self._hello: dict[str, Any] | None = None
        self._greet = self._at_rest = self._asked = False
        while idle := _idle[self._kind]:
            rested = idle.pop()
            if rested.child.alive():
                self._child, self._hello = rested.child, rested.hello
                self._greet = self._at_rest = True
                return
            rested.child.close()
        self._child = spawn.Child(reader)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._child, name)

    def send(self, message: dict[str, Any]) -> None:
        self._at_rest, self._asked = False, True
        self._child.send(message)

    def receive(self, seconds: float) -> tuple[dict[str, Any], float]:
        if self._greet:
            self._greet = False
            assert self._hello is not None
            self._at_rest = not self._asked
            return self._hello, 0.0
        message, waited = self._child.receive(seconds)
        if message["kind"] == "hello":
            self._hello = message
            self._at_rest = not self._asked  # else it is loading what was asked for before
        elif message["kind"] in ("end", "footer"):
            self._at_rest = message.get("clean", True)
        return message, waited

    def kill(self) -> None:
        if not self._given_back():
            self._child.kill()

    def close(self) -> None:
        if not self._given_back():
            self._child.close()

    def _given_back(self) -> bool:
        with self._lock:
            if not self._over and self._at_rest and self._hello and self._child.alive():
                self._over = True
                _idle[self._kind].append(_Rested(self._child, self._hello))
            return self._over


def install(monkeypatch: Any) -> None:
    """Let decoders of the test's own process be taken from those at rest."""
    monkeypatch.setattr(process, "Child", Lease)
