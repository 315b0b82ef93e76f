"""What a data set's question files hold: needs no store and no network."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from avqa import datasets
from avqa.datasets._parts.floors import Score, Table, chance, floors, score_table
from avqa.datasets._parts.question import SPLITS, Question, num_alike, num_repeated
from avqa.datasets._parts.vocabulary import Vocabulary, build_vocabulary
from avqa.telling import objects
from avqa.telling.found import Listing

MOST_SHOWN = 5
"""Words and answers that are named."""


def show_lines(
    dataset: str,
    annotations: Path | str,
    n: int = 5,
    splits: Sequence[str] | None = None,
    **variant: str,
) -> list[str]:
    """`shown` as lines to print."""
    return shown(dataset, annotations, n, splits, **variant).lines()


def shown(
    dataset: str,
    annotations: Path | str,
    n: int = 5,
    splits: Sequence[str] | None = None,
    **variant: str,
) -> Listing[objects.Questions]:
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
    of_split = {split: [q for q in questions if q.split == split] for split in SPLITS}
    of_split = {split: these for split, these in of_split.items() if these}
    # In the order train, val, test: train and test, as far as they are there.
    fit, score = (next(iter(of_split)), next(reversed(of_split))) if of_split else (None, None)
    chosen = sorted(questions, key=lambda q: q.key)[:n] if n > 0 else []
    found: objects.Questions = {
        "dataset": dataset,
        "version": datasets.load(dataset).version(questions),
        "splits": [_of_split(split, these) for split, these in of_split.items()],
        "distinct_texts": len({q.text for q in questions}),
        "repeated_ids": num_repeated(questions),
        "missing_ids": sum(q.question_id is None for q in questions),
        "repeated_rows": num_alike(questions),
        "dubbed_questions": sum(q.sound_id is not None for q in questions),
        "choices": datasets.told(datasets.chosen(dataset, variant)),
        "notes": datasets.notes(dataset, annotations, **variant),
        "missing_options": None,
        "without_right_option": None,
        "guessing_percent": None,
        "vocabulary_answers": None,
        "vocabulary_words": None,
        "unknown_words": None,
        "unknown_answers": None,
        "without_answer": None,
        "fitted_on": fit,
        "scored_on": score,
        "types": [*_types(dataset, questions, of_split)],
        "samples": [_sample(q) for q in chosen],
    }
    _look_outside(found, questions, datasets.fixed_vocabulary(dataset) or _own(questions))
    return Listing(found, _lines)


def _of_split(split: str, these: Sequence[Question]) -> objects.Asked:
    return {"split": split, "questions": len(these), "videos": len({q.video_id for q in these})}


def _own(questions: list[Question]) -> Vocabulary:
    """All answers and words of the training questions; of all, where there are no others."""
    train = [q for q in questions if q.split == "train"] or questions
    return build_vocabulary(train, max_answers=len(train))


def _look_outside(
    found: objects.Questions, questions: list[Question], vocabulary: Vocabulary
) -> None:
    """Fill in what a head with this vocabulary could not read or answer."""
    if any(q.choices for q in questions):
        found["missing_options"] = sum(choice is None for q in questions for choice in q.choices)
        found["without_right_option"] = sum(q.choice is None for q in questions)
        found["guessing_percent"] = chance(questions)
        return
    known = vocabulary.is_known
    words = Counter(word for q in questions for word in q.words if not known(word))
    hit = sum(any(not known(word) for word in q.words) for q in questions)
    given = (q.answer for q in questions if q.answer is not None)
    answers = Counter(answer for answer in given if not vocabulary.has(answer))
    found["unknown_words"] = _outside(words, hit)
    found["unknown_answers"] = _outside(answers, answers.total())
    found["without_answer"] = sum(q.answer is None for q in questions)
    if vocabulary.built:
        found["vocabulary_answers"] = len(vocabulary.answers)
        found["vocabulary_words"] = vocabulary.num_known


def _outside(found: Counter[str], questions: int) -> objects.Outside:
    most = [name for name, _ in found.most_common(MOST_SHOWN)]
    return {"distinct": len(found), "questions": questions, "most_frequent": most}


def _types(
    dataset: str, questions: list[Question], of_split: dict[str, list[Question]]
) -> Iterator[objects.TypeCount]:
    """Counts per split and floors of every type."""
    if not of_split:
        return
    columns = datasets.columns(dataset, questions)
    fit, score = next(iter(of_split)), next(reversed(of_split))
    tables: dict[str, Table] = floors(of_split[fit], of_split[score], columns)
    counts = {
        split: score_table(((q, False) for q in these), columns)
        for split, these in of_split.items()
    }
    for name in columns:
        yield {
            "type": name,
            "questions": {split: table[name].total for split, table in counts.items()},
            "floors_percent": {prior: _percent(table[name]) for prior, table in tables.items()},
        }


def _percent(score: Score) -> float | None:
    return score.percent if score.total else None


def _sample(question: Question) -> objects.Sample:
    answer = question.answer
    if question.choice is not None:
        answer = question.choices[question.choice]
    return {
        "split": question.split,
        "question_id": question.question_id,
        "video_id": question.video_id,
        "modality": question.modality,
        "kind": question.kind,
        "text": question.text,
        "answer": answer,
        "choices": list(question.choices),
    }


def _lines(found: objects.Questions) -> list[str]:
    parts = [
        f"{one['split']} {one['questions']} ({one['videos']} videos)" for one in found["splits"]
    ]
    return [
        f"data set {', '.join(filter(None, (found['dataset'], found['choices'])))}, annotation"
        f" version: {found['version']}",
        f"questions: {', '.join(parts) or 'none'}; {found['distinct_texts']} distinct texts",
        f"ids of questions: {found['repeated_ids']} occur more than once,"
        f" {found['missing_ids']} are missing{_repeated(found['repeated_rows'])}",
        *_dubbed(found["dubbed_questions"]),
        *found["notes"],
        *_outside_lines(found),
        *_type_lines(found),
        *(["", *map(_sample_line, found["samples"])] if found["samples"] else []),
    ]


def _repeated(rows: int) -> str:
    return f"; {rows} rows repeat another" if rows else ""


def _dubbed(questions: int) -> list[str]:
    return [f"heard with the sound of another video: {questions} questions"] if questions else []


def _outside_lines(found: objects.Questions) -> Iterator[str]:
    words, answers = found["unknown_words"], found["unknown_answers"]
    if words is None or answers is None:
        guessing = found["guessing_percent"]
        told = "" if guessing is None else f"; guessing scores {guessing:.2f} %"
        yield (
            f"options: {found['missing_options']} are missing; {found['without_right_option']}"
            f" questions have no right one{told}"
        )
        return
    if found["vocabulary_answers"] is not None:
        yield (
            f"vocabulary of the training questions: {found['vocabulary_answers']} answers,"
            f" {found['vocabulary_words']} words"
        )
    yield (
        f"words outside the vocabulary: {words['distinct']} in {words['questions']}"
        f" questions{_first(words)}"
    )
    yield (
        f"answers outside the vocabulary: {answers['questions']}{_first(answers)};"
        f" {found['without_answer']} questions have none"
    )


def _first(found: objects.Outside) -> str:
    """The most frequent few of what was found."""
    names = ", ".join(map(repr, found["most_frequent"]))
    more = ", …" if found["distinct"] > len(found["most_frequent"]) else ""
    return f": {names}{more}" if names else ""


def _type_lines(found: objects.Questions) -> Iterator[str]:
    """Types down, counts per split and floors across."""
    types, fit, score = found["types"], found["fitted_on"], found["scored_on"]
    if not types:
        return
    how = f"fitted on {fit}, scored on {score}"
    if fit == score:
        how += ": higher than an honest floor, since only one split is here"
    names = (*types[0]["questions"], *types[0]["floors_percent"])
    width = max(11, *(len(one["type"]) for one in types)) + 1
    yield ""
    yield f"questions per type, and floors in percent, {how}"
    yield f"{'type':<{width}}{''.join(f'{name:>10}' for name in names)}"
    for one in types:
        numbers = "".join(f"{count:>10}" for count in one["questions"].values())
        percents = (f"{'–' if p is None else f'{p:.2f}'}" for p in one["floors_percent"].values())
        yield f"{one['type']:<{width}}{numbers}{''.join(f'{p:>10}' for p in percents)}"


def _sample_line(sample: objects.Sample) -> str:
    options = " | ".join(option or "–" for option in sample["choices"])
    types = ", ".join(filter(None, (sample["modality"], sample["kind"])))
    return (
        f"{sample['split']} {sample['video_id']} [{types}] {sample['text']}?"
        f" {sample['answer'] or 'no answer'}{f' (of {options})' if options else ''}"
    )
