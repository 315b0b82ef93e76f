"""The vocabulary that a run trains with, and what of the questions lies outside it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from avqa import datasets
from avqa.datasets import Question, Vocabulary
from avqa.datasets._parts.question import SPLITS
from avqa.datasets._parts.vocabulary import OTHER, build_vocabulary
from avqa.errors import ConfigError, DatasetError
from avqa.training.data.splits import SplitQuestions
from avqa.training.settings import TrainSettings

MOST_SHOWN = 5
OF_ANSWERS = ("max_answers", "min_answer_count", "rare_answers")
OF_WORDS = ("min_word_count",)


def check_settings(dataset: str, settings: TrainSettings) -> None:
    """Refuse settings of a vocabulary that is fixed.

    Raises:
        ConfigError: names those that are set.
    """
    fixed = datasets.fixed_vocabulary(dataset)
    given = _given(settings, (*OF_ANSWERS, *OF_WORDS))
    if fixed is not None and given:
        raise ConfigError(
            f"{given} with data set {dataset!r}; expected no such setting: its"
            f" {len(fixed.answers)} answers and {fixed.num_known} words are fixed; leave it out"
        )


def _given(settings: TrainSettings, names: Iterable[str]) -> str:
    default: dict[str, Any] = {name: getattr(TrainSettings, name) for name in names}
    found = {name: getattr(settings, name) for name in names}
    return ", ".join(f"{name}={found[name]}" for name in names if found[name] != default[name])


def choose_vocabulary(
    dataset: str, train: Sequence[Question], settings: TrainSettings
) -> Vocabulary:
    """The data set's own vocabulary, or one of the training questions in use.

    Raises:
        ConfigError: settings of answers with multiple choice, or such that no answer is left.
    """
    fixed = datasets.fixed_vocabulary(dataset)
    if fixed is not None:
        return fixed
    given = _given(settings, OF_ANSWERS)
    choices = any(question.choices for question in train)
    if choices and given:
        raise ConfigError(
            f"{given} with multiple choice; expected no such setting: options are scored,"
            " there is no vocabulary of answers; leave it out"
        )
    built = build_vocabulary(
        train,
        max_answers=settings.max_answers,
        min_answer_count=settings.min_answer_count,
        other=settings.rare_answers == "other",
        min_word_count=settings.min_word_count,
    )
    if not choices and not any(built.has(answer) for answer in built.answers):
        most = max(Counter(q.answer for q in train).values(), default=0)
        raise ConfigError(
            f"min_answer_count={settings.min_answer_count} leaves no answer, since the most"
            f" frequent one has {most} training questions; expected {most} or less; lower it"
        )
    return built


def require_answers(questions: SplitQuestions, dataset: str) -> None:
    """Refuse questions of which none has a right answer.

    Raises:
        DatasetError: there is none.
    """
    everything = [q for split in SPLITS for q in questions.of(split)]
    if everything and all(q.answer is None and q.choice is None for q in everything):
        raise DatasetError(
            f"none of {len(everything)} questions of {dataset} has a right answer; expected answers"
            " to train on; add them to the annotations, or answer the questions by `avqa predict`"
        )


def require_val(questions: SplitQuestions, vocabulary: Vocabulary) -> None:
    """Refuse validation questions of which a head can answer none: they choose the epoch.

    Raises:
        DatasetError: the vocabulary has the answer of none.
    """
    val = questions.val
    if all(not q.choices and not vocabulary.has(q.answer) for q in val):
        answers = Counter(str(q.answer) for q in val)
        raise DatasetError(
            f"none of {len(val)} validation questions has an answer of the vocabulary, the"
            f" {len(vocabulary.answers)} answers of training; expected at least one, to choose the"
            f" epoch by; they have {most(answers)}: add questions, or name the split of each row in"
            " the column split"
        )


def vocabulary_notes(
    questions: SplitQuestions, vocabulary: Vocabulary, *, tokens: bool
) -> list[str]:
    """What a built vocabulary holds, and what of val and test lies outside any.

    Args:
        questions: in use; those of train before rare answers were left out.
        vocabulary: of the run.
        tokens: whether any head of the run learns words of its own.
    """
    lines = _built(questions, vocabulary, tokens) if vocabulary.built else []
    lines += _outside(questions, vocabulary) if vocabulary.built else _unseen(questions)
    return lines + (_unknown_words(questions, vocabulary) if tokens else [])


def _built(questions: SplitQuestions, vocabulary: Vocabulary, tokens: bool) -> list[str]:
    lines = []
    if vocabulary.answers:
        own = [answer for answer in vocabulary.answers if answer != OTHER]
        line = f"answers: {len(own)}, those of the training questions"
        rare = Counter(str(q.answer) for q in questions.train if not vocabulary.has(q.answer))
        if rare:
            what = f"answered as {OTHER}" if OTHER in vocabulary.answers else "left out"
            line += (
                f"; {sum(rare.values())} questions with {len(rare)} rarer ones ({most(rare)}) are"
                f" {what} in training"
            )
        lines.append(line)
    if tokens:
        lines.append(
            f"words: {vocabulary.num_known}, those of the training questions; the first"
            f" {vocabulary.max_words} of a question are read"
        )
    return lines


def _outside(questions: SplitQuestions, vocabulary: Vocabulary) -> list[str]:
    """Answers of val and test that no head of this vocabulary can give."""
    notes = []
    for split in ("val", "test"):
        these = [q for q in questions.of(split) if not q.choices]
        outside = Counter(str(q.answer) for q in these if not vocabulary.has(q.answer))
        if outside:
            count, of = sum(outside.values()), len(these)
            notes.append(
                f"{split}: {count} of {of} questions have an answer outside the vocabulary, which"
                f" counts as wrong, so that at most {100 * (of - count) / of:.2f} % can be right:"
                f" {most(outside)}"
            )
    return notes


def _unseen(questions: SplitQuestions) -> list[str]:
    """Answers of val and test that training cannot teach; options differ in every question."""
    trained = {q.answer for q in questions.train}
    notes = []
    for split in ("val", "test"):
        unseen = Counter(str(q.answer) for q in questions.of(split) if q.answer not in trained)
        if unseen:
            notes.append(
                f"{split}: {sum(unseen.values())} questions have an answer that no training"
                f" question has: {most(unseen)}"
            )
    return notes


def _unknown_words(questions: SplitQuestions, vocabulary: Vocabulary) -> list[str]:
    read = "<unk>" if vocabulary.built else "padding"
    notes = []
    for split in SPLITS:
        these = questions.of(split)
        hit = [q for q in these if not all(map(vocabulary.is_known, q.words))]
        if hit:
            words = Counter(w for q in hit for w in q.words if not vocabulary.is_known(w))
            notes.append(
                f"{split}: {len(hit)} of {len(these)} questions have words that the head does not"
                f" know and reads as {read}: {most(words)}; question=clip reads every word"
            )
    return notes


def token_notes(questions: SplitQuestions, fields: Iterable[str]) -> list[str]:
    """Which words of labels are nowhere to be had.

    Args:
        questions: in use.
        fields: of `HeadInput`, those that any head of the run reads.
    """
    notes = []
    for field, what, has in (
        ("type_tokens", "a type", lambda q: q.modality or q.kind),
        ("keyword_tokens", "slot values, its keywords", lambda q: q.slots),
    ):
        without = [split for split in SPLITS if not any(map(has, questions.of(split)))]
        if field in fields and without:
            notes.append(
                f"{field}: no question of {', '.join(without)} has {what}: heads that read them are"
                " given padding there"
            )
    return notes


def most(found: Counter[str]) -> str:
    """The most frequent few, quoted."""
    more = ", …" if len(found) > MOST_SHOWN else ""
    return ", ".join(repr(name) for name, _ in found.most_common(MOST_SHOWN)) + more
