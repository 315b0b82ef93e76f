"""MUSIC-AVQA's fixed vocabularies: 42 answers, 93 rows of words. Ids never depend on a file.

The questions of MUSIC-AVQA use exactly 92 words (``Is`` and ``is``, ``Are`` and ``are`` are
two each), so that with ``<pad>`` the published 93 rows are full. ``<unk>`` is therefore a second
name of row 0, not a 94th row: no word of MUSIC-AVQA is unknown, so no row of its own would ever
be learnt, and an unknown word of another data set reads as padding, which heads mask.
"""

from __future__ import annotations

from collections.abc import Sequence

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

WORD_ID: dict[str, int] = {word: i for i, word in enumerate((*WORDS, *TYPE_WORDS))} | {UNKNOWN: 0}
ANSWER_ID: dict[str, int] = {answer: i for i, answer in enumerate(ANSWERS)}


def num_words(type_words: bool = False) -> int:
    """Rows of the embedding: 93, or 101 with the words of the question types."""
    return len(WORDS) + (len(TYPE_WORDS) if type_words else 0)


def encode_words(
    words: Sequence[str], length: int | None = 14, type_words: bool = False
) -> list[int]:
    """Ids of words, padded on the right with 0.

    Args:
        words: a question's ``words``, its slots, or type words.
        length: ids to give; further words are cut (no text of MUSIC-AVQA has over 14).
            None: as many as there are words.
        type_words: whether the words of the question types have rows.
    """
    rows = num_words(type_words)
    ids = [WORD_ID.get(word, 0) for word in words[:length]]
    ids = [i if i < rows else 0 for i in ids]
    return ids + [0] * ((length or 0) - len(ids))


def is_known(word: str) -> bool:
    """Whether a question word has a row of its own."""
    return 0 < WORD_ID.get(word, 0) < len(WORDS)


def encode_answer(question: Question) -> int:
    """Id of a question's answer, 0 to 41: a target of training.

    Raises:
        DatasetError: if the question has no answer, or one that a head of 42 outputs cannot give.
    """
    if question.answer in ANSWER_ID:
        return ANSWER_ID[question.answer]
    what = "no answer" if question.answer is None else f"answer={question.answer!r}"
    raise DatasetError(
        f"{what} of question_id={question.question_id!r} video_id={question.video_id!r}"
        f" split={question.split!r}; expected one of the {len(ANSWERS)} answers such as"
        " 'yes', 'two' or 'violin'; correct the row, or leave it out of training"
    )
