"""All probabilities that a head gave: ``predictions.npz`` beside ``predictions.json``."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from avqa.datasets._parts.question import Question
from avqa.errors import RunDamaged
from avqa.store.places.files import storage_errors, write_atomic


@dataclass(frozen=True)
class Probabilities:
    """Of N questions, in the order of the answers beside them."""

    keys: NDArray[np.str_]
    """[N], `Question.key`."""
    question_ids: NDArray[np.str_]
    """[N]; empty where a question has none."""
    values: NDArray[np.float32]
    """[N, A], rows that add up to 1; 0 of options that are missing."""
    answers: NDArray[np.str_]
    """[A], what the columns are; of multiple choice [N, A], the options of each question."""
    right: NDArray[np.int64]
    """[N], column of the right answer; -1 where none is known, -2 where no column is it."""

    @classmethod
    def of(
        cls,
        questions: Sequence[Question],
        answers: Sequence[str],
        values: NDArray[np.float32],
        right: NDArray[np.int64],
    ) -> Probabilities:
        """Take together what a head was asked and gave.

        Args:
            questions: N of them.
            answers: A texts; of multiple choice those of the questions are taken instead.
            values: ``[N, A]``.
            right: ``[N]``.
        """
        width = values.shape[1]
        texts = np.array(list(answers), dtype=np.str_)
        if any(question.choices for question in questions):
            options = ([c or "" for c in q.choices] for q in questions)
            texts = np.array([[*row, *[""] * (width - len(row))] for row in options], np.str_)
        return cls(
            np.array([q.key for q in questions], np.str_),
            np.array([q.question_id or "" for q in questions], np.str_),
            values,
            texts,
            right,
        )

    def chosen(self, known: Sequence[str]) -> Probabilities:
        """Those of some questions, by their keys, in that order."""
        place = {key: row for row, key in enumerate(self.keys.tolist())}
        rows = np.array([place[key] for key in known], np.int64)
        answers = self.answers[rows] if self.answers.ndim == 2 else self.answers
        return Probabilities(
            self.keys[rows], self.question_ids[rows], self.values[rows], answers, self.right[rows]
        )


def write_probabilities(path: Path, found: Probabilities) -> None:
    """Write a zip file of arrays, atomically; nothing in it is pickled.

    Raises:
        StorageFailure: the disk is full or the folder cannot be written.
    """
    file = io.BytesIO()
    np.savez_compressed(file, **vars(found))
    with storage_errors(str(path)):
        write_atomic(path, file.getvalue())


def read_probabilities(path: Path) -> Probabilities:
    """What `write_probabilities` wrote.

    Raises:
        RunDamaged: it is not there, or is none.
    """
    try:
        with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as arrays:
            found: dict[str, Any] = {name: arrays[name] for name in _FIELDS}
        rows = {name: len(found[name]) for name in _FIELDS if name != "answers"}
        if len({*rows.values()}) > 1 or found["values"].ndim != 2:
            raise ValueError(f"its arrays do not fit: {rows}")
        return Probabilities(**found)
    except (OSError, ValueError, KeyError, zipfile.BadZipFile, EOFError) as error:
        raise RunDamaged(
            f"probabilities={str(path)!r} cannot be read: {error}; expected the arrays that"
            " training writes; remove the file and have it made again by the same `avqa"
            " train-head` command and --resume"
        ) from error


_FIELDS = tuple(Probabilities.__dataclass_fields__)
