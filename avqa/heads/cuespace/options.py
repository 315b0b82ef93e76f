"""CueSpace's choices and values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from avqa.heads._parts.options import HeadOptions


@dataclass(frozen=True, kw_only=True)
class Options(HeadOptions):
    """CueSpace's choices, and which of its modules there are."""

    audio_width: int = 768
    visual_width: int = 768
    text_width: int = 768
    patch_width: int = 1024
    """Width of the merged tokens; they need not be of the frames' encoder."""
    band_width: int = 768
    """Width of the bands of the sound's frequencies."""
    word_width: int = 768
    """Width of the words, before the projection into the joint space."""
    question: Literal["lstm", "positions", "clip"] = "clip"
    options: Literal["shared", "per_option"] = "shared"
    """Multiple choice, of texts of the question with an option behind it: one pass in which each
    reads the slots in the question's place, or a pass for each as if it were the question."""
    experts: int = 7
    """E, experts of each mixture; every second is given to all of them."""
    mask_words: bool = True
    """Read the question up to its end; as released, all 77 positions are open, and are slots."""
    patches: bool = True
    """Look into frames and bands; without, the mixtures are given the seconds alone."""
    question_fusion: bool = True
    """Words of the question in the fusion."""
    routing: Literal["softmax", "uniform"] = "softmax"
    """How the experts are weighed: by what is asked and heard, or all alike."""
    collaborative: bool = True
    """Read what either stream finds in the other one's cues; without, no chain has it."""

    def problems(self) -> list[str]:
        """Those of every head, and a form of multiple choice that needs words of CLIP."""
        found = super().problems()
        if self.options == "per_option" and self.question != "clip":
            found.append(
                f"options=per_option with question={self.question}; expected question=clip, since"
                " CLIP's words of each option's text stand in for the question"
            )
        return found
