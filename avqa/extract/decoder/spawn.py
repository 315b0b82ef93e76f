"""Starting, talking to and killing one decoder process."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import psutil

import avqa
from avqa.extract.decoder.ring import Ring, new_file

Message = dict[str, Any]

_NOISE_BYTES = 4096
_MAX_LINE_BYTES = 64 * 2**20
_ONE_WAIT = 3600.0
"""Seconds: the system counts to 24 days at a time."""


class ChildDied(Exception):
    """The decoder process is gone; ``cause`` says how, ``noise`` what it printed last."""

    def __init__(self, returncode: int, noise: str) -> None:
        """Name the signal where there is one."""
        self.returncode = returncode
        self.noise = noise
        if returncode < 0:
            self.cause = f"was killed by {signal.Signals(-returncode).name}"
        else:
            self.cause = f"exited with code {returncode}"
        super().__init__(self.cause)


class ChildSilent(Exception):
    """Nothing came from the decoder process in the time allowed."""


class Child:
    """One running decoder process: line JSON over pipes, arrays through the ring."""

    def __init__(self, reader: str) -> None:
        """Start ``python -m avqa.extract.decoder.child``; it says hello when it is ready."""
        self._ring_fd = new_file()
        replies, replies_child = os.pipe()
        try:
            self._popen = _spawner().start(lambda: _popen(reader, replies_child, self._ring_fd))
        except BaseException:
            os.close(replies)
            os.close(self._ring_fd)
            raise
        finally:
            os.close(replies_child)
        self.ring = Ring(self._ring_fd)
        self._replies = replies
        assert self._popen.stdin is not None
        assert self._popen.stdout is not None
        self._requests = self._popen.stdin.fileno()
        self._noise_fd = self._popen.stdout.fileno()
        os.set_blocking(self._noise_fd, False)
        self._line = bytearray()
        self._lines: list[bytes] = []
        self._noise = b""
        self._poll = select.poll()
        self._poll.register(self._replies, select.POLLIN)
        self._poll.register(self._noise_fd, select.POLLIN)

    @property
    def pid(self) -> int:
        """Process id."""
        return self._popen.pid

    def send(self, message: Message) -> None:
        """Send one message.

        Raises:
            ChildDied: if nobody is there to read it.
        """
        line = json.dumps(message).encode("ascii") + b"\n"
        try:
            while line:
                line = line[os.write(self._requests, line) :]
        except BrokenPipeError:
            raise self._died() from None

    def receive(self, seconds: float) -> tuple[Message, float]:
        """Wait for the next message; return it and the seconds waited.

        Raises:
            ChildSilent: after ``seconds``.
            ChildDied: if the process ended.
        """
        start = time.monotonic()
        while not self._lines:
            left = seconds - (time.monotonic() - start)
            if left <= 0:
                raise ChildSilent
            ready = {fd for fd, _ in self._poll.poll(min(left, _ONE_WAIT) * 1000)}
            if self._noise_fd in ready and not self._read_noise():
                self._poll.unregister(self._noise_fd)
            if self._replies in ready and not self._read_replies():
                raise self._died()
        message: Message = json.loads(self._lines.pop(0))
        return message, time.monotonic() - start

    def _read_replies(self) -> bool:
        data = os.read(self._replies, 1 << 16)
        self._line += data
        if b"\n" in data:
            *lines, rest = bytes(self._line).split(b"\n")
            self._lines += lines
            self._line = bytearray(rest)
        return bool(data) and len(self._line) <= _MAX_LINE_BYTES

    def _read_noise(self) -> bool:
        """Drain what native libraries print, so that the child never blocks on it."""
        try:
            data = os.read(self._noise_fd, 1 << 16)
        except BlockingIOError:
            return False
        self._noise = (self._noise + data)[-_NOISE_BYTES:]
        return bool(data)

    def _died(self) -> ChildDied:
        try:
            self._popen.wait(5)
        except subprocess.TimeoutExpired:  # it closed its pipe and lives on: not ours any more
            self.kill()
        while self._read_noise():
            pass
        return ChildDied(self._popen.returncode, self.noise())

    def noise(self) -> str:
        """The end of what the process printed, on one line."""
        text = self._noise.decode("utf-8", "replace")
        return " ".join(text.split())[-300:]

    def alive(self) -> bool:
        """Whether the process still runs."""
        return self._popen.poll() is None and not _is_dying(self.pid)

    def kill(self) -> None:
        """Kill the process and those it started, and wait until it is gone."""
        for process in _family(self.pid) if self.alive() else []:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        self._popen.wait()

    def close(self) -> None:
        """Kill the process and give everything back."""
        self.kill()
        for stream in (self._popen.stdin, self._popen.stdout):
            if stream is not None:
                stream.close()
        self.ring.close()
        os.close(self._replies)
        os.close(self._ring_fd)


def _popen(reader: str, replies: int, ring: int) -> subprocess.Popen[bytes]:
    """Run the child's main. No new session: a kill of our process group reaches it."""
    command = [sys.executable, "-P", "-m", "avqa.extract.decoder.child"]
    return subprocess.Popen(
        [*command, reader, str(replies), str(ring), str(os.getpid())],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        pass_fds=(replies, ring),
        env=_environment(),
        bufsize=0,
    )


def _environment() -> dict[str, str]:
    """Our environment with one thread per numeric library and our own import path."""
    threads = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS")
    # The working directory is left out: a user's folder may hold an av.py.
    path = [entry for entry in sys.path if entry]
    ours = str(Path(avqa.__file__).parents[1])
    if ours not in path:
        path.append(ours)
    return {**os.environ, **dict.fromkeys(threads, "1"), "PYTHONPATH": os.pathsep.join(path)}


def _is_dying(pid: int) -> bool:
    """Whether only threads of a killed process are left: waiting for it does not succeed yet."""
    try:
        return psutil.Process(pid).status() in (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD)
    except psutil.Error:
        return False


def _family(pid: int) -> list[psutil.Process]:
    """The child and what it started itself (an ffmpeg), which would outlive its kill."""
    try:
        child = psutil.Process(pid)
        return [*reversed(child.children(recursive=True)), child]
    except psutil.NoSuchProcess:
        return []


class _Spawner:
    """A thread that lives as long as we do and starts all decoder processes.

    The parent-death signal that a decoder process asks for fires when the *thread* that started
    it ends, not the process; and a thread of a pool may end any time. Its signal mask is
    inherited: Ctrl-C goes to the whole process group, but decoders must go on while we drain.
    """

    def __init__(self) -> None:
        self.pid = os.getpid()
        self._jobs: queue.SimpleQueue[
            tuple[Future[subprocess.Popen[bytes]], Callable[[], subprocess.Popen[bytes]]]
        ] = queue.SimpleQueue()
        threading.Thread(target=self._run, name="avqa-spawner", daemon=True).start()

    def start(self, job: Callable[[], subprocess.Popen[bytes]]) -> subprocess.Popen[bytes]:
        future: Future[subprocess.Popen[bytes]] = Future()
        self._jobs.put((future, job))
        return future.result()

    def _run(self) -> None:
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
        while True:
            future, job = self._jobs.get()
            try:
                future.set_result(job())
            except BaseException as error:  # handed to who asked
                future.set_exception(error)


_lock = threading.Lock()
_the_spawner: list[_Spawner] = []


def _spawner() -> _Spawner:
    """Return the spawner of this process; a fork has none of its parent's threads."""
    with _lock:
        if not _the_spawner or _the_spawner[0].pid != os.getpid():
            _the_spawner[:] = [_Spawner()]
        return _the_spawner[0]
