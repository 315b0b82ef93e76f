"""TJSTG's choices and values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from avqa.heads._parts.options import changed, later
from avqa.heads._parts.product import JoiningOptions
from avqa.heads.avst import grounding_problems


@dataclass(frozen=True, kw_only=True)
class Options(JoiningOptions):
    """TJSTG's ablation flags, and the points where paper and code part."""

    target_aware: bool = True
    """Look by a word of the question too; without it AVST's spatial grounding."""
    target: Literal["argmax", "avg", "max", "hidden"] = "argmax"
    """Target vector: the most attended word, mean or maximum of the words, or the question."""
    ta_query: Literal["question", "cell"] = "question"
    """What attends to the words: q as printed, or the LSTM's cell state as in the code."""
    ta_grad: Literal["st", "hard"] = "st"
    """Gradient of the argmax: straight-through, or none as printed."""
    target_mlp: bool = False
    """The code's two layers on the target vector, not in the text."""
    combine: Literal["renorm", "softmax", "sum"] = "renorm"
    """How the two maps are joined: product divided by its sum; softmax of the product as printed
    (flat to four digits); softmax of the sum as in the code."""
    threshold: float = 0.005
    """τ for maps of 196 positions; scaled by 196/P."""
    ground_score: Literal["dot", "cosine"] = later("dot", before="cosine")
    """Products of a map's rows with sound and target as Eq. 5–6 print them, or, as in the code,
    their cosines: AVST's grounding, to start from which takes ``cosine`` and ``norm``."""
    ground_on: Literal["raw", "norm"] = changed("raw", before="norm")
    """Average a map's rows as they are (Eq. 4), or with length 1 (code, AVST's grounding)."""
    ground_temp: float = 1.0
    """Divides the scores before the softmax over positions; 1 as published."""
    order: Literal["il_va", "il_av", "cat_va", "cat_av"] = "il_va"
    """Interleaved or concatenated, frames or audio first; Eq. 13 has frames first."""
    stream: Literal["single", "dual"] = "single"
    """Joint grounding in time, or AVST's two attentions and fusion (rows "AVST + …")."""
    csl: bool = True
    """Cross-modal synchrony loss."""
    joint_dropout: float = 0.2
    """Behind the joint attention, as in the code; the paper does not say."""

    def problems(self) -> list[str]:
        """Complaints about values or combinations, one each."""
        found = [*super().problems(), *grounding_problems(self.width, self.ground_temp)]
        if not 0 <= self.threshold < 1:
            found.append(f"threshold={self.threshold}; expected at least 0 and under 1")
        if not 0 <= self.joint_dropout < 1:
            found.append(f"joint_dropout={self.joint_dropout}; expected at least 0 and under 1")
        if self.ta_query == "cell" and self.question != "lstm":
            found.append(f"ta_query=cell with question={self.question}; expected question=lstm")
        return found
