"""AVAF-Net's choices and values."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from avqa.heads._parts.options import later
from avqa.heads._parts.product import JoiningOptions


@dataclass(frozen=True, kw_only=True)
class Options(JoiningOptions):
    """AVAF-Net's modules and losses; values the paper does not give are marked."""

    question: Literal["lstm", "positions", "clip"] = "clip"
    """The paper's encoder is CLIP, whose features go in as they are where widths agree."""
    q_pool: Literal["eot", "sot"] = "eot"
    """The sentence: CLIP's end-of-text vector, or, only to reproduce the authors' code, that of
    the start token, which is the same for every question."""
    audio_encoder: bool = True
    """Self-attention over the seconds of audio, as in the authors' code."""
    num_seconds: int = 60
    """Positions the audio encoder has: the most seconds it can read."""
    avcm: bool = True
    """Clue mining: audio and patches attend to the words."""
    attention: Literal["layer", "alone"] = later("layer", before="layer")
    """What stands for Eq. 4, 5, 10 and 11: attention within a post-norm layer, as in the authors'
    code, or the attention alone, as printed."""
    qoaf: bool = True
    """Weights of the two modalities from the question; without it both are 1."""
    fuse: Literal["concat", "sum"] = "concat"
    """Join the weighted modalities by a layer (Eq. 13), or add them (the authors' code)."""
    weight_relu: bool = False
    """A ReLU before the softmax of the modality weights, as in the authors' code."""
    tacl: bool = True
    """The loss of temporal alignment."""
    temp_loss: Literal["paper", "fnac"] = "paper"
    sounding: Literal["weighted", "product"] = later("weighted", before="weighted")
    """F_s of the temporal loss: patches weighted by their product with the audio, as in the
    authors' code, or mean_p(Z_tp ∘ a_t), as printed; of ``paper`` alone."""
    alpha: float | None = None
    """Weight of the temporal loss (not given in the paper); 1 for ``paper``, 100 for ``fnac``."""
    sacl: bool = True
    """The loss of spatial alignment."""
    beta: float = 0.2
    phi: float = 0.019
    """Patches above it are positive; for 49 patches, scaled by 49/P for P."""
    tau: float = 0.4
    """Temperature of the spatial loss (not given in the paper)."""
    spat_temp: float = 1.0
    """Divides the cosines inside the spatial loss. With 1, as printed, it hardly acts; with
    0.07 it does."""
    spat_batch_neg: bool = False
    """Add the mean cosine with other videos' patches to the spatial loss's denominator."""

    def problems(self) -> list[str]:
        """Complaints about values or combinations, one each."""
        found = super().problems()
        if self.width % 4:
            found.append(f"width={self.width}; expected a multiple of 4 (attention heads)")
        found += [
            f"{name}={getattr(self, name)}; expected more than 0"
            for name in ("tau", "spat_temp")
            if not 0 < getattr(self, name) < math.inf
        ]
        found += [
            f"{name}={value}; expected 0 or more"
            for name in ("alpha", "beta", "phi")
            if (value := getattr(self, name)) is not None and not 0 <= value < math.inf
        ]
        if self.sounding == "product" and self.temp_loss == "fnac":
            found.append("sounding='product' with temp_loss='fnac'; expected temp_loss='paper'")
        if self.q_pool == "sot" and self.question != "clip":
            found.append(f"q_pool='sot' with question={self.question!r}; expected question='clip'")
        return found
