"""Vocabularies: MUSIC-AVQA's fixed ones, and those built from training questions.

MUSIC-AVQA has 42 answers and 93 rows of words; ids never depend on a file. Its questions use
exactly 92 words (``Is`` and ``is``, ``Are`` and ``are`` are two each), so that with ``<pad>`` the
published 93 rows are full. ``<unk>`` is therefore a second name of row 0, not a 94th row: no word
of MUSIC-AVQA is unknown, so no row of its own would ever be learnt, and an unknown word of its
other editions reads as padding, which heads mask.

A built vocabulary has ``<unk>`` as a row of its own, row 1: its words are those of some questions
only, and a word that it lacks is no padding.
"""

from __future__ import annotations

import functools
import string
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from avqa.datasets._parts.question import Question
from avqa.errors import DatasetError

_INSTRUMENTS = (
    "accordion acoustic_guitar bagpipe banjo bassoon cello clarinet congas drum electric_bass erhu"
    " flute guzheng piano pipa saxophone suona trumpet tuba ukulele violin xylophone"
)
_OTHER_ANSWERS = (
    "yes no left middle right indoor outdoor simultaneously"
    " zero one two three four five six seven eight nine ten"
)
INSTRUMENTS: tuple[str, ...] = tuple(_INSTRUMENTS.split())
"""The 22 instruments, sorted: classes, slot values and answers."""

ANSWERS: tuple[str, ...] = tuple(sorted((*INSTRUMENTS, *_OTHER_ANSWERS.split(), "more than ten")))
"""The 42 answers, sorted; an answer's id is its place."""

PAD = "<pad>"
UNKNOWN = "<unk>"
OTHER = "<other>"
"""The answer that stands for all rare ones; it is right for no question."""
MISSING, OUTSIDE = -1, -2
"""Targets of questions without an answer, and of those whose answer the vocabulary lacks."""
_OTHER_WORDS = (
    "Are How Is What Where Which a after always and appeared are as at before beginning comes"
    " coming did end entire fifth first fourth from heard in instrument instruments is it kind"
    " last left leftest longer louder loudest lowest makes many middle more musical not of on"
    " performance playing rhythmic right rightest same second sound sounding sounds than that the"
    " there third this throughout time to types video voiceover were"
)
WORDS: tuple[str, ...] = (PAD, *sorted((*INSTRUMENTS, *_OTHER_WORDS.split())))
"""The 93 rows of the word embedding; row 0 is ``<pad>``, and stands for ``<unk>``."""

TYPE_WORDS: tuple[str, ...] = (
    *("Audio", "Visual", "Audio-Visual"),
    *("Existential", "Counting", "Location", "Comparative", "Temporal"),
)
"""Rows 93 to 100, for heads that read the question's type (MCD, section 6.2-4)."""

MAX_WORDS = 14
"""Words of a question of MUSIC-AVQA, as in all published code; an LSTM runs through the padding
too, so that the number must not depend on the questions that are asked."""
MOST_WORDS = 32
"""Words that are read of a question, of whatever data set."""
_MARKS = (
    string.punctuation + "\u2026\u201c\u201d\u2018\u2019\u00ab\u00bb\u00bf\u00a1\uff1f\u3002\uff0c"
)


@dataclass(frozen=True)
class Vocabulary:
    """Answers of a head, and rows of the word embedding of its LSTM."""

    answers: tuple[str, ...]
    """An answer's id is its place; none for multiple choice."""
    words: tuple[str, ...]
    """Row 0 is ``<pad>``; row 1 of a built vocabulary is ``<unk>``."""
    types: tuple[str, ...]
    """Rows behind the words, for heads that read the question's type (MCD, section 6.2-4)."""
    max_words: int = MAX_WORDS
    """Words that are read of a question; further ones are cut."""

    @property
    def built(self) -> bool:
        """Whether it was built from questions; else it is MUSIC-AVQA's."""
        return UNKNOWN in self.words

    @property
    def num_known(self) -> int:
        """Words that have a row of their own: the last ones of ``words``."""
        return len(self.words) - (2 if self.built else 1)

    def num_words(self, type_words: bool = False) -> int:
        """Rows of the embedding: MUSIC-AVQA's 93, or 101 with the words of the question types."""
        return len(self.words) + (len(self.types) if type_words else 0)

    @functools.cached_property
    def _rows(self) -> dict[str, int]:
        # MUSIC-AVQA's words and types are different ones, which share a list.
        rows = self.words if self.built else (*self.words, *self.types)
        return {word: row for row, word in enumerate(rows)} | {UNKNOWN: self._unknown}

    @functools.cached_property
    def _type_rows(self) -> dict[str, int]:
        first = len(self.words)
        return {"": 0} | {word: first + place for place, word in enumerate(self.types)}

    @functools.cached_property
    def _answer_ids(self) -> dict[str, int]:
        return {answer: place for place, answer in enumerate(self.answers)}

    @property
    def _unknown(self) -> int:
        return 1 if self.built else 0

    def encode_words(
        self, words: Sequence[str], length: int | None = MAX_WORDS, type_words: bool = False
    ) -> list[int]:
        """Ids of words, padded on the right with 0.

        Args:
            words: a question's ``words``, its slots, or words of its options.
            length: ids to give; further words are cut. None: as many as there are words.
            type_words: whether the words of the question types have rows.
        """
        read = [fold(word) for word in words] if self.built else words
        ids = [self._rows.get(word, self._unknown) for word in read[:length]]
        return self._padded(ids, length, type_words)

    def encode_types(
        self, types: Sequence[str], length: int, type_words: bool = False
    ) -> list[int]:
        """Ids of the words of a question's type, padded on the right with 0; '' is 0 as well."""
        ids = [self._type_rows.get(word, self._unknown) for word in types[:length]]
        return self._padded(ids, length, type_words)

    def _padded(self, ids: list[int], length: int | None, type_words: bool) -> list[int]:
        rows = self.num_words(type_words)
        ids = [row if row < rows else self._unknown for row in ids]
        return ids + [0] * ((length or 0) - len(ids))

    def is_known(self, word: str) -> bool:
        """Whether a question word has a row of its own."""
        row = self._rows.get(fold(word) if self.built else word, 0)
        return self._unknown < row < len(self.words)

    def has(self, answer: str | None) -> bool:
        """Whether a head can give this answer."""
        return answer in self._answer_ids and answer != OTHER

    def teaches(self, answer: str | None) -> bool:
        """Whether a question with this answer can be trained on."""
        return self.has(answer) or (answer is not None and OTHER in self._answer_ids)

    def target(self, answer: str | None) -> int:
        """Id of a right answer; `MISSING` or `OUTSIDE` where no answer of a head is right."""
        if answer is None:
            return MISSING
        return self._answer_ids[answer] if self.has(answer) else OUTSIDE

    def encode_answer(self, question: Question) -> int:
        """Id of a question's answer: a target of training.

        Raises:
            DatasetError: if the question has no answer, or one that the head cannot give.
        """
        answer = question.answer
        if self.teaches(answer):
            return self._answer_ids[str(answer) if self.has(answer) else OTHER]
        what = "no answer" if answer is None else f"answer={answer!r}"
        such = f"such as {self.answers[0]!r}" if self.built else "such as 'yes', 'two' or 'violin'"
        raise DatasetError(
            f"{what} of question_id={question.question_id!r} video_id={question.video_id!r}"
            f" split={question.split!r}; expected one of the {len(self.answers)} answers {such};"
            " correct the row, or leave it out of training"
        )

    def to_json(self) -> dict[str, Any]:
        """As a run keeps it; empty for MUSIC-AVQA's."""
        if not self.built:
            return {}
        lists = {name: list(getattr(self, name)) for name in _LISTS}
        return {**lists, "max_words": self.max_words}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Vocabulary:
        """What `to_json` gave.

        Raises:
            ValueError: it is something else.
        """
        if not value:
            return MUSIC_AVQA
        lists = {name: _texts_in(value, name) for name in _LISTS}
        length = value.get("max_words")
        if lists["words"][:2] != (PAD, UNKNOWN) or type(length) is not int or length < 1:
            raise ValueError(f"vocabulary: expected words {PAD}, {UNKNOWN}, … and max_words")
        return cls(lists["answers"], lists["words"], lists["types"], length)


def _texts_in(value: Mapping[str, Any], name: str) -> tuple[str, ...]:
    found = value.get(name)
    if not isinstance(found, list) or not all(isinstance(word, str) for word in found):
        raise ValueError(f"vocabulary: {name} is no list of texts")
    return tuple(found)


_LISTS = ("answers", "words", "types")
MUSIC_AVQA = Vocabulary(ANSWERS, WORDS, TYPE_WORDS)
"""The vocabulary of all published numbers on MUSIC-AVQA."""


def fold(word: str) -> str:
    """A word as built vocabularies have it: small letters, no marks at either end."""
    return unicodedata.normalize("NFC", word).casefold().strip(_MARKS)


def build_vocabulary(
    questions: Iterable[Question],
    *,
    max_answers: int,
    min_answer_count: int = 1,
    other: bool = False,
    min_word_count: int = 1,
) -> Vocabulary:
    """The vocabulary of training questions, of open answers or multiple choice.

    Args:
        questions: of the training split only.
        max_answers: most answers, the most frequent ones; of equals the first in the alphabet.
        min_answer_count: questions that an answer needs to be one of them.
        other: whether `OTHER` stands for the answers that are none of them, if there are any.
        min_word_count: times that a word needs to occur to have a row of its own.
    """
    questions = list(questions)
    answers = Counter(q.answer for q in questions if q.answer is not None)
    often = [answer for answer, count in answers.items() if count >= min_answer_count]
    kept = sorted(sorted(often, key=lambda answer: (-answers[answer], answer))[:max_answers])
    rare = [OTHER] if other and len(kept) < len(answers) else []
    texts = [q.words for q in questions]
    texts += [tuple(option.split()) for q in questions for option in q.choices if option]
    words = Counter(fold(word) for text in texts for word in text)
    found = sorted(word for word, count in words.items() if word and count >= min_word_count)
    types = {name for q in questions for name in (q.modality, q.kind) if name}
    longest = max((len(q.words) for q in questions), default=0)
    return Vocabulary(
        answers=(*kept, *rare),
        words=(PAD, UNKNOWN, *found),
        types=tuple(sorted(types)),
        max_words=min(max(MAX_WORDS, longest), MOST_WORDS),
    )
