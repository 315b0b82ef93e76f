"""SaSR-Net's choices and values."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from avqa.heads._parts.options import later
from avqa.heads._parts.product import JoiningOptions

OFFICIAL_SECONDS = 10
"""T of the official variant: the width of a layer that mixes seconds."""
_PAPER_ONLY = (
    *("slt", "sasr", "sa", "ta", "slt_attn", "residual", "sa_norm", "temporal", "shortcut"),
    *("sound", "audio_tokens", "key_value", "question_state", "match"),
)


@dataclass(frozen=True, kw_only=True)
class Options(JoiningOptions):
    """The paper's switches and what its equations leave open.

    ``variant="official"`` is one fixed network: of the options below it has ``ground_temp``
    and ``num_sources`` only.
    """

    variant: Literal["paper", "official"] = "paper"
    """The printed equations, or the network the authors run."""
    ground_temp: float = 1.0
    """Divides the scores of positions before their softmax. 1 as published leaves the map nearly
    flat; 0.1 is worth a try."""
    num_sources: int = 22
    """G, classes of sources (instruments), one token each."""
    slt: bool = True
    """Source-wise learnable tokens: attention among features and tokens."""
    sasr: bool = True
    """Source-aware semantic representation: tokens gather features and give back."""
    sa: bool = True
    """Spatial attention of the audio over the map, and the match loss."""
    ta: bool = True
    """Temporal attention of the question; means over time without it."""
    slt_attn: Literal["block", "plain"] = "block"
    """A pre-norm transformer layer, or the printed form, which has no parameters."""
    residual: bool = True
    """Keep the features themselves beside what the tokens give back; not printed."""
    sa_norm: Literal["cosine", "dot"] = "cosine"
    """Rows of the map and audio of length 1, or the printed products, which saturate."""
    temporal: Literal["plain", "qblock"] = "plain"
    """The printed attention, which has no parameters, or AVST's block."""
    shortcut: Literal["vg", "vsa"] = "vg"
    """Visual mean added before the fusion: source-aware (printed) or grounded features."""
    sound: Literal["mlp", "linear"] = later("mlp", before="mlp")
    """Two layers with a ReLU between, as AVST's code has, or the one layer that is printed."""
    audio_tokens: Literal["updated", "before"] = later("updated", before="updated")
    """Tokens that give back to the audio: after they gathered from it, as those of the frames do,
    or before, as the third line of Sec. 3.3 prints."""
    key_value: Literal["apart", "shared"] = later("apart", before="apart")
    """Keys and values of the cross-attention by a layer each, or by one, as printed."""
    question_state: Literal["joined", "hidden"] = later("joined", before="joined")
    """q from the LSTM's last h and c by a layer, as in the code, or h itself, as printed."""
    match: Literal["classifier", "linear"] = later("classifier", before="classifier")
    """Match loss: mean over both kinds of pairs of a four-layer classifier of audio and frame, as
    in the code; or the sum of two cross-entropies of v^sa, as printed, by the one layer that it
    takes to have two classes."""

    @property
    def ground_score(self) -> str:
        """How the map is read, in TJSTG's words."""
        return self.sa_norm

    @property
    def ground_on(self) -> str:
        """Of which rows the grounded vector is made, in TJSTG's words."""
        return "norm" if self.sa_norm == "cosine" else "raw"

    @property
    def most_rows(self) -> int | None:
        """One layer of the official network mixes so many seconds."""
        return OFFICIAL_SECONDS if self.variant == "official" else None

    @property
    def has_tokens(self) -> bool:
        """Whether there are source tokens at all."""
        return self.slt or self.sasr

    def problems(self) -> list[str]:
        """Complaints about values or combinations, one each."""
        found = super().problems()
        if self.width % 8:
            found.append(f"width={self.width}; expected a multiple of 8 (attention heads)")
        if self.question_state == "hidden" and self.question == "clip":
            found.append("question_state='hidden' with question='clip'; expected question='lstm'")
        if not 0 < self.ground_temp < math.inf:
            found.append(f"ground_temp={self.ground_temp}; expected more than 0")
        if self.variant == "official":
            found += [
                f"{name}={getattr(self, name)} with variant=official; that network is fixed:"
                f" leave {name} out"
                for name in _PAPER_ONLY
                if getattr(self, name) != type(self).__dataclass_fields__[name].default
            ]
        return found
