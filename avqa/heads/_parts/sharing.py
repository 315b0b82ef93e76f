"""Questions laid out by video, so that what is large and once a video is met by all at once."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from avqa.heads._parts.head import HeadInput


class ByVideo(NamedTuple):
    """B questions about V videos, n of them at most about one: [B, ...] ↔ [V, n, ...]."""

    of_video: Tensor | None
    """[B]; None where every question has a row of its own (n = 1)."""
    place: Tensor
    """[B] long, which of its video's questions each is."""
    question: Tensor
    """[V, n] long, the questions of each video; any one where it has fewer than n."""

    @classmethod
    def of(cls, inputs: HeadInput) -> ByVideo:
        """The layout of a batch."""
        if inputs.of_video is None:
            own = torch.arange(len(inputs.valid), device=inputs.valid.device)
            return cls(None, torch.zeros_like(own), own.unsqueeze(1))
        number, order = inputs.asked, inputs.of_video.argsort(stable=True)
        before = number.cumsum(0) - number  # [V]
        steps = torch.arange(int(number.max()), device=order.device)
        question = order[(before.unsqueeze(1) + steps).clamp(max=len(order) - 1)]
        place = torch.empty_like(order)
        place[order] = torch.arange(len(order), device=order.device) - before.repeat_interleave(
            number
        )
        return cls(inputs.of_video, place, question)

    def together(self, x: Tensor) -> Tensor:
        """What there is of questions, by video: [B, ...] → [V, n, ...]."""
        return x.unsqueeze(1) if self.of_video is None else x[self.question]

    def apart(self, x: Tensor) -> Tensor:
        """Back to the batch's order: [V, n, ...] → [B, ...]."""
        return x.squeeze(1) if self.of_video is None else x[self.of_video, self.place]
