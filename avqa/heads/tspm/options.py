"""TSPM's choices and values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from avqa.heads._parts.options import HeadOptions


@dataclass(frozen=True, kw_only=True)
class Options(HeadOptions):
    """TSPM's choices, and which of its modules there are."""

    visual_width: int = 768
    text_width: int = 768
    patch_width: int = 1024
    """Width of the merged tokens; they need not be of the frames' encoder."""
    question: Literal["lstm", "positions", "clip"] = "clip"
    topk: int = 10
    """K, seconds that are looked at; more than there are keep all."""
    selector_grad: Literal["weighted", "none"] = "weighted"
    """How the answer teaches the selection: kept seconds times their share of the attention, or
    not at all, as released."""
    patch_rows: Literal["selected", "first"] = "selected"
    """Patches of the kept seconds, or, as released, of the first K rows there are."""
    prompt: Literal["mended", "released", "question"] = "mended"
    """What selects: the declarative prompt, that of the released code, which is the letter e for
    three of 33 templates, or the question itself, which also stands for it without CLIP's texts."""
    temporal: bool = True
    """Select seconds; without, K evenly spaced ones are looked at."""
    spatial: bool = True
    """Look into their patches; without, at their frames alone."""
    av_attention: bool = True
    """Sound and frames of the whole video attend to each other and are part of the answer."""
