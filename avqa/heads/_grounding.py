"""What the heads that ground sound in pictures share: cosine grounding and the match loss."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from avqa.heads._head import HeadInput


def cosine(maps: Tensor, vector: Tensor) -> Tensor:
    """Cosine of every position with a vector: maps [..., P, D], vector [..., D] → [..., P]."""
    unit = F.normalize(vector, dim=-1).unsqueeze(-1)
    return (F.normalize(maps, dim=-1) @ unit).squeeze(-1)


def draw_negatives(inputs: HeadInput) -> Tensor | None:
    """A picture of another video for every second: [B, T, P, Dv]; None if there is none.

    ``inputs.negative_patch`` where given; else, per sample and second, a valid second of the
    batch drawn uniformly among those of samples with another ``video`` (every sample is a video
    of its own where ``video`` is not given).
    """
    if inputs.negative_patch is not None:
        return inputs.negative_patch
    assert inputs.patch is not None  # Head.check
    batch, seconds = inputs.valid.shape
    device = inputs.valid.device
    video = torch.arange(batch, device=device) if inputs.video is None else inputs.video
    other = (video[:, None] != video[None]).repeat_interleave(seconds, 1)  # [B, B·T]
    chance = (other & inputs.valid.reshape(1, -1)).float()
    if not bool(chance.any(1).all()):
        return None
    return inputs.patch.flatten(0, 1)[torch.multinomial(chance, seconds, replacement=True)]


class MatchClassifier(nn.Sequential):
    """Whether a sound and a picture belong together: FC 2D→D→D/2→D/4→2, ReLU between.

    Shapes:
        [audio; visual] [..., 2D] → [..., 2]
    """

    def __init__(self, width: int) -> None:
        super().__init__(
            *(nn.Linear(2 * width, width), nn.ReLU()),
            *(nn.Linear(width, width // 2), nn.ReLU()),
            *(nn.Linear(width // 2, width // 4), nn.ReLU()),
            nn.Linear(width // 4, 2),
        )


def match_loss(positive: Tensor, negative: Tensor, valid: Tensor) -> Tensor:
    """Mean cross-entropy of 2·B·T pairs, labels 1 and 0, over valid seconds only.

    Shapes:
        positive [B, T, 2], negative [B, T, 2], valid [B, T] → scalar
    """
    matched = -positive.log_softmax(-1)[..., 1][valid]
    apart = -negative.log_softmax(-1)[..., 0][valid]
    return torch.cat([matched, apart]).mean()
