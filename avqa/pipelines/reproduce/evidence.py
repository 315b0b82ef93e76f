"""What a page is made from: the test questions, and what every trained head answered.

``questions.json`` holds what of the annotation the pages need, so that they can be made again, and
checked, by somebody who has neither the videos nor the annotation.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypedDict

import numpy as np
from numpy.typing import NDArray

from avqa import datasets
from avqa.datasets._parts.floors import Score as Counted
from avqa.datasets._parts.floors import floors
from avqa.datasets._parts.question import SPLITS
from avqa.errors import ConfigError, DifferenceFound, RunDamaged
from avqa.pipelines.reproduce.collection import Collection, digest_of
from avqa.store.places.files import read_json, storage_errors, write_json
from avqa.training import digests, typed
from avqa.training.data.splits import SplitQuestions
from avqa.training.run import PREDICTIONS, Member, Run
from avqa.training.scoring import read_predictions
from avqa.training.table.intervals import Interval, interval
from avqa.training.table.published import Scope

QUESTIONS = "questions.json"


class _Question(TypedDict):
    key: str
    video: str
    answer: str
    alike: bool
    columns: list[str]


class _Questions(TypedDict):
    dataset: str
    version: str
    digest: str
    columns: list[str]
    notes: list[str]
    counts: dict[str, int]
    floors: dict[str, dict[str, float]]
    asked: list[_Question]


@dataclass(frozen=True)
class Asked:
    """One test question with a right answer."""

    key: str
    video: str
    answer: str
    alike: bool
    """Whether a wrong option has the same text."""
    columns: tuple[str, ...]
    """Those of the result table in which it counts."""


@dataclass(frozen=True)
class TestSet:
    """The test questions, and what else is to be said of them."""

    dataset: str
    version: str
    digest: str
    """Of all questions, those to train on, too."""
    columns: tuple[str, ...]
    asked: tuple[Asked, ...]
    counts: Mapping[str, int]
    """Split → questions."""
    floors: Mapping[str, Mapping[str, float]]
    """Floor → column → percent."""
    notes: tuple[str, ...]

    @property
    def scope(self) -> Scope:
        """Which questions these are, for what papers print."""
        return Scope(self.dataset, self.version, "test", official=True)


def write_questions(out: Path, collection: Collection, dataset: str) -> None:
    """Publish ``questions.json``."""
    with storage_errors(f"{str(out / QUESTIONS)!r}"):
        write_json(out / QUESTIONS, digests.sealed(described(collection.questions, dataset)))


def described(questions: SplitQuestions, dataset: str) -> dict[str, Any]:
    """What ``questions.json`` says of questions."""
    answered = [q for q in questions.test if q.answer is not None or q.choice is not None]
    columns = datasets.columns(dataset, [*questions.train, *answered])
    asked = [
        {
            "key": q.key,
            "video": q.video_id,
            "answer": q.answer if q.choice is None else q.choices[q.choice],
            "alike": q.choice is not None and q.choices.count(q.choices[q.choice]) > 1,
            "columns": [name for name, pairs in columns.items() if (q.modality, q.kind) in pairs],
        }
        for q in answered
    ]
    made = floors(questions.train, answered, columns)
    return {
        "dataset": dataset,
        "version": questions.version,
        "digest": digest_of(q for split in SPLITS for q in questions.of(split)),
        "columns": list(columns),
        "counts": {split: len(questions.of(split)) for split in ("train", "val", "test")},
        "floors": {
            name: {column: score.percent for column, score in table.items() if score.total}
            for name, table in made.items()
        },
        "notes": list(questions.notes),
        "asked": asked,
    }


def read_test_set(out: Path) -> TestSet:
    """What `write_questions` wrote.

    Raises:
        RunDamaged: it is gone, or is another.
    """
    path = out / QUESTIONS
    try:
        value = digests.unsealed(read_json(path))
        typed.require({"it": value}, {"it": _Questions})
        asked = tuple(Asked(**{**q, "columns": tuple(q["columns"])}) for q in value["asked"])
        if not asked or any("All" not in floor for floor in value["floors"].values()):
            raise ValueError("it has no question, or a floor without All")
        lists = {"columns": tuple(value["columns"]), "notes": tuple(value["notes"])}
        return TestSet(**{**value, **lists, "asked": asked})
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise RunDamaged(
            f"{str(path)!r} cannot be used: {error}; expected what `avqa reproduce` writes; give"
            " the same command again, which makes it anew"
        ) from error


@dataclass(frozen=True)
class Score:
    """What a head's seeds scored in one column."""

    mean: float
    """Percent, over seeds."""
    interval: Interval | None
    total: int
    """Questions."""


@dataclass(frozen=True)
class Trained:
    """One variant of a head, with all of its finished seeds."""

    members: tuple[Member, ...]
    scores: Mapping[str, Score]
    """By column."""
    left_out: int
    """Test questions that some seed was not asked."""


def trained(run: Run, variant: str, test: TestSet) -> Trained:
    """A variant's scores, computed from its predictions.

    Raises:
        DifferenceFound: predictions are of other questions, or not what the result says.
    """
    members = run.of_variant(variant)
    tables = [_right(member, test) for member in members]
    together = set.intersection(*(set(table) for table in tables))
    asked = [question for question in test.asked if question.key in together]
    if not asked:
        raise ConfigError(
            f"run {str(run.path)!r}: none of {len(test.asked)} test questions was answered by every"
            " seed; expected some; check the members' predictions.json"
        )
    correct = np.array([[table[q.key] for q in asked] for table in tables], bool)
    videos = np.array([q.video for q in asked])
    scores = {}
    for column in test.columns:
        place = np.array([column in q.columns for q in asked])
        if place.any():
            scores[column] = _score(correct[:, place], videos[place].tolist())
    return Trained(members, scores, len(test.asked) - len(asked))


def _score(correct: NDArray[np.bool_], videos: Sequence[str]) -> Score:
    return Score(100 * float(correct.mean()), interval(correct, videos), correct.shape[1])


def _right(member: Member, test: TestSet) -> dict[str, bool]:
    """Key of a test question → whether the member answered it right, looked at anew."""
    member.check(PREDICTIONS)
    asked = {question.key: question for question in test.asked}
    found: dict[str, bool] = {}
    for row in read_predictions(member.path / PREDICTIONS):
        if row.key not in asked:
            if row.answer is not None:
                raise DifferenceFound(
                    f"member {str(member.path)!r}: question {row.key!r} is none of the test;"
                    " expected answers to its questions only; they are of other annotations"
                )
            continue
        if row.answer != asked[row.key].answer:
            raise DifferenceFound(
                f"member {str(member.path)!r}: the right answer to {row.key!r} is {row.answer!r};"
                f" expected {asked[row.key].answer!r}, as {QUESTIONS} has it; they are of other"
                " annotations, or were edited"
            )
        found[row.key] = bool(row.correct)
        is_right = row.prediction == row.answer
        if found[row.key] != is_right and not (is_right and asked[row.key].alike):
            counted = "right" if found[row.key] else "wrong"
            raise DifferenceFound(
                f"member {str(member.path)!r}: {row.prediction!r} counts as {counted} for"
                f" {row.key!r}, whose right answer is {row.answer!r}; expected"
                f" {'wrong' if found[row.key] else 'right'}; the file was edited"
            )
    _compare(member, sum(found.values()), len(found))
    return found


def _compare(member: Member, correct: int, total: int) -> None:
    told = member.result.scores.get("All", Counted(0, 0))
    if (told.correct, told.total) != (correct, total):
        raise DifferenceFound(
            f"member {str(member.path)!r}: {correct} of {total} predictions are right; expected"
            f" {told.correct} of {told.total}, as its result.json says; one of them was edited"
        )
