"""What the papers' fusions lack: a product of sound and picture, as an option of a head.

A layer over both adds what each says. Whether what is heard louder stands on the left is a product
of the two: who stands there is in the picture, how loud it is in the sound.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from torch import Tensor, nn

from avqa.heads._parts.options import HeadOptions, later


@dataclass(frozen=True, kw_only=True)
class JoiningOptions(HeadOptions):
    """Options of heads that join sound and picture by a layer."""

    fusion: Literal["sum", "product"] = later("sum", before="sum")
    """Of sound and picture: the layer over both, as in the papers, or with it a low-rank product
    (Kim et al. 2017), 2·width wide."""

    def product(self) -> LowRankProduct | None:
        """The product that joins the senses beside the head's own layer; None for ``sum``."""
        return LowRankProduct(self.width, 2 * self.width) if self.fusion == "product" else None


class LowRankProduct(nn.Module):
    """P(U a ∘ V v), ``rank`` wide between.

    The pooling of Kim et al., *Hadamard Product for Low-rank Bilinear Pooling*, ICLR 2017, without
    its tanh.

    Shapes:
        a [..., D], v [..., D] → [..., D]
    """

    def __init__(self, width: int, rank: int) -> None:
        super().__init__()
        self.audio = nn.Linear(width, rank)
        self.visual = nn.Linear(width, rank)
        self.out = nn.Linear(rank, width)

    def forward(self, audio: Tensor, visual: Tensor) -> Tensor:
        """Multiply."""
        return self.out(self.both(audio, visual))  # type: ignore[no-any-return]

    def both(self, audio: Tensor, visual: Tensor) -> Tensor:
        """U a ∘ V v, [..., rank]."""
        return self.audio(audio) * self.visual(visual)  # type: ignore[no-any-return]
