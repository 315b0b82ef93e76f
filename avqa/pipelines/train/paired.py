"""`avqa compare-runs`: two runs on the questions that both answered."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from avqa import datasets
from avqa.errors import ConfigError
from avqa.pipelines.train.comparison import Comparison, column_of
from avqa.pipelines.train.evaluate import EvaluateOptions, answers_of, questions_of
from avqa.store.places.files import StorePath
from avqa.training.member import MemberConfig
from avqa.training.run import DEFAULT, PREDICTIONS, Member, Run
from avqa.training.scoring import Prediction, read_predictions


def compare_runs(
    first: Path,
    second: Path,
    annotations: Path | None = None,
    store: StorePath | None = None,
    say: Callable[[str], None] = lambda line: None,
) -> Comparison:
    """Compare what two runs answered to the test questions of the first.

    An imported run has no answers of its own: it is asked its test questions here.

    Args:
        first: a run's folder, whose heads without any ablation count, or one member's.
        second: likewise.
        annotations: of the first run's questions, where they are no longer where it found them.
        store: of imported runs' features, where it is no longer where they found it.
        say: what is missing of a run.

    Raises:
        ConfigError: one is no run, or no question was answered by both.
        RunDamaged: a file of one is damaged, gone or another's.
        DatasetError: the questions cannot be read.
        RecipeMismatch, FeatureMissing, StoreError: of an imported run, as `evaluate`.
    """
    options = EvaluateOptions(run=first, annotations=annotations, store=store)
    one, other = _answers(options, say), _answers(EvaluateOptions(run=second, store=store), say)
    asked = questions_of(one.config, options)
    known = {q.key: q for q in asked.questions if q.key in one.rows and q.key in other.rows}
    same = [key for key in known if one.rows[key].answer == other.rows[key].answer]
    if not same:
        raise ConfigError(
            f"runs {str(first)!r} and {str(second)!r}: of {len(one.rows)} and {len(other.rows)}"
            " questions with a right answer none is the same; expected answers to the same test"
            " questions; compare runs of one data set"
        )
    columns = datasets.columns(one.config.dataset, [*asked.fit, *asked.questions])
    found = {
        name: [key for key in same if (known[key].modality, known[key].kind) in pairs]
        for name, pairs in columns.items()
    }
    return Comparison(
        (one.name, other.name),
        tuple(
            column_of(name, one.right(keys), other.right(keys), [known[k].video_id for k in keys])
            for name, keys in found.items()
            if keys
        ),
        len({known[key].video_id for key in same}),
        (len(one.rows.keys() - other.rows.keys()), len(other.rows.keys() - one.rows.keys())),
        len(known) - len(same),
    )


@dataclass(frozen=True)
class _Answers:
    name: str
    members: tuple[Member, ...]
    rows: Mapping[str, Prediction]
    """Key of every question with a right answer → what the first seed answered."""
    correct: tuple[Mapping[str, bool], ...]
    """Of each seed, by key."""

    @property
    def config(self) -> MemberConfig:
        return self.members[0].config

    def right(self, keys: Sequence[str]) -> NDArray[np.bool_]:
        """[S, N]."""
        return np.array([[of_seed[key] for key in keys] for of_seed in self.correct], bool)


def _answers(options: EvaluateOptions, say: Callable[[str], None]) -> _Answers:
    path = options.run
    run = Run.load(path)
    if gaps := run.gaps():
        say(gaps)
    members = run.of_variant(DEFAULT) or run.members[:1]
    rows = [_rows(member, options, say) for member in members]
    correct = tuple({r.key: r.correct for r in of if r.correct is not None} for of in rows)
    keys = set.intersection(*map(set, correct))
    first = {row.key: row for row in rows[0] if row.key in keys}
    config = members[0].config
    seeds = "seed" if len(members) == 1 else "seeds"
    name = f"{path}: {config.head}, {config.variant}, {len(members)} {seeds}"
    return _Answers(name, tuple(members), first, correct)


def _rows(
    member: Member, options: EvaluateOptions, say: Callable[[str], None]
) -> Sequence[Prediction]:
    if not member.config.imported:
        return read_predictions(member.path / PREDICTIONS)
    place = member.config.store if options.store is None else str(options.store)
    say(
        f"{options.run}: imported, without answers of its own: answering its test questions with"
        f" store {place!r}"
    )
    return answers_of(member, options, say)
