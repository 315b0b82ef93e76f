"""MCD's choices and values."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from avqa.heads._parts.options import changed, later
from avqa.heads._parts.product import JoiningOptions


@dataclass(frozen=True, kw_only=True)
class Options(JoiningOptions):
    """MCD's choices; values the paper does not give are marked."""

    text_objects: bool = True
    """Join the question with its type labels and keywords. The labels come with the annotation:
    an advantage over heads that do not read them."""
    text_encoder: Literal["lstm", "bilstm"] = "lstm"
    num_blocks: int = 2
    """N, association blocks."""
    self_attention: Literal["both", "audio", "visual", "none"] = "both"
    """Modalities that attend to themselves."""
    cross_query: Literal["both", "audio", "visual", "none"] = "both"
    """Modalities whose compressed vector asks the other; ``audio`` updates the visual branch."""
    compress: Literal["mean", "fc"] = "mean"
    """Compression of the other modality over time: its mean, or a learnt FC(T→1)."""
    num_seconds: int = 60
    """Weights of the learnt compression: the most seconds it can read."""
    cross: Literal["gate", "channel"] = "gate"
    """Cross term: product with the attended vector (Eq. 1), or a D×D mixing of channels."""
    norm: Literal["batch", "layer"] = "batch"
    aggregator: Literal["frames", "literal"] = "frames"
    """Attention over words and frames, or Eq. 6 as printed, where the question plays no role."""
    num_frames: int = 10
    """k, frames sampled per video (not given in the paper); even."""
    lef: Literal["full", "no_visual", "no_audio", "no_text", "add"] = "full"
    """Terms of the fusion of text with pooled audio and frame."""
    late_fusion: Literal["none", "add", "concat"] = "none"
    """Join the last block's pooled features before the answer, which the paper argues against."""
    loss_qv: bool = True
    loss_qa: bool = True
    loss_av: bool = True
    """In use only where both modalities have a cross term."""
    tau: float = changed(1.0, before=0.07)
    """Temperature of the three losses (not given in the paper)."""
    negatives: Literal["cross", "matched"] = later("cross", before="cross")
    """What the losses tell a pair from: this question with other videos, or, Eq. 11 letter by
    letter, the others' own pairs."""
    skip_same_video: bool = True
    """Leave pairs of different questions about one video out of the losses' negatives."""
    plain: Literal["none", "q", "a", "v", "qa", "qv", "qav"] = "none"
    """A plain two-layer network of these inputs instead of everything above."""

    def problems(self) -> list[str]:
        """Complaints about values or combinations, one each."""
        found = super().problems()
        if self.num_frames % 2:
            found.append(f"num_frames={self.num_frames}; expected an even number")
        if self.fusion == "product" and self.plain != "none":
            found.append(f"plain={self.plain} with fusion=product; expected fusion=sum")
        if not 0 < self.tau < math.inf:
            found.append(f"tau={self.tau}; expected more than 0")
        if self.text_encoder == "bilstm" and self.width % 2:
            found.append(f"width={self.width}; expected an even number with text_encoder='bilstm'")
        return found

    @property
    def uses_loss_av(self) -> bool:
        """Whether L_av is on and has both of its terms."""
        return self.loss_av and self.cross_query == "both"
