"""A store as a torch `Dataset`: padded float32 batches with their mask."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from avqa.errors import ConfigError
from avqa.store.views.readable import Readable

Sample = dict[str, Any]


class FeatureDataset(Dataset[Sample]):
    """Videos of a store, one a sample; see `FeatureStore.dataset`, which makes it.

    May be pickled and used in the worker processes of a loader.
    """

    def __init__(
        self,
        store: Readable,
        features: Sequence[str],
        videos: Sequence[str],
        seconds: int | None = None,
    ) -> None:
        """``videos`` have all ``features``."""
        self.store = store
        self.features = tuple(features)
        self.video_ids = tuple(videos)
        self.seconds = seconds

    def __len__(self) -> int:
        """Number of videos."""
        return len(self.video_ids)

    def __getitem__(self, number: int) -> Sample:
        """One video: ``video_id``, ``mask`` [T] and each feature [T, *shape], not padded.

        Raises:
            FeatureMissing, StoreError: as `FeatureStore.read`.
        """
        video = self.video_ids[number]
        arrays = {feature: self.store.read(video, feature) for feature in self.features}
        # Imported features may differ by a second.
        length = min(len(rows) for rows in arrays.values())
        length = length if self.seconds is None else min(length, self.seconds)
        lost = self.store.lost_rows(video)[:length]
        real = np.ones(length, np.bool_) if lost.all() else ~lost  # a head needs one row at least
        rows = {f: torch.from_numpy(values[:length].astype("f4")) for f, values in arrays.items()}
        return {"video_id": video, "mask": torch.from_numpy(real), **rows}

    def collate(self, samples: Sequence[Sample]) -> Sample:
        """A batch: ``video_id`` a list, ``mask`` [B, T] and features [B, T, *shape], zero-padded.

        T is ``seconds`` if that was given, else the length of the batch's longest video.

        Raises:
            ConfigError: there is no sample.
        """
        if not samples:
            raise ConfigError("a batch of 0 samples; expected at least one")
        seconds = self.seconds or max(len(sample["mask"]) for sample in samples)
        padded = {
            name: torch.stack([_padded(sample[name], seconds) for sample in samples])
            for name in ("mask", *self.features)
        }
        return {"video_id": [sample["video_id"] for sample in samples], **padded}

    def __repr__(self) -> str:
        """Videos, features, length."""
        seconds = "longest of the batch" if self.seconds is None else f"{self.seconds}"
        return (
            f"<FeatureDataset of {str(self.store.path)!r}: {len(self)} videos;"
            f" {', '.join(self.features)}; T: {seconds}>"
        )


def _padded(rows: Tensor, seconds: int) -> Tensor:
    """``[T, ...]`` to ``[seconds, ...]``; what is added is zero, or false."""
    padded = rows.new_zeros((seconds, *rows.shape[1:]))
    padded[: len(rows)] = rows
    return padded
