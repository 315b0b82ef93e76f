"""How batches travel from the processes that make them, and what is said when one of those dies.

A batch is laid into one block of bytes. Where the system has room for it, the block is memory that
both processes share, and a descriptor of it travels: torch's way, but in the worker's own hands,
since what fails in torch's is lost in a thread and waited for without end. Else (64 MB of
``/dev/shm``, as docker gives; a folder for temporary files with too long a name for a socket; no
descriptor left) the bytes themselves travel, through a pipe.
"""

from __future__ import annotations

import contextlib
import io
import os
import pickle
import re
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields
from multiprocessing.process import BaseProcess
from multiprocessing.reduction import ForkingPickler
from types import FrameType
from typing import Any, ClassVar, cast

import numpy as np
import torch
from torch import Tensor

from avqa.errors import EnvironmentFailure
from avqa.training.data.batch import Batch
from avqa.training.data.memory import has_room, shared

_ALIGNED = 64
_SPARE_DESCRIPTORS = 12
SETTLING_SECONDS = 1.0
"""Until the system has told how a process ended whose pipe is closed."""


@dataclass(frozen=True)
class _Place:
    """Where in the block a tensor lies."""

    first: int
    shape: tuple[int, ...]
    dtype: torch.dtype


class Parcel:
    """A batch on its way to another process."""

    _can_share: ClassVar[bool] = True
    """False once this process could not hand a descriptor over."""

    def __init__(self, batch: Batch) -> None:
        """Lay the batch into a block; with ``pin_memory`` and `unpack` it comes out again."""
        self._places: dict[tuple[str, str], _Place] = {}
        first = 0
        for key, tensor in _tensors(batch):
            self._places[key] = _Place(first, tuple(tensor.shape), tensor.dtype)
            first += -(-tensor.nbytes // _ALIGNED) * _ALIGNED
        shares = type(self)._can_share and first > 0 and _spare_descriptors()
        block = _shared_block(first) if shares else None
        self._descriptor: bytes | None = None
        self._bytes: Any = None
        if block is not None:
            self._fill(block, batch)
            try:
                self._descriptor = bytes(ForkingPickler.dumps(block))
            except (OSError, RuntimeError):
                type(self)._can_share = False
        if self._descriptor is None:
            block = torch.empty(first, dtype=torch.uint8) if block is None else block
            self._fill(block, batch)
            self._bytes = block.numpy()

    def _fill(self, block: Tensor, batch: Batch) -> None:
        for key, tensor in _tensors(batch):
            self._view(block, self._places[key]).copy_(tensor)

    @staticmethod
    def _view(block: Tensor, place: _Place) -> Tensor:
        size = int(np.prod(place.shape, dtype=np.int64)) * place.dtype.itemsize
        return block[place.first : place.first + size].view(place.dtype).view(place.shape)

    def unpack(self, workers: Sequence[BaseProcess] = ()) -> Batch:
        """The batch.

        Args:
            workers: of whom one packed it, and has to live to hand it over.

        Raises:
            EnvironmentFailure: the shared block did not come through.
        """
        try:
            block = (
                torch.from_numpy(self._bytes)
                if self._descriptor is None
                else cast(Tensor, pickle.loads(self._descriptor))
            )
        except (OSError, RuntimeError, EOFError) as error:
            raise _killed(workers) or not_handed_over(error) from error
        values: dict[str, Any] = {"videos": {}, "texts": {}}
        for (field, name), place in self._places.items():
            tensor = self._view(block, place)
            if name:
                values[field][name] = tensor
            else:
                values[field] = tensor
        return Batch(**values)

    def pin_memory(self) -> Batch | EnvironmentFailure:
        """The batch in page-locked memory; torch calls it in a thread, whose errors it rewords."""
        try:
            return self.unpack().pin_memory()
        except EnvironmentFailure as error:
            return error


def _tensors(batch: Batch) -> Iterator[tuple[tuple[str, str], Tensor]]:
    """Field, and name within it if it has several → tensor."""
    for field in fields(batch):
        value = getattr(batch, field.name)
        if isinstance(value, dict):
            yield from (((field.name, name), tensor) for name, tensor in value.items())
        else:
            yield (field.name, ""), value


def _spare_descriptors() -> bool:
    """Whether enough are left: where handing one over fails in a thread, nobody is told."""
    taken: list[int] = []
    try:
        taken += (os.open(os.devnull, os.O_RDONLY) for _ in range(_SPARE_DESCRIPTORS))
    except OSError:
        return False
    finally:
        for descriptor in taken:
            os.close(descriptor)
    return True


def _shared_block(size: int) -> Tensor | None:
    """Bytes that processes share; None where there is no room or no descriptor for them."""
    if not has_room(size):
        return None
    try:
        storage = torch.UntypedStorage._new_shared(size)  # type: ignore[no-untyped-call]
    except (OSError, RuntimeError):
        return None
    return torch.empty(0, dtype=torch.uint8).set_(storage)


class _Pickler(ForkingPickler):
    """Tensors that are not shared, and for which there is no room, travel as bytes."""

    def reducer_override(self, value: Any) -> Any:
        if not isinstance(value, Tensor) or value.device.type != "cpu" or not value.numel():
            return NotImplemented
        if shared(value).is_shared():  # type: ignore[no-untyped-call]
            return NotImplemented  # as torch does it
        rows = value.detach().numpy()
        if isinstance(value, torch.nn.Parameter):
            return _parameter, (rows, value.requires_grad)
        return torch.from_numpy, (rows,)


def _parameter(rows: Any, requires_grad: bool) -> torch.nn.Parameter:
    return torch.nn.Parameter(torch.from_numpy(rows), requires_grad)


def dumps(value: Any) -> bytes:
    """Pickle what a started process is given; for use while it is being started."""
    buffer = io.BytesIO()
    _Pickler(buffer, pickle.HIGHEST_PROTOCOL).dump(value)
    return buffer.getvalue()


def not_handed_over(error: BaseException) -> EnvironmentFailure:
    """What went wrong between this process and one that prepares batches."""
    return EnvironmentFailure(
        f"a process that prepares batches cannot hand them over:"
        f" {str(error) or type(error).__name__}; expected shared memory,"
        " processes and open files to spare; use --set workers=0, or raise the limits"
        " (ulimit -n, ulimit -u, docker run --shm-size)"
    )


@contextlib.contextmanager
def in_our_words(workers: Sequence[BaseProcess] = ()) -> Iterator[None]:
    """Turn what torch raises about worker processes into one line.

    Args:
        workers: that are there already.

    Raises:
        EnvironmentFailure: one was killed, ended by itself, or cannot be started.
    """
    try:
        yield
    # Where they are started, or at a pipe's end: what fails in one is given, not raised.
    except (OSError, EOFError) as error:
        raise _killed(workers) or not_handed_over(error) from error
    except RuntimeError as error:
        if failure := _failure(error):
            _all_told()
            by_itself = "exited unexpectedly" in str(error)
            raise (by_itself and _killed(workers)) or failure from error
        raise


def _killed(workers: Sequence[BaseProcess]) -> EnvironmentFailure | None:
    """Of a worker that a signal ended: the system closes its pipes before it tells of its end."""
    _all_told()
    deadline = time.monotonic() + SETTLING_SECONDS
    while workers and time.monotonic() < deadline:
        for worker in workers:
            if worker.exitcode is not None and worker.exitcode < 0:
                return _ended(f"was ended by the signal {signal.strsignal(-worker.exitcode)!r}")
        time.sleep(0.02)
    return None


def _all_told() -> None:
    handler = signal.getsignal(signal.SIGCHLD)
    if isinstance(handler, _InOurWords):
        handler.told = True


def watch_deaths() -> None:
    """Say it in our words also where torch notices a death at any moment, by a signal."""
    if threading.current_thread() is not threading.main_thread():
        return
    handler = signal.getsignal(signal.SIGCHLD)
    if isinstance(handler, _InOurWords):
        handler.told = False
    elif callable(handler):
        signal.signal(signal.SIGCHLD, _InOurWords(handler))


class _InOurWords:
    """Torch's handler complains of a dead worker whenever any process ends: once is enough."""

    def __init__(self, handler: Callable[[int, FrameType | None], Any]) -> None:
        self._handler = handler
        self.told = False

    def __call__(self, signum: int, frame: FrameType | None) -> None:
        try:
            self._handler(signum, frame)
        except RuntimeError as error:
            failure = _failure(error)
            if failure is None:
                raise
            if not self.told:
                self.told = True
                raise failure from error


def _failure(error: RuntimeError) -> EnvironmentFailure | None:
    """None for an error of another kind."""
    if isinstance(error.__cause__, EnvironmentFailure):  # of the signal's handler, told again
        return error.__cause__
    text = str(error)
    if "Too many open files" in text or "ancdata" in text:
        return not_handed_over(error)
    if "DataLoader worker" not in text:
        return None
    by = re.search(r"killed by signal: (.*?)\.", text)
    how = f"was ended by the signal {by[1]!r}" if by else "ended by itself"
    if "Bus error" in text:
        how = "had no shared memory left"
    return _ended(how)


def _ended(how: str) -> EnvironmentFailure:
    return EnvironmentFailure(
        f"a process that prepares batches {how}; expected it to live as long as the training; most"
        " often memory ran out: look at the system's log, use --set workers=0 or a smaller"
        " batch_size, and go on with --resume"
    )
