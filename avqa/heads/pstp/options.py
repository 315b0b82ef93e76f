"""PSTP-Net's choices and values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from avqa.heads._parts.options import HeadOptions, later


@dataclass(frozen=True, kw_only=True)
class Options(HeadOptions):
    """PSTP-Net's choices. Segments and patches beyond what there is keep all there is."""

    question: Literal["lstm", "positions", "clip"] = "clip"
    num_segments: int = 20
    """K. Paper: 20 for 60 s, 5 for AVQA's 10 s; release: 12."""
    top_k_segments: int = 7
    """k. Paper: 7, AVQA 3; release: 2."""
    top_k_patches: int = 20
    """m. Paper: 20, AVQA 2; release: 25."""
    lgpm_layers: int = 1
    avf: bool = True
    """Fuse audio and frame inside segments first (printed; the released code never does)."""
    avf_layers: int = later(1, before=1)
    """Layers of that fusion, each with weights of its own: the "audio-visual fusion layers" of
    Fig. 5(d)."""
    select_from: Literal["avf", "raw"] = "avf"
    """What the seconds of the chosen segments are taken from; ``raw`` is Eq. 7–8 as printed."""
    select_grad: Literal["weighted", "attended", "both", "none"] = "both"
    """How the answer teaches the two selections: kept tokens weighted by their share of the
    attention, attended vectors as tokens of their own, both, or not at all (as printed)."""
    pool: Literal["tokens", "groups"] = "tokens"
    """Mean over all tokens (70 % of them patches), or over the means of each kind."""
    fusion: Literal["mean", "selfattn_words"] = "mean"
    """Eq. 16–17, or the measured network: also the raw features and the question's words, all
    through one self-attention layer."""
    use_tssm: bool = True
    use_srsm: bool = True
    use_avam: bool = True
    use_lgpm: bool = True

    def problems(self) -> list[str]:
        """Complaints about values or combinations, one each."""
        found = super().problems()
        if self.avf_layers > 1 and not self.avf:
            found.append(f"avf_layers={self.avf_layers} with avf=false; expected avf=true")
        return found
