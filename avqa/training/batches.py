"""Batches of questions, their order, and the loader that makes them.

A `Batch` holds the rows of each of its videos once, in the stored type, however many of its
questions are about that video: this is what travels between processes and to the GPU. What a head
reads, ``inputs``, is spread out from it on the device where it is used.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import BatchSampler, DataLoader, Sampler, SequentialSampler

from avqa.heads import HeadInput

if TYPE_CHECKING:
    from avqa.training.questions import QuestionSet

BUFFER_VIDEOS = 16
"""Videos whose questions are mixed."""


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
    videos: dict[str, Tensor]
    """Field of `HeadInput` → [V, T, ...], of any floating type."""
    texts: dict[str, Tensor]
    """Field of `HeadInput` → [B, ...]."""

    def __len__(self) -> int:
        """Number of questions."""
        return len(self.answers)

    @functools.cached_property
    def inputs(self) -> HeadInput:
        """What a head reads: float32, one row a question."""
        seconds = max((rows.shape[1] for rows in self.videos.values()), default=1)
        real = torch.arange(seconds, device=self.lengths.device) < self.lengths[:, None]
        spread = {
            field: rows.float().index_select(0, self.of_video)
            for field, rows in self.videos.items()
        }
        texts = {
            field: value.float() if value.is_floating_point() else value
            for field, value in self.texts.items()
        }
        return HeadInput(valid=real[self.of_video], video=self.of_video, **spread, **texts)

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
            {field: change(rows) for field, rows in self.videos.items()},
            {field: change(value) for field, value in self.texts.items()},
        )


class VideoGroupedBatches(Sampler[list[int]]):
    """Random batches in which questions about one video stay close: it is read once.

    Videos are shuffled; the questions of the next 16 of them, or of as many as fill a batch, are
    the pool that a batch is drawn from. The order follows from (seed, epoch) alone.
    """

    def __init__(self, video_ids: Sequence[str], batch_size: int, seed: int = 0) -> None:
        """Group the places of ``video_ids``, one per question, by video."""
        self.batch_size = batch_size
        self.seed = seed
        self.epoch = 0
        groups: dict[str, list[int]] = {}
        for row, video in enumerate(video_ids):
            groups.setdefault(video, []).append(row)
        self._groups = list(groups.values())
        self._of_row = {row: number for number, rows in enumerate(self._groups) for row in rows}

    def set_epoch(self, epoch: int) -> None:
        """Choose the order of the next iteration."""
        self.epoch = epoch

    def __len__(self) -> int:
        """Number of batches, the last of which may be smaller."""
        return -(-len(self._of_row) // self.batch_size)

    def __iter__(self) -> Iterator[list[int]]:
        """Batches of rows."""
        rng = np.random.default_rng((self.seed, self.epoch))
        waiting = rng.permutation(len(self._groups)).tolist()
        pool: list[int] = []
        while waiting or pool:
            held = len({self._of_row[row] for row in pool})
            while waiting and (held < BUFFER_VIDEOS or len(pool) < self.batch_size):
                pool += self._groups[waiting.pop()]
                held += 1
            pool = [pool[i] for i in rng.permutation(len(pool)).tolist()]
            self._mix(pool)
            yield pool[: self.batch_size]
            pool = pool[self.batch_size :]

    def _mix(self, pool: list[int]) -> None:
        """See to it that the first batch of the pool asks about two videos, if there are two."""
        first = self._of_row[pool[0]]
        size = self.batch_size
        if size == 1 or any(self._of_row[row] != first for row in pool[:size]):
            return
        for place in range(size, len(pool)):
            if self._of_row[pool[place]] != first:
                pool[size - 1], pool[place] = pool[place], pool[size - 1]
                return


def make_loader(
    questions: QuestionSet,
    batch_size: int,
    *,
    shuffle: bool,
    seed: int = 0,
    workers: int = 0,
    pin_memory: bool = False,
) -> DataLoader[Batch]:
    """Batches of a set of questions, each question once.

    Args:
        questions: what is asked.
        batch_size: questions of a batch; the last one may have fewer.
        shuffle: in the order of `VideoGroupedBatches` (``loader.batch_sampler``, whose
            ``set_epoch`` is called before every epoch); else in the order of ``questions``.
        seed: of the order.
        workers: processes that read; 0 reads in this one.
        pin_memory: for a GPU.
    """
    sampler: Sampler[list[int]]
    if shuffle:
        sampler = VideoGroupedBatches(questions.video_ids, batch_size, seed)
    else:
        sampler = BatchSampler(SequentialSampler(questions), batch_size, drop_last=False)
    return DataLoader(
        questions,
        batch_sampler=sampler,
        collate_fn=_as_it_is,
        num_workers=workers,
        worker_init_fn=_start_worker,
        persistent_workers=workers > 0,
        pin_memory=pin_memory,
    )


def _as_it_is(batch: Any) -> Any:
    """`QuestionSet.__getitems__` has made the batch already."""
    return batch


def _start_worker(number: int) -> None:
    import zarr

    # Processes work side by side already.
    zarr.config.set({"threading.max_workers": 1, "async.concurrency": 1})
