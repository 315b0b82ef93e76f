"""Several processes that train together: started, listened to, and ended here.

Fabric's own launcher hands neither errors nor lines back, and waits for a process that hangs. Here
every process has a pipe to its parent. The first error ends the fit, and so does a signal, wherever
the processes are: what is to be kept is on disk after every epoch. They meet by a file and talk
through the loopback device alone.
"""

from __future__ import annotations

import copy
import dataclasses
import os
import pickle
import re
import signal
import socket
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable
from datetime import timedelta
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnContext, SpawnProcess
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from torch import distributed, multiprocessing

from avqa.errors import AvqaError, EnvironmentFailure
from avqa.signals import StopSignals
from avqa.training.data.handover import dumps
from avqa.training.fitting.task import Task

_LOOK_SECONDS = 0.2
"""Between looks for signals and for processes that died."""
_LAST_WORDS_SECONDS = 2.0
"""Until a process that died is seen, after another one complained that it is gone."""
_LEAVE_SECONDS = 5.0
_PATIENCE = timedelta(days=30)
"""With one another: all wait while the first one validates. Who dies is seen by the parent."""


def run_together(task: Task, say: Callable[[str], None], stop: StopSignals) -> None:
    """Train the epochs that ``task.history`` lacks in ``task.devices`` processes; adds to it.

    Returns early when a signal came.

    Raises:
        EnvironmentFailure: a process died, or is out of GPU memory.
        AvqaError: as `avqa.training.fitting.loop.run`, in one of them.
    """
    context: SpawnContext = multiprocessing.get_context("spawn")
    processes: dict[Connection, SpawnProcess] = {}
    with tempfile.TemporaryDirectory(prefix="avqa-fit-") as folder:
        try:
            for rank in range(task.devices):
                ours, theirs = context.Pipe()
                child = _Child(task, rank, Path(folder) / "meeting", theirs)
                processes[ours] = context.Process(target=child.run)
                processes[ours].start()
                theirs.close()
            _listen(task, processes, say, stop)
        finally:
            _end(list(processes.values()))
            task.history[:] = task.checkpoints.history()


def _listen(
    task: Task,
    processes: dict[Connection, SpawnProcess],
    say: Callable[[str], None],
    stop: StopSignals,
) -> None:
    """Pass lines on until all processes have ended or a signal came."""
    pipes = list(processes)
    while pipes and stop.received is None:
        for pipe in wait(pipes, _LOOK_SECONDS):
            assert isinstance(pipe, Connection)
            try:
                message = pipe.recv()
            except (EOFError, ConnectionError):
                processes[pipe].join()
                pipes.remove(pipe)
                continue
            if isinstance(message, str):
                say(message)
            elif stop.received is None:
                if not isinstance(message, AvqaError):
                    _check_alive(task, processes, _LAST_WORDS_SECONDS)
                raise message
        if stop.received is None:
            _check_alive(task, processes, 0)


def _end(processes: list[SpawnProcess]) -> None:
    """Have all leave their loaders in order; one that waits for a GPU cannot and is killed."""
    for process in processes:
        process.terminate()
    deadline = time.monotonic() + _LEAVE_SECONDS
    for process in processes:
        process.join(max(0.0, deadline - time.monotonic()))
        process.kill()
        process.join()


def _leave(signum: int, frame: FrameType | None) -> None:
    """Once: a batch system tells everyone, the loaders' processes as well."""
    signal.signal(signum, signal.SIG_IGN)
    signal.signal(signal.SIGCHLD, lambda *_: None)  # torch's handler complains of them
    sys.exit(128 + signum)


def _check_alive(task: Task, processes: dict[Connection, SpawnProcess], patience: float) -> None:
    """Complain of a process that died, also of one that does so in the next seconds."""
    ended = wait([process.sentinel for process in processes.values()], patience)
    for rank, process in enumerate(processes.values()):
        if process.sentinel in ended:
            process.join()  # it may still be on its way out
        code = process.exitcode
        if code:
            how = (
                f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with {code}"
            )
            raise EnvironmentFailure(
                f"{task.label}: process {rank} of devices={task.devices} {how}; expected it to"
                " train to the end; check the memory and the system's log, and go on with --resume"
            )


def _loopback() -> str:
    """Name of the loopback device: ``lo`` on Linux, ``lo0`` on macOS."""
    return next((name for _, name in socket.if_nameindex() if re.fullmatch(r"lo\d*", name)), "lo")


@dataclasses.dataclass(frozen=True)
class _Child:
    """What one process is given and does."""

    task: Task
    rank: int
    meeting: Path
    """A file that is not there yet."""
    pipe: Connection
    threads: int = dataclasses.field(default_factory=torch.get_num_threads)
    """Of the parent: they are divided."""

    def __getstate__(self) -> dict[str, Any]:
        """Travel with or without room in shared memory."""
        return self.__dict__ | {"task": dumps(self.task)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Arrive."""
        self.__dict__.update(state | {"task": pickle.loads(state["task"])})

    def run(self) -> None:
        """Train; an error goes to the parent, which ends this process then."""
        threading.Thread(target=self._end_with_parent, daemon=True).start()
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal tells the parent as well
        signal.signal(signal.SIGTERM, _leave)
        try:
            self._train()
        except Exception as error:
            if not isinstance(error, AvqaError):
                error = RuntimeError("".join(traceback.format_exception(error)))
            self.pipe.send(error)
            signal.pause()

    def _end_with_parent(self) -> None:
        wait([self.pipe])  # the parent says nothing: it is gone
        os._exit(1)

    def _train(self) -> None:
        from avqa.training.fitting.loop import run

        task = self.task
        threads = max(1, self.threads // task.devices)
        torch.set_num_threads(threads)
        os.environ["OMP_NUM_THREADS"] = str(threads)  # else Fabric chooses
        os.environ["LOCAL_RANK"] = str(self.rank)  # tells Fabric that the processes are started
        os.environ["GLOO_SOCKET_IFNAME"] = os.environ["NCCL_SOCKET_IFNAME"] = _loopback()
        distributed.init_process_group(
            "nccl" if task.device == "cuda" else "gloo",
            init_method=f"file://{self.meeting}",
            rank=self.rank,
            world_size=task.devices,
            timeout=_PATIENCE,
        )
        # What came from the parent is in memory that all processes share.
        task = dataclasses.replace(task, trained=copy.deepcopy(task.trained))
        say = self.pipe.send if self.rank == 0 else lambda line: None
        run(task, say, StopSignals(""), self.rank)
        distributed.barrier()
        distributed.destroy_process_group()
