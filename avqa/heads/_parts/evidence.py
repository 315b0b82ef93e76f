"""One view of what any head looked at: `Evidence`, made by each head from its explanation."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Evidence:
    """Where and when a head looked, for a batch; None where the head has no such thing.

    Weights are at least 0, and 0 at padded seconds. ``patches`` are of the frames that the head
    looked into; at seconds that it left out all are 0.
    """

    seconds: Tensor | None = None
    """[B, T], weight of each second (selection and attention), sums to 1."""
    audio_time: Tensor | None = None
    """[B, T], of the audio alone, sums to 1; all 0 where a video has no sound."""
    frame_time: Tensor | None = None
    """[B, T], of the frames alone, sums to 1."""
    patches: Tensor | None = None
    """[B, T, P], sums to 1 over the patches of each second that was looked into."""
    modality: Tensor | None = None
    """[B, 2], shares of the frames and of the audio, sum to 1."""
    words: Tensor | None = None
    """[B, N], weight of each word of the question, sums to 1; CLIP's word n is its position
    n + 1 behind the start token."""

    @classmethod
    def of_streams(
        cls,
        sound: Tensor | None,
        picture: Tensor | None,
        valid: Tensor,
        *,
        heard: Tensor | None = None,
        modality: Tensor | None = None,
        patches: Tensor | None = None,
        words: Tensor | None = None,
    ) -> Evidence:
        """From weights over the time of either stream, at least 0, of any sum.

        A second's weight is the mean of both streams', by ``modality`` where the head weighs them.
        Where nothing is ``heard`` (None: all valid seconds are) the frames have all of it.

        Shapes:
            audio and frame [B, T], valid [B, T], heard [B, T], modality [B, 2],
            patches [B, T, P], words [B, N]
        """
        heard = valid if heard is None else heard
        audio_time = None if sound is None else over_time(sound, heard)
        frame_time = None if picture is None else over_time(picture, valid)
        some = heard.any(1, keepdim=True)
        if modality is not None:
            modality = torch.where(some, modality, modality.new_tensor([1.0, 0.0]))
        seconds = frame_time
        if audio_time is not None and frame_time is not None:
            share = audio_time.new_full((len(valid), 2), 0.5) if modality is None else modality
            seconds = share[:, :1] * frame_time + share[:, 1:] * audio_time
            seconds = torch.where(some, seconds, frame_time)
        elif audio_time is not None:
            seconds = over_time(audio_time, valid)
        if patches is not None:
            patches = over_patches(patches)
        return cls(seconds, audio_time, frame_time, patches, modality, words)

    @property
    def sound_time(self) -> Tensor | None:
        """Old name of `audio_time`, for one release."""
        return _renamed("sound_time", "audio_time", self.audio_time)

    @property
    def picture_time(self) -> Tensor | None:
        """Old name of `frame_time`, for one release."""
        return _renamed("picture_time", "frame_time", self.frame_time)


def _renamed(old: str, new: str, value: Tensor | None) -> Tensor | None:
    warnings.warn(f"Evidence.{old} is now Evidence.{new}", DeprecationWarning, stacklevel=3)
    return value


def over_time(weights: Tensor, valid: Tensor) -> Tensor:
    """Weights over seconds that sum to 1; equal ones where all are 0, none where none is valid.

    Shapes:
        weights [B, T], at least 0, valid [B, T] → [B, T], 0 at padded seconds
    """
    weights = weights * valid
    total = weights.sum(1, keepdim=True)
    equal = valid / valid.sum(1, keepdim=True).clamp(min=1)
    return torch.where(total > 0, weights / total.clamp(min=torch.finfo(weights.dtype).tiny), equal)


def over_patches(weights: Tensor) -> Tensor:
    """Weights [B, T, P] that sum to 1 within each second; seconds of zeros stay zeros."""
    return weights / weights.sum(-1, keepdim=True).clamp(min=torch.finfo(weights.dtype).tiny)


def placed(values: Tensor, index: Tensor, size: int) -> Tensor:
    """Values at places of axis 1, those of one place added; places below 0 are left out.

    Shapes:
        values [B, M, ...], index [B, M] long → [B, size, ...]
    """
    rest = values.shape[2:]
    kept = (index >= 0).view(*index.shape, *(1 for _ in rest))
    where = index.clamp(min=0).view(*index.shape, *(1 for _ in rest)).expand_as(values)
    empty = values.new_zeros(len(values), size, *rest)
    return empty.scatter_add(1, where, values * kept)
