"""The order of questions in batches, and the loader that makes them."""

from __future__ import annotations

import atexit
import contextlib
import itertools
import os
import pickle
import signal
import sys
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import Any, Literal

import numpy as np
import torch
from torch.utils.data import BatchSampler, DataLoader, Dataset, Sampler, SequentialSampler
from torch.utils.data.dataloader import _MultiProcessingDataLoaderIter

from avqa.errors import AvqaError
from avqa.training.data.batch import Batch
from avqa.training.data.features import VideoFeatures
from avqa.training.data.handover import Parcel, dumps, in_our_words, watch_deaths
from avqa.training.data.questions import QuestionSet

Order = Literal["given", "shuffled", "grouped", "together"]
POOL_VIDEOS = 16
"""Videos whose questions are mixed."""
NUM_POOLS = 2


class RandomBatches(Sampler[list[int]], ABC):
    """Batches of rows in an order that follows from (seed, epoch) alone; base of both orders."""

    def __init__(
        self,
        num_questions: int,
        batch_size: int,
        seed: int = 0,
        share: tuple[int, int] = (0, 1),
    ) -> None:
        """``share``: number of this process, of so many that divide every batch among them.

        Where there is no question for it, it gets the batch's first one, which another has, too.
        """
        self.num_questions = num_questions
        self.batch_size = batch_size
        self.seed = seed
        self.share = share
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the order of the next iteration."""
        self.epoch = epoch

    def __len__(self) -> int:
        """Number of batches, the last of which may be smaller."""
        return -(-self.num_questions // self.batch_size)

    def __iter__(self) -> Iterator[list[int]]:
        """Batches of rows: of each this process's share."""
        number, of = self.share
        for batch in self._batches(np.random.default_rng((self.seed, self.epoch))):
            yield batch[number::of] or batch[:1]

    @abstractmethod
    def _batches(self, rng: np.random.Generator) -> Iterator[list[int]]:
        """Whole batches."""


class ShuffledBatches(RandomBatches):
    """Questions shuffled, whatever video they are about, as the papers do."""

    def _batches(self, rng: np.random.Generator) -> Iterator[list[int]]:
        order = rng.permutation(self.num_questions).tolist()
        for first in range(0, len(order), self.batch_size):
            yield order[first : first + self.batch_size]


class BatchesByVideo(RandomBatches, ABC):
    """Base of the orders that go by which questions are about one video."""

    def __init__(
        self,
        video_ids: Sequence[str],
        batch_size: int,
        seed: int = 0,
        share: tuple[int, int] = (0, 1),
    ) -> None:
        """Group the places of ``video_ids``, one per question, by video."""
        super().__init__(len(video_ids), batch_size, seed, share)
        self._video, self._rows = by_video(video_ids)


class VideoGroupedBatches(BatchesByVideo):
    """Random batches in which questions about one video stay close, so that it is read once.

    Videos are shuffled. Batches are drawn from two pools in turn, each of the questions of 16
    videos, or of as many as fill a batch. Two, because a loader deals batches to its workers in
    turn: each of two workers then meets videos of its own. A batch of two or more questions asks
    about two or more videos while there are two.
    """

    def _batches(self, rng: np.random.Generator) -> Iterator[list[int]]:
        waiting = rng.permutation(len(self._rows)).tolist()
        pools: list[list[int]] = [[] for _ in range(NUM_POOLS)]
        while waiting or any(pools):
            pool = pools.pop(0)
            held = self._fill(pool, waiting)
            if held < 2 or len(pool) < self.batch_size:  # nothing waits: one pool from here on
                pool.extend(itertools.chain.from_iterable(pools))
                pools = []
            pool = [pool[place] for place in rng.permutation(len(pool)).tolist()]
            mix(pool, 0, self.batch_size, self._video)
            yield pool[: self.batch_size]
            pools.append(pool[self.batch_size :])

    def _fill(self, pool: list[int], waiting: list[int]) -> int:
        """Add videos to a pool; gives how many it holds."""
        held = len({self._video[row] for row in pool})
        while waiting and (held < POOL_VIDEOS or len(pool) < self.batch_size):
            pool.extend(self._rows[waiting.pop()])
            held += 1
        return held


class VideoTogetherBatches(BatchesByVideo):
    """Random batches of whole videos: all questions about one are asked in a row.

    What a head makes of a video it makes once for all of them (`avqa.heads.Head.encode`). Videos
    are shuffled, and each one's questions. A batch of two or more questions asks about two or more
    videos while there are two.
    """

    def _batches(self, rng: np.random.Generator) -> Iterator[list[int]]:
        videos = rng.permutation(len(self._rows)).tolist()
        rows = [row for video in videos for row in rng.permutation(self._rows[video]).tolist()]
        for first in range(0, len(rows), self.batch_size):
            mix(rows, first, self.batch_size, self._video)
            yield rows[first : first + self.batch_size]


def by_video(video_ids: Sequence[str]) -> tuple[list[int], list[list[int]]]:
    """Number of each question's video, and the questions of each video."""
    number_of: dict[str, int] = {}
    video = [number_of.setdefault(name, len(number_of)) for name in video_ids]
    rows: list[list[int]] = [[] for _ in number_of]
    for row, number in enumerate(video):
        rows[number].append(row)
    return video, rows


def mix(rows: list[int], start: int, size: int, video: Sequence[int]) -> None:
    """Bring a second video into the batch ``rows[start : start + size]`` if one comes behind it."""
    last = start + size - 1
    if size == 1 or any(video[row] != video[rows[start]] for row in rows[start : last + 1]):
        return
    for place in range(last + 1, len(rows)):
        if video[rows[place]] != video[rows[start]]:
            rows[last], rows[place] = rows[place], rows[last]
            return


def make_loader(
    questions: QuestionSet,
    batch_size: int,
    *,
    order: Order,
    seed: int = 0,
    share: tuple[int, int] = (0, 1),
    workers: int = 0,
    device: torch.device | str = "cpu",
) -> DataLoader[Batch]:
    """Batches of a set of questions, each question once.

    Args:
        questions: what is asked.
        batch_size: questions of a batch; the last one may have fewer.
        order: ``given``: that of ``questions``; else that of `ShuffledBatches`,
            `VideoGroupedBatches` or `VideoTogetherBatches` (``loader.batch_sampler``, whose
            ``set_epoch`` is called before every epoch).
        seed: of a random order.
        share: of a random order, what one of several processes gets; see `RandomBatches`.
        workers: processes that read; 0 reads in this one.
        device: where batches go from here. For a GPU they come in page-locked memory. Workers are
            not forked for a GPU or a store in a bucket, whose connections do not outlive a fork.

    Raises:
        FeatureMissing, StoreError: while iterating; as `FeatureReader.read`.
        EnvironmentFailure: while iterating; workers cannot be started, or one died.
    """
    sampler: Sampler[list[int]]
    if order in ("grouped", "together"):
        kind = VideoGroupedBatches if order == "grouped" else VideoTogetherBatches
        sampler = kind(questions.video_ids, batch_size, seed, share)
    elif order == "shuffled":
        sampler = ShuffledBatches(len(questions), batch_size, seed, share)
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

    def __getitems__(self, rows: list[int]) -> Parcel | AvqaError:
        try:
            return Parcel(self._questions.__getitems__(rows))
        except AvqaError as error:
            return error

    def __reduce__(self) -> tuple[Any, ...]:
        """Travel to a worker that is started, with or without room in shared memory."""
        return _guarded, (dumps(self._questions),)


def _guarded(questions: bytes) -> _Guarded:
    return _Guarded(pickle.loads(questions))


class _Batches(_MultiProcessingDataLoaderIter):
    """Torch's own, without the noise of one whose workers could not all be started."""

    def __del__(self) -> None:
        with contextlib.suppress(AttributeError):
            super().__del__()


class _Loader(DataLoader[Any]):
    """A loader that opens the parcels of its workers and raises their errors as they were."""

    def check_worker_number_rationality(self) -> None:
        """Not a warning of every loader: who trains says once what `fit.too_many_workers` says."""

    def _get_iterator(self) -> Any:
        return _Batches(self) if self.num_workers else super()._get_iterator()

    def __iter__(self) -> Any:
        if not self.num_workers:
            yield from super().__iter__()
            return
        with in_our_words():
            batches = super().__iter__()
        watch_deaths()
        workers = getattr(batches, "_workers", ())
        while True:
            with in_our_words(workers):
                found = next(batches, None)
            if found is None:
                return
            if isinstance(found, AvqaError):
                raise found
            yield found.unpack(workers) if isinstance(found, Parcel) else found


def _as_it_is(batch: Any) -> Any:
    """`QuestionSet.__getitems__` has made the batch already."""
    return batch


def _start_worker(number: int) -> None:
    from avqa.store.zarr_library import zarr

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal tells the parent as well
    # Processes work side by side already.
    zarr.config.set({"threading.max_workers": 1, "async.concurrency": 1})
    # A started process would destroy C++ objects whose threads still run, and now and then abort.
    atexit.register(_leave)


def _leave() -> None:
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)
