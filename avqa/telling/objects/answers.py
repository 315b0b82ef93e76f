"""What a head answers about a video."""

from __future__ import annotations

from typing import TypedDict


class Probable(TypedDict):
    """An answer that a head may give."""

    answer: str
    probability: float


class Answered(TypedDict):
    """A question about the video."""

    question: str
    choices: list[str | None]
    answers: list[Probable]
    """The best first, as many as ``--top``."""
    right: str | None
    """The right answer, if it was given."""
    right_rank: int | None
    """Its place among all answers, 1 for the best; null if the head has no such answer."""
    rows: int | None
    """Rows of the video that the head was given; null if it looks at none."""
    stride_seconds: int
    """From one row to the next."""
    seconds: list[float] | None
    """Weight of each row; null if the head does not tell."""
    modality: list[float] | None
    """Weight of frames and of audio."""
    looked_at: str
    """The same in words."""
    notes: list[str]
    extracted: list[str]
    """Features that were made for this question."""
    stored: bool
    """The features are those of the run's store."""
    wall_seconds: float
    explained: str | None
    """Picture of ``--explain``."""


class Answers(TypedDict):
    """`avqa ask RUN VIDEO QUESTION`, of several questions, too."""

    run: str
    head: str
    variant: str
    seed: int
    video: str
    random_weights: bool
    answers: list[Answered]
