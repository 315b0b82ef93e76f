"""A question that somebody types, as the head's training questions were."""

from __future__ import annotations

import difflib
import re
import warnings
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

from avqa.datasets import Vocabulary
from avqa.datasets._parts.matching import match_rows
from avqa.datasets._parts.prompts import prompt_of
from avqa.datasets._parts.question import SPLITS, Keys, Question, normalise
from avqa.datasets.custom import normal_answer
from avqa.errors import AnnotationWarning, AvqaError, ConfigError, DatasetError, StoreError
from avqa.heads import Head
from avqa.training.data.splits import SplitQuestions, read_splits
from avqa.training.run import Member

SLOT = re.compile(r"<[A-Za-z]+>")


@dataclass(frozen=True)
class Kind:
    """What a training question's template says of a question of that form."""

    modality: str = ""
    kind: str = ""
    template: str = ""
    slots: tuple[str, ...] = ()


@dataclass(frozen=True)
class Typed:
    """A question as somebody typed it, or a row of a file."""

    text: str
    choices: tuple[str, ...] = ()
    """Options of a multiple choice."""
    answer: str | None = None
    """The right one, if it is known."""
    place: str = ""
    """In a file: ``line=3``."""


@dataclass(frozen=True)
class Asked:
    """A question and what must be said about how it is read."""

    question: Question
    notes: list[str] = field(default_factory=list)


class Reading:
    """Reads what is typed about one video as the questions of a run were; files are read once."""

    def __init__(self, member: Member, head: Head, video_id: str, store_ids: Sequence[str]) -> None:
        """``store_ids`` are those of the run's store; none if the video is not in it."""
        self._member, self._head = member, head
        self._video_id, self._store_ids = video_id, store_ids
        self._files: SplitQuestions | AvqaError | None = None

    def read(self, typed: Typed) -> Asked:
        """A `Question` of the form the head reads, with the right answer if it is known.

        Raises:
            ConfigError: there are no words, no known word, or not the options that the head needs.
        """
        typed = self._parted(typed)
        text = normalise(typed.text)
        if not text:
            raise ConfigError("the question is empty; expected words; type a question in quotes")
        head = self._head
        _check_choices(typed.choices, head)
        words = tuple(text.split(" "))
        notes = _word_notes(words, self._member.config.words) if "tokens" in head.needs else []
        found = Kind()
        if {"type_tokens", "prompt"} & {*head.needs}:
            found, note = _kind(text, self._questions())
            if "type_tokens" in head.needs:
                notes.append(note)
        right = self._right(text, typed)
        choice = None if right is None or not typed.choices else _place(right, typed.choices)
        question = Question(
            key=Keys("ask", "test").make(None, self._video_id, text),
            question_id=None,
            video_id=self._video_id,
            split="test",
            text=text,
            words=words,
            modality=found.modality,
            kind=found.kind,
            template=found.template or text,
            slots=found.slots,
            answer=None if typed.choices else right,
            choices=typed.choices,
            choice=choice,
        )
        if "prompt" in head.needs:
            prompt = prompt_of(question, released=head.released_prompts)
            notes.append(f"prompt: {prompt}")
        return Asked(question, notes)

    def _parted(self, typed: Typed) -> Typed:
        """Options may be typed in one line with the question: ``Who sings? | a cat | nobody``."""
        if self._head.options.answer != "choices" or typed.choices or "|" not in typed.text:
            return typed
        text, *choices = (part.strip() for part in typed.text.split("|"))
        return replace(typed, text=text, choices=tuple(choices))

    def _right(self, text: str, typed: Typed) -> str | None:
        """The right answer: as given, or of the run's own question about this video."""
        if typed.answer is not None:
            return typed.answer.strip() or None
        files = self._questions() if self._store_ids else None
        if not isinstance(files, SplitQuestions):
            return None
        alike = [q for split in SPLITS for q in files.of(split) if normalise(q.text) == text]
        of_video = [q for q in alike if self._is_of_video(q)]
        right = {q.answer if q.choice is None else q.choices[q.choice] for q in of_video}
        (only,) = right if len(right) == 1 else (None,)
        return only if not typed.choices or only in typed.choices else None

    def _is_of_video(self, question: Question) -> bool:
        try:
            (row,) = match_rows([question], self._store_ids).rows
        except (StoreError, DatasetError):  # in no row, or in several
            return False
        return row is not None and self._store_ids[row] == self._video_id

    def _questions(self) -> SplitQuestions | AvqaError:
        """Those of the run's own files, or why they are gone."""
        if self._files is None:
            config = self._member.config
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore", AnnotationWarning)  # training told them
                    how, choices = config.settings, config.choices
                    self._files = read_splits(
                        config.dataset, config.annotations, how.split, choices, how.dub
                    )
            except AvqaError as error:
                self._files = error
        return self._files


def _check_choices(choices: Sequence[str], head: Head) -> None:
    if head.options.answer == "choices":
        if len(choices) < 2 or not all(normalise(choice) for choice in choices):
            raise ConfigError(
                f"choices={list(choices)}; expected at least two: this head chooses among"
                " options; give each with --choice"
            )
    elif choices:
        raise ConfigError(
            f"choices={list(choices)}; expected none: this head answers from its own"
            f" {head.options.num_answers} answers; leave --choice out"
        )


def _place(right: str, choices: Sequence[str]) -> int:
    """Of the right option.

    Raises:
        ConfigError: none is.
    """
    for place, choice in enumerate(choices):
        if normal_answer(choice) == normal_answer(right):
            return place
    raise ConfigError(
        f"answer={right!r} is none of choices={list(choices)}; expected one of them; correct it, or"
        " leave it out"
    )


def _word_notes(words: Sequence[str], vocabulary: Vocabulary) -> list[str]:
    """What a head of these words cannot read of a question.

    Raises:
        ConfigError: it can read none of it.
    """
    known, most = vocabulary.is_known, vocabulary.max_words
    unknown = [
        f"{word!r}{_nearest(word, vocabulary)}" for word in dict.fromkeys(words) if not known(word)
    ]
    if not any(known(word) for word in words[:most]):
        raise ConfigError(
            f"no word of the question is known to this head: {', '.join(unknown)}; expected some"
            f" of its {vocabulary.num_known} words; ask in the words of its training questions"
        )
    notes = []
    if unknown:
        read = "<unk>" if vocabulary.built else "nothing"
        notes.append(f"unknown words, read as {read}: {', '.join(unknown)}")
    if len(words) > most:
        notes.append(f"{len(words)} words; this head reads the first {most}")
    return notes


def _nearest(word: str, vocabulary: Vocabulary) -> str:
    words = vocabulary.words[-vocabulary.num_known :]
    known = {part: name for name in words for part in name.split("_")}  # guitar
    known |= {name.lower(): name for name in words}
    near = difflib.get_close_matches(word.lower(), known, n=1)
    return f" (nearest: {known[near[0]]!r})" if near else ""


def _kind(text: str, files: SplitQuestions | AvqaError) -> tuple[Kind, str]:
    """The type of a question by its form, and how it was found."""
    if isinstance(files, AvqaError):
        return Kind(), f"type of the question: left empty, the training questions are gone: {files}"
    found = kind_of(text, files.train)
    if found is None:
        return Kind(), "type of the question: left empty, no training question has its form"
    types = " ".join(filter(None, (found.modality, found.kind))) or "none"
    return found, (
        f"type of the question: {types}, as training questions {normalise(found.template)!r}"
    )


def kind_of(text: str, training: Iterable[Question]) -> Kind | None:
    """The type most frequent among training questions whose template fits the text exactly.

    A slot takes one word, of those that fill a slot of that name in training.
    """
    types: dict[str, Counter[tuple[str, str]]] = {}
    values: dict[str, set[str]] = {}
    for question in training:
        types.setdefault(question.template, Counter())[question.modality, question.kind] += 1
        for name, value in zip(SLOT.findall(question.template), question.slots, strict=False):
            values.setdefault(name, set()).add(value)
    for template, counted in types.items():
        pieces = SLOT.split(normalise(template))
        match = re.fullmatch(r"(\S+)".join(map(re.escape, pieces)), text)
        names = SLOT.findall(template)
        if match and all(v in values[n] for n, v in zip(names, match.groups(), strict=True)):
            (modality, kind), _ = counted.most_common(1)[0]
            return Kind(modality, kind, template, match.groups())
    return None
