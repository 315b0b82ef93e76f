"""Batches of questions, their order, and the loader that makes them.

A `Batch` holds the rows of each of its videos once, in the stored type, however many of its
questions are about that video: this is what travels between processes and to the GPU. What a head
reads, ``inputs``, is spread out from it on the device where it is used.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import itertools
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import BatchSampler, DataLoader, Dataset, Sampler, SequentialSampler

from avqa.errors import StoreError
from avqa.heads import HeadInput
from avqa.training.data.features import VideoFeatures
from avqa.training.data.memory import ReusedMemory

if TYPE_CHECKING:
    from avqa.training.data.questions import QuestionSet

POOL_VIDEOS = 16
"""Videos whose questions are mixed."""
NUM_POOLS = 2
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
        spread = {field: _spread(rows, self.of_video) for field, rows in self.videos.items()}
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


def _spread(rows: Tensor, of_video: Tensor) -> Tensor:
    """One row a question, float32: rows [V, T, ...], of_video [B] → [B, T, ...]."""
    if rows.device.type != "cpu":
        return rows[of_video].float()
    spread = MEMORY.empty((len(of_video), *rows.shape[1:]), torch.float32)
    with one_thread():
        for question, video in enumerate(of_video.tolist()):
            spread[question] = rows[video]
    return spread


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


class VideoGroupedBatches(Sampler[list[int]]):
    """Random batches in which questions about one video stay close, so that it is read once.

    Videos are shuffled. Batches are drawn from two pools in turn, each of the questions of 16
    videos, or of as many as fill a batch. Two, because a loader deals batches to its workers in
    turn: each of two workers then meets videos of its own. A batch of two or more questions asks
    about two or more videos while there are two. The order follows from (seed, epoch) alone.
    """

    def __init__(self, video_ids: Sequence[str], batch_size: int, seed: int = 0) -> None:
        """Group the places of ``video_ids``, one per question, by video."""
        self.batch_size = batch_size
        self.seed = seed
        self.epoch = 0
        number_of: dict[str, int] = {}
        self._video = [number_of.setdefault(video, len(number_of)) for video in video_ids]
        self._rows: list[list[int]] = [[] for _ in number_of]
        for row, video in enumerate(self._video):
            self._rows[video].append(row)

    def set_epoch(self, epoch: int) -> None:
        """Choose the order of the next iteration."""
        self.epoch = epoch

    def __len__(self) -> int:
        """Number of batches, the last of which may be smaller."""
        return -(-len(self._video) // self.batch_size)

    def __iter__(self) -> Iterator[list[int]]:
        """Batches of rows."""
        rng = np.random.default_rng((self.seed, self.epoch))
        waiting = rng.permutation(len(self._rows)).tolist()
        pools: list[list[int]] = [[] for _ in range(NUM_POOLS)]
        while waiting or any(pools):
            pool = pools.pop(0)
            held = self._fill(pool, waiting)
            if held < 2 or len(pool) < self.batch_size:  # nothing waits: one pool from here on
                pool.extend(itertools.chain.from_iterable(pools))
                pools = []
            pool = [pool[place] for place in rng.permutation(len(pool)).tolist()]
            self._mix(pool)
            yield pool[: self.batch_size]
            pools.append(pool[self.batch_size :])

    def _fill(self, pool: list[int], waiting: list[int]) -> int:
        """Add videos to a pool; gives how many it holds."""
        held = len({self._video[row] for row in pool})
        while waiting and (held < POOL_VIDEOS or len(pool) < self.batch_size):
            pool.extend(self._rows[waiting.pop()])
            held += 1
        return held

    def _mix(self, pool: list[int]) -> None:
        """Bring a second video into the next batch, if it has one only and the pool has others."""
        first, last = self._video[pool[0]], self.batch_size - 1
        if last == 0 or any(self._video[row] != first for row in pool[: last + 1]):
            return
        for place in range(last + 1, len(pool)):
            if self._video[pool[place]] != first:
                pool[last], pool[place] = pool[place], pool[last]
                return


def make_loader(
    questions: QuestionSet,
    batch_size: int,
    *,
    shuffle: bool,
    seed: int = 0,
    workers: int = 0,
    device: torch.device | str = "cpu",
) -> DataLoader[Batch]:
    """Batches of a set of questions, each question once.

    Args:
        questions: what is asked.
        batch_size: questions of a batch; the last one may have fewer.
        shuffle: in the order of `VideoGroupedBatches` (``loader.batch_sampler``, whose
            ``set_epoch`` is called before every epoch); else in the order of ``questions``.
        seed: of the order.
        workers: processes that read; 0 reads in this one.
        device: where batches go from here. For a GPU they come in page-locked memory. Workers are
            not forked for a GPU or a store in a bucket, whose connections do not outlive a fork.

    Raises:
        FeatureMissing, StoreError: while iterating; as `FeatureReader.read`.
    """
    sampler: Sampler[list[int]]
    if shuffle:
        sampler = VideoGroupedBatches(questions.video_ids, batch_size, seed)
    else:
        sampler = BatchSampler(SequentialSampler(questions), batch_size, drop_last=False)
    cuda = torch.device(device).type == "cuda"
    features = questions.features
    in_bucket = isinstance(features, VideoFeatures) and features.store.path.local is None
    return _Loader(
        _Guarded(questions) if workers else questions,
        batch_sampler=sampler,
        collate_fn=_as_it_is,
        num_workers=workers,
        worker_init_fn=_start_worker,
        multiprocessing_context="spawn" if workers and (cuda or in_bucket) else None,
        persistent_workers=workers > 0,
        pin_memory=cuda,
    )


class _Guarded(Dataset[Any]):
    """Questions in a worker: gives errors instead of raising them.

    A loader would raise them with the worker's traceback in their message.
    """

    def __init__(self, questions: QuestionSet) -> None:
        self._questions = questions

    def __getitems__(self, rows: list[int]) -> Batch | StoreError:
        try:
            return self._questions.__getitems__(rows)
        except StoreError as error:
            return error


class _Loader(DataLoader[Any]):
    """A loader that raises the errors of its workers as they were."""

    def __iter__(self) -> Any:
        for batch in super().__iter__():
            if isinstance(batch, StoreError):
                raise batch
            yield batch


def _as_it_is(batch: Any) -> Any:
    """`QuestionSet.__getitems__` has made the batch already."""
    return batch


def _start_worker(number: int) -> None:
    import zarr

    # Processes work side by side already.
    zarr.config.set({"threading.max_workers": 1, "async.concurrency": 1})
    # A started process would destroy C++ objects whose threads still run, and now and then abort.
    atexit.register(_leave)


def _leave() -> None:
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)
