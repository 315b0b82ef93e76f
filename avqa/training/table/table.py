"""The field's result table of a run: published figures, floors, question-only, ours, ablations.

Every average of ours is micro: from counts, never from percentages (heads.md section 8). Nothing
published is called reproduced.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from avqa import datasets, heads
from avqa.datasets._parts.floors import chance
from avqa.datasets._parts.question import Question
from avqa.errors import ConfigError
from avqa.training.run import DEFAULT, PREDICTIONS, QUESTION_ONLY, Member, Run
from avqa.training.scoring import Prediction, read_predictions, score
from avqa.training.table.flips import FLIP, Flips, score_of
from avqa.training.table.layout import Cell, ResultTable, Row, cells_of
from avqa.training.table.notes import Facts, notes, warnings
from avqa.training.table.published import Scope, published_rows
from avqa.training.table.rows import Cells, condition_rows, floor_rows, our_rows
from avqa.training.table.scored import Scored, floors_of

__all__ = ["Cell", "ResultTable", "Row", "result_table"]


def result_table(
    run: Run,
    fit: Sequence[Question],
    questions: Sequence[Question],
    *,
    seconds: int | None = None,
    answers: Mapping[Path, Sequence[Prediction]] | None = None,
    changed: Mapping[str, Mapping[Path, Sequence[Prediction]]] | None = None,
    version: str | None = None,
    choices: Mapping[str, str] | None = None,
) -> ResultTable:
    """The table of a run's members.

    Only questions that every member answered are scored, so that all rows are of the same ones.

    Args:
        run: one head's members: variants × seeds.
        fit: training questions, for the floors; without any there are no floors.
        questions: of one split, those to score.
        seconds: length of the longest video, for the operations; by default the most that the
            settings let in.
        answers: a member's path → its answers; by default its ``predictions.json``.
        changed: condition → likewise, of the members that it concerns; see
            `avqa.training.data.conditions`.
        version: of the questions' annotation; by default the run's.
        choices: the data set's own; by default the run's.

    Raises:
        ConfigError: no question has a right answer.
        RunDamaged: a member's answers cannot be read, or are not those that training wrote.
    """
    if answers is None:
        answers = {m.path: saved_answers(m) for m in run.members}
    scored = scored_by_all(questions, list(answers.values()))
    main = _main_member(run)
    scope = Scope(
        main.config.dataset,
        main.config.annotation_version if version is None else version,
        scored[0].split,
        main.config.settings.split == "official",
    )
    columns = datasets.columns(scope.dataset, [*fit, *scored])
    asked, flips = Scored(scored, columns), Flips(scored)

    def cells(answers: Mapping[Path, Sequence[Prediction]]) -> Cells:
        return partial(_cells, asked, flips, scored, answers)

    words = main.config.words
    facts = Facts(
        run=run,
        main=main,
        scope=scope,
        asked=len(questions),
        scored=len(scored),
        outside=sum(q.answer is not None and not words.has(q.answer) for q in scored),
        fitted=len(fit),
        floors=floors_of(fit, scored, columns) if fit else {},
        chance=chance(scored),
        seconds=seconds,
    )
    rows = (
        *published_rows(heads.load(main.config.head).PAPER, scope),
        *floor_rows(facts.floors),
        *our_rows(run, main.config.head, cells(answers), seconds, scope),
        *(
            row
            for name, of_members in (changed or {}).items()
            for row in condition_rows(run, name, of_members, cells(of_members))
        ),
    )
    return ResultTable(
        dataset=scope.dataset,
        version=scope.version,
        split=scope.split,
        choices=datasets.told(main.config.choices if choices is None else choices),
        columns=(*asked.columns, *([FLIP] if flips else [])),
        rows=rows,
        warnings=tuple(warnings(facts)),
        notes=(*notes(facts, rows), *([flips.note()] if flips else [])),
    )


def _cells(
    asked: Scored,
    flips: Flips,
    scored: Sequence[Question],
    answers: Mapping[Path, Sequence[Prediction]],
    members: Sequence[Member],
) -> dict[str, Cell]:
    """Of the members of one variant."""
    rows = [answers[member.path] for member in members]
    right = np.stack([asked.right(of) for of in rows])
    intervals = asked.intervals(right)
    tables = [
        score(scored, of, asked.pairs) | asked.of_groups(one)
        for of, one in zip(rows, right, strict=True)
    ]
    if flips:
        turned = [flips.turned(of) for of in rows]
        tables = [of | {FLIP: score_of(one)} for of, one in zip(tables, turned, strict=True)]
        if (between := flips.interval(np.stack(turned))) is not None:
            intervals[FLIP] = between
    return cells_of(tables, intervals)


def saved_answers(member: Member) -> list[Prediction]:
    """What a member answered when it was tested.

    Raises:
        RunDamaged: it cannot be read, or is not what training wrote.
    """
    if member.finished:
        member.check(PREDICTIONS)
    return read_predictions(member.path / PREDICTIONS)


def scored_by_all(
    questions: Sequence[Question], answers: Sequence[Sequence[Prediction]]
) -> list[Question]:
    """Questions with a right answer that every member was asked.

    Raises:
        ConfigError: there is none.
    """
    keys = [{row.key for row in rows if row.correct is not None} for rows in answers]
    scored = [question for question in questions if all(question.key in k for k in keys)]
    if not scored:
        raise ConfigError(
            f"none of {len(questions)} questions has a right answer and was answered by every"
            " member; expected at least one to score; check the members' predictions.json"
        )
    return scored


def _main_member(run: Run) -> Member:
    """The member whose head the table is about."""
    others = [m for m in run.members if m.config.variant != QUESTION_ONLY]
    return next(iter([*run.of_variant(DEFAULT), *others, *run.members]))
