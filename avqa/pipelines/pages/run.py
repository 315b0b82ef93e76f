"""The page of a run: what its heads score, how they learned, what they take for what.

It is a function of the run's files and of what these name: the questions, for types, templates and
floors, and the store, for attention. What is not at hand is named on the page and left out.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from avqa import datasets
from avqa.datasets import Question
from avqa.datasets._parts.taxonomy import Pairs
from avqa.errors import AvqaError
from avqa.pipelines.pages import confusions, curves, settings
from avqa.pipelines.pages.attention import Attention, attention
from avqa.pipelines.pages.browse import Rows, name, questions
from avqa.pipelines.pages.intervals import over_columns
from avqa.pipelines.pages.media.beside import frames_beside
from avqa.pipelines.pages.page import render
from avqa.pipelines.train.tables import TABLE, joined_table
from avqa.telling import Say
from avqa.training.data.splits import SplitQuestions, read_splits
from avqa.training.run import DEFAULT, PREDICTIONS, QUESTION_ONLY, Member, Run
from avqa.training.scoring import read_predictions
from avqa.training.table.cells import Cell, Footnotes, Row
from avqa.training.table.flips import FLIP
from avqa.training.table.layout import ResultTable
from avqa.training.table.notes import of_weights
from avqa.training.table.table import result_table


@dataclass
class _Found:
    """What there is of a run, and what is missing."""

    run: Run
    splits: SplitQuestions | None = None
    answers: dict[Path, Rows] = field(default_factory=dict)
    """A member's path → what it answered, where that is there."""
    missing: list[str] = field(default_factory=list)

    @property
    def main(self) -> tuple[Member, ...]:
        """The seeds that the page is about."""
        run = self.run
        others = [m for m in run.members if m.config.variant != QUESTION_ONLY]
        first = next(iter([*run.of_variant(DEFAULT), *others, *run.members]))
        return run.of_variant(first.config.variant)

    @property
    def answered(self) -> list[tuple[Member, Rows]]:
        """The members whose answers are there, those of `main` in front."""
        others = (m for m in self.run.members if m.config.variant != self.main[0].config.variant)
        ordered = [*self.main, *others]
        return [(m, self.answers[m.path]) for m in ordered if m.path in self.answers]

    @property
    def columns(self) -> Mapping[str, Pairs]:
        """Of the data set's table."""
        if self.splits is None:
            return {}
        config = self.main[0].config
        return datasets.columns(config.dataset, [*self.splits.train, *self.splits.test])

    @property
    def known(self) -> dict[str, Question]:
        """Key → test question."""
        return {} if self.splits is None else {q.key: q for q in self.splits.test}


def run_page(path: Path, say: Say, videos: Path | None = None) -> bytes:
    """The page of a run's folder, or of one member's; ``videos`` to show frames of.

    Raises:
        ConfigError: there is no run, or nothing of it is finished.
        RunDamaged: a file of it that has to be there is damaged, gone or another's.
    """
    run = Run.load(path)
    found = _Found(run, missing=[gaps] if (gaps := run.gaps()) else [])
    _read_questions(found)
    _read_answers(found)
    table = _table(found)
    shown = _attention(found)
    asked = questions(found.answered, found.known, found.columns)
    frames = _frames(found, shown, asked, videos)
    for line in found.missing:
        say(f"not on the page: {line}")
    answered = list(_answered(found))
    fit = found.splits.train if found.splits else ()
    config = found.main[0].config
    return render(
        "run",
        title=f"{path.resolve().name}: {config.head} on {config.dataset}",
        data={
            "questions": asked,
            "posters": frames,
            "attention": None if shown is None else shown.to_json(),
        },
        run=run,
        config=config,
        seeds=found.main,
        marks=list(of_weights(run)),
        missing=found.missing,
        table=table,
        lines=_lines(table) if table else (),
        notes=_notes(table) if table else (),
        tiles=_tiles(table) if table else (),
        intervals=over_columns(table) if table else None,
        curves=curves.of_run(run, found.main, found.splits),
        matrices=list(confusions.matrices(answered, found.columns)),
        templates=confusions.templates(answered, fit, found.columns),
        most_answers=confusions.MOST_ANSWERS,
        attention=shown,
        settings=settings.of_run(run, found.main[0]),
    )


def _read_questions(found: _Found) -> None:
    config = found.main[0].config
    how = config.settings
    try:
        found.splits = read_splits(
            config.dataset, config.annotations, how.split, config.choices, how.dub
        )
    except AvqaError as error:
        found.missing.append(
            f"types, templates and floors of the questions, which cannot be read: {error}"
        )


def _read_answers(found: _Found) -> None:
    for member in found.run.members:
        try:
            member.check(PREDICTIONS)
            rows = read_predictions(member.path / PREDICTIONS)
            found.answers[member.path] = {row.key: row for row in rows}
        except AvqaError as error:
            found.missing.append(f"answers of {name(member)}: {error}")


def _table(found: _Found) -> ResultTable | None:
    """Of the stored answers if all is there, else the one that training wrote."""
    run, splits = found.run, found.splits
    try:
        if splits is not None and found.answers:
            there = tuple(m for m in run.members if m.path in found.answers)
            answers = {path: list(rows.values()) for path, rows in found.answers.items()}
            scored = dataclasses.replace(run, members=there)
            return result_table(scored, splits.train, splits.test, answers=answers)
        if (run.path / TABLE).exists():
            return joined_table([run.path])
        found.missing.append(f"the table of results: there is no {TABLE} in {str(run.path)!r}")
    except AvqaError as error:
        found.missing.append(f"the table of results: {error}")
    return None


def _attention(found: _Found) -> Attention | None:
    member = found.main[0]
    if member.path not in found.answers or found.splits is None:
        return None
    shown = attention(member, name(member), found.answers[member.path], found.known)
    if isinstance(shown, Attention):
        return shown
    found.missing.append(shown)
    return None


def _frames(
    found: _Found, shown: Attention | None, asked: Mapping[str, Any], videos: Path | None
) -> dict[str, str]:
    """Number of a video among the texts → its frames; those with attention come first."""
    if videos is None:
        return {}
    texts, known = asked["texts"], found.known
    attended = [known[key].video_id for key in (shown.weights if shown else ())]
    wanted = [*attended, *(texts[number] for number in asked["video"])]
    frames, lacking = frames_beside(found.main[0], wanted, known.values(), videos)
    found.missing += [lacking] if lacking else []
    return {str(texts.index(name)): picture for name, picture in frames.items()}


def _answered(found: _Found) -> Iterator[tuple[Question, Sequence[Any]]]:
    """Questions with a right answer that every seed was asked, and what these answered."""
    rows = [found.answers[m.path] for m in found.main if m.path in found.answers]
    for key, question in found.known.items():
        if rows and all(key in of and of[key].correct is not None for of in rows):
            yield question, [of[key] for of in rows]


@dataclass(frozen=True)
class _Line:
    """A row of the table as the page shows it."""

    row: Row
    name: str
    cells: tuple[tuple[Cell | None, bool], ...]
    """Column by column, with whether it is below the highest floor."""


def _lines(table: ResultTable) -> list[_Line]:
    notes = Footnotes()
    floors = [row.cells for row in table.rows if row.kind == "floor"]
    highest = {
        column: max((cells[column].mean for cells in floors if column in cells), default=None)
        for column in table.columns
    }
    return [
        _Line(
            row,
            row.name + notes.reference(row),
            tuple(
                (cell, column != FLIP and _is_below(row, cell, highest[column]))
                for column in table.columns
                for cell in [row.cells.get(column)]
            ),
        )
        for row in table.rows
    ]


def _is_below(row: Row, cell: Cell | None, floor: float | None) -> bool:
    ours = row.kind in ("ours", "question-only", "ablation")
    return ours and cell is not None and floor is not None and cell.mean < floor


def _notes(table: ResultTable) -> list[str]:
    notes = Footnotes()
    for row in table.rows:
        notes.reference(row)
    return [*notes.lines, *table.notes]


@dataclass(frozen=True)
class _Tile:
    """A number to see first."""

    title: str
    value: str
    more: str = ""


def _tiles(table: ResultTable) -> list[_Tile]:
    """Ours, the highest floor, the head that never looks, all over all questions."""
    column = "All"
    ours = [row for row in table.rows if row.kind == "ours" and column in row.cells]
    floors = [row for row in table.rows if row.kind == "floor" and column in row.cells]
    only = [row for row in table.rows if row.kind == "question-only" and column in row.cells]
    tiles = [_tile(row, column, row.name.removeprefix("ours: ")) for row in ours]
    if floors:
        best = max(floors, key=lambda row: row.cells[column].mean)
        tiles.append(_tile(best, column, best.name))
        if ours:
            above = ours[0].cells[column].mean - best.cells[column].mean
            tiles.append(_Tile("above that floor", f"{above:+.2f}", "percentage points"))
    return [*tiles, *(_tile(row, column, "without looking") for row in only)]


def _tile(row: Row, column: str, title: str) -> _Tile:
    cell = row.cells[column]
    more = []
    if cell.low is not None and cell.high is not None:
        more.append(f"95 %: {cell.low:.1f} to {cell.high:.1f}")
    if cell.total is not None:
        more.append(f"{cell.total} questions")
    return _Tile(title, f"{cell} %", "; ".join(more))
