"""QA-TIGER's choices and values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from avqa.heads._parts.options import HeadOptions


@dataclass(frozen=True, kw_only=True)
class Options(HeadOptions):
    """QA-TIGER's choices, and which of its modules there are."""

    visual_width: int = 768
    text_width: int = 768
    patch_width: int = 1024
    """Width of the merged tokens; they need not be of the frames' encoder."""
    word_width: int = 768
    """Width of the words, before the projection into the joint space."""
    question: Literal["lstm", "positions", "clip"] = "clip"
    experts: int = 7
    """E, Gaussians over time of either stream."""
    topk: int = 7
    """K, experts that a question keeps; more than there are keep all."""
    mask_words: bool = True
    """Attend to the question up to its end; as released, all 77 positions are open."""
    patches: bool = True
    """Look into the frames; without, experts are given the seconds of the frames alone."""
    question_fusion: bool = True
    """Words of the question in the first fusion."""
    gaussian: bool = True
    """Experts weigh seconds by Gaussians; without, all seconds alike."""
    routing: Literal["softmax", "uniform"] = "softmax"
    """How a question weighs the experts: by itself, or all alike."""
    shared_time: bool = False
    """The sound's experts look at the seconds of the frames' experts (ours, in no paper)."""
