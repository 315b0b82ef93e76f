"""Which instruments a video has, as far as its training questions say (heads.md section 9.6).

The released annotation has no labels. These come from questions and answers alone: positive,
negative, or unknown, per video and not per question, so that two questions of one video agree.
Only training questions may be used: the splits share videos, and a test question's answer would
reach the head through the label.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from avqa.datasets._parts.question import Question
from avqa.datasets._parts.vocabulary import INSTRUMENTS
from avqa.errors import DatasetError

Evidence = Literal["any", "audio", "visual"]
CLASS_OF = {name: number for number, name in enumerate(INSTRUMENTS)}
MODALITIES: dict[Evidence, tuple[str, ...]] = {
    "any": ("Audio", "Visual", "Audio-Visual"),
    "audio": ("Audio", "Audio-Visual"),
    "visual": ("Visual", "Audio-Visual"),
}
"""The questions that count: what is seen need not sound, what sounds need not be seen."""


@dataclass(frozen=True, eq=False)
class InstrumentLabels:
    """Labels of videos for the 22 classes of `INSTRUMENTS`, in that order."""

    videos: tuple[str, ...]
    """Ids, in order of their first question; row i of the arrays is video i."""
    positive: npt.NDArray[np.bool_]
    """``[videos, 22]``: there."""
    negative: npt.NDArray[np.bool_]
    """``[videos, 22]``: not there."""
    num_conflicts: int
    """Videos with a class that questions both affirm and deny; that class is unknown."""

    @property
    def unknown(self) -> npt.NDArray[np.bool_]:
        """``[videos, 22]``: no question says, or they contradict each other."""
        return ~(self.positive | self.negative)


def instrument_labels(
    questions: Iterable[Question], evidence: Evidence = "any"
) -> InstrumentLabels:
    """Labels of every video that the questions are about, also of those they tell nothing of.

    Args:
        questions: of the training split only.
        evidence: ``audio`` or ``visual`` leaves out questions about the other alone.

    Raises:
        DatasetError: if a question is of another split.
    """
    questions = list(questions)
    for question in questions:
        if question.split != "train":
            raise DatasetError(
                f"instrument labels from a question of split={question.split!r},"
                f" question_id={question.question_id!r}; expected training questions only, since"
                " the splits share videos; pass the questions of split 'train'"
            )
    return collect(questions, evidence)


def collect(questions: Iterable[Question], evidence: Evidence = "any") -> InstrumentLabels:
    """`instrument_labels` of any questions: for statistics only, never for training."""
    row_of: dict[str, int] = {}
    affirmed: set[tuple[int, int]] = set()
    denied: set[tuple[int, int]] = set()
    for question in questions:
        row = row_of.setdefault(question.video_id, len(row_of))
        if question.modality in MODALITIES[evidence]:
            there, absent = _evidence(question)
            affirmed.update((row, CLASS_OF[name]) for name in there)
            denied.update((row, CLASS_OF[name]) for name in absent)
    positive = np.zeros((len(row_of), len(INSTRUMENTS)), np.bool_)
    negative = np.zeros_like(positive)
    for marks, array in ((affirmed - denied, positive), (denied - affirmed, negative)):
        for row, column in marks:
            array[row, column] = True
    conflicts = {row for row, _ in affirmed & denied}
    return InstrumentLabels(tuple(row_of), positive, negative, len(conflicts))


def _evidence(question: Question) -> tuple[list[str], list[str]]:
    """Instruments that one question with its answer affirms, and those that it denies."""
    slots = [value for value in question.slots if value in CLASS_OF]
    answer, template = question.answer, question.template
    if answer is None:
        return [], []
    there = [answer] if answer in CLASS_OF else []
    if question.kind != "Counting":
        # Comparative, location, temporal, "always playing": the question supposes them.
        return there + slots, []
    if template.startswith("How many"):
        # None sounding may still be seen, so only "are in the entire video" denies.
        silent = answer == "zero"
        absent = slots if silent and template.startswith("How many <Object> are in") else []
        return there + ([] if silent else slots), absent
    # "Is there a …": "no" to "Are there … and …" does not say which is missing.
    absent = slots if answer == "no" and template.startswith("Is there a ") else []
    return there + (slots if answer == "yes" else []), absent
