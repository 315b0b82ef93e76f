"""A paper as data: how it trained, what it reports, and what is known to be wrong with it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

COLUMNS = (
    *("A-Count", "A-Comp", "A-Avg", "V-Count", "V-Local", "V-Avg"),
    *("AV-Exist", "AV-Count", "AV-Local", "AV-Comp", "AV-Temp", "AV-Avg", "All"),
)
"""The field's result table, in its order; every average is micro."""


@dataclass(frozen=True)
class Recipe:
    """A paper's training: Adam at ``learning_rate``, × ``gamma`` every ``step_epochs``."""

    learning_rate: float
    batch_size: int
    epochs: int
    step_epochs: int
    gamma: float
    stride_seconds: int = 1
    """Every how many seconds a row is taken."""
    visual: str = "clip_vit_b32"
    """Encoder of the frames' features, such as CLIP's vectors or ResNet-18's maps."""
    audio: str = "vggish"
    """Encoder of the audio's features."""
    patch: str = "visual"
    """What patches are read from: ``visual``'s encoder, another, or one feature."""
    text: str = "clip_vit_b32"
    """Encoder of the questions' features, where the head reads such."""
    weight_decay: float = 0.0
    """Of AdamW."""
    beta1: float = 0.9
    """Of Adam: how much of its mean gradient each step keeps."""
    decay: str = "step"
    """How the learning rate falls: so, or ``linear``, from after ``step_epochs`` to nothing."""
    note: str = ""


@dataclass(frozen=True)
class OfDataset:
    """What a head takes on a data set otherwise than by its recipe and its options' defaults."""

    values: Mapping[str, Any]
    """Field of `Recipe` or option → value."""
    note: str
    """Whose they are, and why."""


CLIPS = ("avqa", "valor32k")
"""Data sets of clips of 10 s."""
EVERY_SECOND = dict.fromkeys(
    CLIPS,
    OfDataset(
        {"stride_seconds": 1}, "ours: every sixth second would leave two rows of a clip of 10 s"
    ),
)
"""For papers that take every sixth second of 60."""


@dataclass(frozen=True)
class Figures:
    """One published row of accuracies in percent."""

    name: str
    source: str
    values: Mapping[str, float]
    """Column of `COLUMNS` (or a named other data set) → percent, as printed."""
    annotation: str = "?"
    """`u` updated, `o` original, `o/?` mixed, `?` fits neither."""
    consistent: bool = True
    """Whether the averages follow from the cells."""
    note: str = ""
    parameters_millions: float | None = None
    gflops: float | None = None


@dataclass(frozen=True)
class Ablation:
    """One ablation row: the options that make it and what the paper reports for it."""

    options: Mapping[str, Any]
    values: Mapping[str, float] = field(default_factory=dict)
    note: str = ""
    visual: str | None = None
    """The frames' features that make the row, as in `Recipe`; None: those of the full head."""
    same_as: str = ""
    """A row above whose options, though others, make the same network: where that one is trained,
    it stands for this one."""
    annotation: str = ""
    """As in `Figures`; empty: that of the paper's first figures."""
    consistent: bool = True
    """Whether the averages follow from their parts."""
    parameters_millions: float | None = None
    gflops: float | None = None

    @classmethod
    def of(
        cls,
        options: Mapping[str, Any],
        *printed: Figures,
        note: str = "",
        visual: str | None = None,
        same_as: str = "",
    ) -> Ablation:
        """The row of these options and of what is printed of it, perhaps in several places.

        Args:
            options: that make it.
            printed: at least one; where several have a cost or annotation, the first one's counts.
            note: of ours, before those of the printed rows.
            visual: as the field.
            same_as: as the field.
        """
        notes = dict.fromkeys([note, *(row.note for row in printed)])
        return cls(
            options,
            {column: value for row in printed for column, value in row.values.items()},
            "; ".join(text for text in notes if text),
            visual,
            same_as,
            annotation=printed[0].annotation,
            consistent=all(row.consistent for row in printed),
            parameters_millions=printed[0].parameters_millions,
            gflops=printed[0].gflops,
        )


@dataclass(frozen=True)
class Released:
    """How the checkpoint that the authors published names what our head holds.

    A name is that of a module; its tensors (``weight``, …) are called alike on both sides. ``*`` is
    a number on both sides; where only theirs has one, our tensor is theirs of 0, 1, … one below
    the other.
    """

    modules: Mapping[str, str]
    """Our name → theirs."""
    counted: str
    """Option that says how many they are where only theirs has a ``*``."""
    answer: str
    """Our name of the last layer, whose rows are the answers."""
    answers: Mapping[str, tuple[str, ...]]
    """Data set → its answers in the order of their rows: as their training file has them first."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """Options with which it is the published network → values, where ours have other defaults."""
    left_out: tuple[str, ...] = ()
    """Their modules that are no part of our head, such as a frozen text tower."""
    note: str = ""
    """In what our head with its weights is not the published network."""


@dataclass(frozen=True)
class Paper:
    """One paper."""

    title: str
    venue: str
    url: str
    recipe: Recipe
    figures: tuple[Figures, ...] = ()
    """Of the paper's own method, by whomever it was run."""
    references: tuple[Figures, ...] = ()
    """What its tables print of other methods."""
    parameters_millions: float | None = None
    """As the paper prints it; see ``parameters_note`` for what it counts."""
    gflops: float | None = None
    parameters_note: str = ""
    datasets: Mapping[str, OfDataset] = field(default_factory=dict)
    """Data set → what is otherwise there; ablations, files and ``--set`` stand over it."""
    departures: tuple[str, ...] = ()
    """In what our head with its default options is not, or may not be, what the paper ran: what it
    prints otherwise, what it leaves open and how we read it; a line each."""
    released: Released | None = None
    """Of its published checkpoint, for `avqa import run`."""
