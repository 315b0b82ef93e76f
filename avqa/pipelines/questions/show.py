"""What a data set's question files hold, as lines to print: needs no store and no network."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from avqa import datasets
from avqa.datasets._parts.floors import Table, floors, score_table
from avqa.datasets._parts.question import SPLITS, Question, num_repeated
from avqa.datasets._parts.taxonomy import Pairs
from avqa.datasets._parts.vocabulary import Vocabulary, build_vocabulary


def show_lines(
    dataset: str,
    annotations: Path | str,
    n: int = 5,
    splits: Sequence[str] | None = None,
    **variant: str,
) -> list[str]:
    """Version, counts per type and split, bias floors, unknown words, and ``n`` samples.

    Args:
        dataset: a name of `avqa.datasets.names`.
        annotations: folder of the question files, or one file.
        n: samples; which ones depends on the questions alone.
        splits: those to read; by default those whose file is there.
        **variant: the data set's own choices.

    Raises:
        UnknownName: if there is no such data set, split or value of a variant.
        DatasetError: if a file is missing or cannot be used.
    """
    questions = datasets.read(dataset, annotations, splits, **variant)
    module, notes = datasets.load(dataset), datasets.notes(dataset, annotations)
    vocabulary = datasets.fixed_vocabulary(dataset)
    of_split = {split: [q for q in questions if q.split == split] for split in SPLITS}
    of_split = {split: these for split, these in of_split.items() if these}
    lines = [
        f"data set {dataset}, annotation version: {module.version(questions)}",
        *_counts(questions, of_split),
        *notes,
        *_outside(questions, vocabulary or _own(questions)),
    ]
    if of_split:
        lines += ["", *_table(datasets.columns(dataset, questions), of_split)]
    if n > 0:
        lines += ["", *(_sample(q) for q in sorted(questions, key=lambda q: q.key)[:n])]
    return lines


def _counts(questions: list[Question], of_split: dict[str, list[Question]]) -> list[str]:
    parts = [
        f"{split} {len(these)} ({len({q.video_id for q in these})} videos)"
        for split, these in of_split.items()
    ]
    without = sum(q.question_id is None for q in questions)
    return [
        f"questions: {', '.join(parts) or 'none'}; {len({q.text for q in questions})} distinct"
        " texts",
        f"ids of questions: {num_repeated(questions)} occur more than once, {without} are missing",
    ]


def _own(questions: list[Question]) -> Vocabulary:
    """All answers and words of the training questions; of all, where there are no others."""
    train = [q for q in questions if q.split == "train"] or questions
    return build_vocabulary(train, max_answers=len(train))


def _outside(questions: list[Question], vocabulary: Vocabulary) -> list[str]:
    """What a head with this vocabulary could not read or answer."""
    if any(q.choices for q in questions):
        missing = sum(choice is None for q in questions for choice in q.choices)
        unusable = sum(q.choice is None for q in questions)
        return [f"options: {missing} are missing; {unusable} questions have no right one"]
    known = vocabulary.is_known
    unknown = Counter(word for q in questions for word in q.words if not known(word))
    hit = sum(any(not known(word) for word in q.words) for q in questions)
    answers = Counter(q.answer for q in questions if not vocabulary.has(q.answer))
    without = answers.pop(None, 0)
    lines = []
    if vocabulary.built:
        lines.append(
            f"vocabulary of the training questions: {len(vocabulary.answers)} answers,"
            f" {vocabulary.num_known} words"
        )
    lines.append(
        f"words outside the vocabulary: {len(unknown)} in {hit} questions{_first(unknown)}"
    )
    lines.append(
        f"answers outside the vocabulary: {sum(answers.values())}{_first(answers)};"
        f" {without} questions have none"
    )
    return lines


def _first(found: Counter[str] | Counter[str | None]) -> str:
    """The most frequent few of what was found."""
    names = ", ".join(repr(name) for name, _ in found.most_common(5))
    return f": {names}{', …' if len(found) > 5 else ''}" if names else ""


def _table(columns: dict[str, Pairs], of_split: dict[str, list[Question]]) -> list[str]:
    """Types down, counts per split and floors across."""
    # In the order train, val, test: train and test, as far as they are there.
    fit, score = next(iter(of_split)), next(reversed(of_split))
    tables: dict[str, Table] = floors(of_split[fit], of_split[score], columns)
    counts = {
        split: score_table(((q, False) for q in these), columns)
        for split, these in of_split.items()
    }
    how = f"fitted on {fit}, scored on {score}"
    if fit == score:
        how += ": higher than an honest floor, since only one split is here"
    head = "".join(f"{name:>10}" for name in (*counts, *tables))
    width = max(11, *map(len, columns)) + 1
    lines = [f"questions per type, and floors in percent, {how}", f"{'type':<{width}}{head}"]
    for name in columns:
        numbers = "".join(f"{table[name].total:>10}" for table in counts.values())
        percents = "".join(_percent(table, name) for table in tables.values())
        lines.append(f"{name:<{width}}{numbers}{percents}")
    return lines


def _percent(table: Table, name: str) -> str:
    return f"{table[name].percent:>10.2f}" if table[name].total else f"{'–':>10}"


def _sample(question: Question) -> str:
    answer, options = question.answer, ""
    types = filter(None, (question.modality, question.kind))
    if question.choices:
        right = question.choice
        answer = None if right is None else question.choices[right]
        options = f" (of {' | '.join(option or '–' for option in question.choices)})"
    return (
        f"{question.split} {question.video_id} [{', '.join(types)}]"
        f" {question.text}? {answer or 'no answer'}{options}"
    )
