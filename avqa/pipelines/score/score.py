"""Answers of any model beside the questions: what is missing or strange, table, paired test."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from avqa import datasets
from avqa.datasets import Question
from avqa.datasets._parts.floors import score_table
from avqa.errors import ConfigError, DatasetError
from avqa.pipelines.score.files import Given, read_answers
from avqa.pipelines.score.mapping import Answers
from avqa.pipelines.train.comparison import Comparison, column_of
from avqa.pipelines.train.evaluate import asked_of
from avqa.pipelines.train.evaluation import Asked
from avqa.telling import objects
from avqa.training.table.layout import ResultTable, Row, cells_of
from avqa.training.table.rows import floor_rows
from avqa.training.table.scored import Scored, floors_of

MOST_SHOWN = 5
NO_FLOORS = "no training questions beside these: no floors"


@dataclass(frozen=True)
class Found:
    """One file, matched with the questions."""

    given: Given
    answers: Mapping[str, str]
    """Key of a question → its answer, as the data set writes it."""
    right: NDArray[np.bool_]
    """``[N]``, of the questions with a right answer; without an answer they are wrong."""
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Scores:
    """Of one or several files."""

    table: ResultTable
    comparisons: tuple[Comparison, ...]
    """The first file beside each other one."""

    def lines(self) -> list[str]:
        """For people, below the table."""
        return "\n\n".join("\n".join(one.lines()) for one in self.comparisons).splitlines()

    def data(self) -> objects.Table:
        """For programs, with the table."""
        comparisons = [one.data() for one in self.comparisons]
        return {**self.table.data(), "comparisons": comparisons}


def score_answers(
    files: Sequence[Path],
    dataset: str,
    annotations: Path,
    split: str = "test",
    choices: Mapping[str, str] | None = None,
) -> Scores:
    """Score files of answers.

    Args:
        files: at least one; see `read_answers`.
        dataset: a name of `avqa.datasets.names`.
        annotations: folder of the question files, or one file; training questions make floors.
        split: of the questions.
        choices: the data set's own, as far as they are given.

    Raises:
        UnknownName: there is no such data set, split or value of a choice.
        DatasetError: the questions cannot be read, or none has a right answer.
        ConfigError: a file cannot be read, or answers none of the questions.
    """
    asked = asked_of(dataset, annotations, split, choices=choices)
    known = [q for q in asked.questions if q.answer is not None or q.choice is not None]
    if not known:
        raise DatasetError(
            f"none of {len(asked.questions)} questions of split={split!r} has a right answer;"
            " expected at least one to score; check --annotations"
        )
    columns = datasets.columns(dataset, [*asked.fit, *known])
    possible = Answers(q.answer for q in [*asked.fit, *known] if q.answer is not None)
    found = [_matched(read_answers(path), dataset, asked, known, possible) for path in files]
    scored = Scored(known, columns)
    rows = [
        _row(one, known, columns, scored, name)
        for one, name in zip(found, _names(files), strict=True)
    ]
    floor = floors_of(asked.fit, known, columns) if asked.fit else {}
    table = ResultTable(
        dataset=dataset,
        version=asked.version,
        split=split,
        choices=datasets.told(asked.choices),
        columns=tuple(scored.columns),
        rows=(*floor_rows(floor), *rows),
        notes=(*([] if asked.fit else [NO_FLOORS]), *asked.notes),
    )
    return Scores(table, tuple(_compared(found[0], other, known, scored) for other in found[1:]))


def _names(files: Sequence[Path]) -> list[str]:
    """File names, with their folders where they are alike."""
    alike = len({path.name for path in files}) < len(files)
    return [str(path) if alike else path.name for path in files]


def _matched(
    given: Given, dataset: str, asked: Asked, known: Sequence[Question], possible: Answers
) -> Found:
    by_id: dict[str, list[Question]] = {}
    for question in asked.questions:
        by_id.setdefault(question.key, []).append(question)
        if question.question_id is not None:
            by_id.setdefault(question.question_id, []).append(question)
    said: dict[str, list[str]] = {}
    for name, text in given.rows:
        said.setdefault(name, []).append(text)
    if not said.keys() & by_id.keys():
        raise ConfigError(
            f"predictions={str(given.path)!r}: none of {len(said)} ids ({_some(said)}) is of a"
            f" question of {dataset} (such as {_some(_names_of(asked.questions))}); expected"
            " answers to these questions; check --dataset, --split and --annotations"
        )
    answers: dict[str, str] = {}
    unclear: list[str] = []
    for name, texts in said.items():
        for question in by_id.get(name, ()) if len({*texts}) == 1 else ():
            answer = possible.of(texts[0], question)
            if answer is None:
                unclear.append(texts[0])
            else:
                answers[question.key] = answer
    right = np.array([_is_right(q, answers.get(q.key)) for q in known])
    notes = _notes(given, said, by_id, unclear, [q for q in known if q.key not in answers])
    return Found(given, answers, right, (*notes, *_version_note(given, dataset, asked)))


def _names_of(questions: Sequence[Question]) -> list[str]:
    return [q.question_id or q.key for q in questions]


def _is_right(question: Question, answer: str | None) -> bool:
    wanted = question.answer
    if question.choice is not None:
        wanted = question.choices[question.choice]
    return answer is not None and answer == wanted


def _notes(
    given: Given,
    said: Mapping[str, Sequence[str]],
    by_id: Mapping[str, Sequence[Question]],
    unclear: Sequence[str],
    without: Sequence[Question],
) -> Iterator[str]:
    """What a reader must know of the file; a line each."""
    named = f" in {', '.join(map(repr, given.named))}" if given.named else ""
    yield f"{given.form}, {len(given.rows)} answers{named}"
    foreign = [name for name in said if name not in by_id]
    twice = [name for name, texts in said.items() if len(texts) > 1 and len({*texts}) == 1]
    differing = [name for name, texts in said.items() if len({*texts}) > 1]
    if foreign:
        yield f"{len(foreign)} ids are of no question: {_some(foreign)}"
    if twice:
        yield f"{len(twice)} ids occur twice with one answer: {_some(twice)}"
    if differing:
        yield f"{len(differing)} ids have several answers and count as none: {_some(differing)}"
    if unclear:
        yield (
            f"{len(unclear)} answers stand for none of the data set's and count as none:"
            f" {_some(dict.fromkeys(map(repr, unclear)))}"
        )
    if without:
        names = _some(_names_of(without))
        yield f"{len(without)} questions have no answer and count as wrong: {names}"


def _version_note(given: Given, dataset: str, asked: Asked) -> Iterator[str]:
    """Which annotation the file answers, where its number of answers tells."""
    counts = getattr(datasets.load(dataset), "COUNTS", {})
    split = asked.questions[0].split
    found = [
        name
        for name, of in counts.items()
        if isinstance(of, Mapping) and len(given.rows) in of.get(split, ())
    ]
    if found and found[0] != asked.version and isinstance(asked.version, str):
        yield (
            f"it answers the {found[0]} annotation by its number of answers; these questions are"
            f" the {asked.version} one: give its own with --annotations"
        )
    elif found:
        yield f"it answers the {found[0]} annotation"


def _row(
    found: Found,
    known: Sequence[Question],
    columns: Mapping[str, frozenset[tuple[str, str]]],
    scored: Scored,
    name: str,
) -> Row:
    table = score_table(zip(known, found.right.tolist(), strict=True), columns)
    table |= scored.of_groups(found.right)
    return Row(
        name=name,
        kind="answers",
        cells=cells_of([table], scored.intervals(found.right[None])),
        note="; ".join(found.notes),
    )


def _compared(first: Found, second: Found, known: Sequence[Question], scored: Scored) -> Comparison:
    videos = np.array([q.video_id for q in known])
    both = np.array([q.key in first.answers and q.key in second.answers for q in known])
    only = tuple(
        sum(q.key in one.answers and q.key not in other.answers for q in known)
        for one, other in ((first, second), (second, first))
    )
    columns = tuple(
        column_of(name, first.right[None, chosen], second.right[None, chosen], videos[chosen])
        for name, places in scored.columns.items()
        if len(chosen := places[both[places]])
    )
    if not columns:
        raise ConfigError(
            f"predictions={str(first.given.path)!r} and {str(second.given.path)!r} answer no"
            " question in common; expected answers to the same questions; score them apart"
        )
    names = (str(first.given.path), str(second.given.path))
    return Comparison(names, columns, len({*videos[both]}), (only[0], only[1]), changed=0)


def _some(names: Iterable[str]) -> str:
    """A few of them."""
    shown = [*names]
    more = ", …" if len(shown) > MOST_SHOWN else ""
    return ", ".join(shown[:MOST_SHOWN]) + more
