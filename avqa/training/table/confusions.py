"""Which answer a head gives in place of which, template by template: ``confusions.csv``."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from avqa.datasets._parts.question import Question
from avqa.store.places.files import storage_errors, write_atomic
from avqa.training.run import Member
from avqa.training.scoring import Prediction

CONFUSIONS = "confusions.csv"
HEAD = ("variant", "seed", "modality", "kind", "template", "answer", "predicted", "count")


def confusions(
    questions: Iterable[Question], answers: Mapping[tuple[str, int], Sequence[Prediction]]
) -> str:
    """A CSV table: how many questions of a template have one answer and got another one.

    Args:
        questions: those that were asked; those without a right answer do not count.
        answers: variant and seed → what that head answered.
    """
    known = {question.key: question for question in questions}
    counts: Counter[tuple[str, ...]] = Counter()
    for (variant, seed), rows in answers.items():
        for row in rows:
            if row.answer is not None and (asked := known.get(row.key)) is not None:
                of = [variant, str(seed), asked.modality, asked.kind, asked.template]
                counts[*of, row.answer, row.prediction] += 1
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(HEAD)
    order = {name: place for place, name in enumerate(answers)}
    for cell, count in sorted(
        counts.items(), key=lambda item: (order[item[0][0], int(item[0][1])], item[0][2:])
    ):
        writer.writerow([*cell, count])
    return file.getvalue()


def write_confusions(
    path: Path,
    questions: Iterable[Question],
    answers: Iterable[tuple[Member, Sequence[Prediction]]],
) -> None:
    """Write the table of a run's members, atomically.

    Raises:
        StorageFailure: the disk is full or the folder cannot be written.
    """
    named = {(m.config.variant, m.config.seed): rows for m, rows in answers}
    with storage_errors(repr(str(path))):
        write_atomic(path, confusions(questions, named).encode())
