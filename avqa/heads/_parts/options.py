"""What every head may be told: `HeadOptions`, and how options of later versions are."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field, fields
from typing import Any, Literal, get_args, get_origin, get_type_hints

WIDTHS = {"audio": "audio_width", "frame": "visual_width", "patch": "visual_width"}
WIDTHS |= dict.fromkeys(("sentence", "words", "choices", "choice_words", "prompt"), "text_width")
WIDTHS |= {"negative_patch": "visual_width", "bands": "audio_width"}
OWN_WIDTHS = {"patch": "patch_width", "negative_patch": "patch_width", "words": "word_width"}
OWN_WIDTHS |= {"bands": "band_width", "choice_words": "word_width"}
"""Field of `HeadInput` → the option that is its width, and that of heads that have it, see
`width_option`."""
_BEFORE, _NEW = "before", "new"


def later(default: Any, before: Any) -> Any:
    """An option that earlier versions had not; ``before``: the value that does what they did."""
    return field(default=default, metadata={_BEFORE: before, _NEW: True})


def changed(default: Any, before: Any) -> Any:
    """An option whose default was ``before`` in earlier versions."""
    return field(default=default, metadata={_BEFORE: before})


def options_before(options: type[HeadOptions]) -> dict[str, Any]:
    """Options that earlier versions had not → what stands for them in what those wrote."""
    return {f.name: f.metadata[_BEFORE] for f in fields(options) if _NEW in f.metadata}


def defaults_before(options: type[HeadOptions]) -> dict[str, Any]:
    """Options that are by default no longer what they were → what they were."""
    known = {f.name: f.metadata[_BEFORE] for f in fields(options) if _BEFORE in f.metadata}
    defaults = {f.name: f.default for f in fields(options)}
    return {name: value for name, value in known.items() if value != defaults[name]}


@dataclass(frozen=True, kw_only=True)
class HeadOptions:
    """Options that every head has; a head's own `Options` add its paper's choices.

    Raises:
        ValueError: names every option whose value is not one of those it may have.
    """

    width: int = 512
    """D, width of everything inside the head."""
    audio_width: int = 128
    visual_width: int = 512
    text_width: int = 512
    """Width of CLIP sentence and word features."""
    vocabulary: int = 93
    """Words of the LSTM question encoder, `<pad>` = 0 among them."""
    num_answers: int = 42
    """C, for ``answer="vocabulary"``."""
    answer: Literal["vocabulary", "choices"] = "vocabulary"
    """Closed vocabulary (MUSIC-AVQA), or scored option texts (AVQA)."""
    question: Literal["lstm", "positions", "clip"] = "lstm"
    """Question encoder: learnt words through an LSTM, a learnt vector for each word at each place,
    or CLIP's frozen text features."""
    pack: bool = False
    """LSTM only: stop at the last real word instead of running through the padding."""
    forget_bias: float = 0.0
    """LSTM only: added to the forget gates' bias at the start; 2 lets early words through to q."""
    dropout: float = 0.1
    time_code: Literal["none", "clock", "product"] = later("none", before="none")
    """Beside every row of a video: nothing, as in the papers; which row it is; the row times its
    place. `audio_width` and `visual_width` are those of rows with their code."""
    standardise: bool = later(False, before=False)
    """Columns of sound and frames with mean 0 and deviation 1, by the training videos' rows."""

    def __post_init__(self) -> None:
        problems = [*_literal_problems(self), *self.problems()]
        if problems:
            raise ValueError("; ".join(problems))

    @property
    def most_rows(self) -> int | None:
        """Most rows of a video that the head can be given; None: any number."""
        return getattr(self, "num_seconds", None)

    def width_of(self, name: str) -> int:
        """Width of a field of `HeadInput` as the layers are given it."""
        width: int = getattr(self, width_option(vars(self), name))
        return width

    def problems(self) -> list[str]:
        """Complaints about values or combinations, one each; heads add their own."""
        sizes = [name for name, hint in get_type_hints(type(self)).items() if hint is int]
        found = [
            f"{name}={getattr(self, name)}; expected 1 or more"
            for name in sizes
            if getattr(self, name) < 1
        ]
        if not 0 <= self.dropout < 1:
            found.append(f"dropout={self.dropout}; expected at least 0 and under 1")
        if not 0 <= self.forget_bias <= 10:
            found.append(f"forget_bias={self.forget_bias}; expected 0 to 10")
        return found


def width_option(options: Collection[str], name: str) -> str:
    """Which option is the width of a field of `HeadInput`.

    Args:
        options: names of all that a head has; those with a ``patch_width`` (``word_width``) read
            patches (words) of any width, to the others they are as wide as frames (sentences).
        name: of the field.
    """
    own = OWN_WIDTHS.get(name, "")
    return own if own in options else WIDTHS[name]


def _literal_problems(options: HeadOptions) -> list[str]:
    hints = get_type_hints(type(options))
    problems = []
    for name, hint in hints.items():
        value = getattr(options, name)
        if get_origin(hint) is Literal and value not in get_args(hint):
            known = ", ".join(map(str, get_args(hint)))
            problems.append(f"{name}={value!r}; expected one of {known}")
        if hint is bool and not isinstance(value, bool):
            problems.append(f"{name}={value!r}; expected true or false")
    return problems
