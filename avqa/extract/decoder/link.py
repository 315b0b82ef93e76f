"""The child's side of the pipes and of the ring: requests in, answers and blocks out."""

from __future__ import annotations

import json
import os
import queue
import threading
from typing import Any

import numpy as np
from numpy.typing import NDArray

from avqa.extract.decoder.ring import SLOTS, Ring


class Link:
    """The way to the parent: requests, answers, blocks."""

    def __init__(self, replies: int, ring: int) -> None:
        """Start listening; the process ends when the parent closes its side."""
        self._replies = replies
        self._ring = Ring(ring)
        self._free: queue.SimpleQueue[int] = queue.SimpleQueue()
        for slot in range(SLOTS):
            self._free.put(slot)
        self.requests: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        rest = b""
        # Not through sys.stdin: its lock, held here, would abort an orderly exit.
        while data := os.read(0, 1 << 16):
            *lines, rest = (rest + data).split(b"\n")
            for line in lines:
                message = json.loads(line)
                if message["op"] == "free":
                    self._free.put(message["slot"])
                else:
                    self.requests.put(message)
        os._exit(0)

    def send(self, kind: str, **content: Any) -> None:
        """Send one message; a parent that is gone ends us."""
        line = json.dumps({"kind": kind, **content}).encode("ascii") + b"\n"
        try:
            while line:
                line = line[os.write(self._replies, line) :]
        except BrokenPipeError:
            os._exit(0)

    def send_block(self, name: str, first_row: int, rows: NDArray[np.generic]) -> None:
        """Hand over rows; waits while both blocks of the ring are in the parent's hands."""
        slot = self._free.get()
        self._ring.put(slot, rows)
        self.send(
            "block",
            slot=slot,
            input=name,
            first_row=first_row,
            dtype=rows.dtype.str,
            shape=list(rows.shape),
        )
