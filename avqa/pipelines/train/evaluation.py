"""What `avqa evaluate` finds beside the result table, and what it writes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from avqa import datasets
from avqa.datasets import Question
from avqa.errors import ConfigError
from avqa.pipelines.train.comparison import Comparison, column_of
from avqa.store.places.files import storage_errors
from avqa.telling import objects
from avqa.training.data.conditions import STREAMS, Condition
from avqa.training.probabilities import Probabilities, write_probabilities
from avqa.training.run import PROBABILITIES, RUN, Member, Run
from avqa.training.scoring import Prediction
from avqa.training.table.confidence import Confidence, confidence_lines
from avqa.training.table.confusions import CONFUSIONS, write_confusions
from avqa.training.table.consistency import Consistency, consistency_lines, wordings
from avqa.training.table.layout import ResultTable
from avqa.training.table.scored import Scored
from avqa.training.table.table import scored_by_all


@dataclass(frozen=True)
class Asked:
    """Questions of one split, and those to fit floors on."""

    questions: Sequence[Question]
    """Of the split."""
    fit: Sequence[Question]
    """Training questions, for the floors."""
    version: str
    choices: Mapping[str, str]
    """The data set's own, every one."""
    notes: Sequence[str]
    """How they were read."""


@dataclass(frozen=True)
class Answered:
    """What the members of a run answered, by their folders."""

    plain: dict[Path, list[Prediction]]
    probabilities: dict[Path, Probabilities]
    changed: dict[str, dict[Path, list[Prediction]]]
    """Condition → what those answered that read what it changes."""
    notes: tuple[str, ...]
    """What the conditions did."""


@dataclass(frozen=True)
class Evaluation:
    """A result table, and what is told below it."""

    table: ResultTable
    comparisons: tuple[Comparison, ...]
    """Heads as they are beside themselves under each condition."""
    confidence: tuple[Confidence, ...]
    consistency: tuple[Consistency, ...]
    """Empty where no question has several wordings."""
    files: tuple[Path, ...]
    """Probabilities that were written."""

    def lines(self) -> list[str]:
        """For people, below the table."""
        last = self.comparisons[-1:]
        parts = [one.lines(explained=False) for one in self.comparisons[:-1]]
        parts += [one.lines() for one in last]
        parts.append(confidence_lines(self.confidence))
        if self.consistency:
            parts.append(consistency_lines(self.consistency))
        if self.files:
            parts.append([f"all probabilities: {str(path)!r}" for path in self.files])
        return [line for part in parts for line in ("", *part)][1:]

    def data(self) -> objects.Table:
        """For programs, with the table."""
        return {
            **self.table.data(),
            "comparisons": [one.data() for one in self.comparisons],
            "confidence": [one.data() for one in self.confidence],
            "consistency": [one.data() for one in self.consistency],
            "files": [*self.table.confusions, *map(str, self.files)],
        }


def readers_of(condition: Condition, run: Run) -> list[Member]:
    """The members that read some of what a condition changes.

    Raises:
        ConfigError: none does.
    """
    fields = {field for name in condition.streams for field in STREAMS[name]}
    found = [member for member in run.members if fields & member.config.features.keys()]
    if not found:
        read = {field for member in run.members for field in member.config.features}
        names = [name for name, those in STREAMS.items() if read.intersection(those)] or [
            "no video"
        ]
        raise ConfigError(
            f"{condition.name}: no head of run {str(run.path)!r} reads"
            f" {' or '.join(condition.streams)}; expected some of {', '.join(names)}, which they"
            " read; change the condition"
        )
    return found


def check_out(out: Path) -> None:
    """Refuse a folder whose files are others'.

    Raises:
        ConfigError: it is a file, or a run, whose own answers stand there.
    """
    if (out / RUN).exists() or (out.exists() and not out.is_dir()):
        what = "is a run" if out.is_dir() else "is a file"
        raise ConfigError(
            f"out={str(out)!r} {what}; expected a folder for what is evaluated; change --out"
        )


def evaluation(
    run: Run,
    asked: Asked,
    table: ResultTable,
    found: Answered,
    conditions: Sequence[Condition],
    out: Path | None,
) -> Evaluation:
    """Look at the answers, and write what is to be kept.

    Args:
        run: whose members answered.
        asked: the questions.
        table: of the answers.
        found: them.
        conditions: under which some were given.
        out: folder to write to, if anything is to be written.
    """
    known = scored_by_all(asked.questions, list(found.plain.values()))
    keys = [question.key for question in known]
    table = replace(table, notes=(*table.notes, *found.notes))
    files: tuple[Path, ...] = ()
    if out is not None:
        files = tuple(_write(out, run, found))
        write_confusions(
            out / CONFUSIONS, asked.questions, [(m, found.plain[m.path]) for m in run.members]
        )
        table = replace(table, confusions=(str(out / CONFUSIONS),))
    return Evaluation(
        table,
        tuple(_comparisons(run, Scored(known, _columns(run, asked, known)), found, conditions)),
        tuple(
            Confidence.of(name, [found.probabilities[m.path].chosen(keys) for m in members])
            for name, members in _variants(run)
        ),
        tuple(_consistency(run, known, found)),
        files,
    )


def _columns(
    run: Run, asked: Asked, known: Sequence[Question]
) -> Mapping[str, frozenset[tuple[str, str]]]:
    return datasets.columns(run.members[0].config.dataset, [*asked.fit, *known])


def _variants(run: Run) -> Iterator[tuple[str, tuple[Member, ...]]]:
    for variant in dict.fromkeys(member.config.variant for member in run.members):
        members = run.of_variant(variant)
        yield members[0].label, members


def _comparisons(
    run: Run, scored: Scored, found: Answered, conditions: Sequence[Condition]
) -> Iterator[Comparison]:
    """Every variant as it is beside itself under each condition that concerns it."""
    for condition in conditions:
        changed = found.changed[condition.name]
        for name, members in _variants(run):
            if members[0].path not in changed:
                continue
            plain, under = (
                np.stack([scored.right(of[member.path]) for member in members])
                for of in (found.plain, changed)
            )
            columns = tuple(
                column_of(
                    column,
                    plain[:, rows],
                    under[:, rows],
                    scored.videos[rows].tolist(),
                    same_seeds=True,
                )
                for column, rows in scored.columns.items()
                if len(rows)
            )
            names = (f"{name}, as it is", f"{name}, {condition.name}")
            videos = len({*scored.videos.tolist()})
            yield Comparison(names, columns, videos, alone=(0, 0), changed=0)


def _consistency(run: Run, known: Sequence[Question], found: Answered) -> Iterator[Consistency]:
    original = getattr(datasets.load(run.members[0].config.dataset), "original", None)
    if original is not None and (groups := wordings(known, original)):
        for name, members in _variants(run):
            yield Consistency.of(name, groups, [found.plain[m.path] for m in members])


def _write(out: Path, run: Run, found: Answered) -> Iterator[Path]:
    """All probabilities of each member."""
    for member in run.members:
        path = out / member.path.parent.name / member.path.name / PROBABILITIES
        with storage_errors(repr(str(path))):
            path.parent.mkdir(parents=True, exist_ok=True)
        write_probabilities(path, found.probabilities[member.path])
        yield path
