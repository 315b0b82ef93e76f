"""One question of any data set, its text in the field's form, and the hashes that name it."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, fields
from operator import attrgetter

SPLITS = ("train", "val", "test")
MARKS = "?\N{FULLWIDTH QUESTION MARK}"


@dataclass(frozen=True, slots=True)
class Question:
    """One question about one video."""

    key: str
    """Unique within a data set: SHA-256, in hexadecimal, of the JSON list of the data set's name,
    the split of the file, the question's id or null, the video's id, the text, and how many rows
    before it in the file are alike in all of these (nearly always 0)."""
    question_id: str | None
    video_id: str
    split: str
    """``train``, ``val`` or ``test``."""
    text: str
    """Slots filled, without the final mark, single spaces; underscores and case are kept."""
    words: tuple[str, ...]
    """The text split on spaces, at most 14 in MUSIC-AVQA."""
    modality: str
    """First half of the type pair: ``Audio-Visual``; for AVQA the question's relation."""
    kind: str
    """Second half of the type pair: ``Temporal``; for AVQA the question's type."""
    template: str
    """The text as the file has it, slots open."""
    slots: tuple[str, ...]
    """What fills the slots, in their order."""
    answer: str | None
    """Answer in words; None where the file has none, and for multiple choice."""
    choices: tuple[str | None, ...] = ()
    """Multiple choice: the options; a missing one is None."""
    choice: int | None = None
    """Index of the right option; None where the file has none or that option is missing."""
    sound_id: str | None = None
    """The video whose sound is heard with this one's pictures; None: its own."""
    group: str = ""
    """Of a test question that its data set puts into ``head`` or ``tail``, by how frequent its
    answer is among questions of its type; else empty."""


def normalise(text: str) -> str:
    """Single spaces, no space at either end, no final mark: the form in which texts are compared.

    Case and underscores are kept: both change what a text encoder gives.
    """
    return " ".join(text.split()).rstrip(MARKS + " ")


def choice_texts(question: Question, *, asked: bool) -> tuple[str | None, ...]:
    """Texts of the options, None where one is missing; ``asked``: the question's before each."""
    if not asked:
        return question.choices
    return tuple(None if c is None else f"{question.text} {c}" for c in question.choices)


def text_key(text: str) -> str:
    """SHA-256, in hexadecimal, of the normalised filled text: the key of its text features."""
    return hashlib.sha256(normalise(text).encode()).hexdigest()


class Keys:
    """Makes the keys of one file's questions, in file order; see `Question.key`."""

    def __init__(self, dataset: str, split: str) -> None:
        """Start a file."""
        self._file = (dataset, split)
        self._seen: Counter[tuple[str | None, str, str]] = Counter()

    def make(self, question_id: str | None, video_id: str, text: str) -> str:
        """Key of the next question: 64 hexadecimal digits."""
        row = (question_id, video_id, text)
        number = self._seen[row]
        self._seen[row] += 1
        # A JSON list keeps ("ab", "c") and ("a", "bc") apart.
        packed = json.dumps([*self._file, *row, number])
        return hashlib.sha256(packed.encode()).hexdigest()


_BUT_KEY = attrgetter(*(f.name for f in fields(Question) if f.name != "key"))


def num_alike(questions: Iterable[Question]) -> int:
    """Number of questions that are alike an earlier one of their split in all but the key."""
    seen = Counter(map(_BUT_KEY, questions))
    return seen.total() - len(seen)


def num_repeated(questions: Iterable[Question]) -> int:
    """Number of question ids that occur more than once in their split."""
    ids = Counter((q.split, q.question_id) for q in questions if q.question_id is not None)
    return sum(count > 1 for count in ids.values())
