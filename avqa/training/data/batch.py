"""What a head is given at a time: a batch of questions with the rows of their videos.

A `Batch` holds the rows of each of its videos once, in the stored type, however many of its
questions are about that video: this is what travels between processes and to the GPU. What a head
reads, ``inputs``, is spread out from it on the device where it is used.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from avqa.heads import HeadInput
from avqa.training.data.memory import ReusedMemory

MEMORY = ReusedMemory()
"""Of batches that are gone."""


@dataclass(frozen=True)
class Batch:
    """B questions about V videos."""

    answers: Tensor
    """[B] long, −1 where unknown."""
    rows: Tensor
    """[B] long, place in `QuestionSet.questions`."""
    of_video: Tensor
    """[B] long, place of the question's video among the V."""
    lengths: Tensor
    """[V] long, real seconds of each video."""
    lost: Tensor
    """[V, T] bool, seconds that damage has taken."""
    videos: dict[str, Tensor]
    """Field of `HeadInput` → [V, T, ...], of any floating type; `HeadInput.audio_valid` bool."""
    texts: dict[str, Tensor]
    """Field of `HeadInput` → [B, ...]."""

    def __len__(self) -> int:
        """Number of questions."""
        return len(self.answers)

    @functools.cached_property
    def inputs(self) -> HeadInput:
        """What a head reads: float32 and masks, the rows of a video once for all its questions."""
        seconds = self.lost.shape[1]
        real = torch.arange(seconds, device=self.lengths.device) < self.lengths[:, None]
        real &= ~self.lost
        videos = {field: _unpacked(rows) for field, rows in self.videos.items()}
        texts = {
            field: value.float() if value.is_floating_point() else value
            for field, value in self.texts.items()
        }
        of = self.of_video
        return HeadInput(valid=real, of_video=of, video=of, **videos, **texts)

    def to(self, device: torch.device | str) -> Batch:
        """The same batch on another device."""
        return self._with(lambda tensor: tensor.to(device, non_blocking=True))

    def pin_memory(self) -> Batch:
        """The same batch in page-locked memory, from which copying to a GPU is faster."""
        return self._with(Tensor.pin_memory)

    def _with(self, change: Callable[[Tensor], Tensor]) -> Batch:
        return Batch(
            change(self.answers),
            change(self.rows),
            change(self.of_video),
            change(self.lengths),
            change(self.lost),
            {field: change(rows) for field, rows in self.videos.items()},
            {field: change(value) for field, value in self.texts.items()},
        )


def _unpacked(rows: Tensor) -> Tensor:
    """[V, T, ...] as float32; bool stays."""
    if rows.dtype in (torch.bool, torch.float32):
        return rows
    if rows.device.type != "cpu":
        return rows.float()
    unpacked = MEMORY.empty(rows.shape, torch.float32)
    with one_thread():
        unpacked.copy_(rows)
    return unpacked


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """Copy on one core.

    Many short operations on all cores take up to 6 times as much processor time where workers or
    other programs are busy on them: at the end of each, threads spin until the last one is done.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
