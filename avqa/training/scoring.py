"""What a head answered, question by question, and the counts of the result table."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from avqa.datasets._parts.floors import Table, score_table
from avqa.datasets._parts.question import Question
from avqa.datasets._parts.taxonomy import COLUMNS, Pairs
from avqa.datasets._parts.vocabulary import MISSING, Vocabulary
from avqa.errors import ConfigError, RunDamaged
from avqa.store.places.files import storage_errors, write_atomic
from avqa.training import typed
from avqa.training.probabilities import Probabilities

if TYPE_CHECKING:
    from avqa.heads import HeadOutput
    from avqa.training.data.batch import Batch
    from avqa.training.data.questions import QuestionSet


@dataclass(frozen=True, slots=True)
class Prediction:
    """One question with the answer a head gave; a row of ``predictions.json``."""

    key: str
    """Of the question: unique, where ``question_id`` need not be."""
    question_id: str | None
    video_id: str
    split: str
    text: str
    answer: str | None
    """The right answer in words; None where there is none."""
    prediction: str
    """The answer with the largest probability, in words."""
    probability: float
    """Of ``prediction``: softmax over the vocabulary or over the options, 0 to 1."""
    correct: bool | None
    """None where there is no right answer."""


_TYPES = typed.of_class(Prediction)


def predictions(
    questions: QuestionSet, outputs: Iterable[tuple[Batch, HeadOutput]]
) -> list[Prediction]:
    """What a head answered, in the order of the questions.

    Args and errors as in `answered`.
    """
    return answered(questions, outputs)[0]


def answered(
    questions: QuestionSet, outputs: Iterable[tuple[Batch, HeadOutput]]
) -> tuple[list[Prediction], Probabilities]:
    """What a head answered, in the order of the questions, and how probable all answers were.

    Args:
        questions: those the head was asked.
        outputs: of `avqa.training.fitting.fit.infer`; rows of a batch are places in ``questions``.

    Raises:
        ConfigError: if the head gave a number that is none.
    """
    found: dict[int, Prediction] = {}
    values: dict[int, NDArray[np.float32]] = {}
    for batch, output in outputs:
        given = output.logits.detach().float().softmax(-1).cpu()
        probability, place = given.max(-1)
        rows = batch.rows.cpu()
        if not bool(probability.isfinite().all()):
            asked = questions.questions[int(rows[~probability.isfinite()][0])]
            raise ConfigError(
                f"logits of question {asked.text!r} video_id={asked.video_id!r} are not finite;"
                " expected numbers; the weights or features are damaged, or precision=fp16 is too"
                " narrow: use precision=fp32, or train again"
            )
        numbers = zip(rows.tolist(), place.tolist(), probability.tolist(), strict=True)
        width = given.shape[1]
        found |= {
            r: _prediction(questions.questions[r], questions.vocabulary, p, width, x)
            for r, p, x in numbers
        }
        values |= dict(zip(rows.tolist(), given.numpy(), strict=True))
    order, vocabulary = sorted(found), questions.vocabulary
    asked_in_order = [questions.questions[row] for row in order]
    probabilities = Probabilities.of(
        asked_in_order,
        vocabulary.answers,
        np.stack([values[row] for row in order]) if order else np.zeros((0, 0), np.float32),
        np.array([_right(question, vocabulary) for question in asked_in_order], np.int64),
    )
    return [found[row] for row in order], probabilities


def _right(question: Question, vocabulary: Vocabulary) -> int:
    """Place of the right answer; `MISSING` or `OUTSIDE`."""
    if question.choices:
        return MISSING if question.choice is None else question.choice
    return vocabulary.target(question.answer)


def answer_texts(question: Question, vocabulary: Vocabulary) -> tuple[str | None, ...]:
    """What the logits of a question stand for: its options, or the vocabulary's answers."""
    return question.choices or vocabulary.answers


def _prediction(
    question: Question, vocabulary: Vocabulary, place: int, width: int, probability: float
) -> Prediction:
    texts = answer_texts(question, vocabulary)
    if width < len(texts) or (not question.choices and width > len(texts)):
        raise ConfigError(
            f"the head gives {width} logits to question {question.text!r}, which has"
            f" {len(texts)} answers; expected one each; evaluate it on the data set it was trained"
            " on"
        )
    answer, correct = question.answer, None
    if question.choice is not None:
        answer, correct = question.choices[question.choice], place == question.choice
    elif answer is not None:
        correct = texts[place] == answer
    return Prediction(
        key=question.key,
        question_id=question.question_id,
        video_id=question.video_id,
        split=question.split,
        text=question.text,
        answer=answer,
        prediction=str(texts[place]),
        probability=round(probability, 6),
        correct=correct,
    )


def score(
    questions: Iterable[Question],
    answered: Iterable[Prediction],
    columns: Mapping[str, Pairs] = COLUMNS,
) -> Table:
    """Right answers per column, of the questions that were answered and have a right answer.

    Args:
        questions: those to count; found among the answered by their keys.
        answered: rows of one head.
        columns: of the data set, see `avqa.datasets`.
    """
    correct = {row.key: row.correct for row in answered if row.correct is not None}
    return score_table(((q, correct[q.key]) for q in questions if q.key in correct), columns)


def write_predictions(path: Path, rows: Sequence[Prediction]) -> None:
    """Write a JSON list, one row a line, atomically.

    Raises:
        StorageFailure: the disk is full or the folder cannot be written.
    """
    lines = ",\n".join(json.dumps(dataclasses.asdict(row), ensure_ascii=False) for row in rows)
    with storage_errors(str(path)):
        write_atomic(path, f"[\n{lines}\n]\n".encode())


def read_predictions(path: Path) -> list[Prediction]:
    """The rows that `write_predictions` wrote.

    Raises:
        RunDamaged: if the file is not there or was not written so.
    """
    try:
        rows = json.loads(path.read_text(encoding="utf-8"))
        typed.require({"rows": rows}, {"rows": list[dict[str, Any]]})
        for number, row in enumerate(rows):
            typed.require(row, _TYPES, f"rows[{number}]")
        return [Prediction(**row) for row in rows]
    except (OSError, ValueError, TypeError, RecursionError) as error:
        why = error.strerror if isinstance(error, OSError) else str(error)
        raise RunDamaged(
            f"predictions={str(path)!r} cannot be read: {str(why).lower()}; expected the list that"
            " training writes; remove the file and have it made again by the same `avqa"
            " train-head` command and --resume"
        ) from error
