"""What a run's curves are seen against: the floor, and the head that never looks."""

from __future__ import annotations

from dataclasses import replace

from avqa.datasets._parts.floors import floors
from avqa.training.data.splits import SplitQuestions
from avqa.training.fitting.curves import CURVES, NO_MARKS, Marks, draw_curves
from avqa.training.fitting.history import METRICS, read_metrics
from avqa.training.run import QUESTION_ONLY, MemberConfig, Run
from avqa.training.table.rows import PRIORS


def known_marks(questions: SplitQuestions) -> Marks:
    """The highest floor of the table, scored on validation: known before anything is trained."""
    pairs = frozenset({(q.modality, q.kind) for q in questions.val})
    found = floors(questions.train, questions.val, {"All": pairs})
    accuracies = {
        PRIORS[name]: table["All"].correct / table["All"].total
        for name, table in found.items()
        if name in PRIORS and table["All"].total
    }
    if not accuracies:
        return NO_MARKS
    best = max(accuracies, key=lambda name: accuracies[name])
    return Marks(accuracies[best], best)


def marks_of(config: MemberConfig, marks: Marks) -> Marks:
    """Those of a member."""
    return replace(marks, random_weights=config.weights.startswith("random:"))


def draw_again(run: Run, marks: Marks) -> None:
    """Draw the members' curves with the question-only accuracy, once that is known.

    It is that of the same seed, or of the first.

    Raises:
        StorageFailure: the folder cannot be written.
    """
    only = {m.config.seed: m.result.val_accuracy for m in run.of_variant(QUESTION_ONLY)}
    if not only:
        return
    for member in run.members:
        config = member.config
        history = read_metrics(member.path / METRICS)
        if config.variant == QUESTION_ONLY or not history:
            continue
        value = only.get(config.seed, next(iter(only.values())))
        drawn = replace(marks_of(config, marks), question_only=value)
        title = f"{config.head} {config.variant} seed {config.seed}"
        draw_curves(member.path / CURVES, history, title, drawn)
