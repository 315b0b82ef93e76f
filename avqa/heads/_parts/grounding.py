"""What the heads that ground audio in frames share: grounding, match loss, pre-training."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from avqa.heads._parts.head import Head, HeadInput, at_hand
from avqa.heads._parts.options import HeadOptions

GROUNDING_PREFIXES = ("audio.", "picture.", "visual.", "match.")
"""Parameters that AVST's grounding pre-training (stage I) trains, by the names they have in every
head that can start from it: `audio_layer`, `picture_layer`, the layer after the grounding
([mean; grounded] 2D→D) and the `MatchClassifier`."""


def audio_layer(options: HeadOptions) -> nn.Sequential:
    """``a = FC(ReLU(FC(audio)))``: audio_width → D → D."""
    return nn.Sequential(
        nn.Linear(options.audio_width, options.width),
        nn.ReLU(),
        nn.Linear(options.width, options.width),
    )


def picture_layer(options: HeadOptions) -> nn.Module:
    """Nothing where maps are as wide as the head, as in the papers; else a layer to D."""
    if options.visual_width == options.width:
        return nn.Identity()
    return nn.Linear(options.visual_width, options.width)


def products(rows: Tensor, vector: Tensor) -> Tensor:
    """Product of every row with a vector: rows [..., P, D], vector [..., D] → [..., P].

    As one row times the transposed rows: on CPUs twice as fast as the rows times a column.
    """
    return (vector.unsqueeze(-2) @ rows.mT).squeeze(-2)


class RawMap(NamedTuple):
    """A map whose rows count as they are."""

    rows: Tensor
    """[..., P, D]."""

    def score(self, vector: Tensor) -> Tensor:
        """Product of every row with ``vector`` [..., D] → [..., P]."""
        return products(self.rows, vector)

    def scores(self, vectors: Tensor) -> Tensor:
        """The same with each of several, ``vectors`` [..., n, D] → [..., n, P]."""
        return vectors @ self.rows.mT

    def average(self, weights: Tensor) -> Tensor:
        """Sum of the rows, weighted by ``weights`` [..., P] → [..., D]."""
        return self.averages(weights.unsqueeze(-2)).squeeze(-2)

    def averages(self, weights: Tensor) -> Tensor:
        """The same by each of several, ``weights`` [..., n, P] → [..., n, D]."""
        return weights @ self.rows


class UnitMap(NamedTuple):
    """A map whose rows count as vectors of length 1.

    The lengths divide the results instead of the rows: no second copy of the largest tensor.
    """

    rows: Tensor
    """[..., P, D], as they came."""
    length: Tensor
    """[..., P], L2 norm of each row; 1 for a row of zeros."""

    @classmethod
    def of(cls, maps: Tensor) -> UnitMap:
        """Measure the rows of ``maps`` [..., P, D]."""
        length = torch.linalg.vector_norm(maps, dim=-1)
        return cls(maps, length.masked_fill(length == 0, 1.0))

    def score(self, vector: Tensor) -> Tensor:
        """Cosine of every row with ``vector`` [..., D] → [..., P]."""
        return products(self.rows, F.normalize(vector, dim=-1)) / self.length

    def scores(self, vectors: Tensor) -> Tensor:
        """The same with each of several, ``vectors`` [..., n, D] → [..., n, P]."""
        return F.normalize(vectors, dim=-1) @ self.rows.mT / self.length.unsqueeze(-2)

    def average(self, weights: Tensor) -> Tensor:
        """Sum of the rows of length 1, weighted by ``weights`` [..., P] → [..., D]."""
        return self.averages(weights.unsqueeze(-2)).squeeze(-2)

    def averages(self, weights: Tensor) -> Tensor:
        """The same by each of several, ``weights`` [..., n, P] → [..., n, D]."""
        return weights / self.length.unsqueeze(-2) @ self.rows


def cosine(maps: Tensor, vector: Tensor) -> Tensor:
    """Cosine of every position with a vector: maps [..., P, D], vector [..., D] → [..., P]."""
    return UnitMap.of(maps).score(vector)


class Negatives(NamedTuple):
    """Frames of other videos."""

    patch: Tensor
    """[V, T, P, Dv]."""
    weight: Tensor
    """[V, T] long: questions about a second with sound and a frame of another video, else 0."""


def draw_negatives(inputs: HeadInput) -> Negatives | None:
    """A frame of another video for every second; None if there is none.

    ``inputs.negative_patch`` where given; else, per row and second, a valid second of the
    batch drawn uniformly among those of rows with another ``video`` (every row is a video
    of its own where ``video`` is not given, or its questions share it). Where a batch of one video
    cannot be told from others without waiting (`at_hand`), none of its seconds counts, and the
    `match_loss` is 0.
    """
    weight = inputs.heard * inputs.asked.unsqueeze(1)
    if inputs.negative_patch is not None:
        return Negatives(inputs.negative_patch, weight)
    assert inputs.patch is not None  # Head.check
    batch, seconds = inputs.valid.shape
    device = inputs.valid.device
    own = inputs.video is None or inputs.of_video is not None
    video = torch.arange(batch, device=device) if own else cast(Tensor, inputs.video)
    other = (video[:, None] != video[None]).repeat_interleave(seconds, 1)  # [B, B·T]
    if batch == 1 or (at_hand(other) and not bool(other.any())):
        return None
    found = other.any()
    chance = ((other | ~found) & inputs.valid.reshape(1, -1)).float()  # a draw needs some
    drawn = torch.multinomial(chance, seconds, replacement=True)
    return Negatives(inputs.patch.flatten(0, 1)[drawn], weight * found)


class MatchClassifier(nn.Sequential):
    """Whether audio and a frame belong together: FC 2D→D→D/2→D/4→2, ReLU between.

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


def match_loss(positive: Tensor, negative: Tensor, weight: Tensor) -> Tensor:
    """Mean cross-entropy of 2·B·T pairs, labels 1 and 0, weighted by `Negatives.weight`.

    Shapes:
        positive [V, T, 2], negative [V, T, 2], weight [V, T] → scalar
    """
    both = positive.log_softmax(-1)[..., 1] + negative.log_softmax(-1)[..., 0]
    total = torch.where(weight > 0, both * weight, 0).sum()
    return -total / (2 * weight.sum()).clamp(min=1)


def grounding_state(head: Head) -> dict[str, Tensor]:
    """The parameters that grounding pre-training trains, by name (`GROUNDING_PREFIXES`)."""
    state: Mapping[str, Tensor] = head.state_dict()
    return {name: value for name, value in state.items() if name.startswith(GROUNDING_PREFIXES)}


def load_grounding(head: Head, state: Mapping[str, Tensor]) -> None:
    """Start a head's grounding from pre-trained parameters (``grounding_state`` of AVST).

    Raises:
        ValueError: names or shapes are not those of this head's grounding.
    """
    own = grounding_state(head)
    if strange := sorted(own.keys() ^ state.keys()):
        raise ValueError(
            f"grounding weights differ from those of head={head.name} in {strange[0]}"
            f" and {len(strange) - 1} more; expected exactly {', '.join(sorted(own))}"
        )
    for name, value in state.items():
        if value.shape != own[name].shape:
            raise ValueError(
                f"grounding weights: {name} has shape {tuple(value.shape)};"
                f" expected {tuple(own[name].shape)}, the widths they were trained with"
            )
    head.load_state_dict(dict(state), strict=False)
